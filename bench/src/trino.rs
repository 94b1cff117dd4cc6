//! The smallest client of Trino's protocol: one statement, all rows.

use anyhow::{Context, bail};
use serde_json::Value;

/// Runs `sql` and returns its rows.
pub(crate) async fn query(
    http: &reqwest::Client,
    server: &str,
    sql: &str,
) -> anyhow::Result<Vec<Vec<Value>>> {
    let post = http
        .post(format!("http://{server}/v1/statement"))
        .body(sql.to_owned());
    let post = post
        .header("X-Trino-User", "bench")
        .header("X-Trino-Catalog", "iceberg");
    let mut page: Value = post.send().await?.error_for_status()?.json().await?;
    let mut rows = Vec::new();
    loop {
        if let Some(message) = page["error"]["message"].as_str() {
            bail!("{sql}: {message}");
        }
        for row in page["data"].as_array().into_iter().flatten() {
            rows.push(row.as_array().context("a row is a list")?.clone());
        }
        let Some(next) = page["nextUri"].as_str() else {
            return Ok(rows);
        };
        page = http
            .get(next)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
    }
}

/// The one number of a query; 0 if the table is not there yet.
pub(crate) async fn number(http: &reqwest::Client, server: &str, sql: &str) -> i64 {
    let rows = query(http, server, sql).await;
    rows.ok()
        .and_then(|rows| rows.first()?.first()?.as_i64())
        .unwrap_or(0)
}
