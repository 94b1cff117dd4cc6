//! The configuration in the names of Kafka's Java client, which users of Flink, Connect and Kafka's own tools know.
//!
//! Names that mean nothing to this client are refused, because a setting that is read and ignored is worse than none.
//! Certificates are PEM files; a Java keystore is refused by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::{Config, Sasl, SaslMechanism, Tls};
use crate::error::Error;

/// Every name that is understood.
const KNOWN: [&str; 10] = [
    "client.id",
    "security.protocol",
    "sasl.mechanism",
    "sasl.jaas.config",
    "ssl.truststore.type",
    "ssl.truststore.location",
    "ssl.keystore.type",
    "ssl.keystore.location",
    "request.timeout.ms",
    "metadata.max.age.ms",
];

impl Config {
    /// This configuration changed by `properties`, named as in Kafka's Java client.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that is not understood, and for values that contradict each other: a password
    /// without a protocol that proves it, a Java keystore, or a time-out that is no number.
    pub fn with_properties(
        mut self,
        properties: &BTreeMap<String, String>,
    ) -> Result<Config, Error> {
        if let Some(name) = properties
            .keys()
            .find(|name| !KNOWN.contains(&name.as_str()))
        {
            return Err(refused(format!(
                "`{name}` is not supported; what is: {}",
                KNOWN.join(", ")
            )));
        }
        let get = |name: &str| properties.get(name).map(String::as_str);
        let protocol = get("security.protocol").unwrap_or("PLAINTEXT");
        let (is_encrypted, has_password) = match protocol {
            "PLAINTEXT" => (false, false),
            "SSL" => (true, false),
            "SASL_PLAINTEXT" => (false, true),
            "SASL_SSL" => (true, true),
            other => {
                return Err(refused(format!(
                    "`security.protocol` is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, not `{other}`"
                )));
            }
        };
        for (prefix, is_used) in [("ssl.", is_encrypted), ("sasl.", has_password)] {
            if let Some(name) = properties.keys().find(|name| name.starts_with(prefix))
                && !is_used
            {
                return Err(refused(format!(
                    "`{name}` has no effect with `security.protocol` `{protocol}`"
                )));
            }
        }
        self.tls = is_encrypted.then(|| tls(properties)).transpose()?;
        self.sasl = has_password.then(|| sasl(properties)).transpose()?;
        if let Some(name) = get("client.id") {
            name.clone_into(&mut self.client_id);
        }
        for (name, duration) in [
            ("request.timeout.ms", &mut self.request_timeout),
            ("metadata.max.age.ms", &mut self.metadata_max_age),
        ] {
            if let Some(text) = get(name) {
                let millis = text.trim().parse().map_err(|_| {
                    refused(format!(
                        "`{name}` is a number of milliseconds, not `{text}`"
                    ))
                })?;
                *duration = std::time::Duration::from_millis(millis);
            }
        }
        Ok(self)
    }
}

/// The properties of a file of Kafka's tools: `name=value` lines, comments with `#` or `!`, `\` at the end of a line
/// that goes on.
///
/// # Errors
/// [`Error::Config`] for a line without `=`.
pub fn parse_properties(text: &str) -> Result<BTreeMap<String, String>, Error> {
    let mut properties = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = line.to_owned();
        while whole.ends_with('\\') {
            whole.pop();
            whole.push_str(lines.next().unwrap_or_default().trim_start());
        }
        let Some((name, value)) = whole.split_once('=') else {
            return Err(refused(format!("`{whole}` needs the form `name=value`")));
        };
        let value = value.trim_start().replace("\\\\", "\\");
        properties.insert(name.trim_end().to_owned(), value);
    }
    Ok(properties)
}

fn tls(properties: &BTreeMap<String, String>) -> Result<Tls, Error> {
    let pem = |store: &str| {
        let location = properties.get(&format!("ssl.{store}.location"));
        let kind = properties.get(&format!("ssl.{store}.type"));
        let Some(location) = location else {
            return Ok(None);
        };
        if kind.is_some_and(|kind| kind != "PEM") || location.ends_with(".jks") {
            return Err(refused(format!(
                "`ssl.{store}.location` is a PEM file; Java keystores are not read"
            )));
        }
        Ok(Some(PathBuf::from(location)))
    };
    // A PEM keystore holds the key and its certificate chain in one file.
    let keystore = pem("keystore")?;
    Ok(Tls {
        ca_file: pem("truststore")?,
        cert_file: keystore.clone(),
        key_file: keystore,
    })
}

fn sasl(properties: &BTreeMap<String, String>) -> Result<Sasl, Error> {
    let need = |name: &str| {
        let value = properties.get(name).map(String::as_str);
        value.ok_or_else(|| refused(format!("`{name}` is missing")))
    };
    let (mechanism, module) = match need("sasl.mechanism")? {
        "PLAIN" => (SaslMechanism::Plain, "PlainLoginModule"),
        "SCRAM-SHA-256" => (SaslMechanism::ScramSha256, "ScramLoginModule"),
        "SCRAM-SHA-512" => (SaslMechanism::ScramSha512, "ScramLoginModule"),
        other => {
            return Err(refused(format!(
                "`sasl.mechanism` is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, not `{other}`"
            )));
        }
    };
    let words = jaas_words(need("sasl.jaas.config")?)?;
    // Programs that bundle Kafka rename its packages, so only the class itself is compared.
    let class = words.first().map_or("", String::as_str);
    if class.rsplit('.').next() != Some(module)
        || words.get(1).is_none_or(|flag| flag != "required")
    {
        return Err(refused(format!(
            "`sasl.jaas.config` begins with `…{module} required` for `{}`",
            mechanism.name()
        )));
    }
    let option = |name: &str| {
        let found = words
            .iter()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found
            .map(str::to_owned)
            .ok_or_else(|| refused(format!("`sasl.jaas.config` has no `{name}=\"…\"`")))
    };
    Ok(Sasl {
        mechanism,
        username: option("username")?,
        password: option("password")?,
    })
}

/// The words of a login module's line up to its `;`, without their quotes.
fn jaas_words(text: &str) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => word.extend(characters.next()),
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, ';') => {
                words.extend((!word.is_empty()).then_some(word));
                return Ok(words);
            }
            (None, space) if space.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(character),
        }
    }
    // The value is not repeated: it holds a password.
    Err(refused("`sasl.jaas.config` ends with `;`".to_owned()))
}

fn refused(why: String) -> Error {
    Error::Config {
        key: "properties",
        why,
    }
}

#[cfg(test)]
mod tests;
