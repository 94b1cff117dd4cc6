//! The newest snapshot of each table that someone looks at, asked once for all views.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::bundle::TableName;
use crate::bundle::sql::quote;
use crate::trino::Trino;

/// Looks at tables, each at most once per interval.
#[derive(Debug)]
pub(super) struct Watch {
    trino: Trino,
    interval: Duration,
    timeout: Duration,
    /// Held while asking, so that views that come together ask once.
    seen: tokio::sync::Mutex<HashMap<TableName, Seen>>,
}

#[derive(Debug, Clone)]
struct Seen {
    at: Instant,
    /// What identifies the snapshot, or why it is not known.
    snapshot: Result<String, String>,
}

// === impl Watch ===

impl Watch {
    pub(super) fn new(trino: Trino, interval: Duration, timeout: Duration) -> Self {
        Watch {
            trino,
            interval,
            timeout,
            seen: tokio::sync::Mutex::default(),
        }
    }

    /// The newest snapshot of each of `tables`, and the tables that could not be looked at.
    pub(super) async fn snapshots(
        &self,
        tables: &BTreeSet<TableName>,
    ) -> (HashMap<TableName, String>, BTreeMap<String, String>) {
        let mut seen = self.seen.lock().await;
        // A little less than the interval, so that a view's own rhythm never skips a turn.
        let fresh = self.interval * 9 / 10;
        let due: Vec<&TableName> = tables
            .iter()
            .filter(|table| {
                seen.get(*table)
                    .is_none_or(|seen| seen.at.elapsed() >= fresh)
            })
            .collect();
        let answers = futures::future::join_all(due.iter().map(|table| self.ask(table))).await;
        for (table, snapshot) in due.into_iter().zip(answers) {
            let at = Instant::now();
            seen.insert(table.clone(), Seen { at, snapshot });
        }
        let mut snapshots = HashMap::new();
        let mut trouble = BTreeMap::new();
        for table in tables {
            match seen.get(table).map(|seen| &seen.snapshot) {
                Some(Ok(snapshot)) => {
                    snapshots.insert(table.clone(), snapshot.clone());
                }
                Some(Err(why)) => {
                    trouble.insert(name(table, ""), why.clone());
                }
                None => {}
            }
        }
        (snapshots, trouble)
    }

    async fn ask(&self, table: &TableName) -> Result<String, String> {
        let sql = format!(
            "SELECT snapshot_id FROM {} ORDER BY committed_at DESC LIMIT 1",
            name(table, "$snapshots")
        );
        let answer = self
            .trino
            .query(&sql, 1, self.timeout)
            .await
            .map_err(|error| telemetry::chain(&error).to_string())?;
        let newest = answer.rows.first().and_then(|row| row.first());
        // A table without a snapshot is one of no rows, and changes with its first.
        Ok(newest.map_or_else(|| "none".to_owned(), ToString::to_string))
    }
}

fn name(table: &TableName, suffix: &str) -> String {
    let last = Some(format!("{}{suffix}", table.table));
    [&table.catalog, &table.schema, &last]
        .into_iter()
        .flatten()
        .map(|part| quote(part))
        .collect::<Vec<_>>()
        .join(".")
}
