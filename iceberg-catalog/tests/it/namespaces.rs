//! Namespaces: what clients rely on, and the errors they tell apart.

use reqwest::Method;
use serde_json::json;

use crate::server::{Server, answer, error};

#[tokio::test]
async fn the_config_names_exactly_what_is_served() {
    let server = Server::start().await;
    let (status, config) = server.get("/v1/config").await;
    assert_eq!(status, 200);
    let endpoints = config["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 16);
    for endpoint in endpoints {
        let (method, path) = endpoint.as_str().unwrap().split_once(' ').unwrap();
        let path = path
            .replace("/{prefix}", "")
            .replace("{namespace}", "none")
            .replace("{table}", "none");
        let method: Method = method.parse().unwrap();
        let (_, body) = answer(server.request(method, &path).body("{}")).await;
        assert_ne!(
            body["error"]["type"], "NoSuchEndpointException",
            "{endpoint} is advertised but not served"
        );
    }
}

#[tokio::test]
async fn the_warehouse_has_names_and_others_are_refused() {
    let server = Server::start().await;
    assert_eq!(server.get("/v1/config?warehouse=").await.0, 200);
    assert_eq!(server.get("/v1/config?warehouse=warehouse").await.0, 200);
    let other = server.get("/v1/config?warehouse=other").await;
    assert_eq!(
        error(&other),
        (
            400,
            "BadRequestException".to_owned(),
            "Warehouse does not exist: other".to_owned()
        )
    );
}

#[tokio::test]
async fn a_namespace_lives_and_dies() {
    let server = Server::start().await;
    let wanted = json!({"namespace": ["a"], "properties": {"k": "v"}});
    assert_eq!(
        server.post("/v1/namespaces", wanted.clone()).await,
        (200, wanted.clone())
    );
    assert_eq!(server.get("/v1/namespaces/a").await, (200, wanted.clone()));
    let head = answer(server.request(Method::HEAD, "/v1/namespaces/a")).await;
    assert_eq!(head.0, 204);
    assert_eq!(
        error(&server.post("/v1/namespaces", wanted).await),
        (
            409,
            "AlreadyExistsException".to_owned(),
            "Namespace already exists: a".to_owned()
        )
    );
    assert_eq!(server.delete("/v1/namespaces/a").await.0, 204);
    for gone in [
        server.get("/v1/namespaces/a").await,
        server.delete("/v1/namespaces/a").await,
        server.get("/v1/namespaces/a/tables").await,
    ] {
        assert_eq!(
            error(&gone),
            (
                404,
                "NoSuchNamespaceException".to_owned(),
                "Namespace does not exist: a".to_owned()
            )
        );
    }
}

#[tokio::test]
async fn levels_and_odd_names_are_kept_apart() {
    let server = Server::start().await;
    for levels in [
        json!(["a"]),
        json!(["a", "b"]),
        json!(["a.b"]),
        json!(["x/y %"]),
    ] {
        let made = server
            .post("/v1/namespaces", json!({"namespace": levels}))
            .await;
        assert_eq!(made.0, 200, "{made:?}");
    }
    let (_, top) = server.get("/v1/namespaces").await;
    assert_eq!(top, json!({"namespaces": [["a"], ["a.b"], ["x/y %"]]}));
    let (_, below) = server.get("/v1/namespaces?parent=a").await;
    assert_eq!(below, json!({"namespaces": [["a", "b"]]}));
    let (status, odd) = server.get("/v1/namespaces/x%2Fy%20%25").await;
    assert_eq!((status, &odd["namespace"]), (200, &json!(["x/y %"])));
    let (status, nested) = server.get("/v1/namespaces/a%1Fb").await;
    assert_eq!((status, &nested["namespace"]), (200, &json!(["a", "b"])));

    let full = server.delete("/v1/namespaces/a").await;
    assert_eq!(error(&full).1, "NamespaceNotEmptyException");
    let orphan = server
        .post("/v1/namespaces", json!({"namespace": ["none", "child"]}))
        .await;
    assert_eq!(error(&orphan).2, "Namespace does not exist: none");
}

#[tokio::test]
async fn listings_come_in_pages_when_asked() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        server
            .post("/v1/namespaces", json!({"namespace": [name]}))
            .await;
    }
    let (_, first) = server.get("/v1/namespaces?pageToken=&pageSize=2").await;
    assert_eq!(
        first,
        json!({"namespaces": [["a"], ["b"]], "next-page-token": "b"})
    );
    let (_, second) = server.get("/v1/namespaces?pageToken=b&pageSize=2").await;
    assert_eq!(second, json!({"namespaces": [["c"]]}));
    let wrong = server.get("/v1/namespaces?pageToken=&pageSize=x").await;
    assert_eq!(error(&wrong).0, 400);
}

#[tokio::test]
async fn properties_change_together() {
    let server = Server::start().await.with_namespace().await;
    let path = "/v1/namespaces/demo/properties";
    let set = server
        .post(path, json!({"updates": {"a": "1", "b": "2"}}))
        .await;
    assert_eq!(
        set,
        (
            200,
            json!({"updated": ["a", "b"], "removed": [], "missing": []})
        )
    );
    let mixed = server
        .post(path, json!({"removals": ["a", "z"], "updates": {"b": "3"}}))
        .await;
    assert_eq!(
        mixed,
        (
            200,
            json!({"updated": ["b"], "removed": ["a"], "missing": ["z"]})
        )
    );
    let both = server
        .post(path, json!({"removals": ["b"], "updates": {"b": "3"}}))
        .await;
    assert_eq!(
        error(&both),
        (
            422,
            "UnprocessableEntityException".to_owned(),
            "Cannot update and remove the same property: b".to_owned()
        )
    );
    let (_, now) = server.get("/v1/namespaces/demo").await;
    assert_eq!(now["properties"], json!({"b": "3"}));
}

#[tokio::test]
async fn bad_input_gets_an_iceberg_error_and_the_server_lives() {
    let server = Server::start_with(|config| {
        config.max_request_size = bytesize::ByteSize::kib(4);
    })
    .await;
    let broken = answer(server.request(Method::POST, "/v1/namespaces").body("{")).await;
    assert_eq!(error(&broken).1, "BadRequestException");
    let large = "x".repeat(10_000);
    let large = answer(server.request(Method::POST, "/v1/namespaces").body(large)).await;
    assert_eq!(error(&large).0, 413);
    for levels in [
        json!([]),
        json!([""]),
        json!(["a\u{1f}b"]),
        json!(["x".repeat(300)]),
    ] {
        let refused = server
            .post("/v1/namespaces", json!({"namespace": levels}))
            .await;
        assert_eq!(error(&refused).0, 400, "{levels}");
    }
    let nowhere = server.get("/v2/anything").await;
    assert_eq!(error(&nowhere).1, "NoSuchEndpointException");
    assert_eq!(server.get("/v1/namespaces").await.0, 200);
    assert_eq!(server.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_configured_token_is_asked_for() {
    let server = Server::start_with(|config| config.token = "s3cret".to_owned()).await;
    let none = server.get("/v1/namespaces").await;
    assert_eq!(error(&none).0, 401);
    let wrong = answer(
        server
            .request(Method::GET, "/v1/namespaces")
            .bearer_auth("s3creT"),
    )
    .await;
    assert_eq!(error(&wrong).1, "NotAuthorizedException");
    let right = answer(
        server
            .request(Method::GET, "/v1/namespaces")
            .bearer_auth("s3cret"),
    )
    .await;
    assert_eq!(right.0, 200);
    assert_eq!(server.get("/healthz").await.0, 200);
}
