//! Tables: create, load, list, drop, rename, register, stage.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::server::{Server, answer, append, error, file, new_table, schema};

#[tokio::test]
async fn a_created_table_is_loaded_as_it_was_answered() {
    let server = Server::start().await.with_namespace().await;
    let created = server.table("events").await;
    let metadata = &created["metadata"];
    assert_eq!(metadata["format-version"], 2);
    assert_eq!(metadata["schemas"][0]["fields"], schema()["fields"]);
    assert_eq!(
        metadata["properties"],
        json!({
            "owner": "test",
            "write.metadata.delete-after-commit.enabled": "true",
            "write.metadata.previous-versions-max": "20",
        })
    );
    let location = metadata["location"].as_str().unwrap();
    let root = format!("file://{}/demo/events-", server.warehouse().display());
    assert!(location.starts_with(&root), "{location}");
    let metadata_location = created["metadata-location"].as_str().unwrap();
    assert!(metadata_location.starts_with(&format!("{location}/metadata/00000-")));
    let on_disk: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file(metadata_location)).unwrap()).unwrap();
    assert_eq!(&on_disk, metadata);
    assert_eq!(
        server.get("/v1/namespaces/demo/tables/events").await,
        (200, created)
    );
}

#[tokio::test]
async fn creating_twice_or_nowhere_is_refused() {
    let server = Server::start().await.with_namespace().await;
    server.table("events").await;
    let twice = server
        .post("/v1/namespaces/demo/tables", new_table("events"))
        .await;
    assert_eq!(
        error(&twice),
        (
            409,
            "AlreadyExistsException".to_owned(),
            "Table already exists: demo.events".to_owned()
        )
    );
    let nowhere = server
        .post("/v1/namespaces/none/tables", new_table("events"))
        .await;
    assert_eq!(error(&nowhere).1, "NoSuchNamespaceException");
    let metadata_files = std::fs::read_dir(server.warehouse().join("demo")).unwrap();
    assert_eq!(metadata_files.count(), 1, "refusals leave no files");
}

#[tokio::test]
async fn locations_outside_the_warehouse_are_refused() {
    let server = Server::start().await.with_namespace().await;
    let outside = format!("file://{}/../outside", server.warehouse().display());
    for location in ["file:///etc", "s3://other/x", &outside, "relative"] {
        let mut wanted = new_table("events");
        wanted["location"] = json!(location);
        let refused = server.post("/v1/namespaces/demo/tables", wanted).await;
        assert_eq!(error(&refused).0, 400, "{location}");
        let registered = server
            .post(
                "/v1/namespaces/demo/register",
                json!({"name": "r", "metadata-location": format!("{location}/passwd")}),
            )
            .await;
        assert_eq!(error(&registered).0, 400, "{location}");
    }
}

#[tokio::test]
async fn a_load_is_answered_with_its_tag_and_304_for_the_same() {
    let server = Server::start().await.with_namespace().await;
    let table = server.table("events").await;
    let path = "/v1/namespaces/demo/tables/events";
    let first = server.request(Method::GET, path).send().await.unwrap();
    let tag = first.headers()["etag"].clone();
    let same = server
        .request(Method::GET, path)
        .header("if-none-match", &tag)
        .send()
        .await
        .unwrap();
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    let other_form = server
        .request(Method::GET, &format!("{path}?snapshots=refs"))
        .header("if-none-match", &tag)
        .send()
        .await
        .unwrap();
    assert_eq!(other_form.status(), StatusCode::OK);
    assert_eq!(server.post(path, append(&table, 1, 1, None)).await.0, 200);
    let changed = server
        .request(Method::GET, path)
        .header("if-none-match", &tag)
        .send()
        .await
        .unwrap();
    assert_eq!(changed.status(), StatusCode::OK);
    assert_ne!(changed.headers()["etag"], tag);
}

#[tokio::test]
async fn only_snapshots_that_refs_name_are_sent_when_asked() {
    let server = Server::start().await.with_namespace().await;
    let table = server.table("events").await;
    let path = "/v1/namespaces/demo/tables/events";
    server.post(path, append(&table, 1, 1, None)).await;
    server.post(path, append(&table, 2, 2, Some(1))).await;
    let (_, all) = server.get(path).await;
    assert_eq!(all["metadata"]["snapshots"].as_array().unwrap().len(), 2);
    let (_, refs) = server.get(&format!("{path}?snapshots=refs")).await;
    let snapshots = refs["metadata"]["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.len(), 1);
    assert_eq!(snapshots[0]["snapshot-id"], 2);
}

#[tokio::test]
async fn missing_tables_are_named() {
    let server = Server::start().await.with_namespace().await;
    let path = "/v1/namespaces/demo/tables/none";
    for missing in [
        server.get(path).await,
        server.delete(path).await,
        server
            .post(path, json!({"requirements": [], "updates": []}))
            .await,
    ] {
        assert_eq!(
            error(&missing),
            (
                404,
                "NoSuchTableException".to_owned(),
                "Table does not exist: demo.none".to_owned()
            )
        );
    }
    assert_eq!(answer(server.request(Method::HEAD, path)).await.0, 404);
}

#[tokio::test]
async fn tables_are_listed_in_pages_and_renamed() {
    let server = Server::start().await.with_namespace().await;
    for name in ["a", "b", "c"] {
        server.table(name).await;
    }
    let path = "/v1/namespaces/demo/tables";
    let (_, page) = server.get(&format!("{path}?pageToken=a&pageSize=1")).await;
    assert_eq!(
        page,
        json!({"identifiers": [{"namespace": ["demo"], "name": "b"}], "next-page-token": "b"})
    );
    let rename = |from: &str, namespace: &str, to: &str| {
        json!({
            "source": {"namespace": ["demo"], "name": from},
            "destination": {"namespace": [namespace], "name": to},
        })
    };
    let before = server.get(&format!("{path}/a")).await;
    let done = server
        .post("/v1/tables/rename", rename("a", "demo", "z"))
        .await;
    assert_eq!(done.0, 204);
    assert_eq!(server.get(&format!("{path}/z")).await, before);
    assert_eq!(server.get(&format!("{path}/a")).await.0, 404);
    let taken = server
        .post("/v1/tables/rename", rename("b", "demo", "z"))
        .await;
    assert_eq!(error(&taken).1, "AlreadyExistsException");
    let nowhere = server
        .post("/v1/tables/rename", rename("b", "none", "z"))
        .await;
    assert_eq!(error(&nowhere).1, "NoSuchNamespaceException");
    let missing = server
        .post("/v1/tables/rename", rename("q", "demo", "r"))
        .await;
    assert_eq!(error(&missing).1, "NoSuchTableException");
    let full = server.delete("/v1/namespaces/demo").await;
    assert_eq!(error(&full).2, "Namespace is not empty: demo");
}

#[tokio::test]
async fn a_dropped_table_can_be_registered_again_and_a_purged_one_is_gone() {
    let server = Server::start().await.with_namespace().await;
    let table = server.table("events").await;
    let metadata_location = table["metadata-location"].as_str().unwrap();
    let path = "/v1/namespaces/demo/tables/events";
    assert_eq!(server.delete(path).await.0, 204);
    let (status, registered) = server
        .post(
            "/v1/namespaces/demo/register",
            json!({"name": "events", "metadata-location": metadata_location}),
        )
        .await;
    assert_eq!(status, 200, "{registered}");
    assert_eq!(registered, table);
    assert_eq!(
        server
            .delete(&format!("{path}?purgeRequested=true"))
            .await
            .0,
        204
    );
    testkit::wait_until(
        "the files to be deleted",
        Duration::from_secs(10),
        async || (!file(metadata_location).try_exists().unwrap()).then_some(()),
    )
    .await;
    let gone = server
        .post(
            "/v1/namespaces/demo/register",
            json!({"name": "events", "metadata-location": metadata_location}),
        )
        .await;
    assert_eq!(error(&gone).0, 400);
}

#[tokio::test]
async fn what_is_no_metadata_cannot_be_registered() {
    let server = Server::start().await.with_namespace().await;
    let directory = server.warehouse();
    std::fs::create_dir_all(&directory).unwrap();
    for (name, text) in [
        ("a", "{"),
        ("b", "{}"),
        ("c", "\u{1f}\u{8b}no gzip"),
        ("d", "[1]"),
    ] {
        let path = directory.join(format!("{name}.metadata.json"));
        std::fs::write(&path, text).unwrap();
        let refused = server
            .post(
                "/v1/namespaces/demo/register",
                json!({"name": name, "metadata-location": format!("file://{}", path.display())}),
            )
            .await;
        assert_eq!(error(&refused).0, 400, "{text}");
    }
    assert_eq!(server.get("/v1/namespaces").await.0, 200);
}

#[tokio::test]
async fn a_staged_table_exists_only_after_its_commit() {
    let server = Server::start().await.with_namespace().await;
    let mut wanted = new_table("staged");
    wanted["stage-create"] = json!(true);
    wanted["partition-spec"] = json!({"fields": [
        {"source-id": 2, "field-id": 1000, "name": "at_day", "transform": "day"},
    ]});
    let (status, staged) = server.post("/v1/namespaces/demo/tables", wanted).await;
    assert_eq!(status, 200, "{staged}");
    assert_eq!(staged.get("metadata-location"), None);
    let path = "/v1/namespaces/demo/tables/staged";
    assert_eq!(server.get(path).await.0, 404);

    let metadata = &staged["metadata"];
    let commit = json!({
        "requirements": [{"type": "assert-create"}],
        "updates": [
            {"action": "assign-uuid", "uuid": metadata["table-uuid"]},
            {"action": "upgrade-format-version", "format-version": 2},
            {"action": "add-schema", "schema": metadata["schemas"][0], "last-column-id": 2},
            {"action": "set-current-schema", "schema-id": -1},
            {"action": "add-spec", "spec": metadata["partition-specs"][0]},
            {"action": "set-default-spec", "spec-id": -1},
            {"action": "add-sort-order", "sort-order": metadata["sort-orders"][0]},
            {"action": "set-default-sort-order", "sort-order-id": -1},
            {"action": "set-location", "location": metadata["location"]},
            {"action": "set-properties", "updates": metadata["properties"]},
        ]
    });
    let (status, made) = server.post(path, commit.clone()).await;
    assert_eq!(status, 200, "{made}");
    for key in [
        "table-uuid",
        "schemas",
        "current-schema-id",
        "partition-specs",
        "default-spec-id",
        "last-partition-id",
        "last-column-id",
        "sort-orders",
        "location",
        "properties",
        "format-version",
    ] {
        assert_eq!(made["metadata"][key], metadata[key], "{key}");
    }
    let again = server.post(path, commit).await;
    assert_eq!(
        error(&again),
        (
            409,
            "CommitFailedException".to_owned(),
            "Requirement failed: table already exists".to_owned()
        )
    );
}

#[tokio::test]
async fn reports_are_counted_and_unknown_ones_refused() {
    let server = Server::start().await.with_namespace().await;
    server.table("events").await;
    let path = "/v1/namespaces/demo/tables/events/metrics";
    assert_eq!(
        server
            .post(path, json!({"report-type": "scan-report"}))
            .await
            .0,
        204
    );
    assert_eq!(
        error(&server.post(path, json!({"report-type": "x"})).await).0,
        400
    );
    let (_, metrics) = server.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    assert!(
        metrics.contains("streamforge_iceberg_catalog_scan_reports_total 1"),
        "{metrics}"
    );
}

/// Of clients that race for a name one gets it; what the others wrote is gone.
#[tokio::test]
async fn of_many_creates_drops_and_renames_at_once_one_wins() {
    let server = std::sync::Arc::new(Server::start().await.with_namespace().await);
    let race = async |request: fn(usize) -> (Method, String, serde_json::Value)| {
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..8 {
            let server = server.clone();
            clients.spawn(async move {
                let (method, path, body) = request(client);
                answer(server.request(method, &path).json(&body)).await.0
            });
        }
        let mut statuses = clients.join_all().await;
        statuses.sort_unstable();
        statuses
    };
    let created = race(|_| {
        let path = "/v1/namespaces/demo/tables".to_owned();
        (Method::POST, path, new_table("events"))
    });
    assert_eq!(created.await, [200, 409, 409, 409, 409, 409, 409, 409]);
    let directories = std::fs::read_dir(server.warehouse().join("demo")).unwrap();
    let files: usize = directories
        .map(|table| {
            std::fs::read_dir(table.unwrap().path().join("metadata")).map_or(0, Iterator::count)
        })
        .sum();
    assert_eq!(files, 1, "the others left no metadata file");
    let dropped = race(|_| {
        let path = "/v1/namespaces/demo/tables/events".to_owned();
        (Method::DELETE, path, json!(null))
    });
    assert_eq!(dropped.await, [204, 404, 404, 404, 404, 404, 404, 404]);
    for client in 0..8 {
        server.table(&format!("t{client}")).await;
    }
    let renamed = race(|client| {
        let body = json!({
            "source": {"namespace": ["demo"], "name": format!("t{client}")},
            "destination": {"namespace": ["demo"], "name": "one"},
        });
        (Method::POST, "/v1/tables/rename".to_owned(), body)
    });
    assert_eq!(renamed.await, [204, 409, 409, 409, 409, 409, 409, 409]);
    let (_, listed) = server.get("/v1/namespaces/demo/tables").await;
    assert_eq!(listed["identifiers"].as_array().unwrap().len(), 8);
}

/// Asked page by page, a listing is that of one request, and an empty token is the beginning.
#[tokio::test]
async fn pages_together_are_the_whole_listing() {
    let server = Server::start().await.with_namespace().await;
    let names = ["a", "a.b", "B", "z z", "é", "0", "%41", "a/b"];
    for name in names {
        server.table(name).await;
    }
    let path = "/v1/namespaces/demo/tables";
    let (_, whole) = server.get(path).await;
    assert_eq!(whole["identifiers"].as_array().unwrap().len(), names.len());
    assert_eq!(whole.get("next-page-token"), None);
    for size in ["1", "3", "100"] {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let asked = server
                .request(Method::GET, path)
                .query(&[("pageToken", token.as_str()), ("pageSize", size)]);
            let (status, page) = answer(asked).await;
            assert_eq!(status, 200, "{page}");
            found.extend(page["identifiers"].as_array().unwrap().clone());
            match page["next-page-token"].as_str() {
                Some(next) => next.clone_into(&mut token),
                None => break,
            }
        }
        assert_eq!(json!(found), whole["identifiers"], "{size} a page");
    }
    for wrong in ["0", "-1", "x"] {
        let refused = server
            .get(&format!("{path}?pageToken=&pageSize={wrong}"))
            .await;
        assert_eq!(error(&refused).0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_table_that_may_not_be_collected_keeps_its_files() {
    let server = Server::start().await.with_namespace().await;
    let mut kept = new_table("kept");
    kept["properties"] = json!({"gc.enabled": "false"});
    let (_, table) = server.post("/v1/namespaces/demo/tables", kept).await;
    let path = "/v1/namespaces/demo/tables/kept";
    let purge = format!("{path}?purgeRequested=true");
    assert_eq!(server.delete(&purge).await.0, 204);
    // A second time it is not there, which a client that did not hear the first answer may take for success.
    assert_eq!(
        error(&server.delete(&purge).await).1,
        "NoSuchTableException"
    );
    let (status, again) = server
        .post(
            "/v1/namespaces/demo/register",
            json!({"name": "kept", "metadata-location": table["metadata-location"]}),
        )
        .await;
    assert_eq!((status, again), (200, table));
}

#[tokio::test]
async fn a_purge_leaves_a_table_that_spells_its_place_in_another_way() {
    let server = Server::start().await.with_namespace().await;
    let place = server.warehouse().join("shared").display().to_string();
    let mut kept = serde_json::Value::Null;
    // Purges go by location, so when the last one's files are gone the first one is done.
    let last = server.warehouse().join("without");
    for (name, location) in [
        ("last", format!("file:{}", last.display())),
        ("dropped", format!("file:{place}")),
        ("kept", format!("file://{place}")),
    ] {
        let mut table = new_table(name);
        table["location"] = json!(location);
        let (status, made) = server.post("/v1/namespaces/demo/tables", table).await;
        assert_eq!(status, 200, "{made}");
        kept = made;
    }
    for name in ["dropped", "last"] {
        let path = format!("/v1/namespaces/demo/tables/{name}?purgeRequested=true");
        assert_eq!(server.delete(&path).await.0, 204);
    }
    testkit::wait_until(
        "the files to be deleted",
        Duration::from_secs(10),
        async || (!last.try_exists().unwrap()).then_some(()),
    )
    .await;
    let metadata = kept["metadata-location"].as_str().unwrap();
    assert!(file(metadata).try_exists().unwrap());
}
