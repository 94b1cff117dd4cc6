//! The Rust client of the lake, `object_store`, unmodified.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::path::Path;
use object_store::{
    Attribute, Error, GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _, PutMode,
    PutOptions, PutPayload, UpdateVersion, WriteMultipart,
};

use crate::harness::{ACCESS_KEY, Running, SECRET_KEY, start};

pub(crate) fn builder(store: &Running) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_endpoint(store.url(""))
        .with_allow_http(true)
        .with_bucket_name("lakehouse")
        .with_region("us-east-1")
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY)
}

fn client(store: &Running) -> AmazonS3 {
    builder(store).build().unwrap()
}

async fn read(client: &AmazonS3, path: &Path) -> Bytes {
    client.get(path).await.unwrap().bytes().await.unwrap()
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
    assert!(matches!(second, Error::AlreadyExists { .. }), "{second}");
    assert_eq!(read(&client, &path).await, "first");
    store.stop().await;
}

#[tokio::test]
async fn object_store_swaps_what_it_has_seen() {
    let store = start().await;
    let client = client(&store);
    let path = Path::from("pointer");
    let update = |version: &object_store::PutResult| {
        let version = UpdateVersion {
            e_tag: version.e_tag.clone(),
            version: None,
        };
        PutOptions::from(PutMode::Update(version))
    };
    let one = client.put(&path, "one".into()).await.unwrap();
    let two = client
        .put_opts(&path, "two".into(), update(&one))
        .await
        .unwrap();
    let stale = client
        .put_opts(&path, "three".into(), update(&one))
        .await
        .unwrap_err();
    assert!(matches!(stale, Error::Precondition { .. }), "{stale}");
    client
        .put_opts(&path, "four".into(), update(&two))
        .await
        .unwrap();
    assert_eq!(read(&client, &path).await, "four");
    client.delete(&path).await.unwrap();
    let gone = client.get(&path).await.unwrap_err();
    assert!(matches!(gone, Error::NotFound { .. }), "{gone}");
    store.stop().await;
}

#[tokio::test]
async fn object_store_reads_ranges_and_attributes() {
    let store = start().await;
    let client = builder(&store)
        .with_checksum_algorithm(Checksum::SHA256)
        .build()
        .unwrap();
    let path = Path::from("data/file.parquet");
    let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut options = PutOptions::default();
    options
        .attributes
        .insert(Attribute::ContentType, "application/parquet".into());
    options
        .attributes
        .insert(Attribute::Metadata("writer".into()), "test".into());
    options
        .attributes
        .insert(Attribute::CacheControl, "no-store".into());
    client
        .put_opts(&path, bytes.clone().into(), options)
        .await
        .unwrap();
    let ranges = [0..8, 65_530..65_550, 799_990..800_000, 0..800_000];
    let parts = client.get_ranges(&path, &ranges).await.unwrap();
    for (range, part) in ranges.iter().zip(parts) {
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        assert!(part == bytes[range.clone()], "{range:?}");
    }
    let suffix = GetOptions {
        range: Some(GetRange::Suffix(8)),
        ..GetOptions::default()
    };
    let got = client.get_opts(&path, suffix).await.unwrap();
    assert_eq!(got.range, 799_992..800_000);
    let metadata = got
        .attributes
        .get(&Attribute::Metadata("writer".into()))
        .unwrap();
    assert_eq!(metadata.as_ref(), "test");
    let head = client.head(&path).await.unwrap();
    let stale = GetOptions {
        if_match: Some("other".into()),
        ..GetOptions::default()
    };
    let error = client.get_opts(&path, stale).await.unwrap_err();
    assert!(matches!(error, Error::Precondition { .. }), "{error}");
    let same = GetOptions {
        if_none_match: head.e_tag,
        ..GetOptions::default()
    };
    let error = client.get_opts(&path, same).await.unwrap_err();
    assert!(matches!(error, Error::NotModified { .. }), "{error}");
    store.stop().await;
}

#[tokio::test]
async fn object_store_lists_copies_and_deletes_many() {
    let store = start().await;
    let client = client(&store);
    for name in ["t/a/1", "t/a/2", "t/b/1", "t/top", "u"] {
        client
            .put(&Path::from(name), PutPayload::from_static(b"x"))
            .await
            .unwrap();
    }
    let names = |listed: Vec<object_store::ObjectMeta>| -> Vec<String> {
        listed
            .into_iter()
            .map(|meta| meta.location.to_string())
            .collect()
    };
    let prefix = Path::from("t");
    let listed: Vec<_> = client.list(Some(&prefix)).try_collect().await.unwrap();
    assert_eq!(names(listed), ["t/a/1", "t/a/2", "t/b/1", "t/top"]);
    let after = client.list_with_offset(Some(&prefix), &Path::from("t/a/2"));
    assert_eq!(
        names(after.try_collect().await.unwrap()),
        ["t/b/1", "t/top"]
    );
    let grouped = client.list_with_delimiter(Some(&prefix)).await.unwrap();
    assert_eq!(
        grouped.common_prefixes,
        [Path::from("t/a"), Path::from("t/b")]
    );
    assert_eq!(names(grouped.objects), ["t/top"]);
    client
        .copy(&Path::from("u"), &Path::from("v"))
        .await
        .unwrap();
    client
        .rename(&Path::from("v"), &Path::from("w"))
        .await
        .unwrap();
    let all: Vec<_> = client
        .list(None)
        .map_ok(|meta| meta.location)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(all.len(), 6);
    let all = futures::stream::iter(all.into_iter().map(Ok)).boxed();
    let deleted: Vec<_> = client.delete_stream(all).try_collect().await.unwrap();
    assert_eq!(deleted.len(), 6);
    assert_eq!(client.list(None).count().await, 0);
    store.stop().await;
}

#[tokio::test]
async fn object_store_uploads_in_parts() {
    let store = start().await;
    let client = client(&store);
    let path = Path::from("large");
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let upload = client.put_multipart(&path).await.unwrap();
    let mut writer = WriteMultipart::new_with_chunk_size(upload, 5 * 1024 * 1024);
    for chunk in bytes.chunks(999_983) {
        writer.wait_for_capacity(3).await.unwrap();
        writer.write(chunk);
    }
    writer.finish().await.unwrap();
    assert!(read(&client, &path).await == bytes);
    let mut aborted = client.put_multipart(&Path::from("aborted")).await.unwrap();
    aborted.put_part(vec![0; 6_000_000].into()).await.unwrap();
    aborted.abort().await.unwrap();
    assert_eq!(client.list(None).count().await, 1);
    store.stop().await;
}

#[tokio::test]
async fn of_racing_clients_one_creates() {
    let store = start().await;
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..12 {
        let client = client(&store);
        racers.spawn(async move {
            let body = format!("racer {racer}").repeat(10_000);
            let create = PutOptions::from(PutMode::Create);
            client
                .put_opts(&Path::from("commit"), body.into(), create)
                .await
                .is_ok()
        });
    }
    let won = racers
        .join_all()
        .await
        .into_iter()
        .filter(|won| *won)
        .count();
    assert_eq!(won, 1);
    store.stop().await;
}
