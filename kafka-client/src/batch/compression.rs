//! The five codecs of record batches.
//!
//! Decompression takes a byte limit, so a small hostile batch cannot fill the memory.

use std::io::{self, Read, Write};

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Gzip.
    Gzip,
    /// Snappy in the framing of snappy-java.
    Snappy,
    /// LZ4 frames with independent blocks.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// Start of snappy-java's framing; plain snappy begins otherwise.
const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\x00";
/// Magic, version and compatible version.
const XERIAL_HEADER_LEN: usize = 16;
const XERIAL_BLOCK: usize = 32 << 10;

impl Compression {
    /// The codec of batch attributes.
    pub(crate) fn from_attributes(attributes: i16) -> Option<Compression> {
        Some(match attributes & super::CODEC_MASK {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Snappy,
            3 => Compression::Lz4,
            4 => Compression::Zstd,
            _ => return None,
        })
    }

    /// The bits for batch attributes.
    pub(crate) fn attributes(self) -> i16 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// Appends the compressed form of `plain` to `out`.
    pub(super) fn compress(self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Compression::None => out.extend_from_slice(plain),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
                encoder.write_all(plain)?;
                encoder.finish()?;
            }
            Compression::Snappy => compress_snappy(plain, out)?,
            Compression::Lz4 => {
                let info = lz4_flex::frame::FrameInfo::new()
                    .block_mode(lz4_flex::frame::BlockMode::Independent)
                    .block_size(lz4_flex::frame::BlockSize::Max64KB);
                let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, out);
                encoder.write_all(plain)?;
                encoder.finish().map_err(io::Error::other)?;
            }
            Compression::Zstd => {
                let packed = zstd::bulk::compress(plain, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                out.extend_from_slice(&packed);
            }
        }
        Ok(())
    }

    /// Appends the plain form of `packed` to `out`, at most `limit` bytes.
    pub(super) fn decompress(
        self,
        packed: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> io::Result<()> {
        match self {
            Compression::None => {
                if packed.len() > limit {
                    return Err(over(limit));
                }
                out.extend_from_slice(packed);
                Ok(())
            }
            Compression::Gzip => {
                read_limited(flate2::bufread::MultiGzDecoder::new(packed), out, limit)
            }
            Compression::Snappy => decompress_snappy(packed, out, limit),
            Compression::Lz4 => {
                read_limited(lz4_flex::frame::FrameDecoder::new(packed), out, limit)
            }
            Compression::Zstd => read_limited(
                zstd::stream::read::Decoder::with_buffer(packed)?,
                out,
                limit,
            ),
        }
    }
}

fn read_limited(reader: impl Read, out: &mut Vec<u8>, limit: usize) -> io::Result<()> {
    let before = out.len();
    reader.take(limit as u64 + 1).read_to_end(out)?;
    if out.len() - before > limit {
        Err(over(limit))
    } else {
        Ok(())
    }
}

fn over(limit: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("more than {limit} bytes decompressed"),
    )
}

fn compress_snappy(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(XERIAL_MAGIC);
    out.extend_from_slice(&1_i32.to_be_bytes());
    out.extend_from_slice(&1_i32.to_be_bytes());
    let mut encoder = Encoder::new();
    for block in plain.chunks(XERIAL_BLOCK) {
        let at = out.len();
        out.resize(at + 4 + max_compress_len(block.len()), 0);
        let len = encoder
            .compress(block, &mut out[at + 4..])
            .map_err(io::Error::other)?;
        out[at..at + 4].copy_from_slice(&(len as u32).to_be_bytes());
        out.truncate(at + 4 + len);
    }
    Ok(())
}

fn decompress_snappy(packed: &[u8], out: &mut Vec<u8>, limit: usize) -> io::Result<()> {
    if !packed.starts_with(XERIAL_MAGIC) {
        return unsnap(packed, out, limit);
    }
    let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "snappy frame cut short");
    let limit = out.len() + limit;
    let mut rest = packed.get(XERIAL_HEADER_LEN..).ok_or_else(cut)?;
    while let Some((len, tail)) = rest.split_first_chunk::<4>() {
        let len = u32::from_be_bytes(*len) as usize;
        let block = tail.get(..len).ok_or_else(cut)?;
        unsnap(block, out, limit - out.len())?;
        rest = &tail[len..];
    }
    if rest.is_empty() { Ok(()) } else { Err(cut()) }
}

fn unsnap(block: &[u8], out: &mut Vec<u8>, limit: usize) -> io::Result<()> {
    let len = decompress_len(block).map_err(io::Error::other)?;
    // Snappy packs at most 64 bytes into 3; a larger promise is a lie that must not be allocated for.
    if len > limit || len > block.len().saturating_mul(64) {
        return Err(over(limit));
    }
    let at = out.len();
    out.resize(at + len, 0);
    let written = Decoder::new()
        .decompress(block, &mut out[at..])
        .map_err(io::Error::other)?;
    out.truncate(at + written);
    Ok(())
}
