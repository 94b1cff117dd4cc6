//! Golden: the statements on the right were sent to Trino by Superset 6.1.0 for the same charts and dataset.

use serde_json::json;

use super::*;

fn dataset() -> Dataset {
    serde_json::from_value(json!({
        "table_name": "orders_live", "catalog": "iceberg", "schema": "analytics", "uuid": "d",
        "metrics": [
            {"metric_name": "count", "expression": "COUNT(*)"},
            {"metric_name": "revenue", "expression": "SUM(amount)"},
        ],
        "columns": [
            {"column_name": "event_time", "is_dttm": true},
            {"column_name": "region"}, {"column_name": "country"}, {"column_name": "status"},
            {"column_name": "Odd", "expression": "upper(status)"},
        ],
    }))
    .unwrap()
}

fn chart(viz_type: &str, mut params: Value) -> Chart {
    let mut filters = vec![json!({
        "expressionType": "SIMPLE", "clause": "WHERE", "subject": "event_time",
        "operator": "TEMPORAL_RANGE", "comparator": "Last day",
    })];
    filters.extend(
        params["adhoc_filters"]
            .as_array()
            .cloned()
            .unwrap_or_default(),
    );
    params["adhoc_filters"] = json!(filters);
    serde_json::from_value(json!({
        "slice_name": "c", "uuid": "c", "dataset_uuid": "d", "viz_type": viz_type, "params": params,
    }))
    .unwrap()
}

fn ask(chart: &Chart, chosen: &Chosen) -> Statements {
    let now = "2026-11-22T10:57:05".parse().unwrap();
    statements(chart, &dataset(), chosen, now).unwrap()
}

/// Superset prints its statements over many lines.
fn flat(sql: &str) -> String {
    let words: Vec<&str> = sql.split_whitespace().collect();
    words.join(" ").replace("( ", "(").replace(" )", ")")
}

#[track_caller]
fn check(viz_type: &str, params: Value, superset: &str) {
    let sent = ask(&chart(viz_type, params), &Chosen::default()).main;
    assert_eq!(flat(&sent), flat(superset));
}

const DAY: &str = "event_time >= CAST('2026-11-21 00:00:00.000000' AS TIMESTAMP) \
    AND event_time < CAST('2026-11-22 00:00:00.000000' AS TIMESTAMP)";

#[test]
fn numbers() {
    check(
        "big_number_total",
        json!({"metric": "count"}),
        &format!(
            "SELECT COUNT(*) AS count FROM iceberg.analytics.orders_live WHERE {DAY} LIMIT 50000"
        ),
    );
    check(
        "big_number",
        json!({"metric": "revenue", "x_axis": "event_time", "time_grain_sqla": "PT1H"}),
        &format!(
            "SELECT DATE_TRUNC('HOUR', CAST(event_time AS TIMESTAMP)) AS event_time, SUM(amount) AS revenue
             FROM iceberg.analytics.orders_live WHERE {DAY}
             GROUP BY DATE_TRUNC('HOUR', CAST(event_time AS TIMESTAMP)) LIMIT 50000"
        ),
    );
}

#[test]
fn a_pie() {
    check(
        "pie",
        json!({"groupby": ["status"], "metric": "count", "row_limit": 100, "sort_by_metric": true}),
        &format!(
            "SELECT status AS status, COUNT(*) AS count FROM iceberg.analytics.orders_live WHERE {DAY}
             GROUP BY status ORDER BY count DESC LIMIT 100"
        ),
    );
}

#[test]
fn a_line_of_the_ten_largest_series() {
    let params = json!({
        "x_axis": "event_time", "time_grain_sqla": "PT5M", "metrics": ["count"], "groupby": ["region"],
        "limit": 10, "timeseries_limit_metric": "count", "row_limit": 10000,
    });
    let grain = "DATE_TRUNC('MINUTE', CAST(event_time AS TIMESTAMP)) - INTERVAL '1' MINUTE * (MINUTE(CAST(event_time AS TIMESTAMP)) % 5)";
    check(
        "echarts_timeseries_line",
        params,
        &format!(
            "SELECT {grain} AS event_time, region AS region, COUNT(*) AS count FROM iceberg.analytics.orders_live
             JOIN (SELECT region AS region__, COUNT(*) AS mme_inner__ FROM iceberg.analytics.orders_live WHERE {DAY}
                   GROUP BY region ORDER BY COUNT(*) DESC LIMIT 10) AS series_limit ON region = region__
             WHERE {DAY} GROUP BY {grain}, region ORDER BY count DESC LIMIT 10000"
        ),
    );
}

#[test]
fn bars_with_a_metric_of_their_own() {
    let metric = json!({"expressionType": "SIMPLE", "aggregate": "SUM", "column": {"column_name": "amount"}, "label": "SUM(amount)"});
    check(
        "echarts_timeseries_bar",
        json!({"x_axis": "product", "metrics": [metric], "groupby": ["region"], "row_limit": 1000}),
        &format!(
            "SELECT product AS product, region AS region, SUM(amount) AS \"SUM(amount)\" FROM iceberg.analytics.orders_live
             WHERE {DAY} GROUP BY product, region ORDER BY \"SUM(amount)\" DESC LIMIT 1000"
        ),
    );
}

#[test]
fn tables_of_groups_and_of_rows() {
    let gross =
        json!({"expressionType": "SQL", "sqlExpression": "SUM(amount * qty)", "label": "gross"});
    let failed =
        json!({"expressionType": "SQL", "clause": "WHERE", "sqlExpression": "status <> 'failed'"});
    check(
        "table",
        json!({"query_mode": "aggregate", "groupby": ["country", "region"], "metrics": ["count", gross],
               "adhoc_filters": [failed], "row_limit": 1000}),
        &format!(
            "SELECT country AS country, region AS region, COUNT(*) AS count, SUM(amount * qty) AS gross
             FROM iceberg.analytics.orders_live WHERE {DAY} AND ((status <> 'failed'))
             GROUP BY country, region ORDER BY count DESC LIMIT 1000"
        ),
    );
    check(
        "table",
        json!({"query_mode": "raw", "all_columns": ["event_time", "status"], "order_by_cols": ["[\"event_time\", false]"], "row_limit": 50}),
        &format!(
            "SELECT event_time AS event_time, status AS status FROM iceberg.analytics.orders_live
             WHERE {DAY} ORDER BY event_time DESC LIMIT 50"
        ),
    );
}

#[test]
fn the_values_of_a_filter() {
    assert_eq!(
        flat(&filter_values(&dataset(), "region")),
        "SELECT region AS region FROM iceberg.analytics.orders_live GROUP BY region ORDER BY region ASC LIMIT 1000"
    );
}

#[test]
fn choices_add_filters_where_the_dataset_has_the_column() {
    let chosen = Chosen {
        time: Some("2026-11-01 : ".to_owned()),
        values: vec![
            (
                "country".to_owned(),
                vec!["O'Land".to_owned(), "PL".to_owned()],
            ),
            ("elsewhere".to_owned(), vec!["x".to_owned()]),
        ],
    };
    let sent = ask(&chart("pop_kpi", json!({"metric": "count"})), &chosen);
    assert_eq!(
        flat(&sent.main),
        "SELECT COUNT(*) AS count FROM iceberg.analytics.orders_live \
         WHERE event_time >= CAST('2026-11-01 00:00:00.000000' AS TIMESTAMP) AND country IN ('O''Land', 'PL') LIMIT 50000"
    );
    assert_eq!(sent.before, None, "an open range has none before it");
}

#[test]
fn a_comparison_asks_for_the_span_before() {
    let sent = ask(
        &chart("pop_kpi", json!({"metric": "count"})),
        &Chosen::default(),
    );
    let before = sent.before.unwrap();
    assert!(
        before.sql.contains(
            "event_time >= CAST('2026-11-20 00:00:00.000000' AS TIMESTAMP) AND event_time < CAST('2026-11-21 00:00:00.000000' AS TIMESTAMP)"
        )
    );
    // Only if there is something from before that span is it a full one.
    assert_eq!(
        flat(&before.reached),
        "SELECT event_time FROM iceberg.analytics.orders_live \
         WHERE event_time < CAST('2026-11-20 00:00:00.000000' AS TIMESTAMP) LIMIT 1"
    );
}

#[test]
fn names_and_expressions_are_written_safely() {
    assert_eq!(quote("plain_1"), "plain_1");
    assert_eq!(quote("order"), "\"order\"");
    assert_eq!(quote("a\"b"), "\"a\"\"b\"");
    assert_eq!(quote("t$snapshots"), "\"t$snapshots\"");
    let sent = ask(
        &chart("pie", json!({"groupby": ["Odd"], "metric": "count"})),
        &Chosen::default(),
    );
    assert!(
        sent.main
            .starts_with("SELECT upper(status) AS \"Odd\", COUNT(*) AS count")
    );
    assert!(sent.main.contains("GROUP BY upper(status)"));
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let now = "2026-11-22T10:57:05".parse().unwrap();
    let refused =
        |chart: &Chart| statements(chart, &dataset(), &Chosen::default(), now).unwrap_err();
    assert_eq!(
        refused(&chart("deck_scatter", json!({}))),
        "chart type `deck_scatter` is not drawn here"
    );
    assert_eq!(
        refused(&chart(
            "pie",
            json!({"groupby": ["status"], "metric": "none"})
        )),
        "dataset `orders_live` has no metric `none`"
    );
    let odd = json!([{"subject": "a", "operator": "NEAR", "comparator": 1}]);
    assert_eq!(
        refused(&chart(
            "pie",
            json!({"groupby": ["status"], "metric": "count", "adhoc_filters": odd})
        )),
        "filter operator `NEAR` is not known"
    );
}
