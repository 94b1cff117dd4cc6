//! Real clients across the seams of one running platform: each must see the same rows.

use crate::newcomer::every_table_fills;
use crate::platform::Site;

/// Reads a table through every client that can, and prints one number a line.
const SAME_ROWS: &str = r#"
import os, duckdb, trino
from pyiceberg.catalog import load_catalog
from sqlalchemy import create_engine, text

table, column = "silver.clickstream", "event_identifier"
catalog = load_catalog("sf", type="rest", uri=os.environ["CATALOG"], **{
    "s3.endpoint": os.environ["S3"], "s3.region": "us-east-1", "s3.path-style-access": "true",
    "s3.access-key-id": os.environ["AWS_ACCESS_KEY_ID"],
    "s3.secret-access-key": os.environ["AWS_SECRET_ACCESS_KEY"]})
loaded = catalog.load_table(table)
snapshot = loaded.current_snapshot().snapshot_id
ids = sorted(loaded.scan(snapshot_id=snapshot, selected_fields=(column,)).to_arrow()[column].to_pylist())

host, port = os.environ["TRINO_PORT"].split(":")
cursor = trino.dbapi.connect(host=host, port=int(port), user="test", catalog="iceberg").cursor()
cursor.execute(f"SELECT {column} FROM {table} FOR VERSION AS OF {snapshot} ORDER BY 1")
by_trino = [row[0] for row in cursor.fetchall()]
assert by_trino == ids, (len(by_trino), len(ids))

engine = create_engine(f"trino://test@{host}:{port}/iceberg/silver")
with engine.connect() as connection:
    names = sorted(row[0] for row in connection.execute(text("SHOW TABLES")))
    assert "clickstream" in names and "conversions" in names, names

import importlib.util, pathlib
def extension(name):
    root = pathlib.Path(importlib.util.find_spec(f"duckdb_extension_{name}").submodule_search_locations[0])
    return str(next(root.rglob(f"{name}.duckdb_extension")))
duck = duckdb.connect(config={"allow_unsigned_extensions": "true"})
for name in ("avro", "httpfs", "iceberg"):
    duck.execute(f"LOAD '{extension(name)}'")
duck.execute(f"""CREATE SECRET (TYPE s3, KEY_ID '{os.environ["AWS_ACCESS_KEY_ID"]}',
    SECRET '{os.environ["AWS_SECRET_ACCESS_KEY"]}', REGION 'us-east-1',
    ENDPOINT '{os.environ["S3"].removeprefix("http://")}', URL_STYLE 'path', USE_SSL false)""")
duck.execute(f"""ATTACH 'lakehouse' AS lake (TYPE iceberg, ENDPOINT '{os.environ["CATALOG"]}',
    AUTHORIZATION_TYPE 'none')""")
by_duck = [row[0] for row in duck.execute(
    f"SELECT {column} FROM lake.{table} AT (VERSION => {snapshot}) ORDER BY 1").fetchall()]
assert [str(value) for value in by_duck] == ids, (len(by_duck), len(ids))

# A table with deletes: the same rows by the engine that applies equality deletes and by ours.
conversions = catalog.load_table("silver.conversions").current_snapshot().snapshot_id
cursor.execute(f"SELECT count(*), count(DISTINCT event_identifier) FROM silver.conversions FOR VERSION AS OF {conversions}")
rows = tuple(cursor.fetchone())
duck_rows = duck.execute(f"""SELECT count(*), count(DISTINCT event_identifier)
    FROM lake.silver.conversions AT (VERSION => {conversions})""").fetchone()
assert rows == duck_rows, (rows, duck_rows)
assert rows[0] == rows[1], rows
print(len(ids) > 0, rows[0] > 0)
"#;

#[test]
fn pyiceberg_duckdb_and_trino_see_the_same_rows() {
    let site = Site::new();
    let up = site.start(&["up", "--rate", "200"]);
    every_table_fills(&site);
    assert_eq!(site.python(SAME_ROWS), "True True\n");
    assert!(up.stop().success());
}

/// The CLIs that people use against Kafka and S3.
const BY_HAND: &str = r#"
import os, subprocess, sys, pathlib
from confluent_kafka import Consumer, TopicPartition
import boto3

consumer = Consumer({"bootstrap.servers": os.environ["KAFKA"], "group.id": "by-hand", "enable.auto.commit": False,
                     "auto.offset.reset": "earliest"})
consumer.subscribe(["clickstream"])
seen = 0
while seen < 100:
    message = consumer.poll(10)
    assert message is not None and message.error() is None, message
    seen += 1
consumer.close()

s3 = boto3.client("s3", endpoint_url=os.environ["S3"], region_name="us-east-1")
keys = [item["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket="lakehouse")
        for item in page.get("Contents", [])]
metadata = [key for key in keys if key.endswith(".metadata.json")]
assert metadata, keys[:20]
aws = pathlib.Path(sys.executable).with_name("aws")
listed = subprocess.run([sys.executable, str(aws), "--endpoint-url", os.environ["S3"], "--region", "us-east-1", "s3",
                         "ls", f"s3://lakehouse/{metadata[0]}"], capture_output=True, text=True)
assert listed.returncode == 0 and metadata[0].rsplit("/", 1)[-1] in listed.stdout, listed
print("ok")
"#;

#[test]
fn kafka_and_s3_clients_find_the_demo_by_hand() {
    let site = Site::new();
    let up = site.start(&["up", "--rate", "200"]);
    every_table_fills(&site);
    assert_eq!(site.python(BY_HAND), "ok\n");
    assert!(up.stop().success());
}
