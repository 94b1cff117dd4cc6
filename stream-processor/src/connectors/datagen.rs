//! The `datagen` source: random or counted rows, the same again after a restart.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::formats::options;
use crate::graph::SourceSpec;
use crate::operator::Subtask;
use crate::runtime::ends::{Polled, Positions, Source, SplitRows};
use crate::table::{Column, TableDefinition};

/// Rows made at once.
const BATCH: u64 = 4096;

struct Datagen {
    fields: Vec<Generated>,
    schema: SchemaRef,
    subtask: Subtask,
    per_second: u64,
    total: Option<u64>,
    made: u64,
    started: Option<(i64, u64)>,
}

enum Generated {
    Sequence {
        start: i64,
        end: i64,
        data_type: DataType,
    },
    Number {
        min: f64,
        max: f64,
        data_type: DataType,
    },
    Integer {
        min: i64,
        max: i64,
        data_type: DataType,
    },
    Text {
        length: usize,
    },
    Boolean,
    Now {
        data_type: DataType,
    },
}

/// Opens an instance.
pub(crate) fn open(
    spec: &Arc<SourceSpec>,
    subtask: Subtask,
    positions: Option<&Positions>,
) -> Result<Box<dyn Source>, Error> {
    let table = &spec.table;
    let known = ["connector", "rows-per-second", "number-of-rows", "fields."];
    options::refuse_unknown(table, &known)?;
    let columns: Vec<&Column> = spec
        .read
        .iter()
        .map(|column| &table.columns[*column])
        .collect();
    let fields = columns
        .iter()
        .map(|column| generated(table, column))
        .collect::<Result<Vec<_>, _>>()?;
    let schema = columns.iter().map(|column| {
        Field::new(
            &column.name,
            column.data_type.arrow(),
            column.data_type.nullable,
        )
    });
    let total = options::get(table, "number-of-rows")
        .map(|_| options::parsed(table, "number-of-rows", 0u64))
        .transpose()?;
    let longest = table.columns.iter().try_fold(total, |shortest, column| {
        let length = match generated(table, column)? {
            Generated::Sequence { start, end, .. } => {
                Some(end.saturating_sub(start).max(0) as u64 + 1)
            }
            _ => None,
        };
        Ok::<_, Error>([shortest, length].into_iter().flatten().min())
    })?;
    let made = positions.and_then(|all| all.get(&split_name(subtask.index)));
    Ok(Box::new(Datagen {
        fields,
        schema: Arc::new(Schema::new(schema.collect::<Vec<_>>())),
        subtask,
        per_second: options::parsed(table, "rows-per-second", 10_000u64)?,
        total: longest,
        made: made.and_then(serde_json::Value::as_u64).unwrap_or(0),
        started: None,
    }))
}

fn split_name(index: usize) -> String {
    format!("generator-{index}")
}

fn generated(table: &TableDefinition, column: &Column) -> Result<Generated, Error> {
    let key = |name: &str| format!("fields.{}.{name}", column.name);
    let data_type = column.data_type.arrow();
    let kind = key("kind");
    match options::get(table, &kind).unwrap_or("random") {
        "sequence" => {
            let start = key("start");
            let end = key("end");
            options::need(table, &start)?;
            options::need(table, &end)?;
            Ok(Generated::Sequence {
                start: options::parsed(table, &start, 0)?,
                end: options::parsed(table, &end, 0)?,
                data_type,
            })
        }
        "random" => random(table, column, data_type),
        other => Err(options::wrong(table, &kind, other)),
    }
}

fn random(
    table: &TableDefinition,
    column: &Column,
    data_type: DataType,
) -> Result<Generated, Error> {
    let key = |name: &str| format!("fields.{}.{name}", column.name);
    let (least, most) = match data_type {
        DataType::Int8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        DataType::Int16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        DataType::Int32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            Ok(Generated::Integer {
                min: options::parsed(table, &key("min"), least)?,
                max: options::parsed(table, &key("max"), most)?,
                data_type,
            })
        }
        DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => Ok(Generated::Number {
            min: options::parsed(table, &key("min"), 0.0)?,
            max: options::parsed(table, &key("max"), 1_000_000.0)?,
            data_type,
        }),
        DataType::Utf8 => Ok(Generated::Text {
            length: options::parsed(table, &key("length"), 100usize)?.min(1 << 20),
        }),
        DataType::Boolean => Ok(Generated::Boolean),
        DataType::Timestamp(..) => Ok(Generated::Now { data_type }),
        other => Err(Error::invalid(format!(
            "datagen of table {} cannot make column `{}` of type {other}",
            table.path, column.name
        ))),
    }
}

/// A random number that depends only on where it is used.
fn mix(row: u64, field: u64) -> u64 {
    let mut value =
        row.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ field.wrapping_mul(0xd134_2543_de82_ef95);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Datagen {
    /// The number, over all instances, of this instance's row `made`.
    fn row_number(&self, made: u64) -> u64 {
        made * self.subtask.parallelism as u64 + self.subtask.index as u64
    }

    fn left(&self) -> u64 {
        let Some(total) = self.total else {
            return u64::MAX;
        };
        let (index, all) = (self.subtask.index as u64, self.subtask.parallelism as u64);
        let mine = total.saturating_sub(index).div_ceil(all);
        mine.saturating_sub(self.made)
    }

    fn due(&mut self, now: i64) -> u64 {
        let (since, from) = *self.started.get_or_insert((now, self.made));
        let share = self.per_second as f64 / self.subtask.parallelism as f64;
        let until = from + ((now - since + 100) as f64 * share / 1000.0) as u64;
        until.saturating_sub(self.made)
    }

    fn column(
        &self,
        field: usize,
        rows: std::ops::Range<u64>,
        now: i64,
    ) -> Result<ArrayRef, Error> {
        let numbers = || rows.clone().map(|made| self.row_number(made));
        let random = || numbers().map(|row| mix(row, field as u64 + 1));
        let made: (ArrayRef, &DataType) = match &self.fields[field] {
            Generated::Sequence {
                start, data_type, ..
            } => (
                Arc::new(
                    numbers()
                        .map(|row| start + row as i64)
                        .collect::<Int64Array>(),
                ),
                data_type,
            ),
            Generated::Integer {
                min,
                max,
                data_type,
            } => {
                let span = (i128::from(*max) - i128::from(*min) + 1).max(1) as u128;
                let pick =
                    |value: u64| (i128::from(*min) + (u128::from(value) % span) as i128) as i64;
                let values = random().map(pick);
                let array: ArrayRef = match data_type {
                    DataType::Int8 => Arc::new(values.map(|v| v as i8).collect::<Int8Array>()),
                    DataType::Int16 => Arc::new(values.map(|v| v as i16).collect::<Int16Array>()),
                    DataType::Int32 => Arc::new(values.map(|v| v as i32).collect::<Int32Array>()),
                    _ => Arc::new(values.collect::<Int64Array>()),
                };
                (array, data_type)
            }
            Generated::Number {
                min,
                max,
                data_type,
            } => {
                let unit = |value: u64| (value >> 11) as f64 / (1u64 << 53) as f64;
                let values = random().map(|value| min + unit(value) * (max - min));
                let array: ArrayRef = match data_type {
                    DataType::Float32 => {
                        Arc::new(values.map(|v| v as f32).collect::<Float32Array>())
                    }
                    _ => Arc::new(values.collect::<Float64Array>()),
                };
                (array, data_type)
            }
            Generated::Text { length } => {
                let text = |seed: u64| -> String {
                    let digit = |place| mix(seed, place as u64) as u32 % 16;
                    (0..*length)
                        .filter_map(|place| char::from_digit(digit(place), 16))
                        .collect()
                };
                let array: ArrayRef = Arc::new(StringArray::from_iter_values(random().map(text)));
                return Ok(array);
            }
            Generated::Boolean => {
                let array: BooleanArray = random().map(|value| Some(value & 1 == 0)).collect();
                return Ok(Arc::new(array));
            }
            Generated::Now { data_type } => {
                let zone = match data_type {
                    DataType::Timestamp(_, zone) => zone.clone(),
                    _ => None,
                };
                let array = TimestampMillisecondArray::from(vec![now; rows.count()]);
                (Arc::new(array.with_timezone_opt(zone)), data_type)
            }
        };
        cast(&made.0, made.1).map_err(|error| Error::caused("could not generate a column", error))
    }
}

impl Source for Datagen {
    fn splits(&self) -> usize {
        1
    }

    fn poll(&mut self, now: i64) -> Result<Polled, Error> {
        let left = self.left();
        if left == 0 {
            return Ok(Polled::Ended);
        }
        let n_rows = BATCH.min(left).min(self.due(now));
        if n_rows == 0 {
            // The tick of the runtime comes soon enough.
            return Ok(Polled::Pending);
        }
        let rows = self.made..self.made + n_rows;
        let columns = (0..self.fields.len())
            .map(|field| self.column(field, rows.clone(), now))
            .collect::<Result<Vec<_>, _>>()?;
        self.made += n_rows;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(n_rows as usize));
        let table = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| Error::caused("could not generate rows", error))?;
        Ok(Polled::Rows(SplitRows {
            split: 0,
            bytes: 0,
            records: n_rows as usize,
            tables: vec![ChangeBatch::inserts(table)],
        }))
    }

    fn positions(&self) -> Positions {
        let position = (split_name(self.subtask.index), self.made.into());
        Positions::from([position])
    }
}
