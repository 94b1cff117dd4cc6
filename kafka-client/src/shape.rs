//! Checks that a response's lengths and counts fit its frame, before the codec reserves memory for them.
//!
//! The codec reserves room for as many elements as an array claims to have, so a broken peer could end this process with
//! twenty bytes. A shape is a line of text that is walked along the bytes: `b h i l u` are 1, 2, 4, 8 and 16 bytes, `s`
//! a string, `y` bytes, `[ … ]` an array of structures, `(i)` an array of plain values, `{2-5:…}` fields of versions 2
//! to 5, `<3:…>` the fields of tag 3 of the structure that it ends, `~` the unnamed tags of a structure within a tag;
//! strings, bytes and arrays may be null. To use another API or a newer version, begin at [`RESPONSES`].

use bytes::Buf;
use kafka_protocol::messages::ApiKey;

/// How the response of one API is laid out.
struct Layout {
    key: ApiKey,
    /// First version with compact lengths and tagged fields.
    flexible: i16,
    shape: &'static str,
}

const NEVER: i16 = i16::MAX;

/// Every response that this client reads, up to the version it asks for at most.
const RESPONSES: &[Layout] = &[
    layout(
        ApiKey::Produce,
        9,
        "[ s [ i h l l {5-:l} {8-:[ i s ] s} <0:i i ~> ] ] i <0:[ i s i s ]>",
    ),
    layout(
        ApiKey::Fetch,
        12,
        "i {7-:h i} [ s [ i h l l {5-:l} [ l l ] {11-:i} y <0:i l ~> <1:i i ~> <2:l i ~> ] ]",
    ),
    layout(ApiKey::ListOffsets, 6, "{2-:i} [ s [ i h l l {4-:i} ] ]"),
    layout(
        ApiKey::Metadata,
        9,
        "{3-:i} [ i s i {1-:s} ] {2-:s} {1-:i} \
         [ h s {10-:u} {1-:b} [ h i i {7-:i} (i) (i) {5-:(i)} ] {8-:i} ] {8-10:i}",
    ),
    layout(ApiKey::OffsetCommit, 8, "{3-:i} [ s [ i h ] ]"),
    layout(
        ApiKey::OffsetFetch,
        6,
        "{3-:i} [ s [ i l {5-:i} s h ] ] {2-:h}",
    ),
    layout(ApiKey::FindCoordinator, 3, "{1-:i} h {1-:s} i s i"),
    layout(ApiKey::ListGroups, 3, "{1-:i} h [ s s {4-:s} ]"),
    layout(ApiKey::SaslHandshake, NEVER, "h (s)"),
    layout(ApiKey::SaslAuthenticate, 2, "h s y {1-:l}"),
    layout(
        ApiKey::ApiVersions,
        3,
        "h [ h h h ] {1-:i} <0:[ s h h ]> <1:l> <2:[ s h h ]> <3:b>",
    ),
    layout(
        ApiKey::CreateTopics,
        5,
        "i [ s {7-:u} h s {5-:i h [ s s b b b ]} <0:h> ]",
    ),
    layout(ApiKey::DeleteTopics, 4, "i [ s {6-:u} h {5-:s} ]"),
    layout(ApiKey::CreatePartitions, 2, "i [ s h s ]"),
    layout(ApiKey::InitProducerId, 2, "i h l h"),
    layout(
        ApiKey::DescribeConfigs,
        4,
        "i [ h s b s [ s s b b b [ s s b ] {3-:b s} ] ]",
    ),
    layout(ApiKey::IncrementalAlterConfigs, 1, "i [ h s b s ]"),
];

const fn layout(key: ApiKey, flexible: i16, shape: &'static str) -> Layout {
    Layout {
        key,
        flexible,
        shape,
    }
}

/// Walks the body of a response; `Ok` means that every length in it is true.
///
/// # Errors
/// What does not fit, or that the API is none that this client uses.
pub(crate) fn check(key: i16, body: &[u8], version: i16) -> Result<(), &'static str> {
    let layout = RESPONSES
        .iter()
        .find(|layout| layout.key as i16 == key)
        .ok_or("this client has no use for it")?;
    let mut walk = Walk {
        rest: body,
        version,
        is_flexible: version >= layout.flexible,
    };
    walk.fields(layout.shape)?;
    walk.tags(layout.shape)
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    is_flexible: bool,
}

impl Walk<'_> {
    fn fields(&mut self, shape: &str) -> Result<(), &'static str> {
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
                '[' => {
                    for _ in 0..self.length(4)? {
                        self.fields(inner)?;
                        self.tags(inner)?;
                    }
                }
                '(' => {
                    for _ in 0..self.length(4)? {
                        self.fields(inner)?;
                    }
                }
                '{' => self.versioned(inner)?,
                '~' => self.tags("")?,
                _ => {}
            }
        }
        Ok(())
    }

    fn versioned(&mut self, guarded: &str) -> Result<(), &'static str> {
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
    fn length(&mut self, n_bytes: usize) -> Result<u64, &'static str> {
        if self.is_flexible {
            return Ok(self.varint()?.saturating_sub(1));
        }
        if self.rest.len() < n_bytes {
            return Err(SHORT);
        }
        let length = if n_bytes == 2 {
            i64::from(self.rest.get_i16())
        } else {
            i64::from(self.rest.get_i32())
        };
        match length {
            -1 => Ok(0),
            length => u64::try_from(length).map_err(|_| "a length is negative"),
        }
    }

    /// The tagged fields at the end of a structure of `shape`. The codec believes what a tag that it knows holds, not how
    /// long the frame says it is, so the two must agree.
    fn tags(&mut self, shape: &str) -> Result<(), &'static str> {
        if !self.is_flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
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
                if !walk.rest.is_empty() {
                    return Err("a tagged field is longer than what it holds");
                }
            }
        }
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.rest.try_get_u8().map_err(|_| SHORT)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 && value <= u64::from(u32::MAX) {
                return Ok(value);
            }
        }
        Err("a number is too large")
    }

    fn skip(&mut self, len: u64) -> Result<(), &'static str> {
        let len = usize::try_from(len).map_err(|_| SHORT)?;
        self.rest = self.rest.get(len..).ok_or(SHORT)?;
        Ok(())
    }
}

const SHORT: &str = "a field reaches beyond the end";

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
