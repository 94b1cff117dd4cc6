//! What Debezium's events say besides their rows: `METADATA FROM 'value.source.timestamp'` and its like.

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use crate::error::Error;
use crate::formats::json::decode::{Failure, JsonOptions, Members};
use crate::formats::json::scan::Scanner;
use crate::table::{SqlType, TypeRoot};

/// Flink's keys of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Schema,
    IngestionTimestamp,
    SourceTimestamp,
    /// A text of the source, by its place in [`source`].
    Source(usize),
    SourceProperties,
}

/// The metadata columns of some events.
pub(super) struct Metadata {
    keys: Vec<Key>,
    /// What stands beside the payload.
    root: Members,
    /// Time and source of the event.
    event: Members,
    /// The source again, as a map.
    properties: Members,
}

/// The fields of the source that have keys of their own.
fn source() -> Fields {
    let text = |name| Field::new(name, DataType::Utf8, true);
    let time = Field::new("ts_ms", DataType::Int64, true);
    Fields::from(vec![text("db"), text("schema"), text("table"), time])
}

impl Metadata {
    /// The columns with these keys.
    pub(super) fn new(keys: &[&str]) -> Result<Self, Error> {
        let key = |key: &&str| {
            Ok(match *key {
                "schema" => Key::Schema,
                "ingestion-timestamp" => Key::IngestionTimestamp,
                "source.timestamp" => Key::SourceTimestamp,
                "source.database" => Key::Source(0),
                "source.schema" => Key::Source(1),
                "source.table" => Key::Source(2),
                "source.properties" => Key::SourceProperties,
                other => {
                    return Err(Error::invalid(format!(
                        "format 'debezium-json' has no metadata '{other}'"
                    )));
                }
            })
        };
        let text = || Box::new(SqlType::string());
        let properties = SqlType::of(TypeRoot::Map(text(), text())).arrow();
        let source = DataType::Struct(source());
        let event = [("ts_ms", &DataType::Int64), ("source", &source)];
        Ok(Metadata {
            keys: keys.iter().map(key).collect::<Result<_, Error>>()?,
            root: Members::new([("schema", &DataType::Utf8)].into_iter())?,
            event: Members::new(event.into_iter())?,
            properties: Members::new([("source", &properties)].into_iter())?,
        })
    }

    /// Reads what `event` says for each of its `n_rows` rows; `root` is the object that it is the payload of.
    pub(super) fn read(
        &mut self,
        root: Option<&[u8]>,
        event: &[u8],
        n_rows: usize,
        options: &JsonOptions,
    ) -> Result<(), Failure> {
        if self.keys.is_empty() {
            return Ok(());
        }
        for _ in 0..n_rows {
            match root {
                Some(root) => self.root.read(&mut Scanner::of_record(root), options)?,
                None => self.root.push_null(),
            }
            self.event.read(&mut Scanner::of_record(event), options)?;
            self.properties
                .read(&mut Scanner::of_record(event), options)?;
        }
        Ok(())
    }

    /// Takes back all but the first `n` rows.
    pub(super) fn truncate(&mut self, n: usize) {
        self.root.truncate(n);
        self.event.truncate(n);
        self.properties.truncate(n);
    }

    /// The arrays, in the order of the keys.
    pub(super) fn finish(&mut self) -> Result<Vec<ArrayRef>, Error> {
        if self.keys.is_empty() {
            return Ok(Vec::new());
        }
        let (root, event) = (self.root.finish()?, self.event.finish()?);
        let properties = self.properties.finish()?;
        let of_source = |field: usize| event[1].as_struct().column(field).clone();
        let column = |key: &Key| match key {
            Key::Schema => Ok(root[0].clone()),
            Key::IngestionTimestamp => instants(&event[0]),
            Key::SourceTimestamp => instants(&of_source(3)),
            Key::Source(field) => Ok(of_source(*field)),
            Key::SourceProperties => Ok(properties[0].clone()),
        };
        self.keys.iter().map(column).collect()
    }
}

fn instants(millis: &ArrayRef) -> Result<ArrayRef, Error> {
    let instant = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    cast(millis, &instant)
        .map_err(|error| Error::caused("could not read the time of events", error))
}
