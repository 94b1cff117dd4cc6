//! The same catalog on a real PostgreSQL, two instances at once (`STREAMFORGE_PEERS=postgres`, Debian's packages).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::server::{Server, append, error};

/// A PostgreSQL of the test's own, stopped when dropped.
struct Postgres {
    process: Child,
    directory: TempDir,
    port: u16,
    _ports: testkit::Ports,
}

impl Postgres {
    async fn start() -> Postgres {
        let bin = binaries();
        let directory = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
        let data = directory.path().join("data");
        own(directory.path());
        let made = as_user(&bin.join("initdb"))
            .args(["-A", "trust", "-U", "streamforge", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let ports = testkit::Ports::new();
        let port = ports.get(0);
        let process = as_user(&bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(directory.path())
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let postgres = Postgres {
            process,
            directory,
            port,
            _ports: ports,
        };
        testkit::wait_until(
            "PostgreSQL to answer",
            Duration::from_secs(30),
            async || {
                sqlx::any::install_default_drivers();
                sqlx::AnyPool::connect(&postgres.url()).await.ok()
            },
        )
        .await
        .close()
        .await;
        postgres
    }

    fn url(&self) -> String {
        format!("postgres://streamforge@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.directory.path().join("data/postmaster.pid"))
            .unwrap_or_default();
        if let Some(pid) = pid.lines().next() {
            let _stopped = Command::new("kill").args(["-QUIT", pid]).status();
        }
        let _ended = self.process.wait();
    }
}

fn binaries() -> PathBuf {
    std::fs::read_dir("/usr/lib/postgresql")
        .expect("STREAMFORGE_PEERS names postgres, but /usr/lib/postgresql is missing")
        .map(|entry| entry.unwrap().path().join("bin"))
        .max()
        .expect("a version of PostgreSQL is installed")
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

/// PostgreSQL refuses to run as root.
fn as_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn own(directory: &Path) {
    if is_root() {
        let done = Command::new("chown")
            .arg("postgres")
            .arg(directory)
            .status();
        assert!(done.unwrap().success());
    }
}

#[tokio::test]
async fn two_instances_on_one_postgresql_see_the_same_tables() {
    if !testkit::peer("postgres") {
        return;
    }
    let postgres = Postgres::start().await;
    let one = Server::start_with(|config| config.database = Some(postgres.url())).await;
    let warehouse = format!("file://{}", one.warehouse().display());
    let one = one.with_namespace().await;
    let two = Server::start_with(|config| {
        config.database = Some(postgres.url());
        config.warehouse = warehouse;
    })
    .await;
    let path = "/v1/namespaces/demo/tables/events";
    let table = one.table("events").await;
    assert_eq!(two.get(path).await, (200, table.clone()));
    let again = two
        .post("/v1/namespaces", json!({"namespace": ["demo"]}))
        .await;
    assert_eq!(error(&again).1, "AlreadyExistsException");
    assert_eq!(
        error(&two.delete("/v1/namespaces/demo").await).1,
        "NamespaceNotEmptyException"
    );

    // Blind changes from both sides are rebased, so that none is lost.
    let change = |key: String| {
        json!({"requirements": [], "updates": [
            {"action": "set-properties", "updates": {key: "yes"}},
        ]})
    };
    for i in 0..10 {
        let (left, right) = tokio::join!(
            one.post(path, change(format!("one{i}"))),
            two.post(path, change(format!("two{i}"))),
        );
        assert_eq!((left.0, right.0), (200, 200), "{left:?} {right:?}");
    }
    let (_, now) = one.get(path).await;
    let n_set = now["metadata"]["properties"]
        .as_object()
        .unwrap()
        .values()
        .filter(|value| *value == "yes")
        .count();
    assert_eq!(n_set, 20);

    // Of two appends on the same parent one is refused.
    let (left, right) = tokio::join!(
        one.post(path, append(&now, 1, 1, None)),
        two.post(path, append(&now, 2, 1, None)),
    );
    let mut statuses = [left.0, right.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    one.stop().await;
    two.stop().await;
}
