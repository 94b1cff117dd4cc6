//! A Superset asset bundle: dashboards, charts and datasets as they lie in its YAML files.
//!
//! It is pure: files come in as text, and what goes out is plain data and, through [`sql`], statements for Trino.

mod layout;
pub(crate) mod sql;
pub(crate) mod time;

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

pub(crate) use layout::{Card, Layout};

/// All dashboards of a bundle, with what they need.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    /// By slug.
    pub(crate) dashboards: BTreeMap<String, Dashboard>,
    charts: HashMap<String, Chart>,
    datasets: HashMap<String, Dataset>,
}

/// A page of charts.
#[derive(Debug, Deserialize)]
pub(crate) struct Dashboard {
    #[serde(rename = "dashboard_title")]
    pub(crate) title: String,
    pub(crate) uuid: String,
    #[serde(default)]
    pub(crate) slug: Option<String>,
    #[serde(default)]
    pub(crate) description: Option<String>,
    #[serde(default)]
    position: Value,
    #[serde(default)]
    metadata: Value,
}

/// One chart: what to ask and how to draw it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Chart {
    #[serde(rename = "slice_name")]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: Option<String>,
    pub(crate) viz_type: String,
    pub(crate) uuid: String,
    pub(crate) dataset_uuid: String,
    #[serde(default)]
    pub(crate) params: Value,
}

/// A table or a query that charts draw from.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dataset {
    #[serde(rename = "table_name")]
    pub(crate) table: String,
    pub(crate) uuid: String,
    #[serde(default)]
    pub(crate) catalog: Option<String>,
    #[serde(default)]
    pub(crate) schema: Option<String>,
    /// A query, where the dataset is not a table.
    #[serde(default)]
    pub(crate) sql: Option<String>,
    #[serde(default)]
    pub(crate) columns: Vec<Column>,
    #[serde(default)]
    pub(crate) metrics: Vec<Metric>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Column {
    #[serde(rename = "column_name")]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) is_dttm: Option<bool>,
    #[serde(default)]
    pub(crate) verbose_name: Option<String>,
    #[serde(default)]
    pub(crate) expression: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metric {
    #[serde(rename = "metric_name")]
    pub(crate) name: String,
    pub(crate) expression: String,
    #[serde(default)]
    pub(crate) verbose_name: Option<String>,
}

/// A filter that the dashboard offers its viewers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) kind: FilterKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FilterKind {
    /// The time range, with what it is at first.
    Time { initial: Option<String> },
    /// Values of a column.
    Select { dataset: String, column: String },
}

// === impl Bundle ===

impl Bundle {
    /// From its files, by path below the bundle's root.
    pub(crate) fn parse<'a>(
        files: impl IntoIterator<Item = (String, &'a str)>,
    ) -> Result<Self, String> {
        let mut bundle = Bundle::default();
        for (path, text) in files {
            let failed = |error: serde_yaml_ng::Error| format!("{path}: {error}");
            let mut parts = path.split('/').rev();
            let name = parts.next().unwrap_or_default();
            if name.starts_with(['.', '_']) || !name.ends_with(".yaml") {
                continue;
            }
            // Datasets lie one level deeper, below their database.
            match parts.find(|part| ["charts", "datasets", "dashboards"].contains(part)) {
                Some("charts") => {
                    let chart: Chart = serde_yaml_ng::from_str(text).map_err(failed)?;
                    bundle.charts.insert(chart.uuid.clone(), chart);
                }
                Some("datasets") => {
                    let dataset: Dataset = serde_yaml_ng::from_str(text).map_err(failed)?;
                    bundle.datasets.insert(dataset.uuid.clone(), dataset);
                }
                Some(_) => {
                    let dashboard: Dashboard = serde_yaml_ng::from_str(text).map_err(failed)?;
                    let slug = dashboard
                        .slug
                        .clone()
                        .unwrap_or_else(|| dashboard.uuid.clone());
                    bundle.dashboards.insert(slug, dashboard);
                }
                None => {}
            }
        }
        if bundle.dashboards.is_empty() {
            return Err("it has no dashboard".to_owned());
        }
        Ok(bundle)
    }

    pub(crate) fn chart(&self, uuid: &str) -> Option<&Chart> {
        self.charts.get(uuid)
    }

    pub(crate) fn dataset(&self, uuid: &str) -> Option<&Dataset> {
        self.datasets.get(uuid)
    }

    /// The charts of a dashboard with their datasets, in reading order; one whose dataset is missing is left out.
    pub(crate) fn charts_of(&self, dashboard: &Dashboard) -> Vec<(&Chart, &Dataset)> {
        dashboard
            .layout()
            .rows
            .iter()
            .flatten()
            .filter_map(|card| {
                let chart = self.chart(&card.chart)?;
                Some((chart, self.dataset(&chart.dataset_uuid)?))
            })
            .collect()
    }
}

// === impl Dashboard ===

impl Dashboard {
    pub(crate) fn layout(&self) -> Layout {
        Layout::new(&self.position)
    }

    /// The native filters that are supported, in the bundle's order.
    pub(crate) fn filters(&self) -> Vec<Filter> {
        let configured = self.metadata["native_filter_configuration"].as_array();
        configured
            .into_iter()
            .flatten()
            .filter_map(|filter| {
                let text = |value: &Value| value.as_str().map(str::to_owned);
                let kind = match filter["filterType"].as_str()? {
                    "filter_time" => FilterKind::Time {
                        initial: text(&filter["defaultDataMask"]["filterState"]["value"]),
                    },
                    "filter_select" => FilterKind::Select {
                        dataset: text(&filter["targets"][0]["datasetUuid"])?,
                        column: text(&filter["targets"][0]["column"]["name"])?,
                    },
                    _ => return None,
                };
                Some(Filter {
                    id: text(&filter["id"])?,
                    name: text(&filter["name"])?,
                    kind,
                })
            })
            .collect()
    }
}

// === impl Dataset ===

impl Dataset {
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The table whose snapshots say that the data changed; `None` for a query.
    pub(crate) fn table_name(&self) -> Option<TableName> {
        if self.sql.is_some() {
            return None;
        }
        Some(TableName {
            catalog: self.catalog.clone(),
            schema: self.schema.clone(),
            table: self.table.clone(),
        })
    }
}

/// A table as the query engine names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TableName {
    pub(crate) catalog: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) table: String,
}

#[cfg(test)]
mod tests;
