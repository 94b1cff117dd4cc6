//! Real Python clients, unmodified: boto3, aws-cli, pyarrow, pyiceberg, s3fs-style access and DuckDB.

use crate::harness::{ACCESS_KEY, Running, SECRET_KEY, start};

/// Runs a script from `tests/it/python/` against a store and compares what it printed.
async fn check(script: &'static str, expected: &str) {
    let store: Running = start().await;
    let endpoint = store.url("");
    let aws = testkit::tool("aws").display().to_string();
    let work = testkit::temp_dir();
    let dir = work.path().display().to_string();
    let printed = tokio::task::spawn_blocking(move || {
        testkit::python(
            script,
            &[
                ("ENDPOINT", &endpoint),
                ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
                ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
                ("AWS_DEFAULT_REGION", "us-east-1"),
                ("AWS_ENDPOINT_URL", &endpoint),
                ("AWS_EC2_METADATA_DISABLED", "true"),
                ("AWS", &aws),
                ("WORK", &dir),
            ],
        )
    })
    .await
    .unwrap();
    assert_eq!(printed, expected);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_objects() {
    check(include_str!("python/boto3_objects.py"), "all facts hold\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_uploads() {
    check(include_str!("python/boto3_uploads.py"), "all facts hold\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_listings() {
    check(include_str!("python/boto3_listings.py"), "all facts hold\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aws_cli() {
    check(include_str!("python/aws_cli.py"), "all facts hold\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pyarrow_and_pyiceberg() {
    check(
        include_str!("python/pyarrow_pyiceberg.py"),
        "all facts hold\n",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duckdb() {
    check(include_str!("python/duckdb_httpfs.py"), "all facts hold\n").await;
}
