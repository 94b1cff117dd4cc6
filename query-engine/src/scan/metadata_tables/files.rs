//! The metadata tables that are read from manifests: `$files`, `$manifests`, `$partitions`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Builder, Int64Builder, ListBuilder, MapBuilder, RecordBatch,
    StringBuilder, StructArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::scalar::ScalarValue;
use lake::iceberg::arrow::type_to_arrow_type;
use lake::iceberg::spec::{
    DataContentType, Datum, Literal, ManifestContentType, ManifestFile, Schema, Struct, Transform,
    Type,
};
use lake::read::{LiveFile, SnapshotFiles};
use lake::{Error, Result, Table};

use super::super::{ScanCaches, SnapshotPin, values};
use super::{arrow_error, batch, ints, item, longs, map_names, texts};

/// A field of any of the table's partition specs.
struct PartitionField {
    id: i32,
    name: String,
    kind: Type,
    data_type: DataType,
}

pub(super) async fn files(
    table: &Table,
    pin: &SnapshotPin,
    caches: &ScanCaches,
) -> Result<RecordBatch> {
    let live = load(table, pin, caches).await?;
    let all: Vec<&LiveFile> = live.data().iter().chain(live.deletes()).collect();
    let content = |file: &LiveFile| match file.file().content_type() {
        DataContentType::Data => 0,
        DataContentType::PositionDeletes => 1,
        DataContentType::EqualityDeletes => 2,
    };
    let formats: Vec<String> = all
        .iter()
        .map(|file| file.file().file_format().to_string().to_uppercase())
        .collect();
    let fields = partition_fields(table)?;
    let mut columns = vec![
        ("content", ints(all.iter().map(|file| Some(content(file))))),
        ("file_path", texts(all.iter().map(|file| Some(file.path())))),
        (
            "file_format",
            texts(formats.iter().map(|format| Some(format.as_str()))),
        ),
        ("spec_id", ints(all.iter().map(|file| Some(file.spec_id)))),
    ];
    if !fields.is_empty() {
        let rows: Vec<_> = all
            .iter()
            .map(|file| (file.spec_id, file.file().partition()))
            .collect();
        columns.push(("partition", partition_rows(table, &fields, &rows)?));
    }
    columns.extend(metrics_columns(&all)?);
    batch(columns)
}

/// The columns of `$files` that say how large a file is and what is in it.
fn metrics_columns(all: &[&LiveFile]) -> Result<Vec<(&'static str, ArrayRef)>> {
    let metadata_keys: BinaryArray = all.iter().map(|file| file.file().key_metadata()).collect();
    Ok(vec![
        (
            "record_count",
            longs(all.iter().map(|file| long(file.file().record_count()))),
        ),
        (
            "file_size_in_bytes",
            longs(
                all.iter()
                    .map(|file| long(file.file().file_size_in_bytes())),
            ),
        ),
        (
            "column_sizes",
            counts(all, |file| file.file().column_sizes())?,
        ),
        (
            "value_counts",
            counts(all, |file| file.file().value_counts())?,
        ),
        (
            "null_value_counts",
            counts(all, |file| file.file().null_value_counts())?,
        ),
        (
            "nan_value_counts",
            counts(all, |file| file.file().nan_value_counts())?,
        ),
        (
            "lower_bounds",
            bounds(all, |file| file.file().lower_bounds())?,
        ),
        (
            "upper_bounds",
            bounds(all, |file| file.file().upper_bounds())?,
        ),
        ("key_metadata", Arc::new(metadata_keys)),
        ("split_offsets", split_offsets(all)),
        ("equality_ids", equality_ids(all)),
        (
            "sort_order_id",
            ints(all.iter().map(|file| file.file().sort_order_id())),
        ),
    ])
}

pub(super) async fn manifests(
    table: &Table,
    pin: &SnapshotPin,
    caches: &ScanCaches,
) -> Result<RecordBatch> {
    let (snapshot, _) = pin.resolve(table)?;
    let list = match snapshot {
        Some(snapshot) => caches.manifests.list(table, &snapshot).await?,
        None => Arc::default(),
    };
    let files = |pick: fn(&ManifestFile) -> Option<u32>| {
        ints(
            list.iter()
                .map(|manifest| pick(manifest).and_then(|count| i32::try_from(count).ok())),
        )
    };
    let rows = |pick: fn(&ManifestFile) -> Option<u64>| {
        longs(list.iter().map(|manifest| pick(manifest).and_then(long)))
    };
    let content = list.iter().map(|manifest| match manifest.content {
        ManifestContentType::Data => Some(0),
        ManifestContentType::Deletes => Some(1),
    });
    let paths = list
        .iter()
        .map(|manifest| Some(manifest.manifest_path.as_str()));
    batch(vec![
        ("content", ints(content)),
        ("path", texts(paths)),
        (
            "length",
            longs(list.iter().map(|manifest| Some(manifest.manifest_length))),
        ),
        (
            "partition_spec_id",
            ints(list.iter().map(|manifest| Some(manifest.partition_spec_id))),
        ),
        (
            "added_snapshot_id",
            longs(list.iter().map(|manifest| Some(manifest.added_snapshot_id))),
        ),
        (
            "added_data_files_count",
            files(|manifest| manifest.added_files_count),
        ),
        (
            "added_rows_count",
            rows(|manifest| manifest.added_rows_count),
        ),
        (
            "existing_data_files_count",
            files(|manifest| manifest.existing_files_count),
        ),
        (
            "existing_rows_count",
            rows(|manifest| manifest.existing_rows_count),
        ),
        (
            "deleted_data_files_count",
            files(|manifest| manifest.deleted_files_count),
        ),
        (
            "deleted_rows_count",
            rows(|manifest| manifest.deleted_rows_count),
        ),
    ])
}

pub(super) async fn partitions(
    table: &Table,
    pin: &SnapshotPin,
    caches: &ScanCaches,
) -> Result<RecordBatch> {
    #[derive(Default)]
    struct Sums {
        records: u64,
        files: u64,
        bytes: u64,
    }
    let live = load(table, pin, caches).await?;
    let fields = partition_fields(table)?;
    let mut order: Vec<(i32, Struct)> = Vec::new();
    let mut sums: HashMap<(i32, Struct), Sums> = HashMap::new();
    for file in live.data() {
        let place = (file.spec_id, file.file().partition().clone());
        let sum = sums.entry(place.clone()).or_insert_with(|| {
            order.push(place);
            Sums::default()
        });
        sum.records += file.file().record_count();
        sum.files += 1;
        sum.bytes += file.file().file_size_in_bytes();
    }
    let sum = |pick: fn(&Sums) -> u64| {
        longs(
            order
                .iter()
                .map(|place| sums.get(place).map(pick).and_then(long)),
        )
    };
    let mut columns = Vec::new();
    if !fields.is_empty() {
        let rows: Vec<_> = order.iter().map(|(spec, values)| (*spec, values)).collect();
        columns.push(("partition", partition_rows(table, &fields, &rows)?));
    }
    columns.extend([
        ("record_count", sum(|sums| sums.records)),
        ("file_count", sum(|sums| sums.files)),
        ("total_size", sum(|sums| sums.bytes)),
    ]);
    let (_, schema) = pin.resolve(table)?;
    if let Some(data) = column_metrics(table, &schema, &order, &live)? {
        columns.push(("data", data));
    }
    batch(columns)
}

async fn load(table: &Table, pin: &SnapshotPin, caches: &ScanCaches) -> Result<SnapshotFiles> {
    match pin.resolve(table)?.0 {
        Some(snapshot) => SnapshotFiles::load(table, &snapshot, &caches.manifests, |_| true).await,
        None => Ok(SnapshotFiles::default()),
    }
}

/// The fields of all partition specs, each once, in the order of their ids.
fn partition_fields(table: &Table) -> Result<Vec<PartitionField>> {
    let metadata = table.metadata();
    let mut fields: BTreeMap<i32, PartitionField> = BTreeMap::new();
    for spec in metadata.partition_specs_iter() {
        let Ok(partition_type) = spec.partition_type(metadata.current_schema()) else {
            continue;
        };
        for field in partition_type.fields() {
            let kind = field.field_type.as_ref().clone();
            let data_type = type_to_arrow_type(&kind).map_err(|source| Error::Iceberg {
                action: "type a partition field".to_owned(),
                source: Box::new(source),
            })?;
            fields.entry(field.id).or_insert_with(|| PartitionField {
                id: field.id,
                name: field.name.clone(),
                kind,
                data_type,
            });
        }
    }
    Ok(fields.into_values().collect())
}

fn partition_rows(
    table: &Table,
    fields: &[PartitionField],
    rows: &[(i32, &Struct)],
) -> Result<ArrayRef> {
    let metadata = table.metadata();
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let values = rows.iter().map(|(spec_id, values)| {
            metadata
                .partition_spec_by_id(*spec_id)
                .and_then(|spec| {
                    spec.fields()
                        .iter()
                        .position(|held| held.field_id == field.id)
                })
                .and_then(|index| values.fields().get(index)?.as_ref())
                .and_then(|value: &Literal| values::literal(&field.kind, value))
        });
        columns.push(scalars(values, &field.data_type)?);
    }
    let names: Fields = fields
        .iter()
        .map(|field| Field::new(&field.name, field.data_type.clone(), true))
        .collect();
    structs(names, columns, rows.len())
}

/// Trino's `data` column of `$partitions`: for each primitive column that is no partition value itself a row of min, max, null and NaN
/// counts.
fn column_metrics(
    table: &Table,
    schema: &Schema,
    order: &[(i32, Struct)],
    live: &SnapshotFiles,
) -> Result<Option<ArrayRef>> {
    let identity: BTreeSet<i32> = table
        .metadata()
        .default_partition_spec()
        .fields()
        .iter()
        .filter(|field| field.transform == Transform::Identity)
        .map(|field| field.source_id)
        .collect();
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for field in schema.as_struct().fields() {
        if !field.field_type.is_primitive() || identity.contains(&field.id) {
            continue;
        }
        let data_type = type_to_arrow_type(&field.field_type).map_err(|source| Error::Iceberg {
            action: format!("type column `{}`", field.name),
            source: Box::new(source),
        })?;
        let mut rows = Vec::with_capacity(order.len());
        for place in order {
            let files = live
                .data()
                .iter()
                .filter(|file| (file.spec_id, file.file().partition()) == (place.0, &place.1));
            rows.push(metrics(field.id, files, &data_type));
        }
        let names: Fields = vec![
            Field::new("min", data_type.clone(), true),
            Field::new("max", data_type.clone(), true),
            Field::new("null_count", DataType::Int64, true),
            Field::new("nan_count", DataType::Int64, true),
        ]
        .into();
        let parts = vec![
            scalars(rows.iter().map(|row| row.0.clone()), &data_type)?,
            scalars(rows.iter().map(|row| row.1.clone()), &data_type)?,
            longs(rows.iter().map(|row| row.2)),
            longs(rows.iter().map(|row| row.3)),
        ];
        fields.push(Field::new(
            &field.name,
            DataType::Struct(names.clone()),
            true,
        ));
        columns.push(structs(names, parts, order.len())?);
    }
    if fields.is_empty() {
        return Ok(None);
    }
    structs(fields.into(), columns, order.len()).map(Some)
}

type Metrics = (
    Option<ScalarValue>,
    Option<ScalarValue>,
    Option<i64>,
    Option<i64>,
);

/// The bounds and counts of a column over some files; unknown as soon as one file does not know.
fn metrics<'a>(
    id: i32,
    files: impl Iterator<Item = &'a LiveFile>,
    data_type: &DataType,
) -> Metrics {
    let files: Vec<&LiveFile> = files.collect();
    let total = |pick: fn(&LiveFile) -> &HashMap<i32, u64>| {
        files
            .iter()
            .map(|file| pick(file).get(&id).copied())
            .sum::<Option<u64>>()
            .and_then(long)
    };
    let bound = |pick: fn(&LiveFile) -> &HashMap<i32, Datum>, lower: bool| {
        // As values of the column's present type: a bound written before a promotion has the older one.
        let mut bounds = files
            .iter()
            .map(|file| values::scalar(pick(file).get(&id)?, data_type))
            .collect::<Option<Vec<_>>>()?
            .into_iter();
        let first = bounds.next()?;
        let wanted = if lower {
            std::cmp::Ordering::Less
        } else {
            std::cmp::Ordering::Greater
        };
        bounds.try_fold(first, |best, bound| {
            Some(if bound.partial_cmp(&best)? == wanted {
                bound
            } else {
                best
            })
        })
    };
    (
        bound(|file| file.file().lower_bounds(), true),
        bound(|file| file.file().upper_bounds(), false),
        total(|file| file.file().null_value_counts()),
        total(|file| file.file().nan_value_counts()),
    )
}

fn scalars(
    values: impl Iterator<Item = Option<ScalarValue>>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let unknown = |error: datafusion::error::DataFusionError| Error::Invalid(error.to_string());
    let absent = ScalarValue::try_from(data_type).map_err(unknown)?;
    let values: Vec<ScalarValue> = values
        .map(|value| value.unwrap_or_else(|| absent.clone()))
        .collect();
    if values.is_empty() {
        return Ok(new_null_array(data_type, 0));
    }
    ScalarValue::iter_to_array(values).map_err(unknown)
}

fn structs(fields: Fields, columns: Vec<ArrayRef>, length: usize) -> Result<ArrayRef> {
    let rows = StructArray::try_new_with_length(fields, columns, None, length);
    Ok(Arc::new(rows.map_err(arrow_error)?))
}

fn counts(files: &[&LiveFile], pick: fn(&LiveFile) -> &HashMap<i32, u64>) -> Result<ArrayRef> {
    let mut map = MapBuilder::new(Some(map_names()), Int32Builder::new(), Int64Builder::new());
    for file in files {
        let sorted: BTreeMap<_, _> = pick(file).iter().collect();
        for (id, count) in sorted {
            map.keys().append_value(*id);
            map.values().append_option(long(*count));
        }
        map.append(true).map_err(arrow_error)?;
    }
    Ok(Arc::new(map.finish()))
}

fn bounds(files: &[&LiveFile], pick: fn(&LiveFile) -> &HashMap<i32, Datum>) -> Result<ArrayRef> {
    let mut map = MapBuilder::new(Some(map_names()), Int32Builder::new(), StringBuilder::new());
    for file in files {
        let sorted: BTreeMap<_, _> = pick(file).iter().collect();
        for (id, bound) in sorted {
            map.keys().append_value(*id);
            map.values().append_value(bound.to_human_string());
        }
        map.append(true).map_err(arrow_error)?;
    }
    Ok(Arc::new(map.finish()))
}

fn split_offsets(files: &[&LiveFile]) -> ArrayRef {
    let mut list = ListBuilder::new(Int64Builder::new()).with_field(item(DataType::Int64));
    for file in files {
        match file.file().split_offsets() {
            Some(offsets) => list.append_value(offsets.iter().map(|offset| Some(*offset))),
            None => list.append_null(),
        }
    }
    Arc::new(list.finish())
}

fn equality_ids(files: &[&LiveFile]) -> ArrayRef {
    let mut list = ListBuilder::new(Int32Builder::new()).with_field(item(DataType::Int32));
    for file in files {
        match file.file().equality_ids() {
            Some(ids) => list.append_value(ids.into_iter().map(Some)),
            None => list.append_null(),
        }
    }
    Arc::new(list.finish())
}

fn long(count: u64) -> Option<i64> {
    i64::try_from(count).ok()
}
