//! The writer under load of its own making: batches, refusals beside successes, and who loses a race.

use super::*;
use crate::database;
use crate::database::writer::{Bounds, TableChange};

async fn database(
    directory: &std::path::Path,
) -> (Database, Writer, tokio::task::JoinSet<()>, Metrics) {
    let metrics = Metrics::new(&mut telemetry::Registry::default());
    let bounds = Bounds {
        pending: 64,
        batch: 64,
    };
    let url = database::sqlite_url(directory);
    let (database, writer, work) = database::open(&url, bounds, metrics.clone()).await.unwrap();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(work.run());
    (database, writer, running, metrics)
}

fn namespace(name: &str) -> Change {
    Change::CreateNamespace {
        namespace: name.to_owned(),
        parent: None,
        properties: "{}".to_owned(),
    }
}

fn version(base: Base) -> Change {
    Change::Commit(vec![TableChange {
        id: "id".to_owned(),
        base,
        location: "s3://b/t".to_owned(),
        metadata_location: "s3://b/t/m".to_owned(),
        metadata: Vec::new(),
    }])
}

#[tokio::test]
async fn changes_that_come_together_share_a_sync_and_a_refusal_disturbs_none() {
    let directory = testkit::temp_dir();
    let (database, writer, _running, metrics) = database(directory.path()).await;
    let names: Vec<String> = (0..40).map(|i| format!("n{:02}", i / 2)).collect();
    let outcomes =
        futures::future::join_all(names.iter().map(|name| writer.make(namespace(name)))).await;
    let n_made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(n_made, 20);
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Ok(()) | Err(Failure::Refused(Refusal::Exists)))),
        "{outcomes:?}"
    );
    assert!(
        metrics.database_syncs.get() < 40,
        "{}",
        metrics.database_syncs.get()
    );
    let page = Page {
        after: "",
        limit: 100,
    };
    assert_eq!(database.namespaces(None, page).await.unwrap().len(), 20);
}

#[tokio::test]
async fn of_two_swaps_from_one_version_the_second_is_stale() {
    let directory = testkit::temp_dir();
    let (_database, writer, _running, _) = database(directory.path()).await;
    writer.make(namespace("n")).await.unwrap();
    let nothing = Base::Nothing {
        namespace: "n".to_owned(),
        name: "t".to_owned(),
    };
    writer.make(version(nothing)).await.unwrap();
    let (first, second) = tokio::join!(
        writer.make(version(Base::Version(0))),
        writer.make(version(Base::Version(0))),
    );
    first.unwrap();
    assert!(
        matches!(second, Err(Failure::Refused(Refusal::Stale))),
        "{second:?}"
    );
}

#[test]
fn directory_names_need_no_escaping() {
    assert_eq!(path_part("a.b/../ü x"), "a_b______x");
    assert_eq!(path_part("plain_Name-1"), "plain_Name-1");
}

#[test]
fn the_sqlite_url_survives_odd_directories() {
    assert_eq!(
        database::sqlite_url(std::path::Path::new("/a b/c?d#e%")),
        "sqlite:///a b/c%3Fd%23e%25/catalog.sqlite?mode=rwc"
    );
}
