-- The clickstream demo: bronze, silver and gold tables from one Kafka topic.
--
-- Plain Flink SQL: it runs unchanged on Flink 2.x with the Kafka and Iceberg connectors. Addresses are the documented
-- defaults of this platform. `streamforge.late-table` is ours; Flink keeps the setting and does nothing with it.

SET 'pipeline.name' = 'clickstream';
SET 'execution.checkpointing.interval' = '1 s';
SET 'table.local-time-zone' = 'UTC';
SET 'table.exec.state.ttl' = '1 min';
SET 'table.exec.source.idle-timeout' = '10 s';
SET 'streamforge.late-table' = 'iceberg.gold.late_events';

-- Sources -------------------------------------------------------------------------------------------------------------

-- The topic as raw text, so that a malformed record is a row like any other. What has no usable time, or one that lies
-- in the future, gets the epoch: it can hold back or push on no watermark.
CREATE TABLE clickstream (
  `key` STRING,
  payload STRING,
  topic STRING METADATA VIRTUAL,
  `partition` INT METADATA VIRTUAL,
  `offset` BIGINT METADATA VIRTUAL,
  kafka_timestamp TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  proc_time AS PROCTIME(),
  event_time AS CASE
    WHEN TO_TIMESTAMP(JSON_VALUE(payload, '$.timestamp_utc'), 'yyyy-MM-dd''T''HH:mm:ss.SSSX')
         < CAST(kafka_timestamp AS TIMESTAMP(3)) + INTERVAL '1' DAY
    THEN TO_TIMESTAMP(JSON_VALUE(payload, '$.timestamp_utc'), 'yyyy-MM-dd''T''HH:mm:ss.SSSX')
    ELSE TIMESTAMP '1970-01-01 00:00:00.000'
  END,
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'clickstream',
  'properties.bootstrap.servers' = '127.0.0.1:9092',
  'properties.group.id' = 'clickstream',
  'scan.startup.mode' = 'earliest-offset',
  'key.format' = 'raw',
  'key.fields' = 'key',
  'value.format' = 'raw',
  'value.fields-include' = 'EXCEPT_KEY'
);

-- Side inputs: bounded files, read whole when the job starts.
CREATE TABLE accounts (
  account_id STRING,
  country STRING,
  segment STRING,
  created_at TIMESTAMP(3),
  WATERMARK FOR created_at AS created_at,
  PRIMARY KEY (account_id) NOT ENFORCED
) WITH (
  'connector' = 'filesystem',
  'path' = 'file:///tmp/streamforge/demo/accounts',
  'format' = 'json'
);

CREATE TABLE pages (
  source_path STRING,
  page_title STRING,
  page_category STRING
) WITH (
  'connector' = 'filesystem',
  'path' = 'file:///tmp/streamforge/demo/pages',
  'format' = 'json'
);

-- Tables of the lake --------------------------------------------------------------------------------------------------

CREATE CATALOG iceberg WITH (
  'type' = 'iceberg',
  'catalog-type' = 'rest',
  'uri' = 'http://127.0.0.1:8181',
  'warehouse' = 's3://lakehouse/'
);

CREATE DATABASE IF NOT EXISTS iceberg.bronze;
CREATE DATABASE IF NOT EXISTS iceberg.silver;
CREATE DATABASE IF NOT EXISTS iceberg.gold;

CREATE TABLE IF NOT EXISTS iceberg.bronze.clickstream (
  `key` STRING,
  payload STRING,
  topic STRING,
  `partition` INT,
  `offset` BIGINT,
  kafka_timestamp TIMESTAMP_LTZ(6),
  ingest_time TIMESTAMP_LTZ(6)
) WITH (
  -- Nobody asks for the least payload.
  'write.metadata.metrics.column.payload' = 'none'
);

CREATE TABLE IF NOT EXISTS iceberg.silver.clickstream (
  event_identifier STRING,
  account_id STRING,
  action_name STRING,
  source_path STRING,
  session_token STRING,
  platform_type STRING,
  event_time TIMESTAMP(6),
  latitude DOUBLE,
  longitude DOUBLE,
  monetary_value DOUBLE,
  country STRING,
  segment STRING,
  page_title STRING,
  page_category STRING,
  event_date DATE
) PARTITIONED BY (event_date);

CREATE TABLE IF NOT EXISTS iceberg.silver.clickstream_rejected (
  reason STRING,
  `key` STRING,
  payload STRING,
  topic STRING,
  `partition` INT,
  `offset` BIGINT,
  kafka_timestamp TIMESTAMP_LTZ(6)
);

CREATE TABLE IF NOT EXISTS iceberg.silver.conversions (
  event_identifier STRING,
  event_time TIMESTAMP(6),
  account_id STRING,
  session_token STRING,
  country STRING,
  segment STRING,
  source_path STRING,
  platform_type STRING,
  monetary_value DOUBLE,
  PRIMARY KEY (event_identifier) NOT ENFORCED
) WITH (
  'format-version' = '2',
  'write.upsert.enabled' = 'true'
);

CREATE TABLE IF NOT EXISTS iceberg.gold.activity_per_minute (
  window_start TIMESTAMP(6),
  window_end TIMESTAMP(6),
  action_name STRING,
  platform_type STRING,
  events BIGINT,
  revenue DOUBLE
);

CREATE TABLE IF NOT EXISTS iceberg.gold.sessions (
  session_token STRING,
  account_id STRING,
  window_start TIMESTAMP(6),
  window_end TIMESTAMP(6),
  events BIGINT,
  purchases BIGINT,
  revenue DOUBLE
);

CREATE TABLE IF NOT EXISTS iceberg.gold.revenue_by_country (
  window_start TIMESTAMP(6),
  window_end TIMESTAMP(6),
  country STRING,
  purchases BIGINT,
  revenue DOUBLE
);

CREATE TABLE IF NOT EXISTS iceberg.gold.funnel (
  window_start TIMESTAMP(6),
  window_end TIMESTAMP(6),
  step STRING,
  sessions BIGINT
);

-- What came after its window had closed: which step dropped it, its time, and the row as that step saw it.
CREATE TABLE IF NOT EXISTS iceberg.gold.late_events (
  operator STRING,
  event_time TIMESTAMP(6),
  `row` STRING
);

-- Steps ---------------------------------------------------------------------------------------------------------------

CREATE TEMPORARY VIEW parsed AS
SELECT
  `key`, payload, topic, `partition`, `offset`, kafka_timestamp, proc_time, event_time,
  JSON_VALUE(payload, '$.event_identifier') AS event_identifier,
  JSON_VALUE(payload, '$.account_id') AS account_id,
  JSON_VALUE(payload, '$.action_name') AS action_name,
  JSON_VALUE(payload, '$.source_path') AS source_path,
  JSON_VALUE(payload, '$.session_token') AS session_token,
  JSON_VALUE(payload, '$.platform_type') AS platform_type,
  JSON_VALUE(payload, '$.location.latitude') AS latitude_text,
  JSON_VALUE(payload, '$.location.longitude') AS longitude_text,
  JSON_VALUE(payload, '$.monetary_value') AS monetary_text
FROM clickstream;

CREATE TEMPORARY VIEW validated AS
SELECT
  `key`, payload, topic, `partition`, `offset`, kafka_timestamp, proc_time, event_time,
  event_identifier, account_id, action_name, source_path, session_token, platform_type,
  TRY_CAST(latitude_text AS DOUBLE) AS latitude,
  TRY_CAST(longitude_text AS DOUBLE) AS longitude,
  TRY_CAST(monetary_text AS DOUBLE) AS monetary_value,
  CASE
    WHEN event_identifier IS NOT NULL
      AND account_id IS NOT NULL
      AND session_token IS NOT NULL
      AND source_path IS NOT NULL
      AND action_name IN ('page_view', 'add_to_cart', 'purchase', 'login', 'logout')
      AND platform_type IN ('mobile', 'desktop', 'tablet')
      AND event_time > TIMESTAMP '1970-01-01 00:00:00.000'
      AND (monetary_text IS NULL OR TRY_CAST(monetary_text AS DOUBLE) >= 0)
    THEN CAST(NULL AS STRING)
    WHEN payload IS NULL THEN 'empty'
    WHEN payload IS NOT JSON OBJECT THEN 'not a JSON object'
    WHEN event_identifier IS NULL THEN 'event_identifier is missing'
    WHEN account_id IS NULL THEN 'account_id is missing'
    WHEN session_token IS NULL THEN 'session_token is missing'
    WHEN source_path IS NULL THEN 'source_path is missing'
    WHEN action_name IS NULL THEN 'action_name is missing'
    WHEN action_name NOT IN ('page_view', 'add_to_cart', 'purchase', 'login', 'logout') THEN 'action_name is unknown'
    WHEN platform_type IS NULL THEN 'platform_type is missing'
    WHEN platform_type NOT IN ('mobile', 'desktop', 'tablet') THEN 'platform_type is unknown'
    WHEN event_time <= TIMESTAMP '1970-01-01 00:00:00.000' THEN 'timestamp_utc is missing, malformed or in the future'
    ELSE 'monetary_value is no amount'
  END AS reason
FROM parsed;

-- The first of equal identifiers, at once. Duplicates come within moments, so an identifier is remembered for a minute
-- (`table.exec.state.ttl`): at 150 000 events a second that is 9 million of them.
CREATE TEMPORARY VIEW events AS
SELECT
  event_identifier, account_id, action_name, source_path, session_token, platform_type, event_time, latitude,
  longitude, monetary_value
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY event_identifier ORDER BY proc_time ASC) AS row_num
  FROM validated
  WHERE reason IS NULL
)
WHERE row_num = 1;

-- Accounts and pages are read once, so they are kept for as long as the job runs: no time to live.
CREATE TEMPORARY VIEW enriched AS
SELECT /*+ STATE_TTL('a' = '0 s', 'p' = '0 s') */
  e.event_identifier, e.account_id, e.action_name, e.source_path, e.session_token, e.platform_type,
  CAST(e.event_time AS TIMESTAMP(6)) AS event_time, e.latitude, e.longitude, e.monetary_value,
  a.country, a.segment, p.page_title, p.page_category
FROM events AS e
JOIN accounts AS a ON e.account_id = a.account_id
JOIN pages AS p ON e.source_path = p.source_path;

-- Purchases with the country that the account had at that time; they keep their event time.
CREATE TEMPORARY VIEW purchases AS
SELECT e.event_time, e.monetary_value, COALESCE(a.country, 'unknown') AS country
FROM (SELECT account_id, event_time, monetary_value FROM events WHERE action_name = 'purchase') AS e
LEFT JOIN accounts FOR SYSTEM_TIME AS OF e.event_time AS a ON e.account_id = a.account_id;

-- The job -------------------------------------------------------------------------------------------------------------

EXECUTE STATEMENT SET BEGIN

INSERT INTO iceberg.bronze.clickstream
SELECT `key`, payload, topic, `partition`, `offset`, kafka_timestamp, CAST(proc_time AS TIMESTAMP_LTZ(6))
FROM clickstream;

INSERT INTO iceberg.silver.clickstream_rejected
SELECT reason, `key`, payload, topic, `partition`, `offset`, kafka_timestamp
FROM validated
WHERE reason IS NOT NULL;

INSERT INTO iceberg.silver.clickstream
SELECT
  event_identifier, account_id, action_name, source_path, session_token, platform_type, event_time, latitude,
  longitude, monetary_value, country, segment, page_title, page_category, CAST(event_time AS DATE)
FROM enriched;

INSERT INTO iceberg.silver.conversions
SELECT
  event_identifier, event_time, account_id, session_token, country, segment, source_path, platform_type,
  monetary_value
FROM enriched
WHERE action_name = 'purchase' AND monetary_value > 50;

INSERT INTO iceberg.gold.activity_per_minute
SELECT window_start, window_end, action_name, platform_type, COUNT(*), SUM(monetary_value)
FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(event_time), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, action_name, platform_type;

INSERT INTO iceberg.gold.sessions
SELECT
  session_token, MIN(account_id), window_start, window_end, COUNT(*),
  COUNT(*) FILTER (WHERE action_name = 'purchase'),
  SUM(monetary_value) FILTER (WHERE action_name = 'purchase')
FROM TABLE(SESSION(TABLE events PARTITION BY session_token, DESCRIPTOR(event_time), INTERVAL '30' SECOND))
GROUP BY session_token, window_start, window_end;

INSERT INTO iceberg.gold.revenue_by_country
SELECT window_start, window_end, country, COUNT(*), SUM(monetary_value)
FROM TABLE(HOP(TABLE purchases, DESCRIPTOR(event_time), INTERVAL '1' MINUTE, INTERVAL '5' MINUTE))
GROUP BY window_start, window_end, country;

INSERT INTO iceberg.gold.funnel
SELECT window_start, window_end, action_name, COUNT(DISTINCT session_token)
FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(event_time), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, action_name;

END;
