//! How the client reaches a cluster: addresses, time-outs, encryption and credentials.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;

/// How the client reaches a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Brokers asked first, as `host:port`.
    pub bootstrap: Vec<String>,
    /// Name the broker shows in its logs and metrics for this client.
    pub client_id: String,
    /// How long a connection attempt, with TLS and authentication, may take.
    pub connect_timeout: Duration,
    /// How long one request may stay unanswered.
    pub request_timeout: Duration,
    /// How long a call goes on trying after errors that may pass.
    pub retry_timeout: Duration,
    /// First pause before another attempt; it doubles up to `backoff_max`.
    pub backoff: Duration,
    /// Longest pause before another attempt.
    pub backoff_max: Duration,
    /// Age at which cluster metadata is asked for again.
    pub metadata_max_age: Duration,
    /// Largest response accepted; a longer one ends the connection.
    pub max_response: usize,
    /// Encryption; plain text without it.
    pub tls: Option<Tls>,
    /// Credentials; anonymous without them.
    pub sasl: Option<Sasl>,
}

/// Encryption by TLS 1.2 or 1.3.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tls {
    /// PEM file of the authorities to trust; those of the system without it.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate chain, for mutual TLS.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client's private key, for mutual TLS.
    pub key_file: Option<PathBuf>,
}

/// Credentials.
#[derive(Clone, PartialEq)]
pub struct Sasl {
    /// How the password is proven.
    pub mechanism: SaslMechanism,
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

/// How the password is proven to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password is sent as it is; use it only with TLS.
    Plain,
    /// Salted challenge and response with SHA-256 (RFC 7677).
    ScramSha256,
    /// Salted challenge and response with SHA-512.
    ScramSha512,
}

impl Config {
    /// A configuration with the default limits for the brokers of `bootstrap`, a comma-separated list of `host:port`.
    #[must_use]
    pub fn new(bootstrap: &str) -> Config {
        Config {
            bootstrap: bootstrap
                .split(',')
                .map(|address| address.trim().to_owned())
                .filter(|address| !address.is_empty())
                .collect(),
            client_id: "streamforge".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            retry_timeout: Duration::from_secs(60),
            backoff: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
            metadata_max_age: Duration::from_secs(300),
            max_response: 128 << 20,
            tls: None,
            sasl: None,
        }
    }

    /// Refuses values that no cluster could be reached with.
    pub fn validate(&self) -> Result<(), Error> {
        if self.bootstrap.is_empty() {
            let why = "needs at least one `host:port`".to_owned();
            return Err(Error::Config {
                key: "bootstrap",
                why,
            });
        }
        for address in &self.bootstrap {
            let port = address
                .rsplit_once(':')
                .and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() {
                let why = format!("`{address}` needs the form `host:port`");
                return Err(Error::Config {
                    key: "bootstrap",
                    why,
                });
            }
        }
        if let Some(tls) = &self.tls
            && tls.cert_file.is_some() != tls.key_file.is_some()
        {
            let why = "`cert_file` and `key_file` need each other".to_owned();
            return Err(Error::Config { key: "tls", why });
        }
        Ok(())
    }

    /// The pause before attempt number `attempt` (from 0).
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        self.backoff
            .saturating_mul(1 << attempt.min(16))
            .min(self.backoff_max)
    }
}

impl SaslMechanism {
    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl std::fmt::Debug for Sasl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .field("password", &"…")
            .finish()
    }
}
