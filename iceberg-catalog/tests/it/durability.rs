//! What survives a stop and a kill at the worst moments.

use serde_json::json;

use crate::server::{Server, append, error};

const PATH: &str = "/v1/namespaces/demo/tables/events";

#[tokio::test]
async fn everything_acknowledged_is_there_after_a_kill() {
    let server = Server::start().await.with_namespace().await;
    let table = server.table("events").await;
    let (_, committed) = server.post(PATH, append(&table, 1, 1, None)).await;
    let directory = server.kill().await;
    let server = Server::start_in(directory, |_| {}).await;
    let (status, loaded) = server.get(PATH).await;
    assert_eq!(status, 200);
    assert_eq!(loaded["metadata"], committed["metadata"]);
    assert_eq!(loaded["metadata-location"], committed["metadata-location"]);
}

#[tokio::test]
async fn a_kill_before_the_swap_leaves_the_table_as_it_was() {
    let server = Server::start().await.with_namespace().await;
    let table = server.table("events").await;
    // The state after the file was written and before the row was swapped: a file that no row names.
    let orphan = table["metadata-location"]
        .as_str()
        .unwrap()
        .replace("/00000-", "/00001-");
    let orphan = crate::server::file(&orphan).to_owned();
    std::fs::write(&orphan, "{").unwrap();
    let directory = server.kill().await;
    let server = Server::start_in(directory, |_| {}).await;
    let (_, loaded) = server.get(PATH).await;
    assert_eq!(loaded, table);
    assert_eq!(server.post(PATH, append(&table, 1, 1, None)).await.0, 200);
}

#[tokio::test]
async fn a_kill_before_the_answer_is_found_by_the_client() {
    let server = Server::start().await.with_namespace().await;
    let table = server.table("events").await;
    let commit = append(&table, 1, 1, None);
    server.post(PATH, commit.clone()).await;
    // The client did not hear the answer, starts over and finds that its snapshot is there.
    let directory = server.kill().await;
    let server = Server::start_in(directory, |_| {}).await;
    let again = server.post(PATH, commit).await;
    assert_eq!(
        error(&again).2,
        "Requirement failed: branch main was created concurrently"
    );
    let (_, loaded) = server.get(PATH).await;
    assert_eq!(loaded["metadata"]["refs"]["main"]["snapshot-id"], 1);
}

#[tokio::test]
async fn a_purge_cut_short_is_finished_after_the_restart() {
    let server = Server::start().await.with_namespace().await;
    let table = server.table("events").await;
    let location = table["metadata"]["location"].as_str().unwrap().to_owned();
    assert_eq!(
        server
            .delete(&format!("{PATH}?purgeRequested=true"))
            .await
            .0,
        204
    );
    let directory = server.kill().await;
    let server = Server::start_in(directory, |_| {}).await;
    testkit::wait_until(
        "the files to be deleted",
        std::time::Duration::from_secs(10),
        async || (!crate::server::file(&location).try_exists().unwrap()).then_some(()),
    )
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_stop_answers_what_was_begun() {
    let server = Server::start().await.with_namespace().await;
    server.table("events").await;
    let commit = server.post(
        PATH,
        json!({"requirements": [], "updates": [{"action": "set-properties", "updates": {"a": "b"}}]}),
    );
    assert_eq!(commit.await.0, 200);
    let directory = server.stop().await;
    let server = Server::start_in(directory, |_| {}).await;
    let (_, loaded) = server.get(PATH).await;
    assert_eq!(loaded["metadata"]["properties"]["a"], "b");
}

#[tokio::test]
async fn a_database_of_another_layout_is_refused() {
    let directory = Server::start().await.stop().await;
    let url = format!(
        "sqlite://{}",
        directory.path().join("data/catalog.sqlite").display()
    );
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(&url).await.unwrap();
    sqlx::query("INSERT INTO catalog_layout VALUES (99)")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = iceberg_catalog::Config {
        data_dir: directory.path().join("data"),
        ..iceberg_catalog::Config::default()
    };
    let refused =
        iceberg_catalog::serve(config, listener, tokio_util::sync::CancellationToken::new()).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the catalog's database has layout 99; this program reads layout 1"
    );
}

#[tokio::test]
async fn a_purge_that_fails_keeps_no_other_waiting_and_its_place_free() {
    let server = Server::start().await.with_namespace().await;
    let root = format!("file://{}", server.warehouse().display());
    let directory = server.stop().await;
    let blocked = format!("{root}/blocked");
    let last = format!("{root}/last");
    std::fs::create_dir_all(crate::server::file(&last)).unwrap();
    // A directory is expected here, so it cannot be deleted for now.
    std::fs::write(crate::server::file(&blocked), "x").unwrap();
    let url = directory.path().join("data/catalog.sqlite");
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(&format!("sqlite://{}", url.display()))
        .await
        .unwrap();
    // The first is a root, which an earlier build let a table have.
    for location in [&root, &blocked, &last] {
        sqlx::query("INSERT INTO purges VALUES ($1)")
            .bind(location.clone())
            .execute(&pool)
            .await
            .unwrap();
    }
    pool.close().await;
    let server = Server::start_in(directory, |_| {}).await;
    let limit = std::time::Duration::from_secs(10);
    testkit::wait_until("the last to be deleted", limit, async || {
        (!crate::server::file(&last).try_exists().unwrap()).then_some(())
    })
    .await;
    let create = async |location: &str| {
        let mut table = crate::server::new_table("events");
        table["location"] = json!(location);
        server.post("/v1/namespaces/demo/tables", table).await
    };
    let refused = create(&root).await;
    assert_eq!(error(&refused).0, 400, "a root is no table's");
    std::fs::remove_file(crate::server::file(&blocked)).unwrap();
    let inside = format!("{}/t", blocked.replace("file://", "file:"));
    let refused = error(&create(&inside).await);
    assert_eq!(
        (refused.0, refused.1.as_str()),
        (503, "ServiceUnavailableException")
    );
    assert!(refused.2.contains("still being deleted"), "{}", refused.2);
    // Another purge has all of them tried again.
    server.table("other").await;
    let purge = "/v1/namespaces/demo/tables/other?purgeRequested=true";
    assert_eq!(server.delete(purge).await.0, 204);
    testkit::wait_until("the place to be free", limit, async || {
        (create(&inside).await.0 == 200).then_some(())
    })
    .await;
    server.stop().await;
}
