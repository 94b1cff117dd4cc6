//! From a chart and the chosen filters to the statements that Trino is asked, by the rules Superset follows.
//!
//! Golden tests compare with statements that Superset itself sent to Trino for the same charts.

use std::fmt::Write;

use chrono::NaiveDateTime;
use serde_json::Value;

use super::time::Range;
use super::{Chart, Dataset};

/// What is asked when the chart does not say how many rows it wants.
const DEFAULT_ROWS: u64 = 50_000;

/// What a viewer has chosen, on top of the chart's own filters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Chosen {
    /// A time range in place of the chart's own.
    pub(crate) time: Option<String>,
    /// Columns with their allowed values.
    pub(crate) values: Vec<(String, Vec<String>)>,
}

/// The statements of a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statements {
    pub(crate) main: String,
    /// For the span of time before, where the chart compares with it.
    pub(crate) before: Option<Before>,
}

/// How a chart compares with the span of time before its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) sql: String,
    /// Has a row only if there is data from before that span: otherwise the span is filled in part, and a change
    /// against it would say only how young the table is.
    pub(crate) reached: String,
}

/// The parts of one statement.
struct Select<'a> {
    dataset: &'a Dataset,
    params: &'a Value,
    conditions: Vec<String>,
    having: Vec<String>,
    /// Expression and alias of each dimension.
    dimensions: Vec<(String, String)>,
    /// Expression and label of each metric.
    metrics: Vec<(String, String)>,
}

/// The statements for `chart` at `now`.
pub(crate) fn statements(
    chart: &Chart,
    dataset: &Dataset,
    chosen: &Chosen,
    now: NaiveDateTime,
) -> Result<Statements, String> {
    let compares = chart.viz_type == "pop_kpi";
    let range = time_range(chart, chosen, now)?;
    let main = statement(chart, dataset, chosen, range)?;
    let before = match range.and_then(Range::before) {
        Some(earlier) if compares => Some(Before {
            sql: statement(chart, dataset, chosen, Some(earlier))?,
            reached: reached(chart, dataset, earlier),
        }),
        _ => None,
    };
    Ok(Statements { main, before })
}

/// The values a viewer can choose of a column.
pub(crate) fn filter_values(dataset: &Dataset, column: &str) -> String {
    let column = quote(column);
    format!(
        "SELECT {column} AS {column}\nFROM {}\nGROUP BY {column}\nORDER BY {column} ASC\nLIMIT 1000",
        from(dataset)
    )
}

fn statement(
    chart: &Chart,
    dataset: &Dataset,
    chosen: &Chosen,
    range: Option<Range>,
) -> Result<String, String> {
    let params = &chart.params;
    let mut select = Select {
        dataset,
        params,
        conditions: Vec::new(),
        having: Vec::new(),
        dimensions: Vec::new(),
        metrics: Vec::new(),
    };
    select.add_filters(range)?;
    select.add_chosen(chosen);
    let columns = |key: &str| names(&params[key]);
    let mut order = Order::None;
    match chart.viz_type.as_str() {
        "big_number_total" | "pop_kpi" | "gauge_chart" => {
            select.add_metrics(&[&params["metric"]])?
        }
        "big_number" => {
            select.add_x_axis()?;
            select.add_metrics(&[&params["metric"]])?;
        }
        "pie" | "funnel" => {
            select.add_columns(&columns("groupby"));
            select.add_metrics(&[&params["metric"]])?;
            if params["sort_by_metric"].as_bool().unwrap_or(true) {
                order = Order::FirstMetric;
            }
        }
        "table" if params["query_mode"] == "raw" => {
            select.add_columns(&columns("all_columns"));
            order = Order::Raw;
        }
        "table" => {
            select.add_columns(&columns("groupby"));
            select.add_metrics(&list(&params["metrics"]))?;
            order = Order::FirstMetric;
        }
        "treemap_v2" => {
            select.add_columns(&columns("groupby"));
            select.add_metrics(&[&params["metric"]])?;
            order = Order::Dimensions;
        }
        "heatmap_v2" => {
            select.add_x_axis()?;
            select.add_columns(&columns("groupby"));
            select.add_metrics(&[&params["metric"]])?;
            order = Order::Dimensions;
        }
        "world_map" => {
            select.add_columns(&columns("entity"));
            select.add_metrics(&[&params["metric"]])?;
            order = Order::FirstMetric;
        }
        kind if kind == "echarts_area" || kind.starts_with("echarts_timeseries") => {
            select.add_x_axis()?;
            select.add_columns(&columns("groupby"));
            select.add_metrics(&list(&params["metrics"]))?;
            order = Order::FirstMetric;
        }
        other => return Err(format!("chart type `{other}` is not drawn here")),
    }
    select.write(order)
}

#[derive(Clone, Copy)]
enum Order {
    None,
    FirstMetric,
    Dimensions,
    /// As the chart's `order_by_cols` say.
    Raw,
}

// === impl Select ===

impl Select<'_> {
    fn add_filters(&mut self, range: Option<Range>) -> Result<(), String> {
        for filter in list(&self.params["adhoc_filters"]) {
            if filter["expressionType"] == "SQL" {
                let expression = filter["sqlExpression"].as_str().unwrap_or_default();
                let target = if filter["clause"] == "HAVING" {
                    &mut self.having
                } else {
                    &mut self.conditions
                };
                target.push(format!("(({expression}))"));
                continue;
            }
            let subject = quote(filter["subject"].as_str().unwrap_or_default());
            let operator = filter["operator"].as_str().unwrap_or_default();
            if operator == "TEMPORAL_RANGE" {
                let range = range.unwrap_or_default();
                for (comparison, end) in [(">=", range.since), ("<", range.until)] {
                    if let Some(end) = end {
                        self.conditions
                            .push(format!("{subject} {comparison} {}", timestamp(end)));
                    }
                }
                continue;
            }
            self.conditions
                .push(condition(&subject, operator, &filter["comparator"])?);
        }
        Ok(())
    }

    /// A filter reaches the charts whose dataset has its column.
    fn add_chosen(&mut self, chosen: &Chosen) {
        for (column, values) in &chosen.values {
            if self.dataset.column(column).is_some() && !values.is_empty() {
                let values: Vec<String> = values.iter().map(|value| text(value)).collect();
                self.conditions
                    .push(format!("{} IN ({})", quote(column), values.join(", ")));
            }
        }
    }

    fn add_x_axis(&mut self) -> Result<(), String> {
        let name = self.params["x_axis"]
            .as_str()
            .ok_or("the chart has no `x_axis`")?;
        let expression = self.expression(name);
        let is_time = self
            .dataset
            .column(name)
            .is_some_and(|column| column.is_dttm == Some(true));
        let expression = match self.params["time_grain_sqla"].as_str() {
            Some(grain) if is_time => grained(&expression, grain)?,
            _ => expression,
        };
        self.dimensions.push((expression, name.to_owned()));
        Ok(())
    }

    fn add_columns(&mut self, columns: &[String]) {
        for column in columns {
            self.dimensions
                .push((self.expression(column), column.clone()));
        }
    }

    /// A column, or what the dataset calculates under its name.
    fn expression(&self, column: &str) -> String {
        self.dataset
            .column(column)
            .and_then(|column| column.expression.clone())
            .filter(|expression| !expression.is_empty())
            .unwrap_or_else(|| quote(column))
    }

    fn add_metrics(&mut self, metrics: &[&Value]) -> Result<(), String> {
        for metric in metrics {
            self.metrics.push(measure(self.dataset, metric)?);
        }
        Ok(())
    }

    fn write(&self, order: Order) -> Result<String, String> {
        let from = from(self.dataset);
        let selected: Vec<String> = self
            .dimensions
            .iter()
            .chain(&self.metrics)
            .map(|(expression, alias)| format!("{expression} AS {}", quote(alias)))
            .collect();
        if selected.is_empty() {
            return Err("the chart asks for nothing".to_owned());
        }
        let mut sql = format!("SELECT {}\nFROM {from}", selected.join(", "));
        let filter = if self.conditions.is_empty() {
            String::new()
        } else {
            format!("\nWHERE {}", self.conditions.join(" AND "))
        };
        sql += &self.series_limit(&from, &filter)?;
        sql += &filter;
        if !self.dimensions.is_empty() && !self.metrics.is_empty() {
            let grouped: Vec<&str> = self
                .dimensions
                .iter()
                .map(|(expression, _)| expression.as_str())
                .collect();
            sql += &format!("\nGROUP BY {}", grouped.join(", "));
        }
        if !self.having.is_empty() {
            sql += &format!("\nHAVING {}", self.having.join(" AND "));
        }
        sql += &self.order(order);
        let rows = self.params["row_limit"].as_u64().unwrap_or(DEFAULT_ROWS);
        // Infallible: a String never refuses.
        let _written = write!(sql, "\nLIMIT {rows}");
        Ok(sql)
    }

    fn order(&self, order: Order) -> String {
        let keys: Vec<String> = match order {
            Order::None => Vec::new(),
            Order::FirstMetric => self
                .metrics
                .first()
                .map(|(_, label)| format!("{} DESC", quote(label)))
                .into_iter()
                .collect(),
            Order::Dimensions => self
                .dimensions
                .iter()
                .map(|(_, alias)| format!("{} ASC", quote(alias)))
                .collect(),
            // Each entry is JSON in a string: `["column", ascending]`.
            Order::Raw => list(&self.params["order_by_cols"])
                .into_iter()
                .filter_map(|entry| serde_json::from_str::<(String, bool)>(entry.as_str()?).ok())
                .map(|(column, ascending)| {
                    let direction = if ascending { "ASC" } else { "DESC" };
                    format!("{} {direction}", quote(&column))
                })
                .collect(),
        };
        if keys.is_empty() || self.dimensions.is_empty() {
            return String::new();
        }
        format!("\nORDER BY {}", keys.join(", "))
    }

    /// Only the series that come first by the limit metric, found by joining the table with itself.
    fn series_limit(&self, from: &str, filter: &str) -> Result<String, String> {
        let Some(limit) = self.params["limit"].as_u64().filter(|limit| *limit > 0) else {
            return Ok(String::new());
        };
        let series = names(&self.params["groupby"]);
        let metric = match &self.params["timeseries_limit_metric"] {
            Value::Null => self.metrics.first().cloned(),
            metric => Some(measure(self.dataset, metric)?),
        };
        let (Some((expression, _)), false) = (metric, series.is_empty()) else {
            return Ok(String::new());
        };
        let columns: Vec<String> = series.iter().map(|name| quote(name)).collect();
        let inner: Vec<String> = series
            .iter()
            .map(|name| format!("{} AS {}", quote(name), quote(&format!("{name}__"))))
            .collect();
        let joined: Vec<String> = series
            .iter()
            .map(|name| format!("{} = {}", quote(name), quote(&format!("{name}__"))))
            .collect();
        Ok(format!(
            "\nJOIN (SELECT {}, {expression} AS mme_inner__ FROM {from}{filter} GROUP BY {} ORDER BY {expression} DESC LIMIT {limit}) AS series_limit ON {}",
            inner.join(", "),
            columns.join(", "),
            joined.join(" AND "),
        ))
    }
}

/// Whether the dataset has anything from before `range`, whatever is filtered.
fn reached(chart: &Chart, dataset: &Dataset, range: Range) -> String {
    let since = range.since.map(timestamp).unwrap_or_default();
    let column =
        temporal(chart).map(|filter| quote(filter["subject"].as_str().unwrap_or_default()));
    let column = column.unwrap_or_default();
    format!(
        "SELECT {column} FROM {}\nWHERE {column} < {since}\nLIMIT 1",
        from(dataset)
    )
}

/// The chart's own filter on a time.
fn temporal(chart: &Chart) -> Option<&Value> {
    list(&chart.params["adhoc_filters"])
        .into_iter()
        .find(|filter| filter["operator"] == "TEMPORAL_RANGE")
}

/// The range that holds for the chart: the viewer's, or the one of its own filter; `None` when it has no such filter.
fn time_range(chart: &Chart, chosen: &Chosen, now: NaiveDateTime) -> Result<Option<Range>, String> {
    let Some(own) = temporal(chart) else {
        return Ok(None);
    };
    let text = chosen
        .time
        .as_deref()
        .or_else(|| own["comparator"].as_str())
        .unwrap_or_default();
    Range::parse(text, now).map(Some)
}

/// Expression and label of a metric: one the dataset has by name, or one the chart brings.
fn measure(dataset: &Dataset, metric: &Value) -> Result<(String, String), String> {
    if let Some(name) = metric.as_str() {
        let saved = dataset
            .metrics
            .iter()
            .find(|saved| saved.name == name)
            .ok_or_else(|| format!("dataset `{}` has no metric `{name}`", dataset.table))?;
        return Ok((saved.expression.clone(), name.to_owned()));
    }
    let label = metric["label"].as_str();
    if metric["expressionType"] == "SQL" {
        let expression = metric["sqlExpression"]
            .as_str()
            .ok_or("a metric has no `sqlExpression`")?;
        return Ok((
            expression.to_owned(),
            label.unwrap_or(expression).to_owned(),
        ));
    }
    let column = metric["column"]["column_name"]
        .as_str()
        .ok_or("a metric has no column")?;
    let column = quote(column);
    let expression = match metric["aggregate"].as_str() {
        Some("COUNT_DISTINCT") => format!("COUNT(DISTINCT {column})"),
        Some(aggregate @ ("SUM" | "AVG" | "MIN" | "MAX" | "COUNT")) => {
            format!("{aggregate}({column})")
        }
        other => return Err(format!("aggregate `{}` is not known", other.unwrap_or(""))),
    };
    let label = label.unwrap_or(&expression).to_owned();
    Ok((expression, label))
}

fn condition(subject: &str, operator: &str, value: &Value) -> Result<String, String> {
    Ok(match operator {
        "IN" | "NOT IN" => {
            let values: Vec<String> = list(value).into_iter().map(literal).collect();
            format!("{subject} {operator} ({})", values.join(", "))
        }
        "==" => format!("{subject} = {}", literal(value)),
        "!=" => format!("{subject} <> {}", literal(value)),
        "<" | "<=" | ">" | ">=" => format!("{subject} {operator} {}", literal(value)),
        "LIKE" | "NOT LIKE" => format!("{subject} {operator} {}", literal(value)),
        "ILIKE" => format!("LOWER({subject}) LIKE LOWER({})", literal(value)),
        "NOT ILIKE" => format!("LOWER({subject}) NOT LIKE LOWER({})", literal(value)),
        "IS NULL" => format!("{subject} IS NULL"),
        "IS NOT NULL" => format!("NOT {subject} IS NULL"),
        "IS TRUE" => format!("{subject} IS TRUE"),
        "IS FALSE" => format!("{subject} IS FALSE"),
        other => return Err(format!("filter operator `{other}` is not known")),
    })
}

/// The expression that rounds a time down to its grain.
fn grained(column: &str, grain: &str) -> Result<String, String> {
    let time = format!("CAST({column} AS TIMESTAMP)");
    let unit = match grain {
        "PT1S" => "SECOND",
        "PT1M" => "MINUTE",
        "PT1H" => "HOUR",
        "P1D" => "DAY",
        "P1W" => "WEEK",
        "P1M" => "MONTH",
        "P3M" => "QUARTER",
        "P1Y" => "YEAR",
        _ => {
            let (unit, count) = match grain {
                "PT5S" => ("SECOND", 5),
                "PT30S" => ("SECOND", 30),
                "PT5M" => ("MINUTE", 5),
                "PT10M" => ("MINUTE", 10),
                "PT15M" => ("MINUTE", 15),
                "PT0.5H" => ("MINUTE", 30),
                "PT6H" => ("HOUR", 6),
                other => return Err(format!("time grain `{other}` is not known")),
            };
            return Ok(format!(
                "DATE_TRUNC('{unit}', {time}) - INTERVAL '1' {unit} * ({unit}({time}) % {count})"
            ));
        }
    };
    Ok(format!("DATE_TRUNC('{unit}', {time})"))
}

fn from(dataset: &Dataset) -> String {
    if let Some(sql) = &dataset.sql {
        return format!("({sql}) AS virtual_table");
    }
    [
        &dataset.catalog,
        &dataset.schema,
        &Some(dataset.table.clone()),
    ]
    .into_iter()
    .flatten()
    .map(|part| quote(part))
    .collect::<Vec<_>>()
    .join(".")
}

/// A name, in quotes where it needs them.
pub(crate) fn quote(name: &str) -> String {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && !RESERVED.contains(&name);
    if plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// Words of Trino that cannot be names without quotes.
const RESERVED: [&str; 24] = [
    "case",
    "cast",
    "cross",
    "current_date",
    "current_time",
    "distinct",
    "end",
    "exists",
    "false",
    "from",
    "group",
    "having",
    "in",
    "join",
    "like",
    "not",
    "null",
    "on",
    "or",
    "order",
    "select",
    "table",
    "true",
    "where",
];

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

fn literal(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Bool(boolean) => boolean.to_string(),
        Value::String(string) => text(string),
        Value::Null => "NULL".to_owned(),
        other => text(&other.to_string()),
    }
}

fn timestamp(instant: NaiveDateTime) -> String {
    format!(
        "CAST('{}' AS TIMESTAMP)",
        instant.format("%Y-%m-%d %H:%M:%S%.6f")
    )
}

fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

fn names(value: &Value) -> Vec<String> {
    list(value)
        .into_iter()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests;
