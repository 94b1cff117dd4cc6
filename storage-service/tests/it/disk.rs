//! A disk that fills up or can only be read: the right error, nothing half-written, and work goes on when it can.

use std::time::Duration;

use bytesize::ByteSize;
use storage_service::Config;
use testkit::SmallDisk;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{Answer, Running, Signed, config, start_in};

fn full() -> (u16, String) {
    (507, "InsufficientStorage".to_owned())
}

async fn on(disk: &SmallDisk, min_free_space: ByteSize) -> Running {
    let dir = testkit::temp_dir();
    let config = Config {
        data_dir: disk.path().join("store"),
        min_free_space,
        ..config(&dir)
    };
    start_in(dir, config).await
}

async fn ask(store: &Running, method: &'static str, path: &str, body: &[u8]) -> Answer {
    Signed::new(method, path, body).send(store.address).await
}

/// Puts until there is room; a disk that is freed is noticed within moments.
async fn put_in_the_end(store: &Running, path: &str, body: &[u8]) {
    testkit::wait_until("room for an object", Duration::from_secs(60), async || {
        (ask(store, "PUT", path, body).await.status == 200).then_some(())
    })
    .await;
}

fn blobs(disk: &SmallDisk) -> usize {
    std::fs::read_dir(disk.path().join("store/data"))
        .unwrap()
        .map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap().count())
        .sum()
}

#[tokio::test]
async fn with_little_space_left_only_what_needs_more_is_refused() {
    let Some(disk) = SmallDisk::new(32) else {
        return;
    };
    let store = on(&disk, ByteSize::mib(8)).await;
    let old = vec![1; 300_000];
    for path in ["/lakehouse/old", "/lakehouse/other"] {
        assert_eq!(ask(&store, "PUT", path, &old).await.status, 200);
    }
    let ballast = disk.take(26);
    for body in [&b"inline"[..], &vec![2; 300_000]] {
        let refused = ask(&store, "PUT", "/lakehouse/new", body).await;
        assert_eq!(refused.error(), full());
        let over = ask(&store, "PUT", "/lakehouse/old", body).await;
        assert_eq!(over.error(), full());
    }
    let mut upload = Signed::new("POST", "/lakehouse/parts", b"");
    upload.query = "uploads=".to_owned();
    let started = upload.send(store.address).await;
    let id = started.text();
    if let Some((_, rest)) = id.split_once("<UploadId>") {
        let id = rest.split('<').next().unwrap();
        let mut part = Signed::new("PUT", "/lakehouse/parts", &old);
        part.query = format!("partNumber=1&uploadId={id}");
        assert_eq!(part.send(store.address).await.error(), full());
    } else {
        assert_eq!(started.error(), full());
    }
    // What is there is read, listed and deleted.
    assert!(ask(&store, "GET", "/lakehouse/old", b"").await.body == old);
    let listed = ask(&store, "GET", "/lakehouse", b"").await.text();
    assert!(listed.contains("<Key>other</Key>") && !listed.contains("<Key>new</Key>"));
    let deleted = ask(&store, "DELETE", "/lakehouse/other", b"").await;
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    drop(ballast);
    put_in_the_end(&store, "/lakehouse/new", &old).await;
    assert!(ask(&store, "GET", "/lakehouse/new", b"").await.body == old);
    store.stop().await;
}

#[tokio::test]
async fn a_disk_without_a_byte_left_loses_nothing() {
    let Some(disk) = SmallDisk::new(32) else {
        return;
    };
    // Nothing is kept in reserve, so that the file system itself refuses.
    let store = on(&disk, ByteSize::b(0)).await;
    let old = vec![1; 300_000];
    assert_eq!(ask(&store, "PUT", "/lakehouse/old", &old).await.status, 200);
    let before = blobs(&disk);
    // An unannounced length is found out only while it is written.
    let ballast = disk.take(30);
    let mut large = Signed::new("PUT", "/lakehouse/large", b"");
    large.payload = "UNSIGNED-PAYLOAD".into();
    large.body = vec![3; 4_000_000];
    assert_eq!(large.send(store.address).await.error(), full());
    let rest = disk.fill();
    let mut refused = 0;
    for number in 0..50_u8 {
        let path = format!("/lakehouse/small-{number}");
        let answer = ask(&store, "PUT", &path, &[number; 20_000]).await;
        if answer.status != 200 {
            assert!(matches!(answer.status, 500 | 503 | 507), "{answer:?}");
            refused += 1;
        }
    }
    assert!(refused > 0, "the disk was never full");
    drop((ballast, rest));
    put_in_the_end(&store, "/lakehouse/new", &old).await;
    for path in ["/lakehouse/old", "/lakehouse/new"] {
        assert!(ask(&store, "GET", path, b"").await.body == old, "{path}");
    }
    let large = ask(&store, "GET", "/lakehouse/large", b"").await;
    assert_eq!(large.error(), (404, "NoSuchKey".to_owned()));
    assert_eq!(blobs(&disk), before + 1, "no half file is left");
    store.stop().await;
    let store = on(&disk, ByteSize::b(0)).await;
    assert!(ask(&store, "GET", "/lakehouse/old", b"").await.body == old);
    for number in 0..50_u8 {
        let path = format!("/lakehouse/small-{number}");
        let found = ask(&store, "GET", &path, b"").await;
        let whole = found.status == 200 && found.body == [number; 20_000];
        assert!(whole || found.status == 404, "{path}: {}", found.status);
    }
    store.stop().await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_refused_at_the_start() {
    let Some(disk) = SmallDisk::new(16) else {
        return;
    };
    on(&disk, ByteSize::b(0)).await.stop().await;
    disk.make_read_only();
    let dir = testkit::temp_dir();
    let config = Config {
        data_dir: disk.path().join("store"),
        ..config(&dir)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = storage_service::serve(config, listener, CancellationToken::new())
        .await
        .unwrap_err();
    let text = telemetry::chain(&error).to_string();
    assert!(text.contains("Read-only file system"), "{text}");
    disk.make_writable();
    on(&disk, ByteSize::b(0)).await.stop().await;
}
