# Set before: MODE "close" or "check", JOBS (the job REST), INPUTS (directory of the demo's side inputs); for "check" also
# EMITTED (what the emitter printed at its end), STRICT (nothing may be late), COUNTED (late rows were counted from the
# start).
import datetime
import json
import os
import re
import tempfile

import duckdb
import pyarrow as pa
import requests
import trino
from confluent_kafka import Consumer, Producer, TopicPartition
from pyiceberg.catalog import load_catalog

TOPIC = "clickstream"


def lines(name):
    with open(f"{INPUTS}/{name}/part-0.json") as file:
        return [json.loads(line) for line in file]


def partitions():
    consumer = Consumer({"bootstrap.servers": os.environ["KAFKA"], "group.id": "partitions"})
    found = sorted(consumer.list_topics(TOPIC, timeout=30).topics[TOPIC].partitions)
    consumer.close()
    return found


def close():
    """Two records to each partition: one that is part of the results, and one that closes its windows."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0, tzinfo=None)
    first, second = now + datetime.timedelta(minutes=30), now + datetime.timedelta(minutes=60)
    account = lines("accounts")[0]["account_id"]
    producer = Producer({"bootstrap.servers": os.environ["KAFKA"], "acks": "all", "enable.idempotence": True})
    for action, time in (("purchase", first), ("page_view", second)):
        for partition in partitions():
            event = {"event_identifier": f"closing-{action}-{partition}", "account_id": account,
                     "action_name": action, "source_path": "/", "session_token": f"closing-{action}-{partition}",
                     "platform_type": "desktop", "timestamp_utc": time.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                     "location": {"latitude": 1.5, "longitude": 2.5},
                     "monetary_value": 60.25 if action == "purchase" else None}
            producer.produce(TOPIC, key=account, value=json.dumps(event), partition=partition)
        assert producer.flush(60) == 0
    print(first)


def late_counted():
    jobs = requests.get(f"{JOBS}/jobs/overview", timeout=30).json()["jobs"]
    job = next(job["jid"] for job in jobs if job["name"] == "clickstream" and job["state"] == "RUNNING")
    return requests.get(f"{JOBS}/jobs/{job}", timeout=30).json()["late-records"]


def read_topic():
    consumer = Consumer({"bootstrap.servers": os.environ["KAFKA"], "group.id": "check", "enable.auto.commit": False,
                         "auto.offset.reset": "earliest"})
    ends = {p: consumer.get_watermark_offsets(TopicPartition(TOPIC, p), timeout=30)[1] for p in partitions()}
    consumer.assign([TopicPartition(TOPIC, p, 0) for p in ends])
    schema = pa.schema({"partition": pa.int32(), "offset": pa.int64(), "key": pa.string(), "payload": pa.string()})
    text = lambda value: None if value is None else value.decode("utf-8", "replace")
    # Column by column as they come: millions of records as objects of Python would not fit beside the platform.
    batches, count = [], 0
    while count < sum(ends.values()):
        messages = consumer.consume(10_000, timeout=30)
        assert messages, f"{count} of {ends}"
        for message in messages:
            assert message.error() is None, message.error()
        rows = [[message.partition() for message in messages], [message.offset() for message in messages],
                [text(message.key()) for message in messages], [text(message.value()) for message in messages]]
        arrays = [pa.array(column, field.type) for column, field in zip(rows, schema)]
        batches.append(pa.record_batch(arrays, schema=schema))
        count += len(messages)
    consumer.close()
    return pa.Table.from_batches(batches, schema)


def naive(table):
    """Timestamps with a zone as UTC without one."""
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.tz:
            table = table.set_column(index, field.name, table.column(index).cast(pa.timestamp("us")))
    return table


def by_trino(sql):
    host, port = os.environ["TRINO_PORT"].split(":")
    cursor = trino.dbapi.connect(host=host, port=int(port), user="test", catalog="iceberg").cursor()
    cursor.execute(sql)
    rows = cursor.fetchall()
    names = [column[0] for column in cursor.description]
    return pa.table({name: [row[at] for row in rows] for at, name in enumerate(names)})


EVENTS = """
CREATE MACRO scalar(document, path) AS CASE
    WHEN json_type(document, path) IN ('VARCHAR', 'BIGINT', 'UBIGINT', 'HUGEINT', 'DOUBLE', 'BOOLEAN')
    THEN json_extract_string(document, path) END;
CREATE TABLE parsed AS SELECT *, CASE WHEN json_valid(payload) THEN payload END AS document FROM bronze;
CREATE TABLE fields AS SELECT *,
    scalar(document, '$.event_identifier') AS event_identifier, scalar(document, '$.account_id') AS account_id,
    scalar(document, '$.action_name') AS action_name, scalar(document, '$.source_path') AS source_path,
    scalar(document, '$.session_token') AS session_token, scalar(document, '$.platform_type') AS platform_type,
    TRY_CAST(scalar(document, '$.location.latitude') AS DOUBLE) AS latitude,
    TRY_CAST(scalar(document, '$.location.longitude') AS DOUBLE) AS longitude,
    scalar(document, '$.monetary_value') AS monetary_text,
    TRY_CAST(scalar(document, '$.monetary_value') AS DOUBLE) AS monetary_value,
    try_strptime(scalar(document, '$.timestamp_utc'), '%Y-%m-%dT%H:%M:%S.%gZ') AS stamp FROM parsed;
CREATE TABLE timed AS SELECT *, CASE WHEN stamp < kafka_timestamp + INTERVAL 1 DAY THEN stamp
    ELSE TIMESTAMP '1970-01-01' END AS event_time FROM fields;
DROP TABLE parsed;
DROP TABLE fields;
CREATE TABLE validated AS SELECT *, CASE
    WHEN payload IS NULL THEN 'empty'
    WHEN document IS NULL OR json_type(document) <> 'OBJECT' THEN 'not a JSON object'
    WHEN event_identifier IS NULL THEN 'event_identifier is missing'
    WHEN account_id IS NULL THEN 'account_id is missing'
    WHEN session_token IS NULL THEN 'session_token is missing'
    WHEN source_path IS NULL THEN 'source_path is missing'
    WHEN action_name IS NULL THEN 'action_name is missing'
    WHEN action_name NOT IN ('page_view', 'add_to_cart', 'purchase', 'login', 'logout') THEN 'action_name is unknown'
    WHEN platform_type IS NULL THEN 'platform_type is missing'
    WHEN platform_type NOT IN ('mobile', 'desktop', 'tablet') THEN 'platform_type is unknown'
    WHEN event_time <= TIMESTAMP '1970-01-01' THEN 'timestamp_utc is missing, malformed or in the future'
    WHEN monetary_text IS NOT NULL AND (monetary_value IS NULL OR monetary_value < 0)
    THEN 'monetary_value is no amount' END AS reason FROM timed;
DROP TABLE timed;
CREATE TABLE events AS SELECT DISTINCT ON (event_identifier) * EXCLUDE (key, payload, document)
    FROM validated WHERE reason IS NULL;
CREATE TABLE counted AS SELECT * FROM events WHERE event_identifier NOT LIKE 'closing-page_view-%';
CREATE TABLE enriched AS SELECT e.event_identifier, e.account_id, e.action_name, e.source_path, e.session_token,
    e.platform_type, e.event_time, e.latitude, e.longitude, e.monetary_value, a.country, a.segment, p.page_title,
    p.page_category, CAST(e.event_time AS DATE) AS event_date
    FROM events e JOIN accounts a USING (account_id) JOIN pages p USING (source_path);
CREATE MACRO country_of(account, moment) AS coalesce((SELECT country FROM accounts
    WHERE account_id = account AND created_at <= moment), 'unknown');
"""

# What each aggregate saw: the events with sign 1, and those listed as late with sign -1.
SEEN = """
CREATE TABLE seen_activity AS
SELECT 1 AS sign, date_trunc('minute', event_time) AS window_start, action_name, platform_type, monetary_value
FROM counted UNION ALL
SELECT -1, CAST("row" ->> '$.window_start' AS TIMESTAMP), "row" ->> '$.action_name', "row" ->> '$.platform_type',
    CAST("row" ->> '$."$argument0"' AS DOUBLE) FROM late WHERE operator LIKE '%WindowAggregate(%platform_type%';
CREATE TABLE seen_funnel AS
SELECT 1 AS sign, time_bucket(INTERVAL 1 MINUTE, event_time) AS window_start, action_name AS step, session_token
FROM counted UNION ALL
SELECT -1, CAST("row" ->> '$.window_start' AS TIMESTAMP), "row" ->> '$.action_name', "row" ->> '$."$argument0"'
FROM late WHERE operator LIKE '%WindowAggregate(%action_name, $call0)';
CREATE TABLE seen_revenue AS
SELECT 1 AS sign, date_trunc('minute', event_time) - INTERVAL 1 MINUTE * k AS window_start,
    country_of(account_id, event_time) AS country, monetary_value
FROM counted, range(5) AS steps(k) WHERE action_name = 'purchase' UNION ALL
SELECT -1, CAST("row" ->> '$.window_start' AS TIMESTAMP), "row" ->> '$.country',
    CAST("row" ->> '$."$argument0"' AS DOUBLE) FROM late WHERE operator LIKE '%WindowAggregate(%country%';
CREATE TABLE seen_sessions AS
SELECT 1 AS sign, session_token, action_name = 'purchase' AS purchase, monetary_value FROM counted UNION ALL
SELECT -1, "row" ->> '$.session_token', CAST("row" ->> '$."$argument1"' AS BOOLEAN),
    CAST("row" ->> '$."$argument2"' AS DOUBLE) FROM late WHERE operator LIKE 'SessionAggregate(%';
"""

SUMS = """sum(sign) AS n, CASE WHEN coalesce(sum(sign) FILTER (monetary_value IS NOT NULL), 0) > 0
    THEN sum(sign * monetary_value) END AS revenue"""
PURCHASES = """coalesce(sum(sign) FILTER (purchase), 0) AS purchases,
    CASE WHEN coalesce(sum(sign) FILTER (purchase AND monetary_value IS NOT NULL), 0) > 0
    THEN sum(sign * monetary_value) FILTER (purchase) END AS revenue"""

# Table: its rows as read, its rows as computed. The last column is a sum of doubles.
GOLD = {
    "activity_per_minute": (
        "SELECT window_start, action_name, platform_type, events, revenue FROM gold_activity_per_minute",
        f"SELECT window_start, action_name, platform_type, {SUMS} FROM seen_activity GROUP BY ALL HAVING n <> 0"),
    "revenue_by_country": (
        "SELECT window_start, country, purchases, revenue FROM gold_revenue_by_country",
        f"SELECT window_start, country, {SUMS} FROM seen_revenue GROUP BY ALL HAVING n <> 0"),
    "funnel": (
        "SELECT window_start, step, sessions, 0.0 FROM gold_funnel",
        """SELECT window_start, step, count(*), 0.0 FROM (SELECT window_start, step, session_token FROM seen_funnel
           GROUP BY ALL HAVING sum(sign) > 0) GROUP BY ALL"""),
    # Each token's sum, because a late record may leave two sessions where there would be one.
    "sessions (by token)": (
        """SELECT session_token, sum(events)::BIGINT, sum(purchases)::BIGINT, sum(revenue) FROM gold_sessions
           GROUP BY ALL""",
        f"""SELECT session_token, sum(sign)::BIGINT AS n, {PURCHASES} FROM seen_sessions GROUP BY ALL
            HAVING n <> 0"""),
}
STRICT_GOLD = {
    "sessions": (
        "SELECT session_token, account_id, window_start, window_end, events, purchases, revenue FROM gold_sessions",
        """SELECT session_token, min(account_id), min(event_time), max(event_time) + INTERVAL 30 SECOND, count(*),
           count(*) FILTER (action_name = 'purchase'), sum(monetary_value) FILTER (action_name = 'purchase')
           FROM (SELECT *, sum(begins) OVER (PARTITION BY session_token ORDER BY event_time
                 ROWS UNBOUNDED PRECEDING) AS number
                 FROM (SELECT *, CASE WHEN event_time - lag(event_time) OVER (PARTITION BY session_token
                       ORDER BY event_time) <= INTERVAL 30 SECOND THEN 0 ELSE 1 END AS begins FROM counted))
           GROUP BY session_token, number"""),
}
EXACT = {
    "bronze": ('SELECT "partition", "offset", key, payload FROM bronze',
               'SELECT "partition", "offset", key, payload FROM topic'),
    "silver.clickstream": ("SELECT * FROM silver", "SELECT * FROM enriched"),
    "silver.clickstream_rejected": (
        "SELECT * FROM rejected",
        'SELECT reason, key, payload, topic, "partition", "offset", kafka_timestamp FROM validated WHERE reason IS NOT NULL'),
    "silver.conversions": (
        "SELECT event_identifier, event_time, account_id, session_token, country, monetary_value FROM conversions",
        """SELECT event_identifier, event_time, account_id, session_token, country, monetary_value FROM enriched
           WHERE action_name = 'purchase' AND monetary_value > 50"""),
}


def check():
    catalog = load_catalog("sf", type="rest", uri=os.environ["CATALOG"], **{
        "s3.endpoint": os.environ["S3"], "s3.region": "us-east-1", "s3.path-style-access": "true",
        "s3.access-key-id": os.environ["AWS_ACCESS_KEY_ID"],
        "s3.secret-access-key": os.environ["AWS_SECRET_ACCESS_KEY"]})
    read = lambda name: naive(catalog.load_table(name).scan().to_arrow())
    # In a file: there tables are compressed and leave memory. The default limit is four fifths of the machine's memory,
    # beside what Arrow holds and the platform.
    spill = tempfile.TemporaryDirectory()
    duck = duckdb.connect(f"{spill.name}/check.duckdb")
    duck.execute("SET preserve_insertion_order = false")
    duck.execute("SET enable_progress_bar = false")
    duck.execute("SET memory_limit = '5GB'")
    tables = {"topic": read_topic(), "bronze": read("bronze.clickstream"), "silver": read("silver.clickstream"),
              "rejected": read("silver.clickstream_rejected"), "late_rows": read("gold.late_events"),
              "conversions": by_trino("SELECT * FROM silver.conversions"), "pages": pa.Table.from_pylist(lines("pages"))}
    for name in ("activity_per_minute", "revenue_by_country", "funnel", "sessions"):
        tables[f"gold_{name}"] = read(f"gold.{name}")
    for name, table in tables.items():
        duck.register(name, table)
    duck.register("account_rows", pa.Table.from_pylist(lines("accounts")))
    duck.execute("CREATE TABLE accounts AS SELECT * REPLACE (CAST(created_at AS TIMESTAMP) AS created_at) FROM account_rows")
    duck.execute('CREATE TABLE late AS SELECT operator, CAST("row" AS JSON) AS "row" FROM late_rows')
    one = lambda sql: duck.execute(sql).fetchone()[0]
    duck.execute(EVENTS)
    duck.execute(SEEN)

    problems = []
    unlike = one("""SELECT count(*) FROM (SELECT event_identifier FROM validated WHERE reason IS NULL
                    GROUP BY 1 HAVING count(DISTINCT payload) > 1)""")
    if unlike:
        problems.append(f"{unlike} identifiers stand for different events")
    # Two more of each partition close the windows.
    sent = {"records": r"(\d+) records", "different events": r"(\d+) valid", "duplicates": r"(\d+) duplicates",
            "malformed": r"(\d+) malformed"}
    sent = {name: int(re.search(pattern, EMITTED)[1]) for name, pattern in sent.items()}
    sent["records"] += 2 * len(partitions())
    sent["different events"] += 2 * len(partitions())
    events, valid = one("SELECT count(*) FROM events"), one("SELECT count(*) FROM validated WHERE reason IS NULL")
    found = {"records": tables["topic"].num_rows, "different events": events, "duplicates": valid - events,
             "malformed": tables["rejected"].num_rows}
    for name in sent:
        if found[name] != sent[name]:
            problems.append(f"the emitter sent {sent[name]} {name}, and there are {found[name]}")
    if COUNTED:
        counted = late_counted()
        listed = one("SELECT count(*) FROM late")
        if counted != listed or listed == 0:
            problems.append(f"{counted} rows were counted as late and {listed} listed")
    if STRICT and one("SELECT count(*) FROM late"):
        problems.append(f"listed as late: {duck.execute('FROM late LIMIT 5').fetchall()}")
    for name, (actual, expected) in EXACT.items():
        for what, left, right in (("too much", actual, expected), ("missing", expected, actual)):
            count = one(f"SELECT count(*) FROM (({left}) EXCEPT ALL ({right}))")
            if count:
                sample = duck.execute(f"(({left}) EXCEPT ALL ({right})) LIMIT 3").fetchall()
                problems.append(f"{name}: {count} rows {what}, for example {sample}")
    for name, (actual, expected) in {**GOLD, **(STRICT_GOLD if STRICT else {})}.items():
        left = {tuple(row[:-1]): row[-1] for row in duck.execute(actual).fetchall()}
        right = {tuple(row[:-1]): row[-1] for row in duck.execute(expected).fetchall()}
        if one(f"SELECT count(*) FROM ({actual})") != len(left):
            problems.append(f"gold.{name}: rows stand twice")
        for what, keys in (("too much", left.keys() - right.keys()), ("missing", right.keys() - left.keys())):
            if keys:
                problems.append(f"gold.{name}: {len(keys)} rows {what}, for example {sorted(keys, key=str)[:3]}")
        for key in left.keys() & right.keys():
            a, b = left[key], right[key]
            # Only the order of addition may differ.
            if (a is None) != (b is None) or (a is not None and abs(a - b) > 1e-9 * max(1.0, abs(b)) + 1e-6):
                problems.append(f"gold.{name}: {key} has {a}, not {b}")
    sizes = {name: table.num_rows for name, table in tables.items()}
    print(sizes)
    print("\n".join(problems[:20]) if problems else "equal")


close() if MODE == "close" else check()
