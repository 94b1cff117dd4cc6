//! The shapes of the Iceberg REST protocol and the meaning of its statuses.
//!
//! Separate so that [`super`] reads as a list of operations. The one decision made here is how a failed
//! exchange is classified; see [`send`].

use std::collections::HashMap;

use iceberg::spec::TableMetadata;
use iceberg::{NamespaceIdent, TableIdent};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::one_line;
use crate::{Error, Result};

#[derive(Debug, Deserialize)]
pub(super) struct ConfigReply {
    #[serde(default)]
    pub(super) defaults: HashMap<String, String>,
    #[serde(default)]
    pub(super) overrides: HashMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct NamespacesReply {
    #[serde(default)]
    pub(super) namespaces: Vec<Vec<String>>,
    #[serde(default)]
    pub(super) next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct TablesReply {
    #[serde(default)]
    pub(super) identifiers: Vec<TableIdent>,
    #[serde(default)]
    pub(super) next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LoadReply {
    #[serde(default)]
    pub(super) metadata_location: Option<String>,
    pub(super) metadata: TableMetadata,
    #[serde(default)]
    pub(super) config: HashMap<String, String>,
    #[serde(default)]
    pub(super) storage_credentials: Vec<StorageCredential>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StorageCredential {
    pub(super) prefix: String,
    pub(super) config: HashMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CommitReply {
    pub(super) metadata_location: String,
    pub(super) metadata: TableMetadata,
}

#[derive(Debug, Deserialize)]
struct ErrorReply {
    error: ErrorModel,
}

#[derive(Debug, Deserialize)]
struct ErrorModel {
    #[serde(default)]
    message: String,
    #[serde(rename = "type", default)]
    kind: String,
}

/// The largest reply read: metadata grows by about a kilobyte for a snapshot.
const MAX_REPLY: usize = 256 << 20;
/// The largest error read.
const MAX_ERROR: usize = 64 << 10;
/// The largest error text kept from a reply.
const MAX_REASON: usize = 2048;

/// Sends a request and turns every answer but success (and "not modified") into a typed error.
///
/// A request that `changes` something and whose answer is lost, cut or a server error other than 503 is
/// [`Error::StateUnknown`]: the protocol says that it may have been done. When the connection could not
/// be made at all nothing happened, which is [`Error::Unavailable`], as is 503 and 429.
pub(super) async fn send(
    request: reqwest::RequestBuilder,
    what: &str,
    changes: bool,
) -> Result<Response> {
    let unclear = |why: String| {
        let what = what.to_owned();
        if changes {
            Error::StateUnknown { what, why }
        } else {
            Error::Unavailable { what, why }
        }
    };
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() || error.is_builder() => {
            return Err(Error::Unavailable {
                what: what.to_owned(),
                why: one_line(&error),
            });
        }
        Err(error) => return Err(unclear(one_line(&error))),
    };
    let status = response.status();
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let (kind, why) = reason(response).await;
    let what = what.to_owned();
    Err(match status {
        StatusCode::NOT_FOUND => Error::NotFound { what },
        StatusCode::CONFLICT if kind.contains("AlreadyExists") => Error::AlreadyExists { what },
        StatusCode::CONFLICT if kind.contains("NotEmpty") => Error::Refused {
            what,
            status: status.as_u16(),
            why,
        },
        StatusCode::CONFLICT => Error::Conflict { what, why },
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Error::Unavailable {
            what,
            why: format!("status {status}: {why}"),
        },
        _ if status.is_server_error() => unclear(format!("status {status}: {why}")),
        _ => Error::Refused {
            what,
            status: status.as_u16(),
            why,
        },
    })
}

/// Reads a reply's body.
pub(super) async fn receive<T: DeserializeOwned>(response: Response, what: &str) -> Result<T> {
    let body = body(response, MAX_REPLY)
        .await
        .map_err(|why| Error::Unavailable {
            what: what.to_owned(),
            why,
        })?;
    serde_json::from_slice(&body).map_err(|error| {
        Error::Invalid(format!(
            "the catalog's answer for {what} is not as specified: {error}"
        ))
    })
}

/// The whole body, unless it is larger than `max`.
async fn body(mut response: Response, max: usize) -> std::result::Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| one_line(&error))? {
        if body.len() + piece.len() > max {
            return Err(format!("its answer has more than {max} bytes"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

async fn reason(response: Response) -> (String, String) {
    let Ok(body) = body(response, MAX_ERROR).await else {
        return (String::new(), "no reason given".to_owned());
    };
    match serde_json::from_slice::<ErrorReply>(&body) {
        Ok(reply) => (reply.error.kind, reply.error.message),
        Err(_) => {
            let text = String::from_utf8_lossy(&body[..body.len().min(MAX_REASON)]);
            (String::new(), text.into_owned())
        }
    }
}

/// `table `a.b.c``, for messages.
pub(super) fn table_name(table: &TableIdent) -> String {
    format!("table `{table}`")
}

/// A namespace as the protocol writes it in paths and queries.
pub(super) fn joined(namespace: &NamespaceIdent) -> String {
    let parts: &Vec<String> = namespace.as_ref();
    parts.join("\u{1f}")
}

/// Percent-encodes one path segment.
pub(super) fn escape(segment: &str) -> String {
    let mut escaped = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
