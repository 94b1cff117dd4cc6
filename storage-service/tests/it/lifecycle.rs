//! Starting, stopping and refusing to start.

use std::time::Duration;

use storage_service::{Config, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{Signed, config, start, start_in, start_with};

async fn refused(config: Config) -> Error {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    storage_service::serve(config, listener, CancellationToken::new())
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_second_store_on_the_directory_is_refused() {
    let store = start().await;
    Signed::new("PUT", "/lakehouse/k", b"v")
        .send(store.address)
        .await;
    let error = refused(config(&store.dir)).await;
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    store.stop().await;
}

#[tokio::test]
async fn a_restarted_store_has_everything() {
    let store = start_with(|config| config.buckets = vec!["one".into(), "two".into()]).await;
    let put = Signed::new("PUT", "/two/k", &[7; 100_000])
        .send(store.address)
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    let dir = store.stop().await;
    let config = config(&dir);
    let store = start_in(dir, config).await;
    let get = Signed::new("GET", "/two/k", b"").send(store.address).await;
    assert!(get.body == [7; 100_000], "{}", get.status);
    let list = Signed::new("GET", "/", b"")
        .send(store.address)
        .await
        .text();
    let names: Vec<&str> = list
        .split("<Name>")
        .skip(1)
        .filter_map(|rest| rest.split('<').next())
        .collect();
    assert_eq!(names, ["lakehouse", "one", "two"]);
    store.stop().await;
}

#[tokio::test]
async fn a_stopped_store_leaves_its_directory_free_at_once() {
    let mut store = start().await;
    for round in 0..5_u8 {
        let path = format!("/lakehouse/{round}");
        let put = Signed::new("PUT", &path, &[round; 70_000])
            .send(store.address)
            .await;
        assert_eq!(put.status, 200, "{}", put.text());
        let dir = store.stop().await;
        let config = config(&dir);
        store = start_in(dir, config).await;
        let get = Signed::new("GET", &path, b"").send(store.address).await;
        assert_eq!(get.body, [round; 70_000]);
    }
    store.stop().await;
}

#[tokio::test]
async fn a_client_that_stalls_is_let_go() {
    let store = start_with(|config| config.stall_timeout = Duration::from_millis(200)).await;
    let mut half = Signed::new("PUT", "/lakehouse/k", b"");
    half.payload = "UNSIGNED-PAYLOAD".into();
    let mut stalled = tokio::net::TcpStream::connect(store.address).await.unwrap();
    stalled
        .write_all(&half.head(store.address, 1000))
        .await
        .unwrap();
    stalled.write_all(b"only this").await.unwrap();
    let mut answer = Vec::new();
    stalled.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.contains("<Code>RequestTimeout</Code>"), "{answer}");
    let get = Signed::new("GET", "/lakehouse/k", b"")
        .send(store.address)
        .await;
    assert_eq!(get.status, 404);
    store.stop().await;
}

/// It need not send the body then, and what it sends next must not be taken for it.
#[tokio::test]
async fn a_client_that_waits_to_send_its_body_is_refused_for_good() {
    let store = start_with(|config| config.stall_timeout = Duration::from_secs(60)).await;
    let mut put = Signed::new("PUT", "/nowhere/k", b"x").header("expect", "100-continue");
    put.payload = "UNSIGNED-PAYLOAD".into();
    let mut waiting = tokio::net::TcpStream::connect(store.address).await.unwrap();
    waiting
        .write_all(&put.head(store.address, 1))
        .await
        .unwrap();
    let mut answer = Vec::new();
    let read = waiting.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(30), read)
        .await
        .expect("the connection ends")
        .unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.contains("<Code>NoSuchBucket</Code>"), "{answer}");
    store.stop().await;
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing() {
    let store = start().await;
    let mut half = Signed::new("PUT", "/lakehouse/k", b"");
    half.payload = "UNSIGNED-PAYLOAD".into();
    let mut vanishing = tokio::net::TcpStream::connect(store.address).await.unwrap();
    vanishing
        .write_all(&half.head(store.address, 9_000_000))
        .await
        .unwrap();
    vanishing.write_all(&vec![1; 3_000_000]).await.unwrap();
    drop(vanishing);
    let data = store.dir.path().join("store/data");
    let blobs = || {
        std::fs::read_dir(&data)
            .unwrap()
            .map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap().count())
            .sum::<usize>()
    };
    testkit::wait_until(
        "the half file to be gone",
        Duration::from_secs(10),
        || async { (blobs() == 0).then_some(()) },
    )
    .await;
    let get = Signed::new("GET", "/lakehouse/k", b"")
        .send(store.address)
        .await;
    assert_eq!(get.status, 404);
    store.stop().await;
}

#[tokio::test]
async fn a_full_disk_is_named_as_such() {
    let dir = testkit::temp_dir();
    let full = Config {
        min_free_space: bytesize::ByteSize::pib(1),
        ..config(&dir)
    };
    let store = start_in(dir, full).await;
    let put = Signed::new("PUT", "/lakehouse/k", b"v")
        .send(store.address)
        .await;
    assert_eq!(put.error(), (507, "InsufficientStorage".to_owned()));
    let list = Signed::new("GET", "/lakehouse", b"")
        .send(store.address)
        .await;
    assert_eq!(list.status, 200);
    store.stop().await;
}

#[tokio::test]
async fn bodies_wait_for_the_memory_they_need_and_other_requests_do_not() {
    let patience = Duration::from_secs(1);
    let store = start_with(|config| {
        config.stall_timeout = patience;
        config.max_xml_size = bytesize::ByteSize::kib(64);
        config.max_chunk_size = bytesize::ByteSize::kib(64);
        config.request_memory = bytesize::ByteSize::mib(4);
    })
    .await;
    let mut half = Signed::new("PUT", "/lakehouse/half", b"").header("expect", "100-continue");
    half.payload = "UNSIGNED-PAYLOAD".into();
    let begun = std::time::Instant::now();
    let mut stalled = tokio::net::TcpStream::connect(store.address).await.unwrap();
    stalled
        .write_all(&half.head(store.address, 8 << 20))
        .await
        .unwrap();
    // It is asked for its body, so it has the memory for it, and keeps it until it is cut off.
    let mut asked = [0; 12];
    stalled.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100");
    let get = Signed::new("GET", "/lakehouse/k", b"");
    assert_eq!(get.send(store.address).await.status, 404);
    assert!(
        begun.elapsed() < patience,
        "a request without a body waited"
    );
    let put = Signed::new("PUT", "/lakehouse/k", &[7; 2 << 20]);
    assert_eq!(put.send(store.address).await.status, 200);
    assert!(
        begun.elapsed() >= patience,
        "a body was taken in beyond the memory"
    );
    store.stop().await;
}
