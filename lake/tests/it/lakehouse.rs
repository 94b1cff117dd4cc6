//! A catalog and a store on ports of their own, and a peer between client and catalog that loses answers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use futures::TryStreamExt;
use lake::Table;
use lake::catalog::{CatalogConfig, NewTable, RestCatalog};
use lake::iceberg::spec::{
    NestedField, PrimitiveType, Schema, Transform, Type, UnboundPartitionSpec,
};
use lake::iceberg::{NamespaceIdent, TableIdent};
use lake::io::StoreConfig;
use lake::read::{ManifestCache, SnapshotFiles};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

pub(crate) struct Lakehouse {
    pub(crate) catalog_url: String,
    pub(crate) store_url: String,
    shutdown: CancellationToken,
    services: JoinSet<()>,
    _directory: tempfile::TempDir,
}

/// What the peer does with the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Passes it on.
    None,
    /// Passes it on and breaks the answer off.
    LoseAnswer,
    /// Passes it on and answers 502.
    BadGatewayAfter,
    /// Answers 504 and does nothing.
    TimeOutBefore,
    /// Answers 504 and keeps it, to be delivered by [`Faults::deliver_late`].
    HoldBack,
}

#[derive(Clone)]
pub(crate) struct Faults {
    plan: Arc<Mutex<VecDeque<Fault>>>,
    held: Arc<Mutex<Vec<(String, Bytes)>>>,
    upstream: String,
    client: reqwest::Client,
}

const ACCESS_KEY: &str = "admin";
const SECRET_KEY: &str = "password";

impl Lakehouse {
    pub(crate) async fn start() -> Self {
        Self::start_in(testkit::temp_dir(), None).await
    }

    /// With the tables in a directory instead of the store.
    pub(crate) async fn start_on_files() -> Self {
        let directory = testkit::temp_dir();
        let warehouse = format!("file://{}/warehouse", directory.path().display());
        Self::start_in(directory, Some(warehouse)).await
    }

    async fn start_in(directory: tempfile::TempDir, warehouse: Option<String>) -> Self {
        let shutdown = CancellationToken::new();
        let mut services = JoinSet::new();
        let (listener, store) = listen().await;
        let config = storage_service::Config {
            listen: store,
            data_dir: directory.path().join("store"),
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            ..storage_service::Config::default()
        };
        let token = shutdown.clone();
        services.spawn(async move {
            storage_service::serve(config, listener, token)
                .await
                .unwrap()
        });
        let (listener, catalog) = listen().await;
        let config = iceberg_catalog::Config {
            listen: catalog,
            data_dir: directory.path().join("catalog"),
            s3_endpoint: Url::parse(&format!("http://{store}")).unwrap(),
            s3_access_key: ACCESS_KEY.to_owned(),
            s3_secret_key: SECRET_KEY.to_owned(),
            warehouse: warehouse.unwrap_or(iceberg_catalog::Config::default().warehouse),
            ..iceberg_catalog::Config::default()
        };
        let token = shutdown.clone();
        services.spawn(async move {
            iceberg_catalog::serve(config, listener, token)
                .await
                .unwrap()
        });
        Self {
            catalog_url: format!("http://{catalog}"),
            store_url: format!("http://{store}"),
            shutdown,
            services,
            _directory: directory,
        }
    }

    /// A peer in front of the catalog, and a client that goes through it.
    pub(crate) async fn faulty(&mut self) -> (RestCatalog, Faults) {
        let (listener, address) = listen().await;
        let faults = Faults {
            plan: Arc::default(),
            held: Arc::default(),
            upstream: self.catalog_url.clone(),
            client: reqwest::Client::new(),
        };
        let router = axum::Router::new()
            .fallback(pass)
            .with_state(faults.clone());
        let token = self.shutdown.clone();
        self.services.spawn(async move {
            let serve = axum::serve(listener, router);
            serve
                .with_graceful_shutdown(token.cancelled_owned())
                .await
                .unwrap();
        });
        (self.connect_to(&format!("http://{address}")).await, faults)
    }

    pub(crate) async fn catalog(&self) -> RestCatalog {
        self.connect_to(&self.catalog_url).await
    }

    async fn connect_to(&self, url: &str) -> RestCatalog {
        let mut config = CatalogConfig::new(Url::parse(url).unwrap());
        config.store = StoreConfig {
            endpoint: Some(self.store_url.clone()),
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            ..StoreConfig::default()
        };
        let catalog = RestCatalog::connect(config).await.unwrap();
        catalog
            .ensure_namespace(&NamespaceIdent::new("test".to_owned()))
            .await
            .unwrap();
        catalog
    }

    /// Makes the table `name` of a metadata file that there is.
    pub(crate) async fn register(&self, name: &str, metadata_location: &str) {
        let body = serde_json::json!({ "name": name, "metadata-location": metadata_location });
        let url = format!("{}/v1/namespaces/test/register", self.catalog_url);
        let request = reqwest::Client::new().post(url).json(&body);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// Runs a script of another engine with the addresses in its environment.
    pub(crate) async fn python(&self, script: &'static str) -> String {
        let environment = [
            ("URI", self.catalog_url.clone()),
            ("S3", self.store_url.clone()),
            ("KEY", ACCESS_KEY.to_owned()),
            ("SECRET", SECRET_KEY.to_owned()),
        ];
        tokio::task::spawn_blocking(move || {
            let environment: Vec<_> = environment
                .iter()
                .map(|(key, value)| (*key, value.as_str()))
                .collect();
            testkit::python(script, &environment)
        })
        .await
        .unwrap()
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.services.join_next().await {
            ended.unwrap();
        }
    }
}

impl Faults {
    pub(crate) fn next(&self, faults: &[Fault]) {
        self.plan.lock().unwrap().extend(faults);
    }

    /// Sends what was held back, and returns the statuses it got.
    pub(crate) async fn deliver_late(&self) -> Vec<u16> {
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        let mut statuses = Vec::new();
        for (path, body) in held {
            let request = self
                .client
                .post(format!("{}{path}", self.upstream))
                .header("content-type", "application/json")
                .body(body);
            statuses.push(request.send().await.unwrap().status().as_u16());
        }
        statuses
    }
}

async fn pass(State(faults): State<Faults>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().unwrap().to_string();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let is_commit = parts.method == Method::POST && parts.uri.path().contains("/tables/");
    let fault = if is_commit {
        faults
            .plan
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Fault::None)
    } else {
        Fault::None
    };
    let answer = |status| {
        Response::builder()
            .status(status)
            .body(Body::empty())
            .unwrap()
    };
    if fault == Fault::TimeOutBefore {
        return answer(StatusCode::GATEWAY_TIMEOUT);
    }
    if fault == Fault::HoldBack {
        faults.held.lock().unwrap().push((path, body));
        return answer(StatusCode::GATEWAY_TIMEOUT);
    }
    let mut headers = parts.headers;
    headers.remove("host");
    let reply = faults
        .client
        .request(parts.method, format!("{}{path}", faults.upstream))
        .headers(headers)
        .body(body)
        .send()
        .await
        .unwrap();
    let status = reply.status();
    match fault {
        Fault::LoseAnswer => {
            let broken: Result<Bytes, std::io::Error> = Err(std::io::Error::other("cut"));
            Response::builder()
                .status(status)
                .body(Body::from_stream(futures::stream::iter([broken])))
                .unwrap()
        }
        Fault::BadGatewayAfter => answer(StatusCode::BAD_GATEWAY),
        _ => {
            let mut response = Response::builder().status(status);
            for name in ["etag", "content-type"] {
                if let Some(value) = reply.headers().get(name) {
                    response = response.header(name, value);
                }
            }
            response
                .body(Body::from(reply.bytes().await.unwrap()))
                .unwrap()
        }
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) fn ident(name: &str) -> TableIdent {
    TableIdent::from_strs(["test", name]).unwrap()
}

/// A table of `id long`, `kind string`, partitioned by `kind` if asked for.
pub(crate) async fn make_table(catalog: &RestCatalog, name: &str, partitioned: bool) -> Table {
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
    if partitioned {
        table.partition_spec = Some(
            UnboundPartitionSpec::builder()
                .add_partition_field(2, "kind", Transform::Identity)
                .unwrap()
                .build(),
        );
    }
    catalog
        .create_table(&NamespaceIdent::new("test".to_owned()), table)
        .await
        .unwrap()
}

pub(crate) fn rows(rows: &[(i64, &str, i64)]) -> RecordBatch {
    let ids: Int64Array = rows.iter().map(|row| row.0).collect();
    let kinds: StringArray = rows.iter().map(|row| Some(row.1)).collect();
    let values: Int64Array = rows.iter().map(|row| row.2).collect();
    RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("kind", Arc::new(kinds)),
        ("value", Arc::new(values)),
    ])
    .unwrap()
}

/// All rows of the table as `(id, kind, value)`, sorted, read by this crate with deletes applied.
pub(crate) async fn read(catalog: &RestCatalog, name: &str) -> Vec<(i64, String, i64)> {
    let table = catalog.load_table(&ident(name)).await.unwrap();
    let Some(snapshot) = table.metadata().current_snapshot() else {
        return Vec::new();
    };
    let cache = ManifestCache::new(1 << 20);
    let live = SnapshotFiles::load(&table, snapshot, &cache, |_| true)
        .await
        .unwrap();
    // The keys of these tables name the partition, so deleted keys of all partitions can be held together.
    let equality: Vec<_> = live
        .deletes()
        .iter()
        .filter(|delete| delete.file().equality_ids().is_some())
        .collect();
    let keys = lake::deletes::DeletedKeys::load(&table, &equality, 1 << 20)
        .await
        .unwrap();
    let mut found = Vec::new();
    for file in live.data() {
        let deletes = live.deletes_of(file);
        let gone = lake::deletes::positions(&table, file.path(), &deletes.positions)
            .await
            .unwrap();
        let opened = lake::deletes::open(&table, file).await.unwrap();
        let batches: Vec<RecordBatch> = opened.try_collect().await.unwrap();
        let mut position = 0;
        for batch in batches {
            let kept = keys
                .kept(batch.num_rows(), file.sequence, |id| {
                    let index = lake::deletes::index_of(batch.schema_ref(), id)?;
                    Some(Arc::clone(batch.column(index)))
                })
                .unwrap();
            for row in 0..batch.num_rows() {
                if kept.value(row) && gone.binary_search(&position).is_err() {
                    found.push((
                        batch.column(0).as_primitive::<Int64Type>().value(row),
                        batch.column(1).as_string::<i32>().value(row).to_owned(),
                        batch.column(2).as_primitive::<Int64Type>().value(row),
                    ));
                }
                position += 1;
            }
        }
    }
    found.sort();
    found
}
