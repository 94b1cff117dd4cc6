//! A lake of a test's own: files in a directory, and a catalog of a few lines on the Iceberg library's metadata builder.
//!
//! It stands for the Iceberg REST catalog that the engine and other clients share. Services never import each other;
//! the real one is in the platform's tests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use iceberg::spec::{Schema, TableMetadata, TableMetadataBuilder, UnboundPartitionSpec};
use iceberg::{TableCreation, TableRequirement, TableUpdate};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::client::Server;

/// A catalog and the directory of its tables.
pub(crate) struct Lake {
    pub(crate) url: String,
    catalog: Arc<Catalog>,
    _server: JoinSet<()>,
}

struct Catalog {
    directory: tempfile::TempDir,
    tables: Mutex<BTreeMap<(String, String), Entry>>,
    /// What is answered instead of a table, for tests of damage.
    instead: Mutex<Option<Vec<u8>>>,
}

struct Entry {
    metadata: TableMetadata,
    version: u64,
}

impl Lake {
    pub(crate) async fn start() -> Lake {
        let catalog = Arc::new(Catalog {
            directory: testkit::temp_dir(),
            tables: Mutex::default(),
            instead: Mutex::default(),
        });
        let router = Router::new()
            .route(
                "/v1/config",
                get(|| async { Json(json!({"defaults": {}, "overrides": {}})) }),
            )
            .route("/v1/namespaces", get(namespaces))
            .route("/v1/namespaces/{namespace}", get(namespace))
            .route("/v1/namespaces/{namespace}/tables", get(list).post(create))
            .route(
                "/v1/namespaces/{namespace}/tables/{table}",
                get(load).post(commit).delete(drop_table),
            )
            .route(
                "/v1/namespaces/{namespace}/tables/{table}/metrics",
                post(|| async {}),
            )
            .with_state(Arc::clone(&catalog));
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("the lake of the test works");
        let url = format!(
            "http://{}/",
            listener.local_addr().expect("the lake of the test works")
        );
        let mut server = JoinSet::new();
        server.spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("the lake of the test works")
        });
        Lake {
            url,
            catalog,
            _server: server,
        }
    }

    /// A query engine on this lake.
    pub(crate) async fn engine(&self) -> Server {
        let catalog = self.url.parse().expect("the lake of the test works");
        Server::start_with(|config| config.catalog_uri = catalog).await
    }

    /// Runs a script of pyiceberg's on this lake, as another client of it; `catalog` is there.
    pub(crate) async fn python(&self, script: &str) -> String {
        let script = format!(
            "import os, pyarrow as pa\nfrom pyiceberg.catalog import load_catalog\n\
             catalog = load_catalog('lake', type='rest', uri=os.environ['CATALOG'])\n{script}"
        );
        let url = self.url.clone();
        tokio::task::spawn_blocking(move || testkit::python(&script, &[("CATALOG", &url)]))
            .await
            .expect("the lake of the test works")
    }

    /// All files of the lake, sorted.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut directories = vec![self.catalog.directory.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).expect("the lake of the test works") {
                let path = entry.expect("the lake of the test works").path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// What the catalog answers for a table.
    pub(crate) fn answer(&self, namespace: &str, table: &str) -> Vec<u8> {
        let tables = self.catalog.tables.lock();
        let entry = &tables[&(namespace.to_owned(), table.to_owned())];
        loaded(&entry.metadata).to_string().into_bytes()
    }

    /// Makes the catalog answer this for every table, or the truth again.
    pub(crate) fn answer_instead(&self, body: Option<Vec<u8>>) {
        *self.catalog.instead.lock() = body;
    }
}

fn loaded(metadata: &TableMetadata) -> Value {
    let location = format!("{}/metadata/current.json", metadata.location());
    json!({"metadata-location": location, "metadata": metadata, "config": {}})
}

fn not_found() -> Response {
    let error =
        json!({"error": {"message": "not there", "type": "NoSuchTableException", "code": 404}});
    (StatusCode::NOT_FOUND, Json(error)).into_response()
}

async fn namespaces(State(catalog): State<Arc<Catalog>>) -> Json<Value> {
    let tables = catalog.tables.lock();
    let mut names: Vec<_> = tables.keys().map(|(namespace, _)| [namespace]).collect();
    names.dedup();
    Json(json!({"namespaces": names}))
}

async fn namespace(Path(namespace): Path<String>) -> Json<Value> {
    Json(json!({"namespace": [namespace], "properties": {}}))
}

async fn list(State(catalog): State<Arc<Catalog>>, Path(namespace): Path<String>) -> Json<Value> {
    let tables = catalog.tables.lock();
    let names = tables.keys().filter(|(known, _)| *known == namespace);
    let names: Vec<_> = names
        .map(|(namespace, name)| json!({"namespace": [namespace], "name": name}))
        .collect();
    Json(json!({"identifiers": names}))
}

async fn create(
    State(catalog): State<Arc<Catalog>>,
    Path(namespace): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    let name = body["name"]
        .as_str()
        .expect("the lake of the test works")
        .to_owned();
    let schema: Schema =
        serde_json::from_value(body["schema"].clone()).expect("the lake of the test works");
    let spec: Option<UnboundPartitionSpec> =
        serde_json::from_value(body["partition-spec"].clone()).expect("the lake of the test works");
    let directory = catalog.directory.path().join(&namespace).join(&name);
    let creation = TableCreation::builder()
        .name(name.clone())
        .location(format!("file://{}", directory.display()))
        .schema(schema);
    let creation = match spec {
        Some(spec) => creation.partition_spec(spec).build(),
        None => creation.build(),
    };
    let metadata = TableMetadataBuilder::from_table_creation(creation)
        .expect("the lake of the test works")
        .build()
        .expect("the lake of the test works")
        .metadata;
    let answer = loaded(&metadata);
    let entry = Entry {
        metadata,
        version: rand::random::<u32>().into(),
    };
    catalog.tables.lock().insert((namespace, name), entry);
    Json(answer).into_response()
}

async fn load(
    State(catalog): State<Arc<Catalog>>,
    Path(table): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Some(instead) = catalog.instead.lock().clone() {
        return ([("content-type", "application/json")], instead).into_response();
    }
    let tables = catalog.tables.lock();
    let Some(entry) = tables.get(&table) else {
        return not_found();
    };
    let etag = format!("\"{}\"", entry.version);
    if headers
        .get("if-none-match")
        .is_some_and(|known| *known == *etag)
    {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    ([("etag", etag)], Json(loaded(&entry.metadata))).into_response()
}

async fn commit(
    State(catalog): State<Arc<Catalog>>,
    Path(table): Path<(String, String)>,
    Json(body): Json<Value>,
) -> Response {
    let mut tables = catalog.tables.lock();
    let Some(entry) = tables.get_mut(&table) else {
        return not_found();
    };
    let requirements: Vec<TableRequirement> =
        serde_json::from_value(body["requirements"].clone()).expect("the lake of the test works");
    for requirement in requirements {
        requirement
            .check(Some(&entry.metadata))
            .expect("the lake of the test works");
    }
    let updates: Vec<TableUpdate> =
        serde_json::from_value(body["updates"].clone()).expect("the lake of the test works");
    let location = format!("{}/metadata/current.json", entry.metadata.location());
    let mut builder = entry.metadata.clone().into_builder(Some(location));
    for update in updates {
        builder = update.apply(builder).expect("the lake of the test works");
    }
    entry.metadata = builder
        .build()
        .expect("the lake of the test works")
        .metadata;
    entry.version += 1;
    Json(loaded(&entry.metadata)).into_response()
}

async fn drop_table(
    State(catalog): State<Arc<Catalog>>,
    Path(table): Path<(String, String)>,
) -> StatusCode {
    catalog.tables.lock().remove(&table);
    StatusCode::NO_CONTENT
}
