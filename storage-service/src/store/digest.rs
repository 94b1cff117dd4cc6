//! Entity tags and checksums: computed while bytes arrive, compared before anything is published.
//!
//! Apart from the files and the index because it is pure: bytes in, digests out. MD5 makes the entity tag, CRC64NVME
//! is always kept (it costs a tenth of MD5 and combines over parts), and one more algorithm may be asked for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use s3s::crypto::{Checksum as _, Md5, Sha1, Sha256};
use serde::{Deserialize, Serialize};

use super::Error;
use super::record::{Part, StoredChecksum};

/// A checksum algorithm of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// Whether the checksum of an uploaded object covers its bytes or its parts' checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ChecksumKind {
    FullObject,
    Composite,
}

/// What the client said its bytes are; compared when they have all arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Base64 of `Content-MD5`.
    pub(crate) md5: Option<String>,
    /// Base64 of one `x-amz-checksum-*`.
    pub(crate) checksum: Option<(Algorithm, String)>,
    /// The announced length.
    pub(crate) len: Option<u64>,
}

/// Hashes bytes as they come.
pub(crate) struct Digester {
    md5: Md5,
    crc64: Crc,
    extra: Option<Extra>,
    len: u64,
}

enum Extra {
    Crc32(Crc),
    Crc32c(Crc),
    Sha1(Sha1),
    Sha256(Sha256),
}

/// The digests of all bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digests {
    pub(crate) md5: [u8; 16],
    pub(crate) crc64: u64,
    pub(crate) checksum: StoredChecksum,
    pub(crate) len: u64,
}

impl Algorithm {
    /// As S3 names it in `x-amz-checksum-algorithm`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [
            Self::Crc32,
            Self::Crc32c,
            Self::Crc64Nvme,
            Self::Sha1,
            Self::Sha256,
        ]
        .into_iter()
        .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The algorithm's combinable form, if it has one.
    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    /// Whether parts' checksums of this algorithm can make one of the whole.
    pub(crate) fn combines(self) -> bool {
        self.crc().is_some()
    }
}

// === impl Digester ===

impl Digester {
    pub(crate) fn new(algorithm: Option<Algorithm>) -> Self {
        let extra = match algorithm {
            None | Some(Algorithm::Crc64Nvme) => None,
            Some(Algorithm::Crc32) => Some(Extra::Crc32(Crc::new(CrcAlgorithm::Crc32IsoHdlc))),
            Some(Algorithm::Crc32c) => Some(Extra::Crc32c(Crc::new(CrcAlgorithm::Crc32Iscsi))),
            Some(Algorithm::Sha1) => Some(Extra::Sha1(Sha1::new())),
            Some(Algorithm::Sha256) => Some(Extra::Sha256(Sha256::new())),
        };
        Self {
            md5: Md5::new(),
            crc64: Crc::new(CrcAlgorithm::Crc64Nvme),
            extra,
            len: 0,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.crc64.update(bytes);
        self.len += bytes.len() as u64;
        match &mut self.extra {
            None => {}
            Some(Extra::Crc32(crc) | Extra::Crc32c(crc)) => crc.update(bytes),
            Some(Extra::Sha1(sha)) => sha.update(bytes),
            Some(Extra::Sha256(sha)) => sha.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digests {
        let crc64 = self.crc64.finalize();
        let (algorithm, raw) = match self.extra {
            None => (Algorithm::Crc64Nvme, crc64.to_be_bytes().to_vec()),
            Some(Extra::Crc32(crc)) => (Algorithm::Crc32, low_half(crc.finalize())),
            Some(Extra::Crc32c(crc)) => (Algorithm::Crc32c, low_half(crc.finalize())),
            Some(Extra::Sha1(sha)) => (Algorithm::Sha1, sha.finalize().to_vec()),
            Some(Extra::Sha256(sha)) => (Algorithm::Sha256, sha.finalize().to_vec()),
        };
        let value = BASE64.encode(raw);
        Digests {
            md5: self.md5.finalize(),
            crc64,
            checksum: StoredChecksum {
                algorithm,
                kind: ChecksumKind::FullObject,
                value,
            },
            len: self.len,
        }
    }
}

/// A 32-bit CRC out of the library's 64-bit result, big-endian.
fn low_half(crc: u64) -> Vec<u8> {
    crc.to_be_bytes()[4..].to_vec()
}

// === impl Digests ===

impl Digests {
    /// The entity tag of an object or part with these bytes.
    pub(crate) fn etag(&self) -> String {
        hex(&self.md5)
    }

    /// Refuses bytes that are not what the client said they are.
    pub(crate) fn check(&self, expected: &Expected) -> Result<(), Error> {
        if let Some(wanted) = expected.len
            && wanted != self.len
        {
            return Err(Error::IncompleteBody {
                got: self.len,
                wanted,
            });
        }
        if let Some(given) = &expected.md5
            && *given != BASE64.encode(self.md5)
        {
            return Err(Error::BadDigest {
                algorithm: "Content-MD5",
                given: given.clone(),
            });
        }
        match &expected.checksum {
            Some((algorithm, given))
                if *algorithm != self.checksum.algorithm || *given != self.checksum.value =>
            {
                Err(Error::BadDigest {
                    algorithm: algorithm.name(),
                    given: given.clone(),
                })
            }
            _ => Ok(()),
        }
    }
}

/// The entity tag of an object made of parts: MD5 over their MD5s, and their number.
pub(crate) fn combined_etag(parts: &[Part]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(&unhex(&part.etag));
    }
    format!("{}-{}", hex(&md5.finalize()), parts.len())
}

/// The checksum of an object made of parts, or `None` if some part lacks what it needs.
pub(crate) fn combined_checksum(
    parts: &[Part],
    algorithm: Algorithm,
    kind: ChecksumKind,
) -> Option<StoredChecksum> {
    let value = match kind {
        ChecksumKind::FullObject => BASE64.encode(full_object(parts, algorithm)?),
        ChecksumKind::Composite => {
            format!(
                "{}-{}",
                BASE64.encode(composite(parts, algorithm)?),
                parts.len()
            )
        }
    };
    Some(StoredChecksum {
        algorithm,
        kind,
        value,
    })
}

fn full_object(parts: &[Part], algorithm: Algorithm) -> Option<Vec<u8>> {
    let crc = algorithm.crc()?;
    let mut whole: Option<u64> = None;
    for part in parts {
        let next = match algorithm {
            Algorithm::Crc64Nvme => part.crc64,
            _ => crc_of(part, algorithm)?,
        };
        whole = Some(match whole {
            None => next,
            Some(before) => crc_fast::checksum_combine(crc, before, next, part.size),
        });
    }
    let whole = whole?;
    Some(match algorithm {
        Algorithm::Crc64Nvme => whole.to_be_bytes().to_vec(),
        _ => low_half(whole),
    })
}

fn raw_checksum(part: &Part, algorithm: Algorithm) -> Option<Vec<u8>> {
    if algorithm == Algorithm::Crc64Nvme {
        return Some(part.crc64.to_be_bytes().to_vec());
    }
    let checksum = part
        .checksum
        .as_ref()
        .filter(|sum| sum.algorithm == algorithm)?;
    BASE64.decode(&checksum.value).ok()
}

fn crc_of(part: &Part, algorithm: Algorithm) -> Option<u64> {
    let raw = raw_checksum(part, algorithm)?;
    let word: [u8; 4] = raw.try_into().ok()?;
    Some(u64::from(u32::from_be_bytes(word)))
}

fn composite(parts: &[Part], algorithm: Algorithm) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for part in parts {
        all.extend(raw_checksum(part, algorithm)?);
    }
    let mut digester = Digester::new(Some(algorithm));
    digester.update(&all);
    BASE64.decode(digester.finish().checksum.value).ok()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads hexadecimal text we wrote ourselves; anything else ends the result early.
fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks_exact(2)
        .map_while(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests;
