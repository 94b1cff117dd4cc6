//! One frame in, one frame out: headers, dispatch to the codec, and the pieces a response is written in.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::shape::{self, ShapeError};
use super::table::{Api, served};

/// A request that was understood.
pub(crate) struct Request {
    pub(crate) api: &'static Api,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: String,
    pub(crate) kind: RequestKind,
}

/// Why a frame cannot be answered as what it asks for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("frame of {len} bytes is too short for a request header")]
    Short { len: usize },
    #[error("API key {key} is not served")]
    UnknownApi { key: i16 },
    #[error("version {version} of API {key:?} is not served")]
    UnknownVersion {
        key: ApiKey,
        version: i16,
        correlation_id: i32,
    },
    #[error("request of {api} version {version} is malformed")]
    Shape {
        api: &'static str,
        version: i16,
        #[source]
        source: ShapeError,
    },
    #[error("request of {api} version {version} is malformed: {why}")]
    Malformed {
        api: &'static str,
        version: i16,
        why: String,
    },
}

/// Decodes the frame without its length prefix.
pub(crate) fn decode(frame: &Bytes) -> Result<Request, Refusal> {
    if frame.len() < 8 {
        return Err(Refusal::Short { len: frame.len() });
    }
    let mut peek = &frame[..8];
    let (key, version, correlation_id) = (peek.get_i16(), peek.get_i16(), peek.get_i32());
    let api = served(key).ok_or(Refusal::UnknownApi { key })?;
    if !(api.min..=api.max).contains(&version) {
        return Err(Refusal::UnknownVersion {
            key: api.key,
            version,
            correlation_id,
        });
    }
    let malformed = |why: String| Refusal::Malformed {
        api: api.name,
        version,
        why,
    };
    let is_flexible = version >= api.flexible;
    // The header ends in tagged fields exactly when the body has them.
    let body_at = header_len(frame, is_flexible).map_err(|source| Refusal::Shape {
        api: api.name,
        version,
        source,
    })?;
    let mut header = frame.slice(..body_at);
    let mut body = frame.slice(body_at..);
    let header = RequestHeader::decode(&mut header, if is_flexible { 2 } else { 1 })
        .map_err(|error| malformed(error.to_string()))?;
    shape::check(api.shape, &body, version, is_flexible).map_err(|source| Refusal::Shape {
        api: api.name,
        version,
        source,
    })?;
    let kind = RequestKind::decode(api.key, &mut body, version)
        .map_err(|error| malformed(error.to_string()))?;
    let client_id = header
        .client_id
        .map_or_else(String::new, |id| id.to_string());
    Ok(Request {
        api,
        version,
        correlation_id,
        client_id,
        kind,
    })
}

/// Encodes a response with its length prefix and header.
pub(crate) fn encode(
    response: &ResponseKind,
    version: i16,
    correlation_id: i32,
) -> Result<Chunks, Refusal> {
    let header_version = response.header_version(version);
    let mut out = BytesMut::with_capacity(256);
    out.extend_from_slice(&[0; 4]);
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header
        .encode(&mut out, header_version)
        .and_then(|()| response.encode(&mut out, version))
        .map_err(|error| Refusal::Malformed {
            api: "response",
            version,
            why: error.to_string(),
        })?;
    let len = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&len.to_be_bytes());
    Ok(Chunks::from(out.freeze()))
}

/// Length of the request header, checked against the frame.
fn header_len(frame: &[u8], is_flexible: bool) -> Result<usize, ShapeError> {
    let client_id = frame.get(8..10).ok_or(ShapeError::Short)?;
    let len = i16::from_be_bytes([client_id[0], client_id[1]]);
    let client_id_len = if len < 0 {
        0
    } else {
        usize::try_from(len).unwrap_or(0)
    };
    let mut end = 10 + client_id_len;
    if end > frame.len() {
        return Err(ShapeError::Short);
    }
    if is_flexible {
        // Nobody sends tags here; a count other than zero is walked like any other.
        let rest = &frame[end..];
        end += shape::tags_len(rest)?;
    }
    Ok(end)
}

/// A response in pieces that are written one after the other without being copied together.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    chunks: VecDeque<Bytes>,
    remaining: usize,
}

impl Chunks {
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.remaining += bytes.len();
            self.chunks.push_back(bytes);
        }
    }
}

impl From<Bytes> for Chunks {
    fn from(bytes: Bytes) -> Self {
        let mut chunks = Self::default();
        chunks.push(bytes);
        chunks
    }
}

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| chunk)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let n_slices = slices.len().min(self.chunks.len());
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
        }
        n_slices
    }

    fn advance(&mut self, n_bytes: usize) {
        let mut left = n_bytes.min(self.remaining);
        self.remaining -= left;
        while let Some(front) = self.chunks.front_mut() {
            if left < front.len() {
                front.advance(left);
                return;
            }
            left -= front.len();
            self.chunks.pop_front();
        }
    }
}
