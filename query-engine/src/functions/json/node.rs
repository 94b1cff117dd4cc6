//! JSON as Jackson reads and prints it for Trino: members in their order, numbers as written until they are asked for.

use std::fmt::{self, Write};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::functions::datetime::text;

/// How deep arrays and objects may nest.
const MAX_DEPTH: usize = 128;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    /// As written.
    Number(String),
    Text(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// Reads a text that is one JSON value.
    pub(crate) fn parse(text: &str) -> Option<Node> {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        node(raw, 0)
    }

    /// As `json_parse` keeps it: members sorted, the last of a name, fractions as doubles.
    pub(crate) fn canonical(self) -> Node {
        match self {
            Node::Array(items) => Node::Array(items.into_iter().map(Node::canonical).collect()),
            Node::Object(members) => {
                let mut kept: Vec<(String, Node)> = Vec::with_capacity(members.len());
                for (name, value) in members {
                    kept.push((name, value.canonical()));
                }
                sort_members(&mut kept);
                // A stable sort: the last of a name is the last of its run.
                kept.reverse();
                kept.dedup_by(|later, earlier| later.0 == earlier.0);
                kept.reverse();
                Node::Object(kept)
            }
            other => other.doubled(),
        }
    }

    /// As Jackson copies it: order and names stay, fractions become doubles.
    pub(crate) fn doubled(self) -> Node {
        match self {
            Node::Number(digits) => match digits.parse::<f64>() {
                Ok(value) if is_fraction(&digits) && value.is_finite() => {
                    Node::Number(double(value))
                }
                _ => Node::Number(digits),
            },
            Node::Array(items) => Node::Array(items.into_iter().map(Node::doubled).collect()),
            Node::Object(members) => Node::Object(
                members
                    .into_iter()
                    .map(|(name, value)| (name, value.doubled()))
                    .collect(),
            ),
            other => other,
        }
    }

    pub(crate) fn is_scalar(&self) -> bool {
        !matches!(self, Node::Array(_) | Node::Object(_))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Null => f.write_str("null"),
            Node::Bool(value) => write!(f, "{value}"),
            Node::Number(digits) => f.write_str(digits),
            Node::Text(text) => quoted(text, f),
            Node::Array(items) => {
                f.write_char('[')?;
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        f.write_char(',')?;
                    }
                    write!(f, "{item}")?;
                }
                f.write_char(']')
            }
            Node::Object(members) => {
                f.write_char('{')?;
                for (at, (name, value)) in members.iter().enumerate() {
                    if at > 0 {
                        f.write_char(',')?;
                    }
                    quoted(name, f)?;
                    write!(f, ":{value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{c}' => f.write_str("\\f")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if u32::from(c) < 0x20 => write!(f, "\\u{:04X}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// Names in Java's order, which is that of UTF-16.
pub(crate) fn sort_members(members: &mut [(String, Node)]) {
    members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
}

/// Is a number written with a point or an exponent?
pub(crate) fn is_fraction(digits: &str) -> bool {
    digits.contains(['.', 'e', 'E'])
}

/// A double as Java's `Double.toString` prints it.
pub(crate) fn double(value: f64) -> String {
    if is_plain(value.abs()) {
        with_point(value.to_string())
    } else {
        text::double(value)
    }
}

/// A real as Java's `Float.toString` prints it.
pub(crate) fn real(value: f32) -> String {
    if is_plain(f64::from(value.abs())) {
        with_point(value.to_string())
    } else {
        text::real(value)
    }
}

fn is_plain(magnitude: f64) -> bool {
    magnitude == 0.0 || (1e-3..1e7).contains(&magnitude)
}

fn with_point(digits: String) -> String {
    if digits.contains('.') {
        digits
    } else {
        digits + ".0"
    }
}

/// A decimal as Java's `BigDecimal.toString` prints it: small ones with an exponent.
pub(crate) fn decimal(value: i128, scale: i8) -> String {
    let digits = value.unsigned_abs().to_string();
    let exponent = i64::try_from(digits.len()).unwrap_or(0) - 1 - i64::from(scale);
    if exponent >= -6 {
        return text::decimal(value, scale);
    }
    let sign = if value < 0 { "-" } else { "" };
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{first}{point}{rest}E{exponent}")
}

fn node(raw: &RawValue, depth: usize) -> Option<Node> {
    let text = raw.get();
    if depth >= MAX_DEPTH {
        return None;
    }
    Some(match text.as_bytes().first()? {
        b'{' => {
            let members: Members<'_> = serde_json::from_str(text).ok()?;
            let members = members
                .0
                .into_iter()
                .map(|(name, value)| Some((name, node(value, depth + 1)?)));
            Node::Object(members.collect::<Option<_>>()?)
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let items = items.into_iter().map(|item| node(item, depth + 1));
            Node::Array(items.collect::<Option<_>>()?)
        }
        b'"' => Node::Text(serde_json::from_str(text).ok()?),
        b't' => Node::Bool(true),
        b'f' => Node::Bool(false),
        b'n' => Node::Null,
        _ => Node::Number(text.to_owned()),
    })
}

/// An object's members in order, also those of one name.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de>, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_they_are_written() {
        let text = r#"{"b":1.50,"a":[1e3,12345678901234567890,"x\"\n",null,true],"b":{}}"#;
        let read = Node::parse(text).unwrap();
        assert_eq!(read.to_string(), text);
        assert_eq!(
            read.clone().doubled().to_string(),
            text.replace("1.50", "1.5").replace("1e3", "1000.0")
        );
        assert_eq!(
            read.canonical().to_string(),
            r#"{"a":[1000.0,12345678901234567890,"x\"\n",null,true],"b":{}}"#
        );
        assert_eq!(Node::Text("\u{1f}".into()).to_string(), r#""\u001F""#);
        for bad in ["", "{", "1 2", "{a:1}", "01"] {
            assert_eq!(Node::parse(bad), None, "{bad}");
        }
        assert_eq!(Node::parse(&"[".repeat(100_000)), None);
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        assert_eq!(Node::parse(&deep), None);
    }

    #[test]
    fn numbers_print_as_in_java() {
        assert_eq!(double(0.1), "0.1");
        assert_eq!(double(100.0), "100.0");
        assert_eq!(double(1e7), "1.0E7");
        assert_eq!(double(1.5e-4), "1.5E-4");
        assert_eq!(double(-0.0), "-0.0");
        assert_eq!(real(0.1), "0.1");
        assert_eq!(real(1e20), "1.0E20");
        assert_eq!(decimal(150, 2), "1.50");
        assert_eq!(decimal(1, 7), "1E-7");
        assert_eq!(decimal(-12, 8), "-1.2E-7");
        assert_eq!(decimal(1, 6), "0.000001");
    }
}
