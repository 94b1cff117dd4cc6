-- The demo's other tables, made of its events by DuckDB for the stand-in.
CREATE TABLE silver.conversions AS SELECT event_identifier, event_time, account_id, session_token, country, 'retail' AS segment, source_path,
    platform_type, monetary_value FROM silver.clickstream WHERE action_name = 'purchase' AND monetary_value > 50;
CREATE TABLE gold.activity_per_minute AS SELECT date_trunc('minute', event_time) AS window_start, date_trunc('minute', event_time) + INTERVAL 1 MINUTE AS window_end,
    action_name, platform_type, count(*) AS events, sum(monetary_value) AS revenue FROM silver.clickstream GROUP BY ALL;
CREATE TABLE gold.sessions AS SELECT session_token, min(account_id) AS account_id, min(event_time) AS window_start, max(event_time) AS window_end, count(*) AS events,
    count(*) FILTER (action_name = 'purchase') AS purchases, sum(monetary_value) AS revenue
    FROM silver.clickstream GROUP BY session_token, date_trunc('minute', event_time) - INTERVAL 1 MINUTE * (minute(event_time) % 5);
CREATE TABLE gold.revenue_by_country AS SELECT date_trunc('minute', event_time) - INTERVAL 1 MINUTE * hop AS window_start,
    date_trunc('minute', event_time) + INTERVAL 1 MINUTE * (5 - hop) AS window_end, country, count(*) AS purchases, sum(monetary_value) AS revenue
    FROM silver.clickstream, (SELECT range AS hop FROM range(5)) WHERE action_name = 'purchase' GROUP BY ALL;
CREATE TABLE gold.funnel AS SELECT date_trunc('minute', event_time) - INTERVAL 1 MINUTE * (minute(event_time) % 5) AS window_start,
    date_trunc('minute', event_time) - INTERVAL 1 MINUTE * (minute(event_time) % 5) + INTERVAL 5 MINUTE AS window_end,
    action_name AS step, count(DISTINCT session_token) AS sessions FROM silver.clickstream GROUP BY ALL;
