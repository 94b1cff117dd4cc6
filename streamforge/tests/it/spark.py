# Set before: DEMO (names of the demo's tables). Spark over the running platform, and what the other clients see of it.
import datetime
import decimal
import importlib.util
import os
import pathlib

import duckdb
import pyarrow
import trino
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyspark.sql import SparkSession


def spark_session():
    settings = {
        "spark.jars": ",".join(map(str, pathlib.Path(os.environ["JARS"]).glob("*.jar"))),
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.lake.type": "rest",
        "spark.sql.catalog.lake.uri": os.environ["CATALOG"],
        "spark.sql.catalog.lake.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        # Another engine's commit is seen by the next statement, not half a minute later.
        "spark.sql.catalog.lake.cache-enabled": "false",
        # The storage keys come from the catalog.
        "spark.sql.catalog.lake.header.X-Iceberg-Access-Delegation": "vended-credentials",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.local.dir": os.environ["SCRATCH"],
        "spark.sql.warehouse.dir": os.environ["SCRATCH"],
    }
    builder = SparkSession.builder.master("local[2]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def duckdb_session():
    def extension(name):
        root = pathlib.Path(importlib.util.find_spec(f"duckdb_extension_{name}").submodule_search_locations[0])
        return str(next(root.rglob(f"{name}.duckdb_extension")))
    duck = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for name in ("avro", "httpfs", "iceberg"):
        duck.execute(f"LOAD '{extension(name)}'")
    duck.execute("SET TimeZone = 'UTC'")
    duck.execute(f"""CREATE SECRET (TYPE s3, KEY_ID '{os.environ["AWS_ACCESS_KEY_ID"]}',
        SECRET '{os.environ["AWS_SECRET_ACCESS_KEY"]}', REGION 'us-east-1',
        ENDPOINT '{os.environ["S3"].removeprefix("http://")}', URL_STYLE 'path', USE_SSL false)""")
    attach(duck)
    return duck


def attach(duck):
    duck.execute(f"ATTACH 'lakehouse' AS lake (TYPE iceberg, ENDPOINT '{os.environ['CATALOG']}', AUTHORIZATION_TYPE 'none')")


spark = spark_session()
duck = duckdb_session()
host, port = os.environ["TRINO_PORT"].split(":")
cursor = trino.dbapi.connect(host=host, port=int(port), user="test", catalog="iceberg", timezone="UTC").cursor()
catalog = load_catalog("sf", type="rest", uri=os.environ["CATALOG"])


def plain(value):
    """One form for a value, whichever client it came from."""
    if isinstance(value, datetime.datetime):
        return (value.astimezone(datetime.timezone.utc) if value.tzinfo else value).strftime("%Y-%m-%dT%H:%M:%S.%f")
    if isinstance(value, dict):
        return tuple(sorted((key, plain(item)) for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(map(plain, value))
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (int, str, type(None), decimal.Decimal, datetime.date)):
        return value
    return str(value)


def same(what, rows):
    """All clients gave the same rows, in whatever order; gives their number."""
    first, expected = None, None
    for client, values in rows.items():
        values = sorted((tuple(map(plain, row)) for row in values), key=repr)
        if expected is None:
            first, expected = client, values
        different = [pair for pair in zip(expected, values) if pair[0] != pair[1]]
        assert not different and len(expected) == len(values), \
            f"{what}: {first} {len(expected)} rows, {client} {len(values)}, for example {different[:2]}"
    return len(expected)


def by_trino(sql):
    cursor.execute(sql)
    return cursor.fetchall()


def everywhere(loaded, columns, pyiceberg=True):
    table, snapshot = ".".join(loaded.name()), loaded.current_snapshot().snapshot_id
    names = ", ".join(f'"{column}"' for column in columns)
    ticked = names.replace('"', "`")
    rows = {
        "Spark": [tuple(row) for row in spark.sql(f"SELECT {ticked} FROM lake.{table} VERSION AS OF {snapshot}").collect()],
        "Trino's client": by_trino(f"SELECT {names} FROM {table} FOR VERSION AS OF {snapshot}"),
        "DuckDB": duck.execute(f"SELECT {names} FROM lake.{table} AT (VERSION => {snapshot})").fetchall(),
    }
    if pyiceberg:
        arrow = loaded.scan(snapshot_id=snapshot, selected_fields=tuple(columns)).to_arrow()
        rows["pyiceberg"] = [tuple(row[name] for name in columns) for row in arrow.to_pylist()]
    return same(table, rows)


def demo():
    namespaces = sorted(row[0] for row in spark.sql("SHOW NAMESPACES IN lake").collect())
    assert namespaces == sorted(".".join(name) for name in catalog.list_namespaces()), namespaces
    assert {"bronze", "silver", "gold"} <= set(namespaces), namespaces
    for namespace in namespaces:
        tables = sorted(row.tableName for row in spark.sql(f"SHOW TABLES IN lake.{namespace}").collect())
        assert tables == sorted(name for _, name in catalog.list_tables(namespace)), tables
        assert tables == sorted(row[0] for row in by_trino(f"SHOW TABLES FROM {namespace}")), tables
    for table in DEMO:
        loaded = catalog.load_table(table)
        columns = [field.name for field in loaded.schema().fields]
        described = [row.col_name for row in spark.sql(f"DESCRIBE lake.{table}").collect()]
        assert described[:len(columns)] == columns, (described, columns)
        # pyiceberg refuses equality deletes.
        deletes = int(loaded.current_snapshot().summary["total-equality-deletes"] or 0)
        count = everywhere(loaded, columns, pyiceberg=deletes == 0)
        assert count > 0, table
        print("read", table, count)


def written(mode):
    """Every kind of change by Spark, as whole files again (copy-on-write) or as position deletes (merge-on-read)."""
    table = f"peers.{mode.replace('-', '_')}"
    spark.sql(f"""CREATE TABLE lake.{table} (id BIGINT NOT NULL, name STRING, price DECIMAL(12, 2), weight DOUBLE, ok BOOLEAN,
        day DATE, at TIMESTAMP, local_at TIMESTAMP_NTZ, raw BINARY) USING iceberg PARTITIONED BY (bucket(2, id), day)
        TBLPROPERTIES ('format-version'='2', 'write.delete.mode'='{mode}', 'write.update.mode'='{mode}', 'write.merge.mode'='{mode}')""")
    columns = ["id", "name", "price", "weight", "ok", "day", "at", "local_at", "raw"]
    spark.sql(f"""INSERT INTO lake.{table} SELECT id, concat('n', id), CAST(id * 1.25 AS DECIMAL(12, 2)), id / 3e0, id % 3 = 0,
        date_add(DATE '2026-01-01', CAST(id % 3 AS INT)), timestamp_micros(1767225600000000 + id * 1234567),
        CAST(timestamp_micros(1767225600000000 + id * 1234567) AS TIMESTAMP_NTZ), CAST(concat('b', id) AS BINARY) FROM range(100)""")
    spark.sql(f"INSERT INTO lake.{table} VALUES (1000, NULL, NULL, CAST('NaN' AS DOUBLE), NULL, NULL, NULL, NULL, NULL)")
    expect(table, columns, 101)
    spark.sql(f"DELETE FROM lake.{table} WHERE id % 10 = 7")
    expect(table, columns, 91)
    spark.sql(f"UPDATE lake.{table} SET name = 'changed', price = price + 0.01 WHERE id BETWEEN 20 AND 29")
    expect(table, columns, 91)
    assert by_trino(f"SELECT count(*), sum(price) FROM {table} WHERE name = 'changed'") == [[9, decimal.Decimal("272.59")]]
    spark.sql(f"""MERGE INTO lake.{table} t USING (SELECT id AS id, id % 2 = 0 AS gone FROM range(95, 105)) s ON t.id = s.id
        WHEN MATCHED AND s.gone THEN DELETE WHEN MATCHED THEN UPDATE SET name = 'merged'
        WHEN NOT MATCHED THEN INSERT (id, name, day) VALUES (s.id, 'new', DATE '2026-02-01')""")
    expect(table, columns, 95)
    deletes = int(catalog.load_table(table).current_snapshot().summary["total-position-deletes"] or 0)
    assert (deletes > 0) == (mode == "merge-on-read"), deletes
    evolved(table, columns)
    maintained(table, columns + ["extra"])


def expect(table, columns, count):
    found = everywhere(catalog.load_table(table), columns)
    assert found == count, f"{table}: {found} rows, not {count}"


def evolved(table, columns):
    """Schema, partitioning and properties changed by Spark."""
    spark.sql(f"ALTER TABLE lake.{table} ADD COLUMN extra STRUCT<a: INT, tags: ARRAY<STRING>, m: MAP<STRING, BIGINT>>")
    spark.sql(f"ALTER TABLE lake.{table} RENAME COLUMN name TO label")
    spark.sql(f"ALTER TABLE lake.{table} REPLACE PARTITION FIELD day WITH month(day)")
    spark.sql(f"ALTER TABLE lake.{table} SET TBLPROPERTIES ('comment'='by Spark')")
    columns[1] = "label"
    spark.sql(f"""INSERT INTO lake.{table} VALUES
        (2000, 'late', NULL, NULL, NULL, DATE '2026-03-01', NULL, NULL, NULL, named_struct('a', 1, 'tags', array('x', NULL), 'm', map('k', 2L)))""")
    expect(table, columns, 96)
    assert by_trino(f"SELECT extra.a, extra.tags[1], extra.m['k'] FROM {table} WHERE id = 2000") == [[1, "x", 2]]
    assert catalog.load_table(table).properties["comment"] == "by Spark"


def maintained(table, columns):
    """Spark's maintenance procedures leave the rows as they were."""
    name, columns = table.split(".")[1], columns[:-1]
    spark.sql(f"CALL lake.system.rewrite_data_files(table => '{table}', options => map('rewrite-all', 'true'))")
    expect(table, columns, 96)
    spark.sql(f"CALL lake.system.rewrite_manifests('{table}')")
    before = catalog.load_table(table).metadata.snapshots
    spark.sql(f"CALL lake.system.expire_snapshots(table => '{table}', older_than => TIMESTAMP '2100-01-01 00:00:00', retain_last => 1)")
    after = catalog.load_table(table).metadata.snapshots
    assert len(before) > len(after) == 1, (len(before), len(after))
    expect(table, columns, 96)
    spark.sql(f"ALTER TABLE lake.{table} RENAME TO peers.{name}_renamed")
    expect(f"peers.{name}_renamed", columns, 96)
    spark.sql(f"DROP TABLE lake.peers.{name}_renamed PURGE")
    try:
        catalog.load_table(f"peers.{name}_renamed")
        raise AssertionError("the dropped table is still there")
    except NoSuchTableError:
        pass


def others():
    """What pyiceberg and our query engine made, read by Spark; and what Spark must refuse or find missing."""
    spark.sql("CREATE TABLE lake.peers.taken (id BIGINT) USING iceberg")
    for statement, text in [("CREATE TABLE lake.peers.taken (id BIGINT) USING iceberg", "already exists"),
                            ("DROP NAMESPACE lake.peers", "not empty"),
                            ("SELECT * FROM lake.peers.missing", "cannot be found")]:
        try:
            spark.sql(statement)
            raise AssertionError(f"{statement} was not refused")
        except Exception as error:
            assert text in str(error).lower(), error
    spark.sql("CREATE OR REPLACE TABLE lake.peers.taken USING iceberg AS SELECT id, id * 2 AS twice FROM range(10)")
    expect("peers.taken", ["id", "twice"], 10)
    spark.sql("INSERT OVERWRITE lake.peers.taken SELECT id, id FROM range(3)")
    expect("peers.taken", ["id", "twice"], 3)
    catalog.load_table("peers.taken").append(pyarrow.table({"id": [7], "twice": [14]}))
    expect("peers.taken", ["id", "twice"], 4)
    spark.sql("DROP TABLE lake.peers.taken")
    spark.sql("DROP NAMESPACE lake.peers")
    assert ("peers",) not in catalog.list_namespaces()


demo()
spark.sql("CREATE NAMESPACE lake.peers")
written("copy-on-write")
print("copy-on-write")
written("merge-on-read")
print("merge-on-read")
others()
print("done")
