//! Tables with their snapshots, files and sizes, and the names the SQL page completes; all asked over Trino.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::Platform;
use crate::bundle::sql::quote;
use crate::trino;

/// Most tables that are looked into, and columns that are completed.
const MAX_TABLES: usize = 200;
const MAX_COLUMNS: usize = 20_000;

/// Tables that are looked into at once.
const AT_ONCE: usize = 4;

/// A table and its state.
#[derive(Debug, Default, Serialize)]
pub(crate) struct TableState {
    schema: String,
    name: String,
    snapshots: Option<u64>,
    last_commit: Option<String>,
    operation: Option<String>,
    files: Option<u64>,
    delete_files: Option<u64>,
    records: Option<u64>,
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// Columns by table by schema.
pub(crate) type Names = BTreeMap<String, BTreeMap<String, Vec<String>>>;

// === impl Platform ===

impl Platform {
    pub(crate) async fn tables(&self) -> Result<Vec<TableState>, String> {
        use futures::StreamExt;

        let listed = self
            .ask(
                &format!(
                    "SELECT table_schema, table_name FROM {}.information_schema.tables \
                     WHERE table_schema <> 'information_schema' ORDER BY 1, 2",
                    quote(&self.config.catalog)
                ),
                MAX_TABLES,
            )
            .await?;
        Ok(futures::stream::iter(listed.rows)
            .map(|row| self.table_state(text(row.first()), text(row.get(1))))
            .buffered(AT_ONCE)
            .collect()
            .await)
    }

    /// What the editor completes.
    pub(crate) async fn names(&self) -> Result<Names, String> {
        let listed = self
            .ask(
                &format!(
                    "SELECT table_schema, table_name, column_name FROM {}.information_schema.columns \
                     WHERE table_schema <> 'information_schema' ORDER BY table_schema, table_name, ordinal_position",
                    quote(&self.config.catalog)
                ),
                MAX_COLUMNS,
            )
            .await?;
        let mut names = Names::new();
        for row in listed.rows {
            names
                .entry(text(row.first()))
                .or_default()
                .entry(text(row.get(1)))
                .or_default()
                .push(text(row.get(2)));
        }
        Ok(names)
    }

    async fn table_state(&self, schema: String, name: String) -> TableState {
        let meta = |suffix: &str| {
            format!(
                "{}.{}.{}",
                quote(&self.config.catalog),
                quote(&schema),
                quote(&format!("{name}${suffix}"))
            )
        };
        let snapshots_sql = format!(
            "SELECT committed_at, operation FROM {} ORDER BY committed_at DESC",
            meta("snapshots")
        );
        let files_sql = format!(
            "SELECT content, count(*), sum(record_count), sum(file_size_in_bytes) FROM {} GROUP BY content",
            meta("files")
        );
        let (snapshots, files) =
            tokio::join!(self.ask(&snapshots_sql, 100_000), self.ask(&files_sql, 10));
        let mut state = TableState {
            schema,
            name,
            ..TableState::default()
        };
        match snapshots {
            Ok(snapshots) => {
                state.snapshots = Some(snapshots.rows.len() as u64);
                if let Some(newest) = snapshots.rows.first() {
                    state.last_commit = Some(text(newest.first()));
                    state.operation = Some(text(newest.get(1)));
                }
            }
            Err(why) => state.trouble = Some(why),
        }
        match files {
            Ok(files) => {
                let total = |wanted: fn(i64) -> bool, column: usize| {
                    files
                        .rows
                        .iter()
                        .filter(|row| row.first().and_then(Value::as_i64).is_some_and(wanted))
                        .filter_map(|row| row.get(column)?.as_u64())
                        .sum()
                };
                state.files = Some(total(|content| content == 0, 1));
                state.delete_files = Some(total(|content| content != 0, 1));
                state.records = Some(total(|content| content == 0, 2));
                state.bytes = Some(total(|_| true, 3));
            }
            Err(why) => state.trouble = Some(why),
        }
        state
    }

    async fn ask(&self, sql: &str, max_rows: usize) -> Result<trino::Table, String> {
        self.trino
            .query(sql, max_rows, self.config.query_timeout)
            .await
            .map_err(|error| telemetry::chain(&error).to_string())
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}
