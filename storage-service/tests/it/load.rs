//! How fast durable writes are; runs with `RUN_SLOW_TESTS=1`, and holds the targets in a release build.
//!
//! `RUN_SLOW_TESTS=1 cargo test --release -p storage-service --test it load -- --nocapture`

use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _, WriteMultipart};

use crate::clients::builder;
use crate::harness::start;

async fn put_for(client: &AmazonS3, n_clients: usize, time: Duration) -> (f64, Duration) {
    let began = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..n_clients {
        let client = client.clone();
        clients.spawn(async move {
            let body = Bytes::from(vec![7_u8; 16 * 1024]);
            let mut took = Vec::new();
            while began.elapsed() < time {
                let path = Path::from(format!("load/{n_clients}/{number}/{}", took.len()));
                let start = Instant::now();
                client.put(&path, body.clone().into()).await.unwrap();
                took.push(start.elapsed());
            }
            took
        });
    }
    let mut took: Vec<Duration> = clients.join_all().await.into_iter().flatten().collect();
    took.sort();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = took.len() as f64 / began.elapsed().as_secs_f64();
    (rate, took[took.len() / 2])
}

/// Without these a figure says nothing.
fn machine_and_date() -> String {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let date = std::process::Command::new("date").arg("-u").output();
    let date = date.map_or(String::new(), |date| {
        String::from_utf8_lossy(&date.stdout).into_owned()
    });
    format!("{n_cores} × {model}, {}", date.trim())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stderr, reason = "numbers for people")]
async fn load() {
    if std::env::var_os("RUN_SLOW_TESTS").is_none() {
        return;
    }
    eprintln!("{}", machine_and_date());
    let store = start().await;
    let client = builder(&store).build().unwrap();
    let time = Duration::from_secs(4);
    let (_, serial) = put_for(&client, 1, time).await;
    eprintln!("16 KiB PUT, 1 client: p50 {serial:?}");
    let mut at_16 = 0.0;
    for n_clients in [4, 16, 64] {
        let (rate, p50) = put_for(&client, n_clients, time).await;
        eprintln!("16 KiB PUT, {n_clients} clients: {rate:.0}/s, p50 {p50:?}");
        if n_clients == 16 {
            at_16 = rate;
        }
    }
    let body = Bytes::from(vec![1_u8; 64 * 1024 * 1024]);
    let megabytes = 67.1;
    for round in 0..3 {
        let path = Path::from(format!("large/{round}"));
        let start = Instant::now();
        client.put(&path, body.clone().into()).await.unwrap();
        eprintln!(
            "64 MiB PUT: {:.0} MB/s",
            megabytes / start.elapsed().as_secs_f64()
        );
        let start = Instant::now();
        let upload = client.put_multipart(&path).await.unwrap();
        let mut writer = WriteMultipart::new_with_chunk_size(upload, 8 * 1024 * 1024);
        writer.put(body.clone());
        writer.finish().await.unwrap();
        eprintln!(
            "64 MiB in parts: {:.0} MB/s",
            megabytes / start.elapsed().as_secs_f64()
        );
        let start = Instant::now();
        assert_eq!(
            client
                .get(&path)
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap()
                .len(),
            body.len()
        );
        eprintln!(
            "64 MiB GET: {:.0} MB/s",
            megabytes / start.elapsed().as_secs_f64()
        );
    }
    let prefix = Path::from("load/16/3");
    let start = Instant::now();
    let page = client.list_with_delimiter(Some(&prefix)).await.unwrap();
    eprintln!(
        "list of {} objects: {:?}",
        page.objects.len(),
        start.elapsed()
    );
    if cfg!(not(debug_assertions)) {
        assert!(at_16 >= 3000.0, "{at_16} PUT/s at 16 clients");
        assert!(
            serial <= Duration::from_millis(6),
            "p50 {serial:?} of one client"
        );
    }
    store.stop().await;
}
