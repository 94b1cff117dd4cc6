//! Checks that a request's lengths and counts fit its frame, before the codec reserves memory for them.
//!
//! The codec reserves room for as many elements as an array claims to have; a frame of 20 bytes could so claim 100 GB.
//! A shape is a line of text that is walked along the bytes:
//! `b h i l u` are 1, 2, 4, 8 and 16 bytes, `s` a string, `y` bytes, `[ … ]` an array of structures, `(i)` an array of
//! plain values, `{2-5:…}` fields of versions 2 to 5, `<3:…>` the fields of tag 3 of the structure that it ends, `~` the
//! unnamed tags of a structure within a tag; strings, bytes and arrays may be null.

use bytes::Buf;

/// More elements and tags than any real request has; each becomes a structure many times its bytes.
const MAX_ELEMENTS: u64 = 100_000;
const MAX_TAGS: u64 = 64;

/// Why a request does not fit its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShapeError {
    #[error("a field reaches beyond the end of the request")]
    Short,
    #[error("a length is negative")]
    Negative,
    #[error("{count} more elements or tags are too many")]
    TooMany { count: u64 },
    #[error("a tagged field is {n_bytes} bytes longer than what it holds")]
    Trailing { n_bytes: usize },
}

/// Walks `body` along `shape`; `Ok` means that every length in it is true. What follows the last field is ignored, as
/// Apache Kafka does: librdkafka leaves three bytes there when it asks for all topics.
pub(crate) fn check(
    shape: &str,
    body: &[u8],
    version: i16,
    is_flexible: bool,
) -> Result<(), ShapeError> {
    let mut walk = Walk {
        rest: body,
        version,
        is_flexible,
        left: MAX_ELEMENTS,
    };
    walk.fields(shape)?;
    walk.tags(shape)
}

/// Length of the tagged fields at the start of `bytes`.
pub(crate) fn tags_len(bytes: &[u8]) -> Result<usize, ShapeError> {
    let mut walk = Walk {
        rest: bytes,
        version: 0,
        is_flexible: true,
        left: MAX_ELEMENTS,
    };
    walk.tags("")?;
    Ok(bytes.len() - walk.rest.len())
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    is_flexible: bool,
    /// Elements and tags that the request may still have.
    left: u64,
}

impl Walk<'_> {
    fn fields(&mut self, shape: &str) -> Result<(), ShapeError> {
        let mut shape = shape;
        while let Some(token) = shape.chars().next() {
            let (inner, after) = match token {
                '[' | '(' | '{' | '<' => enclosed(shape),
                _ => ("", &shape[token.len_utf8()..]),
            };
            shape = after;
            match token {
                'b' => self.skip(1)?,
                'h' => self.skip(2)?,
                'i' => self.skip(4)?,
                'l' => self.skip(8)?,
                'u' => self.skip(16)?,
                's' => {
                    let len = self.length(2)?;
                    self.skip(len)?;
                }
                'y' => {
                    let len = self.length(4)?;
                    self.skip(len)?;
                }
                '[' => self.structures(inner)?,
                '(' => self.values(inner)?,
                '{' => self.versioned(inner)?,
                '~' => self.tags("")?,
                _ => {}
            }
        }
        Ok(())
    }

    fn structures(&mut self, inner: &str) -> Result<(), ShapeError> {
        for _ in 0..self.count()? {
            self.fields(inner)?;
            self.tags(inner)?;
        }
        Ok(())
    }

    fn values(&mut self, inner: &str) -> Result<(), ShapeError> {
        for _ in 0..self.count()? {
            self.fields(inner)?;
        }
        Ok(())
    }

    fn count(&mut self) -> Result<u64, ShapeError> {
        let count = self.length(4)?;
        self.charge(count)?;
        Ok(count)
    }

    fn charge(&mut self, count: u64) -> Result<(), ShapeError> {
        let left = self.left.checked_sub(count);
        self.left = left.ok_or(ShapeError::TooMany { count })?;
        Ok(())
    }

    fn versioned(&mut self, guarded: &str) -> Result<(), ShapeError> {
        let Some((range, inner)) = guarded.split_once(':') else {
            return Ok(());
        };
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let low = low.parse().unwrap_or(i16::MIN);
        let high = high.parse().unwrap_or(i16::MAX);
        if (low..=high).contains(&self.version) {
            self.fields(inner)
        } else {
            Ok(())
        }
    }

    /// A length or count; null counts as nothing.
    fn length(&mut self, n_bytes: usize) -> Result<u64, ShapeError> {
        if self.is_flexible {
            return Ok(self.varint()?.saturating_sub(1));
        }
        if self.rest.len() < n_bytes {
            return Err(ShapeError::Short);
        }
        let length = if n_bytes == 2 {
            i64::from(self.rest.get_i16())
        } else {
            i64::from(self.rest.get_i32())
        };
        match length {
            -1 => Ok(0),
            length => u64::try_from(length).map_err(|_| ShapeError::Negative),
        }
    }

    /// The tagged fields at the end of a structure of `shape`. The codec believes what a tag that it knows holds, not how
    /// long the frame says it is, so the two must agree.
    fn tags(&mut self, shape: &str) -> Result<(), ShapeError> {
        if !self.is_flexible {
            return Ok(());
        }
        let count = self.varint()?;
        if count > MAX_TAGS {
            return Err(ShapeError::TooMany { count });
        }
        self.charge(count)?;
        for _ in 0..count {
            let tag = self.varint()?;
            let len = self.varint()?;
            let value = self.rest;
            self.skip(len)?;
            if let Some(fields) = tagged(shape, tag) {
                let mut walk = Walk {
                    rest: &value[..value.len() - self.rest.len()],
                    ..*self
                };
                walk.fields(fields)?;
                self.left = walk.left;
                if !walk.rest.is_empty() {
                    return Err(ShapeError::Trailing {
                        n_bytes: walk.rest.len(),
                    });
                }
            }
        }
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, ShapeError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.rest.try_get_u8().map_err(|_| ShapeError::Short)?;
            value |= u64::from(byte & 0x7f) << shift;
            // The codec keeps 32 bits and would read another number.
            if byte & 0x80 == 0 && value <= u64::from(u32::MAX) {
                return Ok(value);
            }
        }
        Err(ShapeError::TooMany { count: value })
    }

    fn skip(&mut self, len: u64) -> Result<(), ShapeError> {
        let len = usize::try_from(len).map_err(|_| ShapeError::Short)?;
        self.rest = self.rest.get(len..).ok_or(ShapeError::Short)?;
        Ok(())
    }
}

/// What `shape` says of a tag at its end.
fn tagged(shape: &str, tag: u64) -> Option<&str> {
    let mut shape = shape;
    while let Some(token) = shape.chars().next() {
        let (inner, after) = match token {
            '[' | '(' | '{' | '<' => enclosed(shape),
            _ => ("", &shape[token.len_utf8()..]),
        };
        if token == '<'
            && let Some((number, fields)) = inner.split_once(':')
            && number.parse() == Ok(tag)
        {
            return Some(fields);
        }
        shape = after;
    }
    None
}

/// What the bracket at the start of `shape` encloses, and what follows it.
fn enclosed(shape: &str) -> (&str, &str) {
    let mut depth = 0;
    for (i, token) in shape.char_indices() {
        match token {
            '[' | '(' | '{' | '<' => depth += 1,
            ']' | ')' | '}' | '>' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&shape[1..i], &shape[i + 1..]);
        }
    }
    (&shape[1..], "")
}

#[cfg(test)]
mod tests;
