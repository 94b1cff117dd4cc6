//! An Iceberg table at one snapshot, as DataFusion plans with it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema as ArrowSchema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use futures::{StreamExt, TryStreamExt, stream};
use lake::Table;
use lake::iceberg::spec::{SchemaRef as IcebergSchemaRef, SnapshotRef, Struct};
use lake::io::Store;
use lake::read::{LiveFile, SnapshotFiles};

use super::adapter::FieldIdAdapterFactory;
use super::deletes::{DeleteGroup, EqualityDeletesExec, extra_columns};
use super::files::{PlannedFile, Scanned};
use super::reading::{NotingFactory, Reading};
use super::{ScanCaches, SnapshotPin, external, files, hidden, pruning};

/// Files whose deleted positions are read at once.
const FILES_IN_FLIGHT: usize = 8;

/// An Iceberg table at one snapshot.
pub(crate) struct IcebergTable {
    table: Table,
    snapshot: Option<SnapshotRef>,
    schema: IcebergSchemaRef,
    columns: SchemaRef,
    /// `$path` and the others.
    hidden: Vec<FieldRef>,
    /// The columns and then the hidden ones.
    all: SchemaRef,
    caches: Arc<ScanCaches>,
}

/// What is asked of a scan.
struct Request<'a> {
    projection: Vec<usize>,
    limit: Option<usize>,
    predicate: Option<&'a Arc<dyn PhysicalExpr>>,
    reading: &'a Arc<Reading>,
}

/// Groups of equality deletes, gathered while files are planned.
#[derive(Default)]
struct Groups {
    numbers: HashMap<(i32, Struct), usize>,
    files: Vec<Vec<LiveFile>>,
    held: HashSet<(usize, String)>,
    key_ids: BTreeSet<i32>,
}

/// What a scan has to read.
struct Planned {
    /// Files that are read as they are, or without some positions.
    plain: Vec<PartitionedFile>,
    /// Files whose rows are compared with deleted keys.
    keyed: Vec<PartitionedFile>,
    groups: Vec<DeleteGroup>,
    key_ids: BTreeSet<i32>,
}

// === impl IcebergTable ===

impl fmt::Debug for IcebergTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("IcebergTable")
            .field("table", self.table.ident())
            .field("snapshot", &self.snapshot_id())
            .finish_non_exhaustive()
    }
}

impl IcebergTable {
    /// The table at the snapshot that `pin` names.
    pub(crate) fn new(
        table: &Table,
        pin: &SnapshotPin,
        caches: Arc<ScanCaches>,
    ) -> lake::Result<Self> {
        let (snapshot, schema) = pin.resolve(table)?;
        if let Some(field) = schema
            .field_id_to_fields()
            .values()
            .find(|field| field.initial_default.is_some())
        {
            return Err(lake::Error::Unsupported(format!(
                "reading column `{}`, which has a default for older rows,",
                field.name
            )));
        }
        let columns = plain(&lake::schema::to_arrow(&schema)?);
        let hidden = hidden::fields(&schema);
        let all = columns.fields().iter().chain(&hidden).cloned();
        Ok(Self {
            table: table.clone(),
            snapshot,
            all: Arc::new(ArrowSchema::new(all.collect::<Fields>())),
            schema,
            columns,
            hidden,
            caches,
        })
    }

    /// The snapshot that is read, `None` for a table without rows yet.
    pub(crate) fn snapshot_id(&self) -> Option<i64> {
        self.snapshot
            .as_ref()
            .map(|snapshot| snapshot.snapshot_id())
    }

    /// How many columns come before the hidden ones.
    pub(crate) fn n_own_columns(&self) -> usize {
        self.columns.fields().len()
    }

    async fn plan(&self, snapshot: &SnapshotRef, scan: &Request<'_>) -> Result<Planned> {
        let live = SnapshotFiles::load(&self.table, snapshot, &self.caches.manifests, |_| true)
            .await
            .map_err(external)?;
        let mut data: Vec<&LiveFile> = live.data().iter().collect();
        if let Some(predicate) = scan.predicate {
            data = pruning::prune(&self.table, &self.schema, &self.all, predicate, data)?;
        }
        let mut groups = Groups::default();
        let planned = data
            .into_iter()
            .map(|file| {
                let deletes = live.deletes_of(file);
                let group = groups.join(file, &deletes.equality)?;
                Ok(PlannedFile {
                    file,
                    positions: deletes.positions,
                    group,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let (keyed, plain): (Vec<_>, Vec<_>) =
            planned.into_iter().partition(|file| file.group.is_some());
        Ok(Planned {
            plain: self.partitioned(&plain, scan).await?,
            keyed: self.partitioned(&keyed, scan).await?,
            groups: groups.files.into_iter().map(DeleteGroup::new).collect(),
            key_ids: groups.key_ids,
        })
    }

    async fn partitioned(
        &self,
        planned: &[PlannedFile<'_>],
        scan: &Request<'_>,
    ) -> Result<Vec<PartitionedFile>> {
        let modified = self.all.index_of(hidden::MODIFIED).ok();
        let scanned = Scanned {
            table: &self.table,
            schema: &self.schema,
            columns: &self.columns,
            hidden: &self.hidden,
            // A filter is applied to the rows too, so that its columns are always among those asked for.
            modified: modified.is_some_and(|index| scan.projection.contains(&index)),
            caches: &self.caches,
            reading: scan.reading,
        };
        // Made one by one: a closure over borrowed files would not be general enough in its lifetime.
        let mut reads = Vec::with_capacity(planned.len());
        for file in planned {
            reads.push(files::partitioned(&scanned, file));
        }
        stream::iter(reads)
            .buffered(FILES_IN_FLIGHT)
            .try_collect()
            .await
    }

    /// A scan of `files`, whose schema is the table's columns and then `extra`.
    fn parquet(
        &self,
        state: &dyn Session,
        files: Vec<PartitionedFile>,
        extra: Vec<FieldRef>,
        scan: &Request<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (store, _) = self
            .table
            .store()
            .open(self.table.metadata().location())
            .map_err(external)?;
        let url = self.store_url()?;
        state
            .runtime_env()
            .register_object_store(url.as_ref(), Arc::clone(&store));
        let constant = self.hidden.iter().cloned().chain(extra).collect();
        let schema = TableSchema::new(Arc::clone(&self.columns), constant);
        let options = TableParquetOptions {
            global: state.config_options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        let mut source = ParquetSource::new(schema.clone())
            .with_table_parquet_options(options)
            .with_metadata_size_hint(files::FOOTER_HINT)
            .with_parquet_file_reader_factory(Arc::new(NotingFactory(
                CachedParquetFileReaderFactory::new(store, Arc::clone(&self.caches.footers)),
            )));
        if let Some(predicate) = scan.predicate {
            source = source.with_predicate(Arc::clone(predicate));
        }
        let groups = files::groups(
            files,
            state.config().target_partitions(),
            schema.table_schema(),
        )?;
        let statistics = files::merged(
            groups
                .iter()
                .filter_map(|group| group.file_statistics(None)),
            schema.table_schema(),
        )?;
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_limit(scan.limit)
            .with_projection_indices(Some(scan.projection.clone()))?
            .with_expr_adapter(Some(Arc::new(FieldIdAdapterFactory::new(&self.schema))))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// A scan of files with equality deletes: it reads the key columns as well, and drops them again.
    fn with_deleted_keys(
        &self,
        state: &dyn Session,
        planned: Planned,
        output: SchemaRef,
        scan: &Request<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut read = scan.projection.clone();
        let mut keys = Vec::with_capacity(planned.key_ids.len());
        for id in planned.key_ids {
            let column = self
                .schema
                .as_struct()
                .fields()
                .iter()
                .position(|field| field.id == id)
                .ok_or_else(|| {
                    DataFusionError::NotImplemented(format!(
                        "deletes of `{}` by the nested or dropped column with field id {id}",
                        self.table.ident()
                    ))
                })?;
            let place = read
                .iter()
                .position(|read| *read == column)
                .unwrap_or(read.len());
            if place == read.len() {
                read.push(column);
            }
            keys.push((id, place));
        }
        let n_columns = self.all.fields().len();
        read.extend([n_columns, n_columns + 1]);
        // A limit must not be applied before rows are taken out.
        let below = Request {
            projection: read,
            limit: None,
            ..*scan
        };
        let input = self.parquet(state, planned.keyed, extra_columns(), &below)?;
        Ok(Arc::new(EqualityDeletesExec::new(
            input,
            self.table.clone(),
            planned.groups,
            keys,
            output,
            self.caches.deleted_keys,
        )))
    }

    /// A name for the table's bucket and credentials in DataFusion's registry of object stores.
    fn store_url(&self) -> Result<ObjectStoreUrl> {
        let root = Store::root(self.table.metadata().location()).map_err(external)?;
        let config = self.table.store().config();
        let mut hasher = DefaultHasher::new();
        (
            root,
            &config.endpoint,
            &config.access_key,
            &config.session_token,
        )
            .hash(&mut hasher);
        ObjectStoreUrl::parse(format!("lake://{:016x}", hasher.finish()))
    }
}

#[async_trait]
impl TableProvider for IcebergTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.all)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Filters choose files and row groups here; DataFusion still applies them to each row.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection: Vec<usize> = projection
            .cloned()
            .unwrap_or_else(|| (0..self.all.fields().len()).collect());
        let output: SchemaRef = Arc::new(self.all.project(&projection)?);
        let Some(snapshot) = &self.snapshot else {
            return Ok(Arc::new(EmptyExec::new(output)));
        };
        let predicate = conjunction(filters.iter().cloned())
            .map(|filter| {
                let schema = DFSchema::try_from(Arc::clone(&self.all))?;
                state.create_physical_expr(filter, &schema)
            })
            .transpose()?;
        let reading = Arc::default();
        let scan = Request {
            projection,
            limit,
            predicate: predicate.as_ref(),
            reading: &reading,
        };
        let mut planned = self.plan(snapshot, &scan).await?;
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !planned.plain.is_empty() {
            let files = std::mem::take(&mut planned.plain);
            parts.push(self.parquet(state, files, Vec::new(), &scan)?);
        }
        if !planned.keyed.is_empty() {
            parts.push(self.with_deleted_keys(state, planned, Arc::clone(&output), &scan)?);
        }
        match parts.len() {
            0 => Ok(Arc::new(EmptyExec::new(output))),
            1 => Ok(parts.remove(0)),
            _ => UnionExec::try_new(parts),
        }
    }
}

// === impl Groups ===

impl Groups {
    /// The group of a file that these equality deletes reach, one per partition; `None` without deletes.
    fn join(&mut self, file: &LiveFile, deletes: &[&LiveFile]) -> Result<Option<i32>> {
        if deletes.is_empty() {
            return Ok(None);
        }
        let place = (file.spec_id, file.file().partition().clone());
        let group = *self.numbers.entry(place).or_insert_with(|| {
            self.files.push(Vec::new());
            self.files.len() - 1
        });
        for delete in deletes {
            self.key_ids
                .extend(delete.file().equality_ids().unwrap_or_default());
            if let Some(held) = self.files.get_mut(group)
                && self.held.insert((group, delete.path().to_owned()))
            {
                held.push((*delete).clone());
            }
        }
        i32::try_from(group)
            .map(Some)
            .map_err(|_| DataFusionError::Plan("too many partitions have deletes".to_owned()))
    }
}

/// The same columns without Iceberg's notes on them, which would make equal types unequal.
fn plain(columns: &SchemaRef) -> SchemaRef {
    Arc::new(ArrowSchema::new(
        columns.fields().iter().map(plain_field).collect::<Fields>(),
    ))
}

fn plain_field(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        DataType::List(item) => DataType::List(plain_field(item)),
        DataType::LargeList(item) => DataType::LargeList(plain_field(item)),
        DataType::Map(entries, sorted) => DataType::Map(plain_field(entries), *sorted),
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}
