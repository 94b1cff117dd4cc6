//! The tolerant way from a JSON value to a column's type: Jackson's and Flink's rules for values of another kind.

use std::borrow::Cow;

use arrow::datatypes::TimeUnit;
use base64::Engine;

use crate::formats::json::scan::{Kind, Malformed};
use crate::formats::json::tree::write_tree;
use crate::formats::text;

/// How timestamps are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TimestampStandard {
    /// `2020-12-30 12:13:14.123`
    #[default]
    Sql,
    /// `2020-12-30T12:13:14.123`
    Iso8601,
}

impl TimestampStandard {
    /// Between date and time.
    pub(crate) fn separator(self) -> u8 {
        match self {
            TimestampStandard::Sql => b' ',
            TimestampStandard::Iso8601 => b'T',
        }
    }
}

/// A value that was passed over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) kind: Kind,
}

impl Raw<'_> {
    /// The scalar as text, as Jackson's `getText`; of a string without its escapes.
    fn scalar(&self) -> Option<String> {
        match self.kind {
            Kind::Text { escaped } => {
                let mut plain = Vec::with_capacity(self.text.len());
                unescape(self.text, escaped, &mut plain);
                String::from_utf8(plain).ok()
            }
            Kind::Object | Kind::Array | Kind::Null => None,
            Kind::True | Kind::False | Kind::Number => {
                std::str::from_utf8(self.text).ok().map(str::to_owned)
            }
        }
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.kind {
            Kind::True => Some(true),
            Kind::False => Some(false),
            _ => Some(self.scalar()?.trim().eq_ignore_ascii_case("true")),
        }
    }

    /// `TINYINT` and `SMALLINT`: the text must be an integer.
    pub(crate) fn small_integer(&self) -> Option<i64> {
        java_integer(&self.scalar()?)
    }

    /// `INT` and `BIGINT`: a fraction is cut off a number, not off a string.
    pub(crate) fn integer(&self) -> Option<i64> {
        let text = self.scalar()?;
        let exact = java_integer(&text);
        if exact.is_some() || self.kind != Kind::Number {
            return exact;
        }
        let value = text.parse::<f64>().ok()?.trunc();
        let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value);
        let is_integer_text = !text.contains(['.', 'e', 'E']);
        (fits && !is_integer_text).then_some(value as i64)
    }

    pub(crate) fn double(&self) -> Option<f64> {
        text::parse_double(&self.scalar()?)
    }

    pub(crate) fn float(&self) -> Option<f32> {
        let text = self.scalar()?;
        match text::parse_double(&text)? {
            wide if wide.is_finite() => text
                .trim()
                .trim_end_matches(['d', 'D', 'f', 'F'])
                .parse()
                .ok(),
            wide => Some(wide as f32),
        }
    }

    pub(crate) fn decimal(&self, precision: u8, scale: i8) -> Option<i128> {
        text::parse_decimal(self.scalar()?.trim().as_bytes(), precision, scale)
    }

    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        match self.kind {
            Kind::Text { .. } => base64::engine::general_purpose::STANDARD
                .decode(self.scalar()?)
                .ok(),
            _ => None,
        }
    }

    pub(crate) fn date(&self) -> Option<i32> {
        text::parse_date(self.text_value()?.as_bytes())
    }

    /// Milliseconds of the day.
    pub(crate) fn time(&self) -> Option<i32> {
        let text = self.text_value()?;
        let millis = text::parse_time(text.as_bytes(), TimeUnit::Millisecond, false)?;
        i32::try_from(millis).ok()
    }

    fn text_value(&self) -> Option<String> {
        match self.kind {
            Kind::Text { .. } => self.scalar(),
            _ => None,
        }
    }

    /// Appends what a `STRING` column gets: scalars as text, containers as [`write_tree`] does.
    pub(crate) fn write_text(&self, decimals: bool, output: &mut Vec<u8>) -> Result<(), Malformed> {
        match self.kind {
            Kind::Text { escaped } => unescape(self.text, escaped, output),
            Kind::Object | Kind::Array => return write_tree(self.text, decimals, output),
            _ => output.extend_from_slice(self.text),
        }
        Ok(())
    }
}

/// A timestamp of the text of a string; local-zone ones end in `Z`.
pub(crate) fn timestamp(
    text: &[u8],
    standard: TimestampStandard,
    unit: TimeUnit,
    zoned: bool,
) -> Option<i64> {
    let local = if zoned {
        text.strip_suffix(b"Z")?
    } else {
        text
    };
    let seconds_optional = standard == TimestampStandard::Iso8601 && !zoned;
    text::parse_timestamp(local, standard.separator(), unit, seconds_optional)
}

fn java_integer(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

/// The content of a string without its escapes; the scanner has checked them.
pub(super) fn plain(text: &[u8], escaped: bool) -> Cow<'_, [u8]> {
    if !escaped {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    unescape(text, true, &mut plain);
    Cow::Owned(plain)
}

/// Appends the content of a string without its escapes; the scanner has checked them.
pub(crate) fn unescape(text: &[u8], escaped: bool, output: &mut Vec<u8>) {
    if !escaped {
        return output.extend_from_slice(text);
    }
    let mut at = 0;
    while at < text.len() {
        if text[at] != b'\\' {
            output.push(text[at]);
            at += 1;
            continue;
        }
        let plain = match text[at + 1] {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                at += unicode(&text[at..], output);
                continue;
            }
            other => other,
        };
        output.push(plain);
        at += 2;
    }
}

/// Appends the character of a `\uXXXX` (or a pair of them); gives how many bytes that took.
fn unicode(text: &[u8], output: &mut Vec<u8>) -> usize {
    let unit = |at: usize| {
        let hex = text.get(at..at + 6).filter(|hex| hex.starts_with(b"\\u"))?;
        u32::from_str_radix(std::str::from_utf8(&hex[2..]).ok()?, 16).ok()
    };
    let high = unit(0).unwrap_or(0xfffd);
    let mut taken = 6;
    let mut code = high;
    if (0xd800..0xdc00).contains(&high)
        && let Some(low) = unit(6).filter(|low| (0xdc00..0xe000).contains(low))
    {
        code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        taken = 12;
    }
    // A lone surrogate has no UTF-8; Java writes a question mark.
    let character = char::from_u32(code).unwrap_or('?');
    let mut buffer = [0; 4];
    output.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
    taken
}

/// Appends a string with quotes and the escapes Jackson writes.
pub(crate) fn quote(text: &[u8], output: &mut Vec<u8>) {
    output.push(b'"');
    let mut plain_from = 0;
    for (at, byte) in text.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            8 => b'b',
            12 => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => 0,
            _ => continue,
        };
        output.extend_from_slice(&text[plain_from..at]);
        plain_from = at + 1;
        if short == 0 {
            output.extend_from_slice(format!("\\u{byte:04X}").as_bytes());
        } else {
            output.extend_from_slice(&[b'\\', short]);
        }
    }
    output.extend_from_slice(&text[plain_from..]);
    output.push(b'"');
}
