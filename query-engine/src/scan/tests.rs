//! Facts about scans of Iceberg tables, on files of the test's own.
//!
//! The catalog here is a peer of a few lines on the Iceberg library's metadata builder: services never
//! import each other, and the scan only needs someone who keeps the metadata.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use arrow::util::pretty::pretty_format_batches;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::functions_aggregate::expr_fn::{count, sum};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::{DataFrame, Expr, SessionConfig, SessionContext, col, lit};
use lake::Table;
use lake::catalog::{CatalogConfig, NewTable, RestCatalog};
use lake::committable::{Committable, Writer};
use lake::committer::{CommitOptions, Committer};
use lake::iceberg::spec::{
    NestedField, PrimitiveType, Schema, TableMetadata, TableMetadataBuilder, Transform, Type,
    UnboundPartitionSpec,
};
use lake::iceberg::{NamespaceIdent, TableCreation, TableIdent, TableUpdate};
use lake::upsert::{ChangeMode, RowKind, UpsertWriter};
use lake::writer::{TableWriter, WriterOptions};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

use super::metadata_tables::MetadataTable;
use super::{IcebergTable, ScanBounds, ScanCaches, SnapshotPin};

type Tables = Arc<Mutex<HashMap<String, TableMetadata>>>;

struct Lake {
    catalog: RestCatalog,
    directory: tempfile::TempDir,
    _server: JoinSet<()>,
}

impl Lake {
    async fn start() -> Self {
        let tables = Tables::default();
        let router = Router::new()
            .route("/v1/config", get(|| async { Json(json!({})) }))
            .route("/v1/namespaces/{namespace}/tables", post(create))
            .route(
                "/v1/namespaces/{namespace}/tables/{table}",
                get(load).post(commit),
            )
            .with_state(tables);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let catalog = RestCatalog::connect(CatalogConfig::new(uri)).await.unwrap();
        Self {
            catalog,
            directory: testkit::temp_dir(),
            _server: server,
        }
    }

    /// A table of `id long`, `kind string`, `value long`.
    async fn table(&self, name: &str, partitioned: bool) -> Table {
        let field = |id, name, kind| NestedField::optional(id, name, Type::Primitive(kind)).into();
        let schema = Schema::builder()
            .with_fields(vec![
                field(1, "id", PrimitiveType::Long),
                field(2, "kind", PrimitiveType::String),
                field(3, "value", PrimitiveType::Long),
            ])
            .build()
            .unwrap();
        let mut table = NewTable::new(name, schema);
        table.location = Some(format!("file://{}/{name}", self.directory.path().display()));
        if partitioned {
            let spec = UnboundPartitionSpec::builder()
                .add_partition_field(2, "kind", Transform::Identity)
                .unwrap();
            table.partition_spec = Some(spec.build());
        }
        self.catalog
            .create_table(&NamespaceIdent::new("n".to_owned()), table)
            .await
            .unwrap()
    }

    async fn append(&self, name: &str, checkpoint: u64, rows: &RecordBatch) -> Table {
        let table = self.load(name).await;
        let mut writer = TableWriter::new(&table, WriterOptions::default()).unwrap();
        writer.write(rows).await.unwrap();
        self.commit(name, checkpoint, writer.finish().await.unwrap())
            .await
    }

    async fn commit(
        &self,
        name: &str,
        checkpoint: u64,
        files: Vec<lake::committable::NewFile>,
    ) -> Table {
        let owner = Writer {
            job_id: "j".to_owned(),
            operator_id: "o".to_owned(),
        };
        let mut committer = Committer::open(
            self.catalog.clone(),
            &ident(name),
            owner,
            CommitOptions::default(),
        )
        .await
        .unwrap();
        let mut committable = Committable::new(checkpoint);
        committable.files = files;
        committer.commit(vec![committable]).await.unwrap().table
    }

    async fn load(&self, name: &str) -> Table {
        self.catalog.load_table(&ident(name)).await.unwrap()
    }
}

async fn create(State(tables): State<Tables>, Json(body): Json<Value>) -> Json<Value> {
    let name = body["name"].as_str().unwrap().to_owned();
    let creation = TableCreation::builder()
        .name(name.clone())
        .location(body["location"].as_str().unwrap().to_owned())
        .schema(serde_json::from_value(body["schema"].clone()).unwrap());
    let spec: Option<UnboundPartitionSpec> =
        serde_json::from_value(body["partition-spec"].clone()).unwrap();
    let creation = match spec {
        Some(spec) => creation.partition_spec(spec).build(),
        None => creation.build(),
    };
    let metadata = TableMetadataBuilder::from_table_creation(creation)
        .unwrap()
        .build()
        .unwrap()
        .metadata;
    tables.lock().unwrap().insert(name, metadata.clone());
    Json(json!({ "metadata-location": "m", "metadata": metadata }))
}

async fn load(State(tables): State<Tables>, Path(path): Path<(String, String)>) -> Json<Value> {
    Json(json!({ "metadata-location": "m", "metadata": tables.lock().unwrap()[&path.1] }))
}

async fn commit(
    State(tables): State<Tables>,
    Path(path): Path<(String, String)>,
    Json(body): Json<Value>,
) -> Json<Value> {
    let mut tables = tables.lock().unwrap();
    let updates: Vec<TableUpdate> = serde_json::from_value(body["updates"].clone()).unwrap();
    let mut builder = tables[&path.1].clone().into_builder(Some("m".to_owned()));
    for update in updates {
        builder = update.apply(builder).unwrap();
    }
    let metadata = builder.build().unwrap().metadata;
    tables.insert(path.1, metadata.clone());
    Json(json!({ "metadata-location": "m", "metadata": metadata }))
}

fn ident(name: &str) -> TableIdent {
    TableIdent::from_strs(["n", name]).unwrap()
}

fn rows(rows: &[(Option<i64>, &str, i64)]) -> RecordBatch {
    let ids: Int64Array = rows.iter().map(|row| row.0).collect();
    let kinds: StringArray = rows.iter().map(|row| Some(row.1)).collect();
    let values: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
    RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("kind", Arc::new(kinds)),
        ("value", Arc::new(values)),
    ])
    .unwrap()
}

fn context(table: &Table, pin: &SnapshotPin) -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let caches = Arc::new(ScanCaches::new(ScanBounds::default()));
    let provider = IcebergTable::new(table, pin, caches).unwrap();
    context.register_table("t", Arc::new(provider)).unwrap();
    context
}

async fn all(context: &SessionContext) -> DataFrame {
    context.table("t").await.unwrap()
}

async fn filtered(context: &SessionContext, condition: Expr) -> DataFrame {
    all(context).await.filter(condition).unwrap()
}

async fn counted(context: &SessionContext) -> DataFrame {
    let aggregates = vec![count(lit(1i64)).alias("n")];
    all(context)
        .await
        .aggregate(Vec::new(), aggregates)
        .unwrap()
}

async fn shown(frame: DataFrame) -> String {
    let batches = frame.collect().await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

async fn by_value(context: &SessionContext) -> String {
    let columns = all(context)
        .await
        .select_columns(&["kind", "value"])
        .unwrap();
    shown(columns.sort_by(vec![col("value")]).unwrap()).await
}

async fn columns(context: &SessionContext, names: &[&str]) -> String {
    shown(all(context).await.select_columns(names).unwrap()).await
}

/// The files that the plan of `frame` reads.
async fn n_files(frame: DataFrame) -> usize {
    fn count(plan: &Arc<dyn ExecutionPlan>) -> usize {
        let here = plan.downcast_ref::<DataSourceExec>().map_or(0, |scan| {
            scan.data_source()
                .downcast_ref::<FileScanConfig>()
                .map_or(0, |config| {
                    let mut paths: Vec<_> = config
                        .file_groups
                        .iter()
                        .flat_map(|group| group.files().iter().map(|file| file.path().clone()))
                        .collect();
                    paths.sort();
                    paths.dedup();
                    paths.len()
                })
        });
        here + plan.children().into_iter().map(count).sum::<usize>()
    }
    count(&frame.create_physical_plan().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_pruned_by_partition_and_by_bounds_and_counts_need_no_file() {
    let lake = Lake::start().await;
    lake.table("t", true).await;
    lake.append("t", 1, &rows(&[(Some(1), "a", 10), (Some(2), "b", 20)]))
        .await;
    let table = lake.append("t", 2, &rows(&[(Some(3), "a", 30)])).await;
    let context = context(&table, &SnapshotPin::Current);
    assert_eq!(n_files(all(&context).await).await, 3);
    let (kind, value) = (|| col("kind"), || col("value"));
    for (condition, expected) in [
        (kind().eq(lit("b")), 1),
        (value().gt_eq(lit(20i64)).and(kind().eq(lit("a"))), 1),
        (value().gt(lit(30i64)), 0),
    ] {
        let shown = condition.to_string();
        let found = n_files(filtered(&context, condition).await).await;
        assert_eq!(found, expected, "{shown}");
    }
    assert_eq!(n_files(counted(&context).await).await, 0);
    expect_test::expect![[r"
        +---+----+
        | n | s  |
        +---+----+
        | 3 | 60 |
        +---+----+"]]
    .assert_eq(
        &shown(
            all(&context)
                .await
                .aggregate(
                    Vec::new(),
                    vec![count(lit(1i64)).alias("n"), sum(value()).alias("s")],
                )
                .unwrap(),
        )
        .await,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_of_deletes_take_rows_out_and_null_equals_null() {
    let lake = Lake::start().await;
    let table = lake.table("t", false).await;
    let key = ["id".to_owned()];
    let mut writer = UpsertWriter::new(
        &table,
        &key,
        ChangeMode::Upsert,
        WriterOptions::default(),
        1 << 20,
    )
    .unwrap();
    let insert = [RowKind::Insert; 4];
    let first = rows(&[
        (Some(1), "a", 1),
        (Some(2), "a", 2),
        (None, "a", 3),
        (Some(4), "a", 4),
    ]);
    writer.write(&first, &insert).await.unwrap();
    // The same checkpoint again: this row goes by its position.
    writer
        .write(&rows(&[(Some(4), "b", 40)]), &[RowKind::UpdateAfter])
        .await
        .unwrap();
    let files = writer.finish().await.unwrap();
    let before = lake.commit("t", 1, files).await;
    // A later checkpoint: these go by their keys, one of which is NULL.
    let second = rows(&[(Some(1), "c", 10), (None, "c", 0)]);
    writer
        .write(&second, &[RowKind::UpdateAfter, RowKind::Delete])
        .await
        .unwrap();
    let after = lake.commit("t", 2, writer.finish().await.unwrap()).await;
    expect_test::expect![[r"
        +------+-------+
        | kind | value |
        +------+-------+
        | a    | 1     |
        | a    | 2     |
        | a    | 3     |
        | b    | 40    |
        +------+-------+"]]
    .assert_eq(&by_value(&context(&before, &SnapshotPin::Current)).await);
    let current = context(&after, &SnapshotPin::Current);
    expect_test::expect![[r"
        +------+-------+
        | kind | value |
        +------+-------+
        | a    | 2     |
        | c    | 10    |
        | b    | 40    |
        +------+-------+"]]
    .assert_eq(&by_value(&current).await);
    let plan = counted(&current)
        .await
        .create_physical_plan()
        .await
        .unwrap();
    assert!(
        displayable(plan.as_ref())
            .indent(false)
            .to_string()
            .contains("EqualityDeletesExec")
    );
    let counted = counted(&current).await.collect().await.unwrap();
    assert_eq!(counted[0].column(0).as_primitive::<Int64Type>().value(0), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_found_by_id_after_a_rename_and_a_name_used_again() {
    let lake = Lake::start().await;
    lake.table("t", false).await;
    let table = lake.append("t", 1, &rows(&[(Some(1), "a", 10)])).await;
    let field = |id, name, kind| NestedField::optional(id, name, Type::Primitive(kind)).into();
    // `kind` is renamed to `label`, `value` dropped, and its name given to a new column of text.
    let schema = Schema::builder()
        .with_schema_id(1)
        .with_fields(vec![
            field(4, "value", PrimitiveType::String),
            field(2, "label", PrimitiveType::String),
            field(1, "id", PrimitiveType::Long),
        ])
        .build()
        .unwrap();
    let updates = [
        TableUpdate::AddSchema { schema },
        TableUpdate::SetCurrentSchema { schema_id: -1 },
    ];
    let table = lake.catalog.commit(&table, &[], &updates).await.unwrap();
    expect_test::expect![[r"
        +-------+-------+----+
        | value | label | id |
        +-------+-------+----+
        |       | a     | 1  |
        +-------+-------+----+"]]
    .assert_eq(
        &columns(
            &context(&table, &SnapshotPin::Current),
            &["value", "label", "id"],
        )
        .await,
    );
    let condition = col("label").eq(lit("a")).and(col("value").is_null());
    let found = filtered(&context(&table, &SnapshotPin::Current), condition).await;
    let found = shown(found.select_columns(&["id"]).unwrap()).await;
    assert!(found.contains("| 1  |"), "{found}");
    // A look at the old snapshot has the old columns.
    let id = table.metadata().current_snapshot_id().unwrap();
    expect_test::expect![[r"
        +----+------+-------+
        | id | kind | value |
        +----+------+-------+
        | 1  | a    | 10    |
        +----+------+-------+"]]
    .assert_eq(
        &columns(
            &context(&table, &SnapshotPin::Id(id)),
            &["id", "kind", "value"],
        )
        .await,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_reads_the_snapshot_it_names() {
    let lake = Lake::start().await;
    lake.table("t", false).await;
    let first = lake.append("t", 1, &rows(&[(Some(1), "a", 10)])).await;
    let table = lake.append("t", 2, &rows(&[(Some(2), "a", 20)])).await;
    let old = first.metadata().current_snapshot().unwrap();
    for (pin, expected) in [
        (SnapshotPin::Current, 2),
        (SnapshotPin::Id(old.snapshot_id()), 1),
        (SnapshotPin::AsOf(old.timestamp_ms()), 1),
        (SnapshotPin::Ref("main".to_owned()), 2),
    ] {
        let context = context(&table, &pin);
        let counted = all(&context).await.count().await.unwrap();
        assert_eq!(counted, expected, "{pin:?}");
    }
    let caches = Arc::new(ScanCaches::new(ScanBounds::default()));
    let unknown = IcebergTable::new(&table, &SnapshotPin::Id(7), caches).unwrap_err();
    assert_eq!(unknown.to_string(), "no snapshot 7 in n.t");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_tables_list_what_the_metadata_says() {
    let lake = Lake::start().await;
    lake.table("t", true).await;
    let table = lake
        .append("t", 1, &rows(&[(Some(1), "a", 10), (Some(2), "b", 20)]))
        .await;
    let caches = ScanCaches::new(ScanBounds::default());
    let mut found = Vec::new();
    for name in [
        "snapshots",
        "history",
        "files",
        "manifests",
        "partitions",
        "refs",
        "properties",
    ] {
        let kind = MetadataTable::parse(name).unwrap();
        let rows = kind
            .rows(&table, &SnapshotPin::Current, &caches)
            .await
            .unwrap();
        found.push(format!(
            "{name}: {} rows of {}",
            rows.num_rows(),
            rows.num_columns()
        ));
    }
    expect_test::expect![[r"
        snapshots: 1 rows of 6
        history: 1 rows of 4
        files: 2 rows of 17
        manifests: 1 rows of 11
        partitions: 2 rows of 5
        refs: 1 rows of 6
        properties: 1 rows of 2"]]
    .assert_eq(&found.join("\n"));
    assert_eq!(MetadataTable::parse("nothing"), None);
}
