"""DuckDB's httpfs: writes and reads Parquet and CSV, globs, and pushes filters into ranges."""
import os
import duckdb, duckdb_extension_httpfs

con = duckdb.connect(config={"allow_unsigned_extensions": "true"})
try:
    con.execute("LOAD httpfs")
except Exception:
    import glob
    path = glob.glob(os.path.join(os.path.dirname(duckdb_extension_httpfs.__file__), "**", "httpfs*"), recursive=True)
    con.execute(f"LOAD '{[p for p in path if p.endswith('.duckdb_extension')][0]}'")
host = os.environ["ENDPOINT"].removeprefix("http://")
con.execute(f"""CREATE SECRET (TYPE s3, KEY_ID '{os.environ["AWS_ACCESS_KEY_ID"]}', SECRET '{os.environ["AWS_SECRET_ACCESS_KEY"]}',
    REGION 'us-east-1', ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false)""")
con.execute("COPY (SELECT range AS n, 'v' || range AS v FROM range(200000)) TO 's3://lakehouse/duck/a.parquet' (ROW_GROUP_SIZE 20000)")
con.execute("COPY (SELECT range + 200000 AS n, 'w' AS v FROM range(1000)) TO 's3://lakehouse/duck/b.parquet'")
rows = con.execute("SELECT count(*), sum(n), min(v) FROM 's3://lakehouse/duck/*.parquet'").fetchall()
assert rows == [(201000, sum(range(201000)), "v0")], rows
assert con.execute("SELECT v FROM 's3://lakehouse/duck/a.parquet' WHERE n = 123456").fetchall() == [("v123456",)]
con.execute("COPY (SELECT n % 3 AS part, n FROM 's3://lakehouse/duck/b.parquet') TO 's3://lakehouse/duck/parts' (FORMAT csv, PARTITION_BY (part))")
assert con.execute("SELECT part, count(*) FROM read_csv('s3://lakehouse/duck/parts/*/*.csv', hive_partitioning = true) GROUP BY 1 ORDER BY 1").fetchall() == [(0, 333), (1, 333), (2, 334)]
print("all facts hold")
