//! What a table of connector `kafka` says in its options.

use std::collections::BTreeMap;

use kafka_client::{Config, Sasl, SaslMechanism, Tls};

use crate::connectors::records::KeyFormat;
use crate::error::Error;
use crate::formats::options::{get, need, parsed, refuse_unknown, wrong};
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
    pub(crate) format: String,
}

const KNOWN: [&str; 18] = [
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
    "properties.",
    "scan.startup.mode",
    "scan.startup.specific-offsets",
    "scan.startup.timestamp-millis",
    "scan.bounded.mode",
    "scan.bounded.specific-offsets",
    "scan.bounded.timestamp-millis",
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
            format: format.to_owned(),
        })
    }
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

/// The connection, from `properties.*` in the names of the Java client.
fn client(table: &TableDefinition) -> Result<Config, Error> {
    let property = |name: &str| get(table, &format!("properties.{name}"));
    let mut config = Config::new(need(table, "properties.bootstrap.servers")?);
    let protocol = property("security.protocol").unwrap_or("PLAINTEXT");
    if matches!(protocol, "SSL" | "SASL_SSL") {
        let pem = |name: &str| property(name).map(std::path::PathBuf::from);
        config.tls = Some(Tls {
            ca_file: pem("ssl.truststore.location"),
            cert_file: None,
            key_file: None,
        });
    }
    if matches!(protocol, "SASL_PLAINTEXT" | "SASL_SSL") {
        config.sasl = Some(sasl(table)?);
    }
    if !matches!(
        protocol,
        "PLAINTEXT" | "SSL" | "SASL_PLAINTEXT" | "SASL_SSL"
    ) {
        return Err(wrong(table, "properties.security.protocol", protocol));
    }
    Ok(config)
}

fn sasl(table: &TableDefinition) -> Result<Sasl, Error> {
    let key = "properties.sasl.mechanism";
    let mechanism = match need(table, key)? {
        "PLAIN" => SaslMechanism::Plain,
        "SCRAM-SHA-256" => SaslMechanism::ScramSha256,
        "SCRAM-SHA-512" => SaslMechanism::ScramSha512,
        other => return Err(wrong(table, key, other)),
    };
    let jaas_key = "properties.sasl.jaas.config";
    let jaas = need(table, jaas_key)?;
    let part = |name: &str| {
        let begin = jaas.find(&format!("{name}=\""))? + name.len() + 2;
        let length = jaas[begin..].find('"')?;
        Some(jaas[begin..begin + length].to_owned())
    };
    let (Some(username), Some(password)) = (part("username"), part("password")) else {
        return Err(Error::invalid(format!(
            "option '{jaas_key}' of table {} needs username=\"…\" and password=\"…\"",
            table.path
        )));
    };
    Ok(Sasl {
        mechanism,
        username,
        password,
    })
}
