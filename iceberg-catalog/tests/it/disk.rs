//! A disk that fills up: the right error, no half commit, no file nobody names, and work goes on when it can.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::SmallDisk;

use crate::server::{Server, append, error, new_table};

const PATH: &str = "/v1/namespaces/demo/tables/events";

fn files(disk: &SmallDisk) -> usize {
    fn count(directory: &std::path::Path) -> usize {
        let Ok(entries) = std::fs::read_dir(directory) else {
            return 0;
        };
        entries
            .map(|entry| match entry.unwrap().path() {
                path if path.is_dir() => count(&path),
                _ => 1,
            })
            .sum()
    }
    count(&disk.path().join("warehouse"))
}

/// Properties that fill a megabyte of metadata.
fn large(n_commit: usize) -> Value {
    // Of 64 letters at random, so that it does not shrink much.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 + n_commit as u64;
    let value: String = (0..1_000_000)
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            char::from(b'0' + (random >> 32) as u8 % 64)
        })
        .collect();
    json!({"requirements": [], "updates": [
        {"action": "set-properties", "updates": {"large": value, "n": n_commit.to_string()}},
    ]})
}

/// Commits until it is refused, and says how often it was not.
async fn commit_until_full(server: &Server) -> usize {
    for n_commits in 0..100 {
        let answer = server.post(PATH, large(n_commits)).await;
        if answer.0 != 200 {
            let (status, kind, _) = error(&answer);
            assert_eq!(
                (status, kind.as_str()),
                (503, "ServiceUnavailableException")
            );
            return n_commits;
        }
    }
    panic!("the disk was never full");
}

async fn goes_on(server: &Server, table: &Value, last: usize) {
    let (status, loaded) = server.get(PATH).await;
    assert_eq!(status, 200);
    assert_eq!(
        loaded["metadata"]["properties"]["n"],
        (last - 1).to_string(),
        "the last answered commit stands, the refused one does not"
    );
    testkit::wait_until("room for a commit", Duration::from_secs(60), async || {
        let answer = server.post(PATH, append(table, 1, 1, None)).await;
        (answer.0 == 200).then_some(())
    })
    .await;
    assert_eq!(
        server
            .post("/v1/namespaces", json!({"namespace": ["later"]}))
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn a_full_warehouse_refuses_commits_and_keeps_the_tables() {
    let Some(disk) = SmallDisk::new(12) else {
        return;
    };
    let warehouse = format!("file://{}", disk.path().join("warehouse").display());
    let server = Server::start_with(|config| {
        config.warehouse = warehouse;
        config.table_defaults.clear();
    })
    .await
    .with_namespace()
    .await;
    let table = server.table("events").await;
    let n_commits = commit_until_full(&server).await;
    assert_eq!(files(&disk), 1 + n_commits, "the refused one left no file");
    let rest = disk.fill();
    let refused = server
        .post("/v1/namespaces/demo/tables", new_table("other"))
        .await;
    assert_eq!(error(&refused).0, 503);
    let (_, listed) = server.get("/v1/namespaces/demo/tables").await;
    assert_eq!(listed["identifiers"].as_array().unwrap().len(), 1);
    drop(rest);
    drop_old_files(&table);
    goes_on(&server, &table, n_commits).await;
    server.stop().await;
}

/// Room for a few commits: old metadata files leave, as an expiry would have it.
fn drop_old_files(table: &Value) {
    let first = crate::server::file(table["metadata-location"].as_str().unwrap());
    let mut paths: Vec<_> = std::fs::read_dir(first.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for old in &paths[1..4] {
        std::fs::remove_file(old).unwrap();
    }
}

#[tokio::test]
async fn a_database_without_room_refuses_commits_and_keeps_what_it_answered() {
    let Some(disk) = SmallDisk::new(12) else {
        return;
    };
    let data = disk.path().join("data");
    let server = Server::start_with(|config| {
        config.data_dir.clone_from(&data);
        config.table_defaults.clear();
    })
    .await
    .with_namespace()
    .await;
    let table = server.table("events").await;
    let ballast = disk.take(8);
    let n_commits = commit_until_full(&server).await;
    let metadata = crate::server::file(table["metadata-location"].as_str().unwrap());
    let n_files = std::fs::read_dir(metadata.parent().unwrap())
        .unwrap()
        .count();
    assert_eq!(n_files, 1 + n_commits, "the refused one left no file");
    let rest = disk.fill();
    let refused = server.post(PATH, large(999)).await;
    assert_eq!(error(&refused).0, 503);
    assert_eq!(server.get(PATH).await.0, 200);
    drop((ballast, rest));
    goes_on(&server, &table, n_commits).await;
    let directory = server.stop().await;
    let server = Server::start_in(directory, |config| config.data_dir = data).await;
    let (_, loaded) = server.get(PATH).await;
    assert_eq!(loaded["metadata"]["current-snapshot-id"], 1);
    server.stop().await;
}
