//! Commits: requirements, conflicts, concurrency, transactions, metadata files.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::server::{Server, append, error, file};

const PATH: &str = "/v1/namespaces/demo/tables/events";

#[tokio::test]
async fn a_commit_makes_the_next_metadata_file() {
    let server = Server::start().await.with_namespace().await;
    let table = server.table("events").await;
    let (status, first) = server.post(PATH, append(&table, 7, 1, None)).await;
    assert_eq!(status, 200, "{first}");
    let metadata = &first["metadata"];
    assert_eq!(metadata["current-snapshot-id"], 7);
    assert_eq!(metadata["last-sequence-number"], 1);
    assert_eq!(metadata["refs"]["main"]["snapshot-id"], 7);
    assert_eq!(
        metadata["metadata-log"][0]["metadata-file"],
        table["metadata-location"]
    );
    let location = first["metadata-location"].as_str().unwrap();
    assert!(location.contains("/metadata/00001-"), "{location}");
    let on_disk: Value = serde_json::from_slice(&std::fs::read(file(location)).unwrap()).unwrap();
    assert_eq!(&on_disk, metadata);
    let (_, loaded) = server.get(PATH).await;
    assert_eq!(&loaded["metadata"], metadata);
}

#[tokio::test]
async fn each_failed_requirement_says_so_in_javas_words() {
    let server = Server::start().await.with_namespace().await;
    let table = server.table("events").await;
    server.post(PATH, append(&table, 7, 1, None)).await;
    let uuid = table["metadata"]["table-uuid"].as_str().unwrap();
    let other = "00000000-0000-0000-0000-000000000000";
    let cases = [
        (
            json!({"type": "assert-create"}),
            "table already exists".to_owned(),
        ),
        (
            json!({"type": "assert-table-uuid", "uuid": other}),
            format!("UUID does not match: expected {uuid} != {other}"),
        ),
        (
            json!({"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": null}),
            "branch main was created concurrently".to_owned(),
        ),
        (
            json!({"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 6}),
            "branch main has changed: expected id 6 != 7".to_owned(),
        ),
        (
            json!({"type": "assert-ref-snapshot-id", "ref": "other", "snapshot-id": 6}),
            "branch or tag other is missing, expected 6".to_owned(),
        ),
        (
            json!({"type": "assert-last-assigned-field-id", "last-assigned-field-id": 9}),
            "last assigned field id changed: expected id 9 != 2".to_owned(),
        ),
        (
            json!({"type": "assert-current-schema-id", "current-schema-id": 9}),
            "current schema changed: expected id 9 != 0".to_owned(),
        ),
        (
            json!({"type": "assert-last-assigned-partition-id", "last-assigned-partition-id": 9}),
            "last assigned partition id changed: expected id 9 != 999".to_owned(),
        ),
        (
            json!({"type": "assert-default-spec-id", "default-spec-id": 9}),
            "default partition spec changed: expected id 9 != 0".to_owned(),
        ),
        (
            json!({"type": "assert-default-sort-order-id", "default-sort-order-id": 9}),
            "default sort order changed: expected id 9 != 0".to_owned(),
        ),
    ];
    for (requirement, why) in cases {
        let refused = server
            .post(
                PATH,
                json!({"requirements": [requirement], "updates": [
                    {"action": "set-properties", "updates": {"a": "b"}},
                ]}),
            )
            .await;
        assert_eq!(
            error(&refused),
            (
                409,
                "CommitFailedException".to_owned(),
                format!("Requirement failed: {why}")
            )
        );
    }
}

#[tokio::test]
async fn a_late_snapshot_is_a_conflict_and_not_a_mistake() {
    let server = Server::start().await.with_namespace().await;
    let table = server.table("events").await;
    server.post(PATH, append(&table, 1, 1, None)).await;
    server.post(PATH, append(&table, 2, 2, Some(1))).await;
    let mut late = append(&table, 3, 2, Some(1));
    late["requirements"] = json!([]);
    late["updates"][1]["ref-name"] = json!("audit");
    let refused = server.post(PATH, late).await;
    assert_eq!(
        error(&refused),
        (
            409,
            "CommitFailedException".to_owned(),
            "Cannot add snapshot with sequence number 2 older than last sequence number 2"
                .to_owned()
        )
    );
}

#[tokio::test]
async fn wrong_updates_are_mistakes() {
    let server = Server::start().await.with_namespace().await;
    server.table("events").await;
    for update in [
        json!({"action": "fly"}),
        json!({"action": "set-current-schema", "schema-id": 42}),
        json!({"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 5}),
        json!({"action": "set-properties", "updates": {"write.metadata.compression-codec": "rar"}}),
        json!({"action": "set-location", "location": "file:///etc"}),
    ] {
        let refused = server
            .post(PATH, json!({"requirements": [], "updates": [update]}))
            .await;
        let (status, kind, why) = error(&refused);
        assert_eq!(
            (status, kind.as_str()),
            (400, "BadRequestException"),
            "{update}"
        );
        if update["action"] == "fly" {
            assert!(why.contains("`fly`"), "{why}");
        }
    }
    let unknown = server
        .post(
            PATH,
            json!({"requirements": [{"type": "assert-mood"}], "updates": []}),
        )
        .await;
    let (status, _, why) = error(&unknown);
    assert!(
        status == 400 && why.contains("`assert-mood`"),
        "{status} {why}"
    );
    let (_, table) = server.get(PATH).await;
    let location = table["metadata-location"].as_str().unwrap();
    assert!(location.contains("/00000-"), "nothing was committed");
}

#[tokio::test]
async fn a_commit_that_changes_nothing_makes_no_version() {
    let server = Server::start().await.with_namespace().await;
    let table = server.table("events").await;
    let (status, same) = server
        .post(PATH, json!({"requirements": [], "updates": []}))
        .await;
    assert_eq!(status, 200);
    assert_eq!(same["metadata-location"], table["metadata-location"]);
}

#[tokio::test]
async fn of_many_commits_at_once_each_is_made_once_or_refused() {
    let server = std::sync::Arc::new(Server::start().await.with_namespace().await);
    server.table("events").await;
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let server = server.clone();
        writers.spawn(async move {
            for n_commit in 0..5 {
                let (status, body) = server
                    .post(
                        PATH,
                        json!({"requirements": [], "updates": [
                            {"action": "set-properties", "updates": {format!("w{writer}"): n_commit.to_string()}},
                        ]}),
                    )
                    .await;
                assert_eq!(status, 200, "{body}");
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let (_, table) = server.get(PATH).await;
    for writer in 0..8 {
        assert_eq!(table["metadata"]["properties"][format!("w{writer}")], "4");
    }
    let location = table["metadata-location"].as_str().unwrap();
    assert!(location.contains("/00040-"), "{location}");
}

#[tokio::test]
async fn of_two_appends_on_one_parent_exactly_one_wins() {
    let server = Server::start().await.with_namespace().await;
    let table = server.table("events").await;
    let (first, second) = tokio::join!(
        server.post(PATH, append(&table, 1, 1, None)),
        server.post(PATH, append(&table, 2, 1, None)),
    );
    let mut statuses = [first.0, second.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
}

#[tokio::test]
async fn a_transaction_is_made_for_all_tables_or_none() {
    let server = Server::start().await.with_namespace().await;
    let one = server.table("one").await;
    let two = server.table("two").await;
    let part = |name: &str, mut commit: Value| {
        commit["identifier"] = json!({"namespace": ["demo"], "name": name});
        commit
    };
    let both = json!({"table-changes": [
        part("one", append(&one, 1, 1, None)),
        part("two", append(&two, 1, 1, None)),
    ]});
    let path = "/v1/transactions/commit";
    assert_eq!(server.post(path, both.clone()).await, (204, Value::Null));
    let half = json!({"table-changes": [
        part("one", append(&one, 2, 2, Some(1))),
        part("two", append(&two, 2, 2, Some(99))),
    ]});
    let refused = server.post(path, half).await;
    assert_eq!(error(&refused).1, "CommitFailedException");
    for name in ["one", "two"] {
        let (_, table) = server
            .get(&format!("/v1/namespaces/demo/tables/{name}"))
            .await;
        assert_eq!(table["metadata"]["current-snapshot-id"], 1, "{name}");
    }
    let twice = json!({"table-changes": [
        part("one", append(&one, 2, 2, Some(1))),
        part("one", append(&one, 3, 3, Some(2))),
    ]});
    assert_eq!(error(&server.post(path, twice).await).0, 400);
}

/// The change that makes a staged table.
fn creation(name: &str, metadata: &Value) -> Value {
    json!({
        "identifier": {"namespace": ["demo"], "name": name},
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
        ]
    })
}

/// Tables that exist and tables that are made now, in one transaction: all or none, whatever the reason.
#[tokio::test]
async fn a_transaction_that_makes_and_changes_tables_is_whole() {
    let server = Server::start().await.with_namespace().await;
    let old = server.table("old").await;
    let mut staged = crate::server::new_table("new");
    staged["stage-create"] = json!(true);
    let (_, staged) = server.post("/v1/namespaces/demo/tables", staged).await;
    let metadata = &staged["metadata"];
    let make = |name: &str| creation(name, metadata);
    let mut change = append(&old, 1, 1, None);
    change["identifier"] = json!({"namespace": ["demo"], "name": "old"});
    let missing = json!({"identifier": {"namespace": ["demo"], "name": "none"}, "requirements": [], "updates": []});
    let wrong = json!({
        "identifier": {"namespace": ["demo"], "name": "old"}, "requirements": [],
        "updates": [{"action": "set-current-schema", "schema-id": 42}],
    });
    let path = "/v1/transactions/commit";
    let nowhere = {
        let mut part = make("new");
        part["identifier"]["namespace"] = json!(["none"]);
        part
    };
    for (parts, status, kind) in [
        (
            json!([change, make("old2"), missing]),
            404,
            "NoSuchTableException",
        ),
        (json!([make("new"), wrong]), 400, "BadRequestException"),
        (json!([change, make("old")]), 400, "BadRequestException"),
        (json!([change, nowhere]), 404, "NoSuchNamespaceException"),
        (
            json!([change, {"requirements": [], "updates": []}]),
            400,
            "BadRequestException",
        ),
    ] {
        let refused = server.post(path, json!({"table-changes": parts})).await;
        let (found, named, why) = error(&refused);
        assert_eq!((found, named.as_str()), (status, kind), "{why}");
        let (_, listed) = server.get("/v1/namespaces/demo/tables").await;
        assert_eq!(
            listed["identifiers"].as_array().unwrap().len(),
            1,
            "{listed}"
        );
        let (_, loaded) = server.get("/v1/namespaces/demo/tables/old").await;
        assert_eq!(loaded["metadata"], old["metadata"], "{why}");
    }
    let whole = json!({"table-changes": [change, make("new")]});
    assert_eq!(server.post(path, whole.clone()).await, (204, Value::Null));
    let (_, made) = server.get("/v1/namespaces/demo/tables/new").await;
    assert_eq!(made["metadata"]["table-uuid"], metadata["table-uuid"]);
    let again = server.post(path, whole).await;
    assert_eq!(error(&again).1, "CommitFailedException");
    let empty = server.post(path, json!({"table-changes": []})).await;
    assert_eq!(empty.0, 204);
}

#[tokio::test]
async fn old_metadata_files_leave_as_the_table_asks() {
    let server = Server::start().await.with_namespace().await;
    let table = server.table("events").await;
    let set = |updates: Value| json!({"requirements": [], "updates": [{"action": "set-properties", "updates": updates}]});
    server
        .post(
            PATH,
            set(json!({"write.metadata.previous-versions-max": "3"})),
        )
        .await;
    for n_commit in 0..6 {
        let (status, _) = server
            .post(PATH, set(json!({"n": n_commit.to_string()})))
            .await;
        assert_eq!(status, 200);
    }
    let (_, now) = server.get(PATH).await;
    assert_eq!(now["metadata"]["metadata-log"].as_array().unwrap().len(), 3);
    let first = file(table["metadata-location"].as_str().unwrap());
    testkit::wait_until(
        "only the log's files to be left",
        std::time::Duration::from_secs(10),
        async || (std::fs::read_dir(first.parent().unwrap()).unwrap().count() == 4).then_some(()),
    )
    .await;
}

#[tokio::test]
async fn compressed_metadata_is_written_and_registered() {
    let server = Server::start().await.with_namespace().await;
    server.table("events").await;
    let (_, packed) = server
        .post(
            PATH,
            json!({"requirements": [], "updates": [
                {"action": "set-properties", "updates": {"write.metadata.compression-codec": "gzip"}},
            ]}),
        )
        .await;
    let location = packed["metadata-location"].as_str().unwrap();
    assert!(location.ends_with(".gz.metadata.json"), "{location}");
    let (status, again) = server
        .post(
            "/v1/namespaces/demo/register",
            json!({"name": "again", "metadata-location": location}),
        )
        .await;
    assert_eq!(status, 200, "{again}");
    assert_eq!(again["metadata"], packed["metadata"]);
}
