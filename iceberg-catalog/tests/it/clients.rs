//! Clients of others, unmodified: pyiceberg and DuckDB see and change the same tables.

use crate::server::Server;

const PYICEBERG: &str = r#"
import os, pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError, CommitFailedException, NamespaceNotEmptyError, TableAlreadyExistsError
from pyiceberg.transforms import DayTransform
from pyiceberg.types import LongType

catalog = load_catalog("sf", type="rest", uri=os.environ["URI"])
catalog.create_namespace("py", {"owner": "me"})
catalog.create_namespace(("py", "inner"))
assert catalog.list_namespaces() == [("py",)], catalog.list_namespaces()
assert catalog.list_namespaces("py") == [("py", "inner")]
data = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "name": ["a", "b", None]})
table = catalog.create_table("py.t", schema=data.schema, properties={"format-version": "2"})
table.append(data)
table.append(data)
assert sorted(catalog.load_table("py.t").scan().to_arrow()["id"].to_pylist()) == [1, 1, 2, 2, 3, 3]
stale = catalog.load_table("py.t")
table.overwrite(data)
assert catalog.load_table("py.t").scan().to_arrow().num_rows == 3
assert stale.scan().to_arrow().num_rows == 6
table.delete("id = 2")
assert sorted(catalog.load_table("py.t").scan().to_arrow()["id"].to_pylist()) == [1, 3]
with table.update_schema() as update:
    update.add_column("more", LongType())
    update.rename_column("name", "label")
assert [field.name for field in catalog.load_table("py.t").schema().fields] == ["id", "label", "more"]
with table.transaction() as transaction:
    transaction.set_properties(a="1")
    transaction.remove_properties("nothing") if False else None
assert catalog.load_table("py.t").properties["a"] == "1"
with table.manage_snapshots() as snapshots:
    snapshots.create_tag(table.current_snapshot().snapshot_id, "v1")
assert catalog.load_table("py.t").refs()["v1"].snapshot_id == table.current_snapshot().snapshot_id
with catalog.create_table_transaction("py.staged", schema=data.schema) as transaction:
    transaction.append(data)
assert catalog.load_table("py.staged").scan().to_arrow().num_rows == 3
try:
    catalog.create_table("py.t", schema=data.schema)
    raise SystemExit("created twice")
except TableAlreadyExistsError:
    pass
try:
    catalog.drop_namespace("py")
    raise SystemExit("dropped a full namespace")
except NamespaceNotEmptyError:
    pass
catalog.rename_table("py.t", "py.inner.u")
assert catalog.list_tables("py") == [("py", "staged")], catalog.list_tables("py")
assert catalog.table_exists("py.inner.u") and not catalog.table_exists("py.t")
catalog.drop_table("py.staged")
try:
    catalog.load_table("py.staged")
    raise SystemExit("loaded a dropped table")
except NoSuchTableError:
    pass
print("ok")
"#;

const DUCKDB: &str = r#"
import os, duckdb, glob, pyarrow as pa, importlib.util
from pyiceberg.catalog import load_catalog

catalog = load_catalog("sf", type="rest", uri=os.environ["URI"])
catalog.create_namespace("duck")
catalog.create_table("duck.t", schema=pa.schema([("id", pa.int64()), ("name", pa.string())])).append(
    pa.table({"id": pa.array([1, 2], pa.int64()), "name": ["x", "y"]}))
db = duckdb.connect(config={"allow_unsigned_extensions": "true"})
for name in ["avro", "httpfs", "iceberg"]:
    spec = importlib.util.find_spec("duckdb_extension_" + name)
    path = glob.glob(spec.submodule_search_locations[0] + "/extensions/*/" + name + ".duckdb_extension")[0]
    db.execute(f"LOAD '{path}'")
db.execute(f"ATTACH '' AS ice (TYPE iceberg, ENDPOINT '{os.environ['URI']}', AUTHORIZATION_TYPE 'none')")
assert db.execute("SELECT id, name FROM ice.duck.t ORDER BY id").fetchall() == [(1, "x"), (2, "y")]
assert db.execute("SELECT table_name FROM information_schema.tables WHERE table_catalog = 'ice'").fetchall() == [("t",)]
print("ok")
"#;

#[tokio::test]
async fn pyiceberg_creates_changes_and_drops_tables() {
    run(PYICEBERG).await;
}

#[tokio::test]
async fn duckdb_reads_what_pyiceberg_wrote() {
    run(DUCKDB).await;
}

async fn run(script: &'static str) {
    let server = Server::start().await;
    let url = server.url.clone();
    let printed = tokio::task::spawn_blocking(move || testkit::python(script, &[("URI", &url)]))
        .await
        .unwrap();
    assert_eq!(printed.trim(), "ok");
}
