//! Sessions, statements and results of the gateway, jobs of the job REST, and a job that goes on after a restart.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use stream_processor::{Config, Error, serve};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Processor {
    gateway: String,
    jobs: String,
    client: reqwest::Client,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Processor {
    async fn start(checkpoints: &Path) -> Self {
        let config = Config {
            checkpoint_dir: format!("file://{}", checkpoints.display()),
            checkpoint_interval: Duration::from_millis(100),
            parallelism: 2,
            ..Config::default()
        };
        let bind = || TcpListener::bind("127.0.0.1:0");
        let (gateway, jobs) = (bind().await.unwrap(), bind().await.unwrap());
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let (gateway_url, jobs_url) = (address(&gateway), address(&jobs));
        let shutdown = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "awaited by stop")]
        let task = tokio::spawn(serve(config, gateway, jobs, shutdown.clone()));
        Processor {
            gateway: gateway_url,
            jobs: jobs_url,
            client: reqwest::Client::new(),
            shutdown,
            task,
        }
    }

    async fn get(&self, url: &str) -> Value {
        let answer = self.client.get(url).send().await.unwrap();
        assert!(answer.status().is_success(), "{url}: {}", answer.status());
        answer.json().await.unwrap()
    }

    async fn post(&self, url: &str, body: &Value) -> Value {
        let answer = self.client.post(url).json(body).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{url}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn session(&self) -> String {
        let url = format!("{}/v2/sessions", self.gateway);
        let session = self.post(&url, &json!({"properties": {}})).await;
        format!("{url}/{}", session["sessionHandle"].as_str().unwrap())
    }

    /// Runs a statement; gives all pages up to the end or the first `limit` rows.
    async fn execute(&self, session: &str, statement: &str) -> Vec<Value> {
        let started = self
            .post(
                &format!("{session}/statements"),
                &json!({"statement": statement}),
            )
            .await;
        let operation = started["operationHandle"].as_str().unwrap();
        let mut next = format!("{session}/operations/{operation}/result/0?rowFormat=JSON");
        let mut pages = Vec::new();
        loop {
            let page = self.get(&next).await;
            let more = page["nextResultUri"].as_str().map(str::to_owned);
            let ready = page["resultType"] != "NOT_READY";
            if ready {
                pages.push(page);
            }
            match more {
                Some(uri) => next = format!("{}{uri}", self.gateway),
                None => return pages,
            }
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn numbers(directory: &Path) -> Vec<i64> {
    let mut numbers = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else {
        return numbers;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("part-")
        {
            for line in std::fs::read_to_string(path).unwrap().lines() {
                let row: Value = serde_json::from_str(line).unwrap();
                numbers.push(row["n"].as_i64().unwrap());
            }
        }
    }
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_gives_its_rows_page_by_page() {
    let root = testkit::temp_dir();
    let processor = Processor::start(root.path()).await;
    let session = processor.session().await;
    let created = processor
        .execute(
            &session,
            "CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'datagen', 'fields.n.kind' = 'sequence',
               'fields.n.start' = '1', 'fields.n.end' = '20')",
        )
        .await;
    assert_eq!(created[0]["results"]["data"][0]["fields"][0], "OK");
    let pages = processor
        .execute(
            &session,
            "SELECT n, n * 2 AS twice FROM numbers WHERE n > 17",
        )
        .await;
    let mut rows: Vec<(i64, i64)> = pages
        .iter()
        .flat_map(|page| {
            page["results"]["data"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        })
        .map(|row| {
            assert_eq!(row["kind"], "INSERT");
            let field = |index: usize| row["fields"][index].as_i64().unwrap();
            (field(0), field(1))
        })
        .collect();
    rows.sort_unstable();
    assert_eq!(rows, [(18, 36), (19, 38), (20, 40)]);
    assert_eq!(pages[0]["isQueryResult"], true);
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_statement_is_answered_with_its_place() {
    let root = testkit::temp_dir();
    let processor = Processor::start(root.path()).await;
    let session = processor.session().await;
    let url = format!("{session}/statements");
    let started = processor
        .post(&url, &json!({"statement": "SELECT * FROM nowhere"}))
        .await;
    let operation = started["operationHandle"].as_str().unwrap();
    let result = format!("{session}/operations/{operation}/result/0?rowFormat=JSON");
    let errors = testkit::wait_until("an error", Duration::from_secs(20), || async {
        let answer = processor.client.get(&result).send().await.unwrap();
        let failed = answer.status().is_server_error();
        let body: Value = answer.json().await.unwrap();
        failed.then(|| body["errors"].to_string())
    })
    .await;
    assert!(errors.contains("nowhere"), "{errors}");
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_after_a_restart_with_each_row_once() {
    let root = testkit::temp_dir();
    let output = root.path().join("out");
    let checkpoints = root.path().join("checkpoints");
    std::fs::create_dir(&checkpoints).unwrap();
    let processor = Processor::start(&checkpoints).await;
    let session = processor.session().await;
    processor
        .execute(
            &session,
            "CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '2000',
               'fields.n.kind' = 'sequence', 'fields.n.start' = '1', 'fields.n.end' = '6000')",
        )
        .await;
    let sink = format!(
        "CREATE TABLE kept (n BIGINT) WITH ('connector' = 'filesystem', 'path' = 'file://{}', 'format' = 'json')",
        output.display()
    );
    processor.execute(&session, &sink).await;
    let started = processor
        .execute(&session, "INSERT INTO kept SELECT n FROM numbers")
        .await;
    let job = started[0]["jobID"].as_str().unwrap().to_owned();
    let seen = || async { (numbers(&output).len() > 200).then_some(()) };
    testkit::wait_until("the first rows", Duration::from_secs(30), seen).await;
    let overview = processor
        .get(&format!("{}/jobs/overview", processor.jobs))
        .await;
    assert_eq!(overview["jobs"][0]["jid"], job.as_str());
    assert_eq!(overview["jobs"][0]["state"], "RUNNING");
    let checkpoints_seen = processor
        .get(&format!("{}/jobs/{job}/checkpoints", processor.jobs))
        .await;
    assert!(checkpoints_seen["counts"]["completed"].as_u64().unwrap() > 0);
    processor.stop().await;
    assert!(
        numbers(&output).len() < 6000,
        "the restart came too late to show anything"
    );

    let processor = Processor::start(&checkpoints).await;
    testkit::wait_until("the end of the job", Duration::from_secs(60), || async {
        let url = format!("{}/jobs/{job}", processor.jobs);
        let answer = processor.client.get(url).send().await.unwrap();
        let detail: Value = answer.json().await.unwrap_or_default();
        (detail["state"] == "FINISHED").then_some(())
    })
    .await;
    assert_eq!(numbers(&output), (1..=6000).collect::<Vec<_>>());
    processor.stop().await;
}
