//! JSON_VALUE and its kin: one path of a text, read without building the document.
//!
//! Every document is read to its end, so that a broken one gives NULL even if the value stood before the break.

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Field(String),
    Index(usize),
}

/// A path as `$.a.b[0]`, `$['a']`, with `lax` or `strict` before it.
pub(crate) fn parse_path(text: &str) -> Option<(Vec<Step>, bool)> {
    let text = text.trim();
    let (strict, text) = match (text.strip_prefix("strict "), text.strip_prefix("lax ")) {
        (Some(rest), _) => (true, rest.trim_start()),
        (_, Some(rest)) => (false, rest.trim_start()),
        _ => (false, text),
    };
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
    Some((steps, strict))
}

/// What stands at each of `paths` in `text`: the JSON text of each value that exists. `Err` if `text` is no JSON.
pub(crate) fn find<'a>(
    text: &'a str,
    paths: &[&[Step]],
    found: &mut [Option<&'a RawValue>],
) -> Result<(), ()> {
    found.fill(None);
    for (paths, found) in paths.chunks(64).zip(found.chunks_mut(64)) {
        let mut reader = serde_json::Deserializer::from_str(text);
        let seed = Seek {
            paths,
            targets: u64::MAX >> (64 - paths.len()),
            depth: 0,
            found,
        };
        // Like Jackson's: what follows the first value is not looked at.
        seed.deserialize(&mut reader).map_err(|_| ())?;
    }
    Ok(())
}

/// The numbers of the bits that are set.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (set != 0).then(|| set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(bit)
    })
}

/// Reads one value, in which those paths go on at `depth` whose bits are set in `targets`.
struct Seek<'p, 'f, 'a> {
    paths: &'p [&'p [Step]],
    targets: u64,
    depth: usize,
    found: &'f mut [Option<&'a RawValue>],
}

impl Seek<'_, '_, '_> {
    /// Those targets whose step at this depth is wanted.
    fn going_on(&self, wanted: impl Fn(&Step) -> bool) -> u64 {
        bits(self.targets)
            .filter(|target| wanted(&self.paths[*target][self.depth]))
            .fold(0, |set, target| set | 1 << target)
    }
}

impl<'a> DeserializeSeed<'a> for Seek<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'a>>(self, reader: D) -> Result<(), D::Error> {
        if bits(self.targets).any(|path| self.paths[path].len() == self.depth) {
            let raw = <&RawValue as serde::Deserialize>::deserialize(reader)?;
            for target in bits(self.targets) {
                if self.paths[target].len() == self.depth {
                    self.found[target] = Some(raw);
                } else {
                    let mut inner = serde_json::Deserializer::from_str(raw.get());
                    let seed = Seek {
                        paths: self.paths,
                        targets: 1 << target,
                        depth: self.depth,
                        found: &mut *self.found,
                    };
                    seed.deserialize(&mut inner).map_err(D::Error::custom)?;
                }
            }
            return Ok(());
        }
        reader.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Seek<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        loop {
            let targets = self.going_on(|step| *step == Step::Index(index));
            let more = if targets == 0 {
                items.next_element::<IgnoredAny>()?.is_some()
            } else {
                items
                    .next_element_seed(Seek {
                        paths: self.paths,
                        targets,
                        depth: self.depth + 1,
                        found: &mut *self.found,
                    })?
                    .is_some()
            };
            if !more {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'a>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key::<Key<'a>>()? {
            let targets =
                self.going_on(|step| matches!(step, Step::Field(name) if *name == *key.0));
            if targets == 0 {
                entries.next_value::<IgnoredAny>()?;
                continue;
            }
            for target in bits(targets) {
                // The last of equal names wins.
                self.found[target] = None;
            }
            entries.next_value_seed(Seek {
                paths: self.paths,
                targets,
                depth: self.depth + 1,
                found: &mut *self.found,
            })?;
        }
        Ok(())
    }
}

/// A name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

/// A scalar as JSON_VALUE gives it: strings unescaped, numbers as text; `None` for null and containers.
pub(crate) fn scalar(raw: &str, out: &mut String) -> Option<bool> {
    match raw.as_bytes().first()? {
        b'"' => {
            let inner = &raw[1..raw.len() - 1];
            if inner.contains('\\') {
                out.push_str(&serde_json::from_str::<String>(raw).ok()?);
            } else {
                out.push_str(inner);
            }
            Some(true)
        }
        b'n' => None,
        b'{' | b'[' => Some(false),
        b't' | b'f' => {
            out.push_str(raw);
            Some(true)
        }
        _ => {
            number(raw, out);
            Some(true)
        }
    }
}

/// A number as Java's `BigDecimal` and `Integer` print it.
fn number(raw: &str, out: &mut String) {
    if !raw.contains(['e', 'E']) {
        out.push_str(raw);
        return;
    }
    let value: f64 = raw.parse().unwrap_or(f64::NAN);
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let sign = if exponent.starts_with('-') { "" } else { "+" };
    out.push_str(&format!("{mantissa}E{sign}{exponent}"));
}

/// Whether a text is JSON of the kind `VALUE`, `OBJECT`, `ARRAY` or `SCALAR`.
pub(crate) fn is_json(text: &str, kind: &str) -> bool {
    let mut reader = serde_json::Deserializer::from_str(text);
    let valid = <IgnoredAny as serde::Deserialize>::deserialize(&mut reader).is_ok()
        && reader.end().is_ok();
    let first = text.trim_start().as_bytes().first().copied();
    valid
        && match kind {
            "OBJECT" => first == Some(b'{'),
            "ARRAY" => first == Some(b'['),
            "SCALAR" => !matches!(first, Some(b'{' | b'[')),
            _ => true,
        }
}

/// A JSON text without blanks between its tokens.
pub(crate) fn compact(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let (mut inside, mut escaped) = (false, false);
    for next in raw.chars() {
        if inside {
            text.push(next);
            inside = escaped || next != '"';
            escaped = !escaped && next == '\\';
        } else if !next.is_ascii_whitespace() {
            text.push(next);
            inside = next == '"';
        }
    }
    text
}

#[cfg(test)]
mod tests {
    //! Paths, duplicates and broken documents.

    use super::{find, parse_path, scalar};

    fn value(text: &str, path: &str) -> Option<String> {
        let (steps, _) = parse_path(path).unwrap();
        let mut found = [None];
        find(text, &[&steps], &mut found).ok()?;
        let mut out = String::new();
        scalar(found[0]?.get(), &mut out)
            .filter(|fits| *fits)
            .map(|_| out)
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
    }
}
