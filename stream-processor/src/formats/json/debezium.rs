//! Debezium's change events into rows with their kinds: the source side of `debezium-json`.
//!
//! An event holds a row as it was before the change and as it is after it. A snapshot read (`r`) and a creation (`c`)
//! give the row after, a deletion (`d`) the row before, an update (`u`) both, in the order of a changelog. Flink's
//! rules count also for what is not emitted: every image must fit the columns, unless errors are to be ignored.

mod metadata;

use self::metadata::Metadata;
use crate::batch::RowKind;
use crate::error::Error;
use crate::formats::json::convert::plain;
use crate::formats::json::decode::{Failure, JsonOptions, Members, timestamp_standard};
use crate::formats::json::scan::{Kind, Scanner};
use crate::formats::{Decoded, Decoder, Payloads, options};
use crate::table::{self, TableDefinition};

/// The options of the format.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DebeziumOptions {
    /// `debezium-json.schema-include`: the event is in `payload`, beside its schema.
    pub(crate) schema_include: bool,
    /// Of the rows within the events.
    pub(crate) json: JsonOptions,
}

/// Decodes the events of one table.
pub(crate) struct DebeziumDecoder {
    rows: Members,
    metadata: Metadata,
    options: DebeziumOptions,
}

/// A value within an event: its text and kind.
type Value<'a> = (&'a [u8], Kind);

/// The parts of an event that count; of equal names the last one.
#[derive(Default)]
struct Event<'a> {
    /// All of it.
    text: &'a [u8],
    before: Option<Value<'a>>,
    after: Option<Value<'a>>,
    op: Option<Value<'a>>,
}

/// Why an event gives no rows.
enum Corrupt {
    Record(Failure),
    /// It is JSON, but no such event.
    Event(String),
}

impl From<Failure> for Corrupt {
    fn from(failure: Failure) -> Self {
        Corrupt::Record(failure)
    }
}

// === impl DebeziumOptions ===

impl DebeziumOptions {
    /// From the table's options.
    pub(crate) fn of(table: &TableDefinition) -> Result<Self, Error> {
        let flag = |name: &str| {
            let under_value = options::flag(table, &format!("value.debezium-json.{name}"), false)?;
            options::flag(table, &format!("debezium-json.{name}"), under_value)
        };
        Ok(DebeziumOptions {
            schema_include: flag("schema-include")?,
            json: JsonOptions {
                ignore_errors: flag("ignore-parse-errors")?,
                fail_on_missing: false,
                timestamps: timestamp_standard(table, "debezium-json")?,
                decimals: JsonOptions::of(table)?.decimals,
            },
        })
    }
}

// === impl DebeziumDecoder ===

impl DebeziumDecoder {
    /// A decoder for these columns, and behind them for the metadata with these keys.
    pub(crate) fn new(
        columns: &[&table::Column],
        metadata: &[&str],
        options: DebeziumOptions,
    ) -> Result<Self, Error> {
        Ok(DebeziumDecoder {
            rows: Members::of_columns(columns)?,
            metadata: Metadata::new(metadata)?,
            options,
        })
    }

    /// Reads the rows of one event, and says what each of them does.
    fn event(&mut self, text: &[u8], kinds: &mut Vec<RowKind>) -> Result<(), Corrupt> {
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        let text = self.object(text)?;
        let event = self.parts(text)?;
        let op = match event.op {
            None | Some((_, Kind::Null)) => return Err(corrupt("it has no \"op\"")),
            Some((op, Kind::Text { escaped })) => plain(op, escaped),
            Some((op, _)) => op.into(),
        };
        let missing = |what: &str| {
            corrupt(format!(
                "The \"before\" field of {what} message is null, if you are using Debezium Postgres Connector, please check the Postgres table has been set REPLICA IDENTITY to FULL level."
            ))
        };
        let n_before = self.rows.n_rows();
        let has_before = self.image(event.before)?;
        let n_after = self.rows.n_rows();
        let has_after = self.image(event.after)?;
        let changes: &[RowKind] = match &*op {
            b"c" | b"r" if has_after => {
                // The image before, which such events do not need, stands first.
                if has_before {
                    self.rows.truncate(n_before);
                    self.image(event.after)?;
                }
                &[RowKind::Insert]
            }
            b"u" if !has_before => return Err(missing("UPDATE")),
            b"u" if has_after => &[RowKind::UpdateBefore, RowKind::UpdateAfter],
            b"d" if !has_before => return Err(missing("DELETE")),
            b"d" => {
                self.rows.truncate(n_after);
                &[RowKind::Delete]
            }
            b"c" | b"r" | b"u" => return Err(corrupt("its \"after\" is null")),
            other => {
                let other = String::from_utf8_lossy(other);
                return Err(corrupt(format!("Unknown \"op\" value \"{other}\"")));
            }
        };
        let root = self.options.schema_include.then_some(text);
        let json = &self.options.json;
        self.metadata.read(root, event.text, changes.len(), json)?;
        kinds.extend_from_slice(changes);
        Ok(())
    }

    /// The object of a record; an array may stand around it, if there is no other in it.
    fn object<'a>(&self, text: &'a [u8]) -> Result<&'a [u8], Corrupt> {
        let mut scanner = Scanner::of_record(text);
        scanner.space();
        if scanner.peek() != b'[' {
            return Ok(&text[scanner.at..]);
        }
        let mut objects = Vec::new();
        scanner
            .items(|scanner| {
                match scanner.value()? {
                    (object, Kind::Object) => objects.push(object),
                    (_, Kind::Null) => {}
                    _ if self.options.json.ignore_errors => {}
                    _ => return Err(Failure::Value),
                }
                Ok(())
            })
            .map_err(Corrupt::from)?;
        match objects[..] {
            [object] => Ok(object),
            _ => Err(corrupt(format!("it has {} events", objects.len()))),
        }
    }

    fn parts<'a>(&self, text: &'a [u8]) -> Result<Event<'a>, Corrupt> {
        let mut event = Event {
            text,
            ..Event::default()
        };
        let mut scanner = Scanner::of_record(text);
        scanner.space();
        if !self.options.schema_include {
            read(&mut scanner, &mut event)?;
            return Ok(event);
        }
        let mut payload: Option<Value<'a>> = None;
        scanner
            .members(|scanner, name, escaped| {
                let value = scanner.value()?;
                if &*plain(name, escaped) == b"payload" {
                    payload = Some(value);
                }
                Ok::<_, Failure>(())
            })
            .map_err(Corrupt::from)?;
        match payload {
            Some((payload, Kind::Object)) => {
                event.text = payload;
                read(&mut Scanner::of_record(payload), &mut event)?;
            }
            _ => return Err(corrupt("it has no \"payload\"")),
        }
        Ok(event)
    }

    /// Reads a row, if there is one.
    fn image(&mut self, image: Option<Value<'_>>) -> Result<bool, Failure> {
        match image {
            None | Some((_, Kind::Null)) => Ok(false),
            Some((text, Kind::Object)) => {
                let json = &self.options.json;
                self.rows.read(&mut Scanner::of_record(text), json)?;
                Ok(true)
            }
            Some(_) if self.options.json.ignore_errors => Ok(false),
            Some(_) => Err(Failure::Value),
        }
    }
}

fn corrupt(why: impl Into<String>) -> Corrupt {
    Corrupt::Event(why.into())
}

/// Reads the event that is next in the text.
fn read<'a>(scanner: &mut Scanner<'a>, event: &mut Event<'a>) -> Result<(), Failure> {
    scanner.members(|scanner, name, escaped| {
        let value = scanner.value()?;
        match &*plain(name, escaped) {
            b"before" => event.before = Some(value),
            b"after" => event.after = Some(value),
            b"op" => event.op = Some(value),
            _ => {}
        }
        Ok(())
    })
}

impl Decoder for DebeziumDecoder {
    fn decode(&mut self, payloads: Payloads<'_>) -> Result<Decoded, Error> {
        let mut origin = Vec::with_capacity(payloads.spans.len());
        let mut kinds = Vec::with_capacity(payloads.spans.len());
        let mut n_bad = 0;
        for (index, span) in payloads.spans.iter().enumerate() {
            let text = span.of(payloads.data).unwrap_or_default();
            // Kafka's tombstones say once more that a row was deleted.
            if text.is_empty() {
                continue;
            }
            let before = self.rows.n_rows();
            let read = match std::str::from_utf8(text) {
                Ok(_) => self.event(text, &mut kinds),
                Err(error) => Err(Failure::Malformed(error.valid_up_to()).into()),
            };
            if let Err(failure) = read {
                self.rows.truncate(before);
                self.metadata.truncate(before);
                if !self.options.json.ignore_errors {
                    return Err(failed(text, failure));
                }
                n_bad += 1;
            }
            origin.extend(std::iter::repeat_n(
                index as u32,
                kinds.len() - origin.len(),
            ));
        }
        let mut columns = self.rows.finish()?;
        columns.extend(self.metadata.finish()?);
        Ok(Decoded {
            columns,
            n_rows: kinds.len(),
            origin: Some(origin),
            kinds: Some(kinds),
            n_bad,
        })
    }
}

fn failed(text: &[u8], why: Corrupt) -> Error {
    let shown = String::from_utf8_lossy(&text[..text.len().min(200)]);
    let why = match why {
        Corrupt::Record(failure) => failure.to_string(),
        Corrupt::Event(why) => why,
    };
    Error::failed(format!("Corrupt Debezium JSON message '{shown}': {why}"))
}

#[cfg(test)]
mod tests;
