//! Facts about data files: their sizes, how many are open, and what manifests will say of them.

use std::fs::File;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use iceberg::spec::{
    Datum, NestedField, PrimitiveType, Schema, TableMetadataBuilder, Transform, Type,
    UnboundPartitionSpec,
};
use iceberg::{TableCreation, TableIdent};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use uuid::Uuid;

use super::*;
use crate::io::Store;

fn table(directory: &tempfile::TempDir, partitioned: bool) -> Table {
    let field = |id, name, kind| NestedField::optional(id, name, Type::Primitive(kind)).into();
    let schema = Schema::builder()
        .with_fields(vec![
            field(1, "id", PrimitiveType::Long),
            field(2, "name", PrimitiveType::String),
            field(3, "amount", PrimitiveType::Double),
        ])
        .build()
        .unwrap();
    let creation = TableCreation::builder()
        .name("t".to_owned())
        .location(format!("file://{}", directory.path().display()))
        .schema(schema);
    let creation = if partitioned {
        let spec = UnboundPartitionSpec::builder()
            .add_partition_field(1, "id", Transform::Identity)
            .unwrap();
        creation.partition_spec(spec.build()).build()
    } else {
        creation.build()
    };
    let metadata = TableMetadataBuilder::from_table_creation(creation)
        .unwrap()
        .build()
        .unwrap()
        .metadata;
    let ident = TableIdent::from_strs(["n", "t"]).unwrap();
    Table::new(ident, Arc::new(metadata), None, Store::default())
}

fn rows(ids: &[Option<i64>], names: &[&str], amounts: &[f64]) -> RecordBatch {
    RecordBatch::try_from_iter([
        (
            "id",
            Arc::new(ids.iter().copied().collect::<Int64Array>()) as ArrayRef,
        ),
        (
            "name",
            Arc::new(names.iter().copied().map(Some).collect::<StringArray>()),
        ),
        (
            "amount",
            Arc::new(amounts.iter().copied().map(Some).collect::<Float64Array>()),
        ),
    ])
    .unwrap()
}

#[tokio::test]
async fn statistics_say_what_is_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let table = table(&directory, false);
    let mut writer = TableWriter::new(&table, WriterOptions::default()).unwrap();
    let long = "abcdefghijklmnopqrstuvwxyz";
    writer
        .write(&rows(
            &[Some(7), None, Some(-3)],
            &["b", long, "c"],
            &[1.5, f64::NAN, 0.5],
        ))
        .await
        .unwrap();
    let files = writer.finish().await.unwrap();
    let file = files[0].data_file(table.metadata()).unwrap();
    assert_eq!((files.len(), file.record_count()), (1, 3));
    assert_eq!(file.lower_bounds()[&1], Datum::long(-3));
    assert_eq!(file.upper_bounds()[&1], Datum::long(7));
    assert_eq!(file.lower_bounds()[&2], Datum::string("abcdefghijklmnop"));
    assert_eq!(file.upper_bounds()[&2], Datum::string("c"));
    assert_eq!(
        (file.null_value_counts()[&1], file.null_value_counts()[&2]),
        (1, 0)
    );
    assert_eq!(file.nan_value_counts()[&3], 1);
    assert_eq!(file.value_counts()[&1], 3);
    let path = file.file_path().strip_prefix("file://").unwrap();
    assert_eq!(
        std::fs::metadata(path).unwrap().len(),
        file.file_size_in_bytes()
    );
    assert_eq!(file.split_offsets(), Some([4].as_slice()));
}

#[tokio::test]
async fn a_file_is_closed_at_its_target_size() {
    let directory = tempfile::tempdir().unwrap();
    let table = table(&directory, false);
    let options = WriterOptions {
        target_file_size: 1,
        ..WriterOptions::default()
    };
    let mut writer = TableWriter::new(&table, options).unwrap();
    for id in 0..3 {
        writer
            .write(&rows(&[Some(id)], &["a"], &[1.0]))
            .await
            .unwrap();
    }
    assert_eq!(writer.finish().await.unwrap().len(), 3);
    assert!(writer.finish().await.unwrap().is_empty());
}

#[tokio::test]
async fn no_more_files_are_open_than_allowed_and_no_row_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let table = table(&directory, true);
    let options = WriterOptions {
        max_open_files: 2,
        ..WriterOptions::default()
    };
    let mut writer = TableWriter::new(&table, options).unwrap();
    for id in [1, 2, 3, 1, 2, 3] {
        writer
            .write(&rows(&[Some(id)], &["a"], &[1.0]))
            .await
            .unwrap();
        assert!(writer.open.len() <= 2);
    }
    let files = writer.finish().await.unwrap();
    assert_eq!(files.iter().map(|file| file.records).sum::<u64>(), 6);
}

#[tokio::test]
async fn row_groups_close_early_to_keep_memory_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let table = table(&directory, false);
    let options = WriterOptions {
        max_buffered: 1,
        ..WriterOptions::default()
    };
    let mut writer = TableWriter::new(&table, options).unwrap();
    for id in 0..4 {
        writer
            .write(&rows(&[Some(id)], &["a"], &[1.0]))
            .await
            .unwrap();
        assert_eq!(writer.buffered_bytes(), 0);
    }
    let files = writer.finish().await.unwrap();
    let file = files[0].data_file(table.metadata()).unwrap();
    assert_eq!(file.split_offsets().map(<[i64]>::len), Some(4));
}

#[test]
fn a_property_that_is_not_understood_is_refused() {
    assert!(compression("lzo", None).is_err());
    assert!(compression("zstd", Some("99")).is_err());
    assert_eq!(compression("SNAPPY", None).unwrap(), Compression::SNAPPY);
}

#[tokio::test]
async fn statistics_are_those_that_the_table_asks_for() {
    let directory = tempfile::tempdir().unwrap();
    let table = table(&directory, false);
    let column = |name: &str| format!("write.metadata.metrics.column.{name}");
    let properties = [
        (column("id"), "none".to_owned()),
        (column("name"), "counts".to_owned()),
    ];
    let options = WriterOptions {
        metrics: Metrics::of(&properties.into()).unwrap(),
        ..WriterOptions::default()
    };
    let mut writer = TableWriter::new(&table, options).unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None]));
    let amounts: ArrayRef = Arc::new(Float64Array::from(vec![1.5, f64::NAN]));
    let columns = [
        ("id", ids, true),
        ("name", names, true),
        ("amount", amounts, true),
    ];
    let rows = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    writer.write(&rows).await.unwrap();
    let files = writer.finish().await.unwrap();
    let file = files[0].data_file(table.metadata()).unwrap();
    let ids = |counts: &HashMap<i32, u64>| {
        let mut ids: Vec<_> = counts.iter().map(|(id, count)| (*id, *count)).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(file.value_counts()), [(2, 2), (3, 2)]);
    assert_eq!(ids(file.null_value_counts()), [(2, 1), (3, 0)]);
    assert_eq!(ids(file.nan_value_counts()), [(3, 1)]);
    assert_eq!(file.column_sizes().len(), 3);
    let bounds: Vec<_> = file.lower_bounds().iter().collect();
    assert_eq!(bounds, [(&3, &Datum::double(1.5))]);
}

#[tokio::test]
async fn a_stream_compresses_what_pays_and_a_named_codec_all() {
    let directory = tempfile::tempdir().unwrap();
    let table = table(&directory, false);
    let streaming = WriterOptions::streaming(table.metadata()).unwrap();
    let named = WriterOptions {
        compress_all: true,
        ..streaming.clone()
    };
    let uuids: Vec<String> = (0..500).map(|_| Uuid::new_v4().to_string()).collect();
    let names: Vec<&str> = uuids.iter().map(String::as_str).collect();
    // Their upper bytes are the same.
    let ids: Vec<Option<i64>> = (0..500).map(|id| Some(id << 4)).collect();
    let rows = rows(&ids, &names, &[0.0; 500]);
    for (options, codecs) in [
        (streaming, ["SNAPPY", "UNCOMPRESSED", "SNAPPY"]),
        (named, ["SNAPPY"; 3]),
    ] {
        let mut writer = TableWriter::new(&table, options).unwrap();
        writer.write(&rows).await.unwrap();
        let files = writer.finish().await.unwrap();
        let file = files[0].data_file(table.metadata()).unwrap();
        let path = file.file_path().strip_prefix("file://").unwrap();
        let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
        let columns = reader.metadata().row_group(0).columns();
        let found: Vec<String> = columns
            .iter()
            .map(|column| column.compression().to_string())
            .collect();
        assert_eq!(found, codecs);
        let names: Vec<String> = reader
            .get_row_iter(None)
            .unwrap()
            .map(|row| row.unwrap().get_string(1).unwrap().clone())
            .collect();
        assert_eq!(names, uuids);
    }
}

#[test]
fn a_table_that_names_its_codec_has_it_for_all_columns() {
    let directory = tempfile::tempdir().unwrap();
    let table = table(&directory, false);
    let options = WriterOptions::streaming(table.metadata()).unwrap();
    assert!(!options.compress_all);
    let codec = ("write.parquet.compression-codec", "snappy");
    let named = TableMetadataBuilder::new_from_metadata(table.metadata().clone(), None)
        .set_properties(
            [codec]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        )
        .unwrap()
        .build()
        .unwrap()
        .metadata;
    let options = WriterOptions::streaming(&named).unwrap();
    assert_eq!(options.compression, Compression::SNAPPY);
    assert!(options.compress_all);
}
