//! JSON_VALUE and its kin: one path of a text, read without building the document.
//!
//! Every document is read to its end, so that a broken one gives NULL even if the value stood before the break.

use std::borrow::Cow;

use crate::formats::json::convert::unescape;
use crate::formats::json::scan::{Kind, Malformed, Scanner};
use crate::formats::text::write_unscaled;

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Field(String),
    Index(usize),
}

/// What a path that leads to no value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// An error, as is a text that is no JSON.
    Strict,
    /// Empty.
    Lax,
}

/// A path as `$.a.b[0]`, `$['a']`, with `lax` or `strict` before it; strict if neither is.
pub(crate) fn parse_path(text: &str) -> Option<(Vec<Step>, Mode)> {
    let text = text.trim();
    let (mode, text) = match text.split_once(char::is_whitespace) {
        Some((word, rest)) if word.eq_ignore_ascii_case("strict") => (Mode::Strict, rest),
        Some((word, rest)) if word.eq_ignore_ascii_case("lax") => (Mode::Lax, rest),
        _ => (Mode::Strict, text),
    };
    let text = text.trim_start();
    let mut rest = text.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("['") {
            let end = after.find("']")?;
            steps.push(Step::Field(after[..end].to_owned()));
            rest = &after[end + 2..];
        } else if let Some(after) = rest.strip_prefix('[') {
            let end = after.find(']')?;
            steps.push(Step::Index(after[..end].trim().parse().ok()?));
            rest = &after[end + 1..];
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let name = &after[..end];
            if name.is_empty() || name.contains(['*', '@', '?', '(', ' ']) {
                return None;
            }
            steps.push(Step::Field(name.to_owned()));
            rest = &after[end..];
        }
    }
    Some((steps, mode))
}

/// Paths as a tree, so that one walk over a text finds them all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Paths {
    root: Node,
    n_paths: usize,
}

/// A place in a document and the paths that end at it or go on.
#[derive(Debug, Clone, Default)]
struct Node {
    ends: Vec<usize>,
    /// Whether its name in the object around it has nothing that needs an escape.
    named_plainly: bool,
    fields: Vec<(Box<[u8]>, Node)>,
    items: Vec<(usize, Node)>,
    /// The paths that end here or below.
    all: Vec<usize>,
}

/// A value found in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    /// As it stands there; of a string with its quotes.
    pub(crate) raw: &'a str,
    kind: Kind,
}

impl Paths {
    /// The tree of `paths`; what is found comes in their order.
    pub(crate) fn new<'p>(paths: impl IntoIterator<Item = &'p [Step]>) -> Self {
        let mut tree = Paths::default();
        for (path, steps) in paths.into_iter().enumerate() {
            tree.root.insert(steps, path);
            tree.n_paths = path + 1;
        }
        tree
    }

    /// What stands at each path in `text`, if anything does. `Err` if `text` is no JSON.
    pub(crate) fn find<'a>(
        &self,
        text: &'a str,
        found: &mut Vec<Option<Found<'a>>>,
    ) -> Result<(), Malformed> {
        found.clear();
        found.resize(self.n_paths, None);
        let mut scanner = Scanner::new(text.as_bytes());
        scanner.space();
        if matches!(scanner.peek(), b'-' | b'0'..=b'9') {
            // Only then what follows matters.
            scanner.document()?;
            scanner = Scanner::new(text.as_bytes());
        }
        // Like Jackson's: what follows the first value is not looked at.
        self.root.read(text, &mut scanner, found)
    }

    /// The value of the only path; `Err` if `text` is no JSON.
    pub(crate) fn find_one<'a>(&self, text: &'a str) -> Result<Option<Found<'a>>, Malformed> {
        let mut found = Vec::with_capacity(1);
        self.find(text, &mut found)?;
        Ok(found.pop().flatten())
    }
}

impl Node {
    fn insert(&mut self, steps: &[Step], path: usize) {
        self.all.push(path);
        let next = match steps.first() {
            None => return self.ends.push(path),
            Some(Step::Field(name)) => {
                let node = child(&mut self.fields, name.as_bytes().into());
                node.named_plainly = !name.contains(|c| matches!(c, '"' | '\\' | '\0'..' '));
                node
            }
            Some(Step::Index(index)) => child(&mut self.items, *index),
        };
        next.insert(&steps[1..], path);
    }

    fn read<'a>(
        &self,
        text: &'a str,
        scanner: &mut Scanner<'_>,
        found: &mut [Option<Found<'a>>],
    ) -> Result<(), Malformed> {
        scanner.space();
        let begin = scanner.at;
        let kind = match scanner.peek() {
            b'{' if !self.fields.is_empty() => {
                self.read_object(text, scanner, found)?;
                Kind::Object
            }
            b'[' if !self.items.is_empty() => {
                self.read_array(text, scanner, found)?;
                Kind::Array
            }
            _ => scanner.value()?.1,
        };
        for path in &self.ends {
            found[*path] = Some(Found {
                raw: &text[begin..scanner.at],
                kind,
            });
        }
        Ok(())
    }

    fn read_object<'a>(
        &self,
        text: &'a str,
        scanner: &mut Scanner<'_>,
        found: &mut [Option<Found<'a>>],
    ) -> Result<(), Malformed> {
        // Records of one source have their names in one order, so the search begins behind the last hit.
        let mut hint = 0;
        let mut plain = Vec::new();
        scanner.entries(|scanner| {
            let next = self.fields.get(hint);
            let as_expected =
                next.is_some_and(|(name, node)| node.named_plainly && scanner.take_name(name));
            let hit = if as_expected {
                hint
            } else {
                let name = match scanner.name()? {
                    (name, false) => name,
                    (name, true) => {
                        plain.clear();
                        unescape(name, true, &mut plain);
                        &plain[..]
                    }
                };
                let Some(hit) = self.field_at(name, hint) else {
                    scanner.value()?;
                    return Ok(());
                };
                hit
            };
            hint = hit + 1;
            let node = &self.fields[hit].1;
            for path in &node.all {
                // The last of equal names wins.
                found[*path] = None;
            }
            node.read(text, scanner, found)
        })
    }

    /// Where the field `name` is; the search begins at `hint`.
    fn field_at(&self, name: &[u8], hint: usize) -> Option<usize> {
        let (before, behind) = self.fields.split_at(hint);
        let find = |fields: &[(Box<[u8]>, Node)]| fields.iter().position(|field| *field.0 == *name);
        (find(behind).map(|at| at + hint)).or_else(|| find(before))
    }

    fn read_array<'a>(
        &self,
        text: &'a str,
        scanner: &mut Scanner<'_>,
        found: &mut [Option<Found<'a>>],
    ) -> Result<(), Malformed> {
        let mut index = 0;
        scanner.items(|scanner| {
            match self.items.iter().find(|(at, _)| *at == index) {
                Some((_, node)) => node.read(text, scanner, found)?,
                None => {
                    scanner.value()?;
                }
            }
            index += 1;
            Ok(())
        })
    }
}

/// The child under `name`, new if there is none.
fn child<N: PartialEq>(children: &mut Vec<(N, Node)>, name: N) -> &mut Node {
    let at = children.iter().position(|(known, _)| *known == name);
    let at = at.unwrap_or_else(|| {
        children.push((name, Node::default()));
        children.len() - 1
    });
    &mut children[at].1
}

impl<'a> Found<'a> {
    /// The value as JSON_VALUE gives it: strings unescaped, numbers as Java prints them. `None` for null and for
    /// containers, of which none is a value.
    pub(crate) fn scalar(self) -> Option<Cow<'a, str>> {
        let raw = self.raw;
        match self.kind {
            Kind::Null | Kind::Object | Kind::Array => None,
            Kind::Text { escaped: false } => Some(Cow::Borrowed(&raw[1..raw.len() - 1])),
            Kind::Text { escaped: true } => {
                let mut plain = Vec::with_capacity(raw.len());
                unescape(&raw.as_bytes()[1..raw.len() - 1], true, &mut plain);
                Some(Cow::Owned(String::from_utf8_lossy(&plain).into_owned()))
            }
            Kind::Number => printed_number(raw),
            Kind::True | Kind::False => Some(Cow::Borrowed(raw)),
        }
    }
}

/// A number as Java prints it; `None` if its exponent is none of Java's.
pub(crate) fn printed_number(raw: &str) -> Option<Cow<'_, str>> {
    if is_respelled(raw) {
        return big_decimal(raw).map(Cow::Owned);
    }
    Some(Cow::Borrowed(raw))
}

/// The text of a JSON value: of a scalar as JSON_VALUE gives it, of a container as it stands; `None` for null.
pub(crate) fn scalar(raw: &str) -> Option<Cow<'_, str>> {
    let (_, kind) = Scanner::new(raw.as_bytes()).value().ok()?;
    match kind {
        Kind::Object | Kind::Array => Some(Cow::Borrowed(raw)),
        _ => Found { raw, kind }.scalar(),
    }
}

/// Whether Java may print a number in another way than it stands in the text.
fn is_respelled(raw: &str) -> bool {
    raw.contains(['e', 'E']) || raw.starts_with("-0") || raw.starts_with("0.000000")
}

/// A number as Java's `BigDecimal`, or `BigInteger`, prints it; `None` if its exponent is none of Java's.
fn big_decimal(raw: &str) -> Option<String> {
    let (mantissa, exponent) = match raw.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, i64::from(exponent.parse::<i32>().ok()?)),
        None => (raw, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{}{fraction}", whole.trim_start_matches('-'));
    let digits = all.trim_start_matches('0');
    // Zeros at the end stay, and of a zero one digit.
    let negative = whole.starts_with('-') && !digits.is_empty();
    let digits = if digits.is_empty() { "0" } else { digits };
    let scale = fraction.len() as i64 - exponent;
    let mut text = Vec::new();
    write_unscaled(negative, digits, scale, false, &mut text);
    String::from_utf8(text).ok()
}

/// Whether a text begins with JSON of the kind `VALUE`, `OBJECT`, `ARRAY` or `SCALAR`.
pub(crate) fn is_json(text: &str, kind: &str) -> bool {
    let Ok((_, found)) = Scanner::new(text.as_bytes()).document() else {
        return false;
    };
    match kind {
        "OBJECT" => found == Kind::Object,
        "ARRAY" => found == Kind::Array,
        "SCALAR" => !matches!(found, Kind::Object | Kind::Array),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    //! Paths, duplicates and broken documents.

    use super::{Mode, Paths, parse_path};

    fn value(text: &str, path: &str) -> Option<String> {
        let (steps, _) = parse_path(path).unwrap();
        let found = Paths::new([&steps[..]]).find_one(text).ok()??;
        Some(found.scalar()?.into_owned())
    }

    #[test]
    fn paths_are_strict_unless_they_say_lax() {
        let mode = |path| parse_path(path).unwrap().1;
        assert_eq!(mode("$.a"), Mode::Strict);
        assert_eq!(mode("  LAX  $.a"), Mode::Lax);
        assert_eq!(mode("strict $"), Mode::Strict);
        assert!(parse_path("slack $.a").is_none());
    }

    #[test]
    fn numbers_are_printed_as_big_decimals() {
        for (text, printed) in [
            ("1e3", "1E+3"),
            ("1.5e1", "15"),
            ("1.50e1", "15.0"),
            ("1e-5", "0.00001"),
            ("1e-7", "1E-7"),
            ("-1.25E+10", "-1.25E+10"),
            (
                "123456789012345678901234567890e1",
                "1.23456789012345678901234567890E+30",
            ),
            ("-0", "0"),
            ("-0.50", "-0.50"),
            ("0.0000001", "1E-7"),
            ("-0.00", "0.00"),
            ("0e2", "0E+2"),
            ("12.50", "12.50"),
        ] {
            assert_eq!(value(text, "$").as_deref(), Some(printed), "{text}");
        }
        assert_eq!(value("1e99999999999", "$"), None);
    }

    #[test]
    fn paths_find_scalars() {
        let text = r#"{"a": {"b": [1, {"c": "x\ny"}]}, "n": 1e3, "t": true, "n2": null}"#;
        assert_eq!(value(text, "$.a.b[1].c").as_deref(), Some("x\ny"));
        assert_eq!(value(text, "lax $.a.b[0]").as_deref(), Some("1"));
        assert_eq!(value(text, "$.n").as_deref(), Some("1E+3"));
        assert_eq!(value(text, "$.t").as_deref(), Some("true"));
        assert_eq!(value(text, "$.n2"), None);
        assert_eq!(value(text, "$.a"), None);
        assert_eq!(value(r#"{"a":1,"a":2}"#, "$.a").as_deref(), Some("2"));
        assert_eq!(value(r#"{"a":1,"b":"#, "$.a"), None);
        assert_eq!(
            value(r#"{"\u0061":"\ud83d\ude00"}"#, "$.a").as_deref(),
            Some("😀")
        );
        assert_eq!(value(r#"{"a":{"b":1},"a":{"c":2}}"#, "$.a.b"), None);
    }

    #[test]
    fn a_name_is_what_its_escapes_say() {
        assert_eq!(value(r#"{"a\"b":1}"#, r#"$['a"b']"#).as_deref(), Some("1"));
        assert_eq!(value(r#"{"a"b":1}"#, r#"$['a"b']"#), None);
        assert_eq!(value(r#"{"a\\":1}"#, r"$['a\']").as_deref(), Some("1"));
        assert_eq!(value(r#"{"a\":1}"#, r"$['a\']"), None);
        assert_eq!(value(r#"{"ab":1,"a":2}"#, "$.a").as_deref(), Some("2"));
        assert_eq!(value(r#"{"a" :1}"#, "$.a").as_deref(), Some("1"));
        assert_eq!(value(r#"{"a":"#, "$.a"), None);
    }

    #[test]
    fn one_walk_finds_all_paths_in_any_order() {
        let paths = ["$.b.x", "$.a", "$.b", "$.c[1]", "$.none"];
        let steps: Vec<_> = paths.map(|path| parse_path(path).unwrap().0).into();
        let paths = Paths::new(steps.iter().map(Vec::as_slice));
        let mut found = Vec::new();
        for text in [
            r#"{"a": 1, "b": {"x": "y"}, "c": [0, true]}"#,
            r#" {"c" : [0,true] , "other":[{}],"b": {"x": "y"},"a": 1}tail"#,
        ] {
            paths.find(text, &mut found).unwrap();
            let raw: Vec<_> = found
                .iter()
                .map(|found| found.map(|found| found.raw))
                .collect();
            assert_eq!(
                raw,
                [
                    Some("\"y\""),
                    Some("1"),
                    Some(r#"{"x": "y"}"#),
                    Some("true"),
                    None
                ]
            );
        }
        assert!(paths.find(r#"{"a": 1,}"#, &mut found).is_err());
    }
}
