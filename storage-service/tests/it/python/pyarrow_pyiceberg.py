"""pyarrow's S3 file system and pyiceberg writing and reading a table through it."""
import os
import pyarrow as pa, pyarrow.dataset as ds, pyarrow.fs as fs, pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog

endpoint = os.environ["ENDPOINT"]
key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
s3 = fs.S3FileSystem(access_key=key, secret_key=secret, endpoint_override=endpoint, region="us-east-1")
table = pa.table({"n": range(100_000), "s": [f"row {n}" for n in range(100_000)]})
pq.write_table(table, "lakehouse/arrow/one.parquet", filesystem=s3, row_group_size=10_000)
assert pq.read_table("lakehouse/arrow/one.parquet", filesystem=s3).equals(table)
found = ds.dataset("lakehouse/arrow", filesystem=s3).to_table(filter=ds.field("n") == 4711)
assert found.to_pylist() == [{"n": 4711, "s": "row 4711"}]
big = os.urandom(12 * 1024 * 1024)
with s3.open_output_stream("lakehouse/arrow/big") as out:
    for at in range(0, len(big), 1_000_003):
        out.write(big[at:at + 1_000_003])
with s3.open_input_file("lakehouse/arrow/big") as file:
    assert file.size() == len(big) and file.read() == big
assert sorted(i.base_name for i in s3.get_file_info(fs.FileSelector("lakehouse/arrow"))) == ["big", "one.parquet"]
s3.delete_dir("lakehouse/arrow")
assert s3.get_file_info("lakehouse/arrow/big").type == fs.FileType.NotFound

catalog = SqlCatalog("c", uri=f"sqlite:///{os.environ['WORK']}/catalog.db", warehouse="s3://lakehouse/wh", **{
    "s3.endpoint": endpoint, "s3.access-key-id": key, "s3.secret-access-key": secret, "s3.region": "us-east-1"})
catalog.create_namespace("n")
iceberg = catalog.create_table("n.t", schema=table.schema)
for part in range(4):
    iceberg.append(table.slice(part * 25_000, 25_000))
iceberg.delete("n < 10")
rows = catalog.load_table("n.t").scan(row_filter="n < 20").to_arrow().sort_by("n")
assert rows["n"].to_pylist() == list(range(10, 20)), rows
assert catalog.load_table("n.t").scan().to_arrow().num_rows == 99_990
print("all facts hold")
