//! What a table of connector `kafka` says in its options.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_client::Config;

use crate::connectors::records::KeyFormat;
use crate::error::Error;
use crate::formats::options::{get, need, parsed, refuse_unknown, wrong};
use crate::sql::parse_duration;
use crate::table::TableDefinition;

/// Where reading starts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Startup {
    Earliest,
    Latest,
    Group,
    Time(i64),
    Offsets(BTreeMap<i32, i64>),
}

/// Where reading stops.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Bounded {
    Never,
    Latest,
    Group,
    Time(i64),
    Offsets(BTreeMap<i32, i64>),
}

/// The options of a source.
#[derive(Debug, Clone)]
pub(crate) struct KafkaOptions {
    pub(crate) topics: Vec<String>,
    pub(crate) client: Config,
    pub(crate) group: Option<String>,
    /// `properties.auto.offset.reset`, where a group has no offset.
    pub(crate) reset: Option<Startup>,
    pub(crate) startup: Startup,
    pub(crate) bounded: Bounded,
    /// How often new partitions are looked for; `None` for never.
    pub(crate) discovery: Option<Duration>,
    pub(crate) format: String,
}

/// Flink's default of `scan.topic-partition-discovery.interval`.
const DISCOVERY: Duration = Duration::from_secs(300);

const KNOWN: [&str; 22] = [
    "connector",
    "topic",
    "format",
    "value.format",
    "key.format",
    "key.fields",
    "value.fields-include",
    "value.json.ignore-parse-errors",
    "value.json.fail-on-missing-field",
    "value.json.timestamp-format.standard",
    "value.debezium-json.schema-include",
    "value.debezium-json.ignore-parse-errors",
    "value.debezium-json.timestamp-format.standard",
    "properties.",
    "scan.startup.mode",
    "scan.startup.specific-offsets",
    "scan.startup.timestamp-millis",
    "scan.bounded.mode",
    "scan.bounded.specific-offsets",
    "scan.bounded.timestamp-millis",
    "scan.topic-partition-discovery.interval",
    "property-version",
];

/// Tables with equal keys read the same records from the same places.
pub(crate) fn share_key(table: &TableDefinition) -> String {
    let shared = |key: &&String| {
        *key == "topic" || key.starts_with("properties.") || key.starts_with("scan.")
    };
    let options = table.options.iter();
    let relevant: Vec<_> = options.filter(|(key, _)| shared(key)).collect();
    format!("{relevant:?}")
}

/// How the key of records is read, if it is.
pub(crate) fn key_format(table: &TableDefinition) -> Result<Option<KeyFormat<'_>>, Error> {
    let Some(format) = get(table, "key.format") else {
        return Ok(None);
    };
    let fields = need(table, "key.fields")?;
    let include = get(table, "value.fields-include").unwrap_or("ALL");
    Ok(Some(KeyFormat {
        format,
        fields: fields
            .split(';')
            .map(|field| field.trim().to_owned())
            .collect(),
        only_key: include == "EXCEPT_KEY",
    }))
}

impl KafkaOptions {
    /// Reads and checks them.
    pub(crate) fn of(table: &TableDefinition) -> Result<Self, Error> {
        refuse_unknown(table, &KNOWN)?;
        let topics = need(table, "topic")?.split(';');
        let format = get(table, "value.format").or_else(|| get(table, "format"));
        let format = format.ok_or_else(|| {
            Error::invalid(format!("table {} needs the option 'format'", table.path))
        })?;
        let startup = get(table, "scan.startup.mode").unwrap_or("group-offsets");
        let bounded = get(table, "scan.bounded.mode").unwrap_or("unbounded");
        Ok(KafkaOptions {
            topics: topics.map(|topic| topic.trim().to_owned()).collect(),
            client: client(table)?,
            group: get(table, "properties.group.id").map(str::to_owned),
            reset: match get(table, "properties.auto.offset.reset") {
                None | Some("none") => None,
                Some("earliest") => Some(Startup::Earliest),
                Some("latest") => Some(Startup::Latest),
                Some(other) => return Err(wrong(table, "properties.auto.offset.reset", other)),
            },
            startup: match startup {
                "earliest-offset" => Startup::Earliest,
                "latest-offset" => Startup::Latest,
                "group-offsets" => Startup::Group,
                "timestamp" => Startup::Time(time(table, "scan.startup.timestamp-millis")?),
                "specific-offsets" => {
                    Startup::Offsets(offsets(table, "scan.startup.specific-offsets")?)
                }
                other => return Err(wrong(table, "scan.startup.mode", other)),
            },
            bounded: match bounded {
                "unbounded" => Bounded::Never,
                "latest-offset" => Bounded::Latest,
                "group-offsets" => Bounded::Group,
                "timestamp" => Bounded::Time(time(table, "scan.bounded.timestamp-millis")?),
                "specific-offsets" => {
                    Bounded::Offsets(offsets(table, "scan.bounded.specific-offsets")?)
                }
                other => return Err(wrong(table, "scan.bounded.mode", other)),
            },
            discovery: discovery(table)?,
            format: format.to_owned(),
        })
    }
}

fn discovery(table: &TableDefinition) -> Result<Option<Duration>, Error> {
    let key = "scan.topic-partition-discovery.interval";
    let every = match get(table, key) {
        None => DISCOVERY,
        Some(text) => parse_duration(text).ok_or_else(|| wrong(table, key, text))?,
    };
    Ok((!every.is_zero()).then_some(every))
}

fn time(table: &TableDefinition, key: &str) -> Result<i64, Error> {
    need(table, key)?;
    parsed(table, key, 0)
}

/// `partition:0,offset:42;partition:1,offset:300`
fn offsets(table: &TableDefinition, key: &str) -> Result<BTreeMap<i32, i64>, Error> {
    let text = need(table, key)?;
    let parse = |entry: &str| {
        let (partition, offset) = entry.trim().split_once(',')?;
        let partition = partition.trim().strip_prefix("partition:")?;
        let offset = offset.trim().strip_prefix("offset:")?;
        Some((partition.parse().ok()?, offset.parse().ok()?))
    };
    text.split(';')
        .filter(|entry| !entry.trim().is_empty())
        .map(|entry| parse(entry).ok_or_else(|| wrong(table, key, text)))
        .collect()
}

/// Properties that say where a group stands; every other one is the connection's.
const GROUP: [&str; 3] = ["bootstrap.servers", "group.id", "auto.offset.reset"];

/// The connection, from `properties.*` in the names of the Java client.
fn client(table: &TableDefinition) -> Result<Config, Error> {
    let named = table.options.iter().filter_map(|(key, value)| {
        let name = key.strip_prefix("properties.")?;
        (!GROUP.contains(&name)).then(|| (name.to_owned(), value.clone()))
    });
    Config::new(need(table, "properties.bootstrap.servers")?)
        .with_properties(&named.collect())
        .map_err(|error| Error::invalid(format!("options of table {}: {error}", table.path)))
}
