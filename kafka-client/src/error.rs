//! Why a Kafka call can fail, and whether trying again can help.
//!
//! The error is `Clone` because one lost connection fails every request and every delivery that was waiting on it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;

/// A Kafka protocol error code with its standard name.
pub type ErrorCode = ResponseError;

/// Why a call to a Kafka cluster failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A configuration value cannot be used.
    #[error("configuration key `{key}`: {why}")]
    Config {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong with its value.
        why: String,
    },
    /// No connection to the address could be made.
    #[error("could not connect to `{address}`")]
    Connect {
        /// Host and port that were tried.
        address: String,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The connection ended while a request was under way; the request may or may not have been carried out.
    #[error("connection to `{address}` lost: {reason}")]
    Disconnected {
        /// Host and port of the peer.
        address: String,
        /// What ended it.
        reason: String,
    },
    /// No answer came in time; the request may or may not have been carried out.
    #[error("no answer to {what} from `{address}` within {after:?}")]
    TimedOut {
        /// The request.
        what: String,
        /// Host and port of the peer.
        address: String,
        /// How long we waited.
        after: Duration,
    },
    /// The broker speaks no version of this request that we do.
    #[error("`{address}` serves {api} in versions {theirs}, this client speaks {ours}")]
    Unsupported {
        /// Host and port of the peer.
        address: String,
        /// Name of the request.
        api: String,
        /// Version range of the broker.
        theirs: String,
        /// Version range of this client.
        ours: String,
    },
    /// The broker answered with an error code.
    #[error("{what}: {code:?}{}", message.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Broker {
        /// What was asked, with its topic, partition or group.
        what: String,
        /// The code.
        code: ErrorCode,
        /// The broker's own words, if it sent any.
        message: Option<String>,
    },
    /// The fetch position is outside the log of the partition.
    #[error(
        "offset {offset} of `{topic}`-{partition} is outside the log: {}",
        kept_from(*log_start)
    )]
    OffsetOutOfRange {
        /// Topic.
        topic: Arc<str>,
        /// Partition.
        partition: i32,
        /// The position that was asked for.
        offset: i64,
        /// First offset the broker still has, −1 when it did not say.
        log_start: i64,
    },
    /// A response does not follow the protocol.
    #[error("malformed {what} from `{address}`: {reason}")]
    Malformed {
        /// The message.
        what: String,
        /// Host and port of the peer.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// A record batch is damaged or cannot be decoded.
    #[error("record batch at offset {offset}: {reason}")]
    Corrupt {
        /// Base offset of the batch, as far as it could be read.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
    /// The broker refused the credentials, or its proof of knowing them is wrong.
    #[error("authentication at `{address}` failed: {reason}")]
    Authentication {
        /// Host and port of the peer.
        address: String,
        /// What was refused.
        reason: String,
    },
    /// The metadata of the cluster holds no leader, topic or partition of this name.
    #[error("no {what}")]
    NotFound {
        /// What is missing.
        what: String,
    },
    /// The record or batch needs more room than the producer may use.
    #[error("record batch of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A batch could not be delivered, and whether an earlier attempt of it was stored is not known.
    #[error("delivery to `{topic}`-{partition} is uncertain: {reason}")]
    Uncertain {
        /// Topic.
        topic: Arc<str>,
        /// Partition.
        partition: i32,
        /// What happened.
        reason: String,
    },
    /// The producer or consumer was closed.
    #[error("the client is closed")]
    Closed,
}

/// What is left of a log; brokers that refuse an offset mostly do not say where theirs begins.
fn kept_from(log_start: i64) -> String {
    match log_start {
        ..0 => "retention has deleted it, or nothing has been written there yet".to_owned(),
        _ => format!("the first offset kept is {log_start}"),
    }
}

impl Error {
    /// Whether the same call may succeed when it is made again.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Error::Connect { .. }
            | Error::Disconnected { .. }
            | Error::TimedOut { .. }
            | Error::NotFound { .. } => true,
            Error::Broker { code, .. } => code.is_retriable(),
            Error::Config { .. }
            | Error::Unsupported { .. }
            | Error::OffsetOutOfRange { .. }
            | Error::Malformed { .. }
            | Error::Corrupt { .. }
            | Error::Authentication { .. }
            | Error::TooLarge { .. }
            | Error::Uncertain { .. }
            | Error::Closed => false,
        }
    }

    /// The broker's error code, if the broker answered with one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Broker { code, .. } => Some(*code),
            Error::OffsetOutOfRange { .. } => Some(ErrorCode::OffsetOutOfRange),
            _ => None,
        }
    }

    /// Whether the request may have been carried out although no answer came.
    pub(crate) fn is_ambiguous(&self) -> bool {
        matches!(self, Error::Disconnected { .. } | Error::TimedOut { .. })
    }

    /// The error for a code of a response, `Ok` when the code is 0.
    pub(crate) fn check(
        code: i16,
        what: impl FnOnce() -> String,
        message: Option<&str>,
    ) -> Result<(), Error> {
        match ErrorCode::try_from_code(code) {
            None => Ok(()),
            Some(code) => Err(Error::Broker {
                what: what(),
                code,
                message: message.map(str::to_owned),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn an_offset_outside_says_where_the_log_begins_if_that_is_known() {
        let error = |log_start| Error::OffsetOutOfRange {
            topic: "clicks".into(),
            partition: 2,
            offset: 5,
            log_start,
        };
        assert_eq!(
            error(9).to_string(),
            "offset 5 of `clicks`-2 is outside the log: the first offset kept is 9"
        );
        assert_eq!(
            error(-1).to_string(),
            "offset 5 of `clicks`-2 is outside the log: retention has deleted it, or nothing has been written there yet"
        );
    }
}
