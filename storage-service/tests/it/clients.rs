//! Real clients, unmodified.

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions};

use crate::harness::{ACCESS_KEY, Running, SECRET_KEY, start};

fn client(store: &Running) -> AmazonS3 {
    AmazonS3Builder::new()
        .with_endpoint(store.url(""))
        .with_allow_http(true)
        .with_bucket_name("lakehouse")
        .with_region("us-east-1")
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY)
        .build()
        .unwrap()
}

#[tokio::test]
async fn object_store_creates_an_object_only_once() {
    let store = start().await;
    let client = client(&store);
    let path = Path::from("_checkpoints/7");
    let create = PutOptions::from(PutMode::Create);
    client
        .put_opts(&path, "first".into(), create.clone())
        .await
        .unwrap();
    let second = client
        .put_opts(&path, "second".into(), create)
        .await
        .unwrap_err();
    assert!(
        matches!(second, object_store::Error::AlreadyExists { .. }),
        "{second}"
    );
    let read = client.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!(read, Bytes::from("first"));
    store.stop().await;
}
