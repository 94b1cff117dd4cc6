//! Tells for which columns of a file the codec pays, from the rows that are written first.
//!
//! Snappy takes several times as long over identifiers as over text that repeats, and leaves nine tenths of them.

use std::io;

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::Result;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

/// Rows that are looked at.
const SAMPLE: usize = 1024;

/// A codec that leaves more of a column than this many hundredths is not worth its time.
const MOST_LEFT: i64 = 75;

/// The names of those of `columns` of `rows` that `codec` makes little smaller. They are written without a dictionary.
pub(super) fn incompressible(
    rows: &RecordBatch,
    columns: &[String],
    codec: Compression,
) -> Result<Vec<String>> {
    let places = columns.iter().map(|name| rows.schema().index_of(name));
    let places = places.collect::<std::result::Result<Vec<_>, _>>()?;
    let sample = rows
        .slice(0, rows.num_rows().min(SAMPLE))
        .project(&places)?;
    let properties = WriterProperties::builder()
        .set_compression(codec)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let mut writer = ArrowWriter::try_new(io::sink(), sample.schema(), Some(properties))?;
    writer.write(&sample)?;
    let metadata = writer.close()?;
    let written = metadata.row_groups().iter().flat_map(|rows| rows.columns());
    Ok(columns
        .iter()
        .zip(written)
        .filter(|(_, column)| {
            column.compressed_size() * 100 > column.uncompressed_size() * MOST_LEFT
        })
        .map(|(name, _)| name.clone())
        .collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use parquet::basic::Compression;
    use uuid::Uuid;

    use super::incompressible;

    /// Its multiples look like chance.
    const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

    #[test]
    fn identifiers_are_left_and_texts_are_compressed() {
        let ids: Vec<String> = (1..2000)
            .map(|n| Uuid::from_u128(SPREAD.wrapping_mul(n)).to_string())
            .collect();
        let texts = ids.iter().map(|id| {
            format!(r#"{{"event_identifier":"{id}","action_name":"page_view","location":null}}"#)
        });
        let columns: [(&str, ArrayRef); 2] = [
            ("text", Arc::new(StringArray::from_iter_values(texts))),
            ("id", Arc::new(StringArray::from_iter_values(&ids))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let names = ["text".to_owned(), "id".to_owned()];
        let left = |names: &[String], codec| incompressible(&rows, names, codec).unwrap();
        assert_eq!(left(&names, Compression::SNAPPY), ["id"]);
        assert_eq!(left(&names[..1], Compression::SNAPPY), [""; 0]);
        assert_eq!(left(&[], Compression::SNAPPY), [""; 0]);
    }
}
