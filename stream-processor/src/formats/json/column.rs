//! Columns while records are read into them: typed vectors that can take back the row of a bad record.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int8Array, Int16Array, Int32Array, Int64Array, ListArray, MapArray, StringArray, StructArray,
    Time32MillisecondArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use hashbrown::HashMap;

use crate::error::Error;
use crate::formats::json::convert::{Raw, TimestampStandard, plain, timestamp, unescape};
use crate::formats::json::decode::{Failure, JsonOptions, Members};
use crate::formats::json::scan::{Kind, Scanner};

/// One column.
pub(crate) struct Column {
    valid: Vec<bool>,
    values: Values,
}

enum Values {
    Boolean(Vec<bool>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Decimal(Vec<i128>, u8, i8),
    Text(Pieces),
    Bytes(Pieces),
    Date(Vec<i32>),
    Time(Vec<i32>),
    Timestamp {
        values: Vec<i64>,
        unit: TimeUnit,
        zone: Option<Arc<str>>,
    },
    Row(Members, Fields),
    List {
        ends: Vec<i32>,
        element: Box<Column>,
        field: Arc<Field>,
    },
    Map {
        ends: Vec<i32>,
        keys: Box<Column>,
        values: Box<Column>,
        field: Arc<Field>,
    },
}

/// Texts or byte strings one after the other.
#[derive(Default)]
struct Pieces {
    ends: Vec<i32>,
    data: Vec<u8>,
}

impl Pieces {
    fn close(&mut self) {
        self.ends.push(self.data.len() as i32);
    }

    fn truncate(&mut self, n: usize) {
        self.ends.truncate(n);
        let end = self.ends.last().map_or(0, |end| *end as usize);
        self.data.truncate(end);
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let data = std::mem::take(&mut self.data);
        (offsets(&mut self.ends), Buffer::from_vec(data))
    }
}

fn offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut all = Vec::with_capacity(ends.len() + 1);
    all.push(0);
    all.append(ends);
    OffsetBuffer::new(ScalarBuffer::from(all))
}

impl Column {
    /// An empty column of this type.
    pub(crate) fn new(data_type: &DataType) -> Result<Column, Error> {
        let values = match data_type {
            DataType::Boolean => Values::Boolean(Vec::new()),
            DataType::Int8 => Values::Int8(Vec::new()),
            DataType::Int16 => Values::Int16(Vec::new()),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Float32 => Values::Float(Vec::new()),
            DataType::Float64 => Values::Double(Vec::new()),
            DataType::Decimal128(precision, scale) => {
                Values::Decimal(Vec::new(), *precision, *scale)
            }
            DataType::Utf8 => Values::Text(Pieces::default()),
            DataType::Binary => Values::Bytes(Pieces::default()),
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Time32(TimeUnit::Millisecond) => Values::Time(Vec::new()),
            DataType::Timestamp(unit, zone) => Values::Timestamp {
                values: Vec::new(),
                unit: *unit,
                zone: zone.clone(),
            },
            DataType::Struct(fields) => {
                let named = fields
                    .iter()
                    .map(|field| (field.name().as_str(), field.data_type()));
                Values::Row(Members::new(named)?, fields.clone())
            }
            DataType::List(field) => Values::List {
                ends: Vec::new(),
                element: Box::new(Column::new(field.data_type())?),
                field: field.clone(),
            },
            DataType::Map(field, _) => Column::map(field)?,
            other => {
                return Err(Error::invalid(format!(
                    "the json format has no values of type {other}"
                )));
            }
        };
        Ok(Column {
            valid: Vec::new(),
            values,
        })
    }

    fn map(field: &Arc<Field>) -> Result<Values, Error> {
        let DataType::Struct(entry) = field.data_type() else {
            return Err(Error::failed("a map type without entries"));
        };
        if !matches!(entry[0].data_type(), DataType::Utf8) {
            return Err(Error::invalid(
                "JSON format doesn't support non-string as key type of map",
            ));
        }
        Ok(Values::Map {
            ends: Vec::new(),
            keys: Box::new(Column::new(entry[0].data_type())?),
            values: Box::new(Column::new(entry[1].data_type())?),
            field: field.clone(),
        })
    }

    /// Rows so far.
    pub(crate) fn len(&self) -> usize {
        self.valid.len()
    }

    /// Takes back all but the first `n` rows.
    pub(crate) fn truncate(&mut self, n: usize) {
        // A nested value may have got further than the row that it belongs to.
        self.valid.truncate(n);
        match &mut self.values {
            Values::Boolean(values) => values.truncate(n),
            Values::Int8(values) => values.truncate(n),
            Values::Int16(values) => values.truncate(n),
            Values::Int32(values) | Values::Date(values) | Values::Time(values) => {
                values.truncate(n);
            }
            Values::Int64(values) | Values::Timestamp { values, .. } => values.truncate(n),
            Values::Float(values) => values.truncate(n),
            Values::Double(values) => values.truncate(n),
            Values::Decimal(values, ..) => values.truncate(n),
            Values::Text(pieces) | Values::Bytes(pieces) => pieces.truncate(n),
            Values::Row(members, _) => members.truncate(n),
            Values::List { ends, element, .. } => {
                ends.truncate(n);
                element.truncate(ends.last().map_or(0, |end| *end as usize));
            }
            Values::Map {
                ends, keys, values, ..
            } => {
                ends.truncate(n);
                let end = ends.last().map_or(0, |end| *end as usize);
                keys.truncate(end);
                values.truncate(end);
            }
        }
    }

    /// Adds a NULL.
    pub(crate) fn push_null(&mut self) {
        self.valid.push(false);
        match &mut self.values {
            Values::Boolean(values) => values.push(false),
            Values::Int8(values) => values.push(0),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) | Values::Date(values) | Values::Time(values) => values.push(0),
            Values::Int64(values) | Values::Timestamp { values, .. } => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Double(values) => values.push(0.0),
            Values::Decimal(values, ..) => values.push(0),
            Values::Text(pieces) | Values::Bytes(pieces) => pieces.close(),
            Values::Row(members, _) => members.push_null(),
            Values::List { ends, element, .. } => ends.push(element.len() as i32),
            Values::Map { ends, keys, .. } => ends.push(keys.len() as i32),
        }
    }

    /// Adds the value that is next in the text.
    pub(crate) fn read(
        &mut self,
        scanner: &mut Scanner<'_>,
        options: &JsonOptions,
    ) -> Result<(), Failure> {
        scanner.space();
        let before = self.valid.len();
        if scanner.peek() == b'n' {
            scanner.value()?;
            self.push_null();
            return Ok(());
        }
        let read = match &mut self.values {
            Values::Int32(values) => {
                let begin = scanner.at;
                match scanner
                    .integer()
                    .and_then(|value| i32::try_from(value).ok())
                {
                    Some(value) => {
                        values.push(value);
                        true
                    }
                    None => {
                        scanner.at = begin;
                        let value = raw(scanner)?.integer();
                        push(values, value.and_then(|value| i32::try_from(value).ok()))
                    }
                }
            }
            Values::Int64(values) => match scanner.integer() {
                Some(value) => {
                    values.push(value);
                    true
                }
                None => push(values, raw(scanner)?.integer()),
            },
            Values::Text(pieces) => {
                read_text(pieces, scanner, options.decimals)?;
                true
            }
            Values::Timestamp { values, unit, zone } => {
                let value = raw(scanner)?;
                let parsed = match value.kind {
                    Kind::Text { escaped: false } => {
                        timestamp(value.text, options.timestamps, *unit, zone.is_some())
                    }
                    _ => None,
                };
                push(values, parsed)
            }
            Values::Row(..) | Values::List { .. } | Values::Map { .. } => {
                self.read_nested(scanner, options)?
            }
            _ => self.read_scalar(raw(scanner)?),
        };
        if read {
            self.valid.push(true);
            return Ok(());
        }
        self.truncate(before);
        if !options.ignore_errors {
            return Err(Failure::Value);
        }
        self.push_null();
        Ok(())
    }

    /// Adds the name of a map's entry.
    fn push_name(&mut self, name: &[u8]) {
        if let Values::Text(pieces) = &mut self.values {
            pieces.data.extend_from_slice(name);
            pieces.close();
            self.valid.push(true);
        }
    }

    /// Adds a value that is given as plain text, as in CSV; `false`, and nothing added, if it is not of the type.
    pub(crate) fn read_plain(&mut self, text: &[u8]) -> bool {
        let value = Raw {
            text,
            kind: Kind::Text { escaped: false },
        };
        let read = match &mut self.values {
            Values::Int32(values) => push(
                values,
                value.integer().and_then(|value| i32::try_from(value).ok()),
            ),
            Values::Int64(values) => push(values, value.integer()),
            Values::Text(pieces) => {
                pieces.data.extend_from_slice(text);
                pieces.close();
                true
            }
            Values::Timestamp { values, unit, zone } => push(
                values,
                timestamp(text, TimestampStandard::Sql, *unit, zone.is_some()),
            ),
            _ => self.read_scalar(value),
        };
        if read {
            self.valid.push(true);
        }
        read
    }

    fn read_scalar(&mut self, value: Raw<'_>) -> bool {
        match &mut self.values {
            Values::Boolean(values) => push(values, value.boolean()),
            Values::Int8(values) => push(
                values,
                value.small_integer().and_then(|v| v.try_into().ok()),
            ),
            Values::Int16(values) => push(
                values,
                value.small_integer().and_then(|v| v.try_into().ok()),
            ),
            Values::Float(values) => push(values, value.float()),
            Values::Double(values) => push(values, value.double()),
            Values::Decimal(values, precision, scale) => {
                push(values, value.decimal(*precision, *scale))
            }
            Values::Date(values) => push(values, value.date()),
            Values::Time(values) => push(values, value.time()),
            Values::Bytes(pieces) => value.bytes().is_some_and(|bytes| {
                pieces.data.extend_from_slice(&bytes);
                pieces.close();
                true
            }),
            _ => false,
        }
    }

    fn read_nested(
        &mut self,
        scanner: &mut Scanner<'_>,
        options: &JsonOptions,
    ) -> Result<bool, Failure> {
        match (&mut self.values, scanner.peek()) {
            (Values::Row(members, _), b'{') => {
                members.read(scanner, options)?;
                Ok(true)
            }
            (Values::List { ends, element, .. }, b'[') => {
                scanner.items(|scanner| element.read(scanner, options))?;
                ends.push(element.len() as i32);
                Ok(true)
            }
            (
                Values::Map {
                    ends, keys, values, ..
                },
                b'{',
            ) => {
                for (name, value_at) in entries(scanner)? {
                    keys.push_name(&name);
                    let mut inner = *scanner;
                    inner.at = value_at;
                    values.read(&mut inner, options)?;
                }
                ends.push(keys.len() as i32);
                Ok(true)
            }
            _ => {
                scanner.value()?;
                Ok(false)
            }
        }
    }

    /// The array; the column is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, Error> {
        let valid = std::mem::take(&mut self.valid);
        let n_rows = valid.len();
        let nulls = valid
            .contains(&false)
            .then(|| NullBuffer::new(BooleanBuffer::from(valid)));
        let array: ArrayRef = match &mut self.values {
            Values::Boolean(values) => Arc::new(BooleanArray::new(
                BooleanBuffer::from(std::mem::take(values)),
                nulls,
            )),
            Values::Int8(values) => Arc::new(Int8Array::new(take(values), nulls)),
            Values::Int16(values) => Arc::new(Int16Array::new(take(values), nulls)),
            Values::Int32(values) => Arc::new(Int32Array::new(take(values), nulls)),
            Values::Int64(values) => Arc::new(Int64Array::new(take(values), nulls)),
            Values::Float(values) => Arc::new(Float32Array::new(take(values), nulls)),
            Values::Double(values) => Arc::new(Float64Array::new(take(values), nulls)),
            Values::Decimal(values, precision, scale) => Arc::new(
                Decimal128Array::new(take(values), nulls)
                    .with_precision_and_scale(*precision, *scale)
                    .map_err(broken)?,
            ),
            Values::Date(values) => Arc::new(Date32Array::new(take(values), nulls)),
            Values::Time(values) => Arc::new(Time32MillisecondArray::new(take(values), nulls)),
            Values::Text(pieces) => {
                let (offsets, data) = pieces.finish();
                Arc::new(StringArray::try_new(offsets, data, nulls).map_err(broken)?)
            }
            Values::Bytes(pieces) => {
                let (offsets, data) = pieces.finish();
                Arc::new(BinaryArray::try_new(offsets, data, nulls).map_err(broken)?)
            }
            Values::Timestamp { values, unit, zone } => {
                timestamps(take(values), nulls, *unit, zone.clone())
            }
            Values::Row(members, fields) => {
                let columns = members.finish()?;
                if fields.is_empty() {
                    Arc::new(StructArray::new_empty_fields(n_rows, nulls))
                } else {
                    Arc::new(StructArray::try_new(fields.clone(), columns, nulls).map_err(broken)?)
                }
            }
            Values::List {
                ends,
                element,
                field,
            } => {
                let items = element.finish()?;
                let offsets = offsets(ends);
                Arc::new(ListArray::try_new(field.clone(), offsets, items, nulls).map_err(broken)?)
            }
            Values::Map {
                ends,
                keys,
                values,
                field,
                ..
            } => {
                let DataType::Struct(entry) = field.data_type() else {
                    return Err(Error::failed("a map type without entries"));
                };
                let columns = vec![keys.finish()?, values.finish()?];
                let entries = StructArray::try_new(entry.clone(), columns, None).map_err(broken)?;
                let map = MapArray::try_new(field.clone(), offsets(ends), entries, nulls, false);
                Arc::new(map.map_err(broken)?)
            }
        };
        Ok(array)
    }
}

fn timestamps(
    values: ScalarBuffer<i64>,
    nulls: Option<NullBuffer>,
    unit: TimeUnit,
    zone: Option<Arc<str>>,
) -> ArrayRef {
    match unit {
        TimeUnit::Microsecond => {
            Arc::new(TimestampMicrosecondArray::new(values, nulls).with_timezone_opt(zone))
        }
        TimeUnit::Nanosecond => {
            Arc::new(TimestampNanosecondArray::new(values, nulls).with_timezone_opt(zone))
        }
        TimeUnit::Second | TimeUnit::Millisecond => {
            Arc::new(TimestampMillisecondArray::new(values, nulls).with_timezone_opt(zone))
        }
    }
}

fn read_text(
    pieces: &mut Pieces,
    scanner: &mut Scanner<'_>,
    decimals: bool,
) -> Result<(), Failure> {
    if scanner.peek() == b'"' {
        let (text, escaped) = scanner.string()?;
        unescape(text, escaped, &mut pieces.data);
    } else {
        raw(scanner)?.write_text(decimals, &mut pieces.data)?;
    }
    pieces.close();
    Ok(())
}

/// A name and where its value begins.
type Entry<'a> = (Cow<'a, [u8]>, usize);

/// The members of the object that is next; of equal names the last one.
fn entries<'a>(scanner: &mut Scanner<'a>) -> Result<Vec<Entry<'a>>, Failure> {
    let mut found: Vec<Entry<'a>> = Vec::new();
    let mut places: HashMap<Cow<'a, [u8]>, usize, ahash::RandomState> = HashMap::default();
    scanner.members(|scanner, name, escaped| {
        let name = plain(name, escaped);
        let value_at = scanner.at;
        scanner.value()?;
        match places.get(&name) {
            Some(place) => found[*place].1 = value_at,
            None => {
                places.insert(name.clone(), found.len());
                found.push((name, value_at));
            }
        }
        Ok::<_, Failure>(())
    })?;
    Ok(found)
}

fn raw<'a>(scanner: &mut Scanner<'a>) -> Result<Raw<'a>, Failure> {
    let (text, kind) = scanner.value()?;
    Ok(Raw { text, kind })
}

fn push<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
    match value {
        Some(value) => {
            values.push(value);
            true
        }
        None => false,
    }
}

fn take<T: arrow::datatypes::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    ScalarBuffer::from(std::mem::take(values))
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::caused("could not finish a decoded column", error)
}
