//! What the index keeps about buckets, objects, uploads and parts, as JSON values.
//!
//! JSON, because records are small, are read by people when something went wrong, and gain fields without a format
//! change. The records are written and read by [`crate::store::index`] and shown to clients by `http`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use super::Error;
use super::digest::{Algorithm, ChecksumKind};

/// Milliseconds since 1970, as passed in by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct UnixMillis(pub(crate) i64);

/// Names one blob, in the index and as a file; never derived from a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BlobId(pub(crate) u128);

/// Names one multipart upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UploadId(pub(crate) u128);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    pub(crate) created: UnixMillis,
}

/// What a client says about an object beside its bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attributes {
    #[serde(rename = "ct", default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(rename = "ce", default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_encoding: Option<String>,
    #[serde(rename = "cl", default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_language: Option<String>,
    #[serde(rename = "cd", default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_disposition: Option<String>,
    #[serde(rename = "cc", default, skip_serializing_if = "Option::is_none")]
    pub(crate) cache_control: Option<String>,
    #[serde(rename = "ex", default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<UnixMillis>,
    #[serde(rename = "um", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
    #[serde(rename = "tg", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
}

/// Where the bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Content {
    #[serde(rename = "e")]
    Empty,
    /// In the index itself.
    #[serde(rename = "i")]
    Inline(BlobId),
    /// In one file.
    #[serde(rename = "f")]
    File(BlobId),
    /// In the pieces of a manifest, made by a completed upload.
    #[serde(rename = "p")]
    Parts(BlobId),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredChecksum {
    #[serde(rename = "a")]
    pub(crate) algorithm: Algorithm,
    #[serde(rename = "k")]
    pub(crate) kind: ChecksumKind,
    /// As S3 writes it: base64, with `-N` after a composite.
    #[serde(rename = "v")]
    pub(crate) value: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Object {
    #[serde(rename = "n")]
    pub(crate) size: u64,
    #[serde(rename = "t")]
    pub(crate) etag: String,
    #[serde(rename = "m")]
    pub(crate) modified: UnixMillis,
    #[serde(rename = "c")]
    pub(crate) content: Content,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(crate) checksum: Option<StoredChecksum>,
    #[serde(flatten)]
    pub(crate) attributes: Attributes,
}

/// A part, uploaded or already in a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    #[serde(rename = "p")]
    pub(crate) number: u16,
    #[serde(rename = "n")]
    pub(crate) size: u64,
    #[serde(rename = "t")]
    pub(crate) etag: String,
    #[serde(rename = "m")]
    pub(crate) modified: UnixMillis,
    #[serde(rename = "c")]
    pub(crate) content: Content,
    /// Always kept, so that the checksum of the whole can be combined.
    #[serde(rename = "z")]
    pub(crate) crc64: u64,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(crate) checksum: Option<StoredChecksum>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Upload {
    #[serde(rename = "m")]
    pub(crate) initiated: UnixMillis,
    #[serde(rename = "a")]
    pub(crate) algorithm: Algorithm,
    #[serde(rename = "k")]
    pub(crate) kind: ChecksumKind,
    /// Whether the client asked for `algorithm`, or it is our default.
    #[serde(rename = "x", default)]
    pub(crate) asked: bool,
    #[serde(flatten)]
    pub(crate) attributes: Attributes,
}

/// Encodes a record for the index.
pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have string keys and no failing serializers")
}

/// Decodes a record; `what` names it should it be damaged.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Corrupt {
        what: format!("{what} in the index ({error})"),
    })
}

macro_rules! ulid_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Ulid(self.0).fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = ulid::DecodeError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ulid::from_string(text).map(|ulid| Self(ulid.0))
            }
        }
        impl $name {
            pub(crate) fn fresh() -> Self {
                Self(Ulid::new().0)
            }
        }
    };
}
ulid_text!(BlobId);
ulid_text!(UploadId);

impl Serialize for BlobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
