//! Per-column statistics of a finished Parquet file, in the form manifests keep them.
//!
//! Bounds go into every manifest entry of the table, so strings and bytes are cut to the length that [`Metrics`] has,
//! as Iceberg's own writers do: the lower bound down, the upper bound up, so that they stay bounds.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Schema as ArrowSchema};
use iceberg::metadata_columns::get_metadata_field;
use iceberg::spec::{Datum, PrimitiveType, Schema, Type};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

use super::metrics::{Metrics, MetricsMode};

/// Statistics by field id.
#[derive(Debug, Default)]
pub(super) struct ColumnStats {
    pub(super) column_sizes: HashMap<i32, u64>,
    pub(super) value_counts: HashMap<i32, u64>,
    pub(super) null_counts: HashMap<i32, u64>,
    pub(super) nan_counts: HashMap<i32, u64>,
    pub(super) lower_bounds: HashMap<i32, Datum>,
    pub(super) upper_bounds: HashMap<i32, Datum>,
    pub(super) split_offsets: Vec<i64>,
}

/// What was counted of the columns at the top level while they were written.
pub(super) struct Counted<'f> {
    pub(super) schema: &'f ArrowSchema,
    /// By column.
    pub(super) nans: &'f [u64],
    pub(super) nulls: &'f [u64],
}

/// The bounds of one column over its row groups; `None` once a row group lacks them.
struct Bounds {
    kind: PrimitiveType,
    lower: Option<Datum>,
    upper: Option<Datum>,
    complete: bool,
}

/// Gathers the statistics of a file whose columns carry the field ids of `schema`.
pub(super) fn of(
    metadata: &ParquetMetaData,
    schema: &Schema,
    metrics: &Metrics,
    counted: &Counted<'_>,
) -> ColumnStats {
    let mut stats = ColumnStats::default();
    let mode = |id: i32| metrics.mode(schema.name_by_field_id(id).unwrap_or_default());
    let mut bounds: HashMap<i32, Bounds> = HashMap::new();
    for group in metadata.row_groups() {
        if let Some(first) = group.columns().first() {
            let start = first
                .dictionary_page_offset()
                .unwrap_or_else(|| first.data_page_offset());
            stats.split_offsets.push(start);
        }
        for column in group.columns() {
            let info = column.column_descr().self_type().get_basic_info();
            if !info.has_id() {
                continue;
            }
            let id = info.id();
            *stats.column_sizes.entry(id).or_default() += column.compressed_size().cast_unsigned();
            let mode = mode(id);
            if mode == MetricsMode::None {
                continue;
            }
            *stats.value_counts.entry(id).or_default() += column.num_values().cast_unsigned();
            let Some(statistics) = column.statistics() else {
                continue;
            };
            if let Some(nulls) = statistics.null_count_opt() {
                *stats.null_counts.entry(id).or_default() += nulls;
            }
            // Bounds of values inside lists and maps say nothing about rows.
            if !mode.has_bounds() || column.column_descr().max_rep_level() > 0 {
                continue;
            }
            let Some(kind) = primitive(schema, id) else {
                continue;
            };
            let all_null = statistics
                .null_count_opt()
                .is_some_and(|nulls| nulls == column.num_values().cast_unsigned());
            let entry = bounds.entry(id).or_insert_with(|| Bounds {
                kind,
                lower: None,
                upper: None,
                complete: true,
            });
            if !all_null {
                entry.include(statistics);
            }
        }
    }
    for (id, bounds) in bounds.into_iter().filter(|(_, bounds)| bounds.complete) {
        let cut = |bound: Option<Datum>, cut: fn(Datum, usize) -> Option<Datum>| match mode(id) {
            MetricsMode::Truncate(length) => bound.and_then(|bound| cut(bound, length.get())),
            _ => bound,
        };
        if let Some(lower) = cut(bounds.lower, cut_down) {
            stats.lower_bounds.insert(id, lower);
        }
        if let Some(upper) = cut(bounds.upper, cut_up) {
            stats.upper_bounds.insert(id, upper);
        }
    }
    counted.add_to(&mut stats, mode);
    stats
}

// === impl Counted ===

impl Counted<'_> {
    /// The counts that Parquet does not have: NaNs, and nulls of columns without statistics.
    fn add_to(&self, stats: &mut ColumnStats, mode: impl Fn(i32) -> MetricsMode) {
        for (at, field) in self.schema.fields().iter().enumerate() {
            let id = field.metadata().get(PARQUET_FIELD_ID_META_KEY);
            let Some(id) = id.and_then(|id| id.parse().ok()) else {
                continue;
            };
            let mode = mode(id);
            if mode == MetricsMode::None {
                continue;
            }
            if matches!(field.data_type(), DataType::Float32 | DataType::Float64) {
                stats.nan_counts.insert(id, self.nans[at]);
            }
            if !mode.has_bounds() && stats.value_counts.contains_key(&id) {
                stats.null_counts.insert(id, self.nulls[at]);
            }
        }
    }
}

// === impl Bounds ===

impl Bounds {
    fn include(&mut self, statistics: &Statistics) {
        let (Some(lower), Some(upper)) = (
            statistics
                .min_bytes_opt()
                .and_then(|bytes| datum(&self.kind, statistics, bytes)),
            statistics
                .max_bytes_opt()
                .and_then(|bytes| datum(&self.kind, statistics, bytes)),
        ) else {
            self.complete = false;
            return;
        };
        if lower.is_nan() || upper.is_nan() {
            self.complete = false;
            return;
        }
        if self.lower.as_ref().is_none_or(|held| lower < *held) {
            self.lower = Some(lower);
        }
        if self.upper.as_ref().is_none_or(|held| upper > *held) {
            self.upper = Some(upper);
        }
    }
}

fn primitive(schema: &Schema, id: i32) -> Option<PrimitiveType> {
    let field_type = match schema.field_by_id(id) {
        Some(field) => field.field_type.as_ref(),
        None => get_metadata_field(id).ok()?.field_type.as_ref(),
    };
    match field_type {
        Type::Primitive(kind) => Some(kind.clone()),
        _ => None,
    }
}

/// A Parquet statistic as an Iceberg value. The encodings agree but for decimals, which Parquet may
/// keep as little-endian integers and Iceberg keeps big-endian.
fn datum(kind: &PrimitiveType, statistics: &Statistics, bytes: &[u8]) -> Option<Datum> {
    if let PrimitiveType::Decimal { .. } = kind
        && matches!(statistics, Statistics::Int32(_) | Statistics::Int64(_))
    {
        let mut reversed = bytes.to_vec();
        reversed.reverse();
        return Datum::try_from_bytes(&reversed, kind.clone()).ok();
    }
    Datum::try_from_bytes(bytes, kind.clone()).ok()
}

/// A bound that is at most `datum` and short.
fn cut_down(datum: Datum, length: usize) -> Option<Datum> {
    let bytes = datum.to_bytes().ok()?;
    match datum.data_type() {
        PrimitiveType::String => {
            let text = std::str::from_utf8(&bytes).ok()?;
            match text.char_indices().nth(length) {
                Some((end, _)) => Some(Datum::string(&text[..end])),
                None => Some(datum),
            }
        }
        PrimitiveType::Binary if bytes.len() > length => {
            Some(Datum::binary(bytes[..length].iter().copied()))
        }
        _ => Some(datum),
    }
}

/// A bound that is at least `datum` and short; `None` when there is none.
fn cut_up(datum: Datum, length: usize) -> Option<Datum> {
    let bytes = datum.to_bytes().ok()?;
    match datum.data_type() {
        PrimitiveType::String => {
            let text = std::str::from_utf8(&bytes).ok()?;
            if text.chars().nth(length).is_none() {
                return Some(datum);
            }
            let mut kept: Vec<char> = text.chars().take(length).collect();
            while let Some(last) = kept.pop() {
                if let Some(next) = successor(last) {
                    kept.push(next);
                    return Some(Datum::string(kept.into_iter().collect::<String>()));
                }
            }
            None
        }
        PrimitiveType::Binary if bytes.len() > length => {
            let mut kept = bytes[..length].to_vec();
            while let Some(last) = kept.pop() {
                if last < u8::MAX {
                    kept.push(last + 1);
                    return Some(Datum::binary(kept));
                }
            }
            None
        }
        _ => Some(datum),
    }
}

/// The next character in the order of its UTF-8 bytes, stepping over the surrogates.
fn successor(character: char) -> Option<char> {
    match character {
        '\u{D7FF}' => Some('\u{E000}'),
        _ => char::from_u32(u32::from(character) + 1),
    }
}

#[cfg(test)]
mod tests;
