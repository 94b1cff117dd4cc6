//! Facts about addresses and about files written through the Iceberg library's traits.

use super::*;

#[test]
fn an_address_splits_into_bucket_and_key() {
    assert_eq!(
        split("s3://lake/a/b=1/c.parquet").unwrap(),
        ("s3://lake/", "a/b=1/c.parquet")
    );
    assert_eq!(split("file:///tmp/x").unwrap(), ("file:///", "tmp/x"));
    assert_eq!(split("s3://lake").unwrap(), ("s3://lake", ""));
}

#[test]
fn an_address_of_another_kind_is_refused() {
    for location in ["gs://a/b", "/tmp/x", "s3:///key"] {
        assert!(split(location).is_err(), "{location}");
    }
}

#[test]
fn vended_credentials_win_and_a_configured_endpoint_stays() {
    let ours = StoreConfig {
        endpoint: Some("http://a".into()),
        ..StoreConfig::default()
    };
    let vended = HashMap::from([
        ("s3.endpoint".to_owned(), "http://b".to_owned()),
        ("s3.access-key-id".to_owned(), "key".to_owned()),
        ("s3.secret-access-key".to_owned(), "secret".to_owned()),
    ]);
    let config = ours.overlaid(&vended);
    assert_eq!(config.endpoint.as_deref(), Some("http://a"));
    assert_eq!(
        (config.access_key.as_str(), config.secret_key.as_str()),
        ("key", "secret")
    );
}

#[tokio::test]
async fn files_written_through_iceberg_are_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = format!("file://{}/m/x.avro", directory.path().display());
    let io = Store::default().file_io();
    assert!(!io.exists(&path).await.unwrap());
    io.new_output(&path)
        .unwrap()
        .write("hello".into())
        .await
        .unwrap();
    assert_eq!(io.new_input(&path).unwrap().read().await.unwrap(), "hello");
    io.delete(&path).await.unwrap();
    assert!(!io.exists(&path).await.unwrap());
}

#[test]
fn bodies_go_unhashed_only_where_nothing_can_change_them() {
    let protected = |endpoint: Option<&str>| {
        let config = StoreConfig {
            endpoint: endpoint.map(str::to_owned),
            ..StoreConfig::default()
        };
        config.body_is_protected()
    };
    for endpoint in [
        "http://127.0.0.1:9000",
        "http://localhost:9000",
        "http://[::1]:9000/",
        "https://s3.example",
    ] {
        assert!(protected(Some(endpoint)), "{endpoint}");
    }
    assert!(protected(None));
    for endpoint in [
        "http://10.0.0.1:9000",
        "http://minio:9000",
        "http://localhost.example",
        "nonsense",
    ] {
        assert!(!protected(Some(endpoint)), "{endpoint}");
    }
}
