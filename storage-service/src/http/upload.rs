//! Receives the body of a PUT or a part: what was announced, what came, and whether they agree.

use futures::StreamExt as _;
use http::HeaderMap;
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Result, TrailingHeaders};

use super::convert::algorithm;
use super::error::{custom, invalid, refuse};
use crate::metrics::Metrics;
use crate::store::{Algorithm, Arrived, Expected, Incoming, Store};

/// What the headers of the request say about its body.
pub(super) struct Announced {
    pub(super) expected: Expected,
    /// The checksum to compute beside the entity tag.
    pub(super) algorithm: Option<Algorithm>,
    /// The checksum that comes after the body.
    in_trailer: Option<Algorithm>,
}

impl Announced {
    pub(super) fn read(
        headers: &HeaderMap,
        checksum: Option<(Algorithm, String)>,
        sdk_algorithm: Option<&str>,
        md5: Option<String>,
    ) -> S3Result<Self> {
        let in_trailer = trailer_algorithm(headers)?;
        let from_sdk = sdk_algorithm.map(algorithm).transpose()?;
        let named = checksum
            .as_ref()
            .map(|(algorithm, _)| *algorithm)
            .or(in_trailer);
        if in_trailer.is_some() && checksum.is_some() {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidRequest,
                "the checksum must come in a header or in the trailer, not both",
            ));
        }
        // SDKs name an algorithm even where they then send another, so the value decides.
        let algorithm = named.or(from_sdk);
        if let Some(md5) = &md5
            && !is_md5(md5)
        {
            return Err(S3Error::new(S3ErrorCode::InvalidDigest));
        }
        let len = length(headers)?;
        Ok(Self {
            expected: Expected { md5, checksum, len },
            algorithm,
            in_trailer,
        })
    }

    /// Receives the body to its end.
    pub(super) async fn receive(
        mut self,
        store: &Store,
        metrics: &Metrics,
        bucket: &str,
        body: Option<StreamingBlob>,
        trailers: Option<TrailingHeaders>,
    ) -> S3Result<Arrived> {
        let mut incoming: Incoming = store
            .receive(bucket, self.algorithm, self.expected.len)
            .map_err(refuse)?;
        if let Some(mut body) = body {
            while let Some(chunk) = body.next().await {
                let chunk = chunk.map_err(|error| broken_body(error.as_ref()))?;
                metrics.received.inc_by(chunk.len() as u64);
                incoming.write(&chunk).await.map_err(refuse)?;
            }
        }
        if let Some(algorithm) = self.in_trailer {
            let name = trailer_name(algorithm);
            let value = trailers.and_then(|trailers| {
                trailers
                    .read(|all| Some(all.get(name)?.to_str().ok()?.to_owned()))
                    .flatten()
            });
            let Some(value) = value else {
                let message = format!("the trailer lacks `{name}`");
                let status = http::StatusCode::BAD_REQUEST;
                return Err(custom("MalformedTrailerError", status, message));
            };
            self.expected.checksum = Some((algorithm, value));
        }
        incoming.finish(&self.expected).await.map_err(refuse)
    }
}

fn trailer_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Crc32 => "x-amz-checksum-crc32",
        Algorithm::Crc32c => "x-amz-checksum-crc32c",
        Algorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
        Algorithm::Sha1 => "x-amz-checksum-sha1",
        Algorithm::Sha256 => "x-amz-checksum-sha256",
    }
}

fn trailer_algorithm(headers: &HeaderMap) -> S3Result<Option<Algorithm>> {
    let Some(value) = headers.get("x-amz-trailer") else {
        return Ok(None);
    };
    let named = value
        .to_str()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match named
        .strip_prefix("x-amz-checksum-")
        .and_then(Algorithm::parse)
    {
        Some(algorithm) => Ok(Some(algorithm)),
        None => Err(invalid(format!("no trailer `{named}` is understood"))),
    }
}

/// The length of the object itself: of the decoded body where it comes in chunks.
fn length(headers: &HeaderMap) -> S3Result<Option<u64>> {
    let header = headers
        .get("x-amz-decoded-content-length")
        .or_else(|| headers.get("content-length"));
    let Some(header) = header else {
        return Ok(None);
    };
    match header.to_str().ok().and_then(|text| text.parse().ok()) {
        Some(len) => Ok(Some(len)),
        None => Err(invalid("the content length is no number")),
    }
}

fn is_md5(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .is_ok_and(|raw| raw.len() == 16)
}

/// Why a body broke off. s3s keeps these errors private, so they are told apart by their text.
fn broken_body(error: &(dyn std::error::Error + 'static)) -> S3Error {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    let message = format!("the body could not be read: {text}");
    if text.contains("Sha256Mismatch") {
        let status = http::StatusCode::BAD_REQUEST;
        return custom("XAmzContentSHA256Mismatch", status, message);
    }
    let code = if text.contains("SignatureMismatch") {
        S3ErrorCode::SignatureDoesNotMatch
    } else if text.contains("stalled") {
        S3ErrorCode::RequestTimeout
    } else if ["FormatError", "TooLarge", "TooMany"]
        .iter()
        .any(|sign| text.contains(sign))
    {
        S3ErrorCode::InvalidRequest
    } else {
        S3ErrorCode::IncompleteBody
    };
    S3Error::with_message(code, message)
}
