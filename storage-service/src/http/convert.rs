//! Small translations between s3s's types and the store's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use s3s::dto::{
    ChecksumAlgorithm, ChecksumType, CopySource, ETag, ETagCondition, Owner, Timestamp,
};
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::error::invalid;
use crate::store::{Algorithm, ChecksumKind, StoredChecksum, Tag, UnixMillis, UploadId};

/// The one owner of everything here, as listings show it.
pub(super) const OWNER: &str = "streamforge";

/// The moment, which the domain is told and never asks for.
#[expect(
    clippy::disallowed_methods,
    reason = "the seam where time enters the domain"
)]
pub(crate) fn now() -> UnixMillis {
    to_millis(SystemTime::now())
}

fn to_millis(time: SystemTime) -> UnixMillis {
    let signed = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    UnixMillis(match time.duration_since(UNIX_EPOCH) {
        Ok(since) => signed(since),
        Err(before) => -signed(before.duration()),
    })
}

pub(super) fn timestamp(UnixMillis(millis): UnixMillis) -> Timestamp {
    let duration = Duration::from_millis(millis.unsigned_abs());
    Timestamp::from(if millis < 0 {
        UNIX_EPOCH - duration
    } else {
        UNIX_EPOCH + duration
    })
}

pub(super) fn millis(timestamp: &Timestamp) -> UnixMillis {
    let mut text = Vec::new();
    // The epoch form is exact to the millisecond and cannot fail on a date that was parsed.
    let _ = timestamp.format(s3s::dto::TimestampFormat::EpochSeconds, &mut text);
    let seconds = std::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.parse::<f64>().ok());
    #[expect(
        clippy::cast_possible_truncation,
        reason = "dates are far below 2^53 milliseconds"
    )]
    UnixMillis((seconds.unwrap_or(0.0) * 1000.0).round() as i64)
}

pub(super) fn etag(value: &str) -> ETag {
    ETag::Strong(value.to_owned())
}

pub(super) fn tag(condition: &ETagCondition) -> Tag {
    match condition {
        ETagCondition::Any => Tag::Any,
        ETagCondition::ETag(etag) => Tag::Is(etag.value().to_owned()),
    }
}

pub(super) fn owner() -> Owner {
    Owner {
        display_name: Some(OWNER.to_owned()),
        id: Some(OWNER.to_owned()),
    }
}

/// A length as S3's types want it.
pub(super) fn signed(len: u64) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// A count as S3's types want it.
pub(super) fn small(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A page size: at most 1000, refused when negative.
pub(super) fn page_size(asked: Option<i32>, what: &str) -> S3Result<usize> {
    match asked {
        None => Ok(1000),
        Some(asked) => match usize::try_from(asked) {
            Ok(asked) => Ok(asked.min(1000)),
            Err(_) => Err(invalid(format!("`{what}` must not be negative"))),
        },
    }
}

pub(super) fn upload_id(text: &str) -> S3Result<UploadId> {
    text.parse()
        .map_err(|_| S3Error::new(S3ErrorCode::NoSuchUpload))
}

pub(super) fn part_number(number: i32) -> S3Result<u16> {
    match u16::try_from(number) {
        Ok(number @ 1..=10_000) => Ok(number),
        _ => Err(invalid("`partNumber` must be between 1 and 10000")),
    }
}

/// Only the one version every object has.
pub(super) fn only_version(version: Option<&str>) -> S3Result<()> {
    match version {
        None | Some("null" | "") => Ok(()),
        Some(_) => Err(S3Error::new(S3ErrorCode::NoSuchVersion)),
    }
}

pub(super) fn copy_source(source: &CopySource) -> S3Result<(String, String)> {
    match source {
        CopySource::Bucket {
            bucket,
            key,
            version_id,
        } => {
            only_version(version_id.as_deref())?;
            Ok((bucket.to_string(), key.to_string()))
        }
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => Err(S3Error::with_message(
            S3ErrorCode::NotImplemented,
            "a copy source must name a bucket and a key",
        )),
    }
}

pub(super) fn algorithm(name: &str) -> S3Result<Algorithm> {
    Algorithm::parse(name).ok_or_else(|| invalid(format!("no checksum algorithm `{name}`")))
}

pub(super) fn algorithm_name(algorithm: Algorithm) -> ChecksumAlgorithm {
    ChecksumAlgorithm::from_static(algorithm.name())
}

pub(super) fn checksum_type(kind: ChecksumKind) -> ChecksumType {
    ChecksumType::from_static(match kind {
        ChecksumKind::FullObject => ChecksumType::FULL_OBJECT,
        ChecksumKind::Composite => ChecksumType::COMPOSITE,
    })
}

/// The five optional checksum fields that many of S3's types have.
#[derive(Default)]
pub(super) struct ChecksumFields {
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
}

impl ChecksumFields {
    pub(super) fn of(checksum: Option<&StoredChecksum>) -> Self {
        let mut fields = Self::default();
        if let Some(checksum) = checksum {
            *fields.slot(checksum.algorithm) = Some(checksum.value.clone());
        }
        fields
    }

    fn slot(&mut self, algorithm: Algorithm) -> &mut Option<String> {
        match algorithm {
            Algorithm::Crc32 => &mut self.crc32,
            Algorithm::Crc32c => &mut self.crc32c,
            Algorithm::Crc64Nvme => &mut self.crc64nvme,
            Algorithm::Sha1 => &mut self.sha1,
            Algorithm::Sha256 => &mut self.sha256,
        }
    }

    /// The one that is set; two are refused.
    pub(super) fn single(self) -> S3Result<Option<(Algorithm, String)>> {
        let mut all = [
            (Algorithm::Crc32, self.crc32),
            (Algorithm::Crc32c, self.crc32c),
            (Algorithm::Crc64Nvme, self.crc64nvme),
            (Algorithm::Sha1, self.sha1),
            (Algorithm::Sha256, self.sha256),
        ]
        .into_iter()
        .filter_map(|(algorithm, value)| Some((algorithm, value?)));
        let first = all.next();
        match all.next() {
            Some(_) => Err(S3Error::with_message(
                S3ErrorCode::InvalidRequest,
                "expecting a single x-amz-checksum- header",
            )),
            None => Ok(first),
        }
    }
}

/// Reads the five checksum fields of an S3 type.
macro_rules! checksum_fields {
    ($from:expr) => {
        $crate::http::convert::ChecksumFields {
            crc32: $from.checksum_crc32.take(),
            crc32c: $from.checksum_crc32c.take(),
            crc64nvme: $from.checksum_crc64nvme.take(),
            sha1: $from.checksum_sha1.take(),
            sha256: $from.checksum_sha256.take(),
        }
    };
}
pub(super) use checksum_fields;

/// Makes an S3 type with its five checksum fields set from a [`StoredChecksum`].
macro_rules! with_checksum {
    ($kind:ident, $checksum:expr, { $($field:ident: $value:expr),* $(,)? }) => {{
        let sums = $crate::http::convert::ChecksumFields::of($checksum);
        let mut made = s3s::dto::$kind::default();
        made.checksum_crc32 = sums.crc32;
        made.checksum_crc32c = sums.crc32c;
        made.checksum_crc64nvme = sums.crc64nvme;
        made.checksum_sha1 = sums.sha1;
        made.checksum_sha256 = sums.sha256;
        $(made.$field = $value;)*
        made
    }};
}
pub(super) use with_checksum;

/// Percent-encodes a name of a listing when the client asked for it.
pub(super) fn encoded(name: &str, url: bool) -> String {
    if !url {
        return name.to_owned();
    }
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => {
                text.push(char::from(byte));
            }
            _ => {
                use std::fmt::Write as _;
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}
