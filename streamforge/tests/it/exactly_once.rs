//! Exactly once: the program is killed at random moments while records arrive, and at the end every table is what a
//! batch computation over the topic gives.
//!
//! The emitter is a process of its own that waits for acknowledgements and retries through the kills. When it has ended,
//! two closing records go to each partition: the first is part of the results, the second pushes the watermark beyond
//! all windows. What is compared is computed by DuckDB from the records that a Kafka consumer reads.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::platform::{Process, Site};

const CHECK: &str = include_str!("exactly_once.py");

/// What is done to the platform.
struct Plan {
    kills: u32,
    /// Events per second.
    rate: u32,
    events: u64,
    /// How much event time comes at full speed first.
    backfill: Duration,
    /// Share of events later than the watermark allows.
    late: f64,
    /// Every service is a process of its own, and one of them is killed at a time.
    apart: bool,
    /// Longest life between two kills.
    life: Duration,
}

const SERVICES: [&str; 5] = [
    "storage-service",
    "streaming-server",
    "iceberg-catalog",
    "stream-processor",
    "query-engine",
];

/// How long the last records may take to every table, on a busy machine.
const SETTLE: Duration = Duration::from_secs(180);

/// Most events of a short form are of the past and come at full speed, so that windows of each kind close between the
/// kills; the others keep coming until the last.
const SHORT: Plan = Plan {
    kills: 5,
    rate: 40,
    events: 37_000,
    backfill: Duration::from_secs(900),
    late: 0.0,
    apart: false,
    life: Duration::from_secs(4),
};

#[test]
fn five_kills_lose_nothing_and_double_nothing() {
    run(&SHORT);
}

/// Without a kill, since the counters of an attempt begin at nothing.
#[test]
fn what_gold_lacks_was_counted_and_listed_as_late() {
    run(&Plan {
        kills: 0,
        late: 0.02,
        ..SHORT
    });
}

#[test]
fn many_kills_at_full_rate() {
    if let Some(plan) = long() {
        run(&plan);
    }
}

#[test]
fn many_kills_of_single_services() {
    if let Some(plan) = long() {
        run(&Plan {
            apart: true,
            ..plan
        });
    }
}

#[test]
fn many_kills_and_what_gold_lacks_was_listed_as_late() {
    if let Some(plan) = long() {
        run(&Plan {
            late: 0.02,
            // Windows must have closed before what is late for them comes.
            events: plan.events + 60 * u64::from(plan.rate),
            backfill: Duration::from_secs(80),
            ..plan
        });
    }
}

/// The long form: 30 kills at 20 000 events/s for two minutes, or what the environment says.
fn long() -> Option<Plan> {
    if std::env::var_os("RUN_SLOW_TESTS").is_none() {
        eprintln!(
            "SLOW TEST OFF: set RUN_SLOW_TESTS=1 to kill 30 times at 20 000 events/s with a release build; \
             STREAMFORGE_KILLS and STREAMFORGE_KILL_RATE choose other numbers"
        );
        return None;
    }
    let number = |name: &str, default: u32| {
        std::env::var(name).map_or(default, |text| {
            text.parse()
                .unwrap_or_else(|_| panic!("{name} is a number, not `{text}`"))
        })
    };
    let (kills, rate) = (
        number("STREAMFORGE_KILLS", 30),
        number("STREAMFORGE_KILL_RATE", 20_000),
    );
    let seconds = kills * 4;
    let backfill = 20;
    Some(Plan {
        kills,
        rate,
        events: u64::from(rate) * u64::from(seconds + backfill),
        backfill: Duration::from_secs(backfill.into()),
        late: 0.0,
        apart: false,
        life: Duration::from_secs(5),
    })
}

fn run(plan: &Plan) {
    let seed = testkit::seed();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let site = Site::new();
    let mut platform = Platform::start(&site, plan.apart);
    let emitter = emit(&site, plan, seed);
    // From now on it has connected, and retries.
    wait_for(&site, "SELECT count(*) FROM bronze.clickstream", seed);
    for kill in 1..=plan.kills {
        let victim = random.random_range(0..platform.processes.len());
        let longest = plan.life.as_millis() as u64;
        let life = Duration::from_millis(random.random_range(300..longest));
        platform.live_for(victim, life);
        let name = platform.processes[victim].0.join(" ");
        eprintln!("kill {kill} after {life:?}: {name}");
        platform.kill_and_restart(&site, victim);
    }
    let emitted = emitter.ends_well();
    eprintln!("{}", emitted.join("\n"));
    let mut values = vec![("EMITTED", format!("{:?}", emitted.join(" ")))];
    let closed = site.python(&script(&site, "close", &[]));
    wait_for_windows_after(&site, closed.trim(), seed);
    values.push(("STRICT", python_bool(plan.late == 0.0)));
    values.push(("COUNTED", python_bool(plan.late > 0.0 && plan.kills == 0)));
    let report = site.python(&script(&site, "check", &values));
    assert!(report.ends_with("equal\n"), "seed {seed}: {report}");
    eprintln!("{report}");
    platform.stop();
}

fn python_bool(value: bool) -> String {
    if value { "True" } else { "False" }.to_owned()
}

fn emit(site: &Site, plan: &Plan, stream: u64) -> Process {
    let mut command = site.command(&["emit", "--duplicate", "0.02", "--malformed", "0.01"]);
    for (option, value) in [
        ("--out-of-order", 0.05.to_string()),
        ("--rate", plan.rate.to_string()),
        ("--count", plan.events.to_string()),
        ("--late", plan.late.to_string()),
        ("--stream", stream.to_string()),
        ("--backfill", plan.backfill.as_secs().to_string()),
    ] {
        command.args([option, &value]);
    }
    Process::spawn(command)
}

/// [`CHECK`] with the values that it expects.
fn script(site: &Site, mode: &str, values: &[(&str, String)]) -> String {
    let jobs = format!("http://{}", site.address("stream_processor.job_listen"));
    let inputs = site.data().join("demo");
    let mut script = format!("MODE, JOBS, INPUTS = {mode:?}, {jobs:?}, {inputs:?}\n");
    for (name, value) in values {
        script += &format!("{name} = {value}\n");
    }
    script + CHECK
}

/// Waits until each gold table has a window that ends after `closing`: all rows before it are committed there then,
/// because one watermark has closed them together.
fn wait_for_windows_after(site: &Site, closing: &str, seed: u64) {
    for table in [
        "activity_per_minute",
        "sessions",
        "revenue_by_country",
        "funnel",
    ] {
        let sql =
            format!("SELECT count(*) FROM gold.{table} WHERE window_end > TIMESTAMP '{closing}'");
        wait_for(site, &sql, seed);
    }
}

/// Waits until a count is not 0.
fn wait_for(site: &Site, sql: &str, seed: u64) {
    let deadline = Instant::now() + SETTLE;
    loop {
        let answer = site.try_query(sql);
        if answer
            .as_ref()
            .is_ok_and(|rows| rows.first().is_some_and(|count| count != "0"))
        {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "seed {seed}: {sql} gave {answer:?}"
        );
    }
}

/// The running processes, each with the arguments it was started with.
struct Platform {
    processes: Vec<(Vec<String>, Process)>,
}

impl Platform {
    fn start(site: &Site, apart: bool) -> Self {
        let mut up: Vec<&str> = vec!["up", "--rate", "1", "--set", "demo.events=false"];
        let mut commands: Vec<Vec<&str>> = Vec::new();
        if apart {
            commands.extend(SERVICES.map(|service| vec!["run", service]));
            up.extend(SERVICES.iter().flat_map(|service| ["--without", service]));
        }
        commands.push(up);
        let start = |command: Vec<&str>| {
            let process = site.start(&command);
            (command.into_iter().map(str::to_owned).collect(), process)
        };
        Platform {
            processes: commands.into_iter().map(start).collect(),
        }
    }

    /// Lets the next victim live a while; none may end by itself.
    fn live_for(&mut self, victim: usize, time: Duration) {
        self.processes[victim].1.live_for(time);
    }

    fn kill_and_restart(&mut self, site: &Site, victim: usize) {
        let (command, process) = self.processes.remove(victim);
        process.kill();
        let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        let process = site.start(&arguments);
        self.processes.insert(victim, (command, process));
    }

    /// The other way round: who asks goes before who answers.
    fn stop(self) {
        for (command, process) in self.processes.into_iter().rev() {
            assert!(process.stop().success(), "{command:?} did not end well");
        }
    }
}
