//! JSON_QUERY and JSON_EXISTS, and paths with `*`, as Jayway's JsonPath reads them and Jackson prints what they find.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, StringBuilder};
use datafusion_common::Result as DfResult;

use super::Kind::Text;
use super::json::{self, Mode, Step};
use super::{Cells, Invocation, by_row_or_fail, failed};
use crate::error::Error;
use crate::formats::json::convert::{quote, unescape};
use crate::formats::json::scan::{Kind, Malformed, Scanner};
use crate::plan::coerce::is_text;
use crate::plan::typed::{Kernel, Typed};
use crate::sql::ast::Clause;
use crate::table::{SqlType, TypeRoot};

/// A step of a path that can lead to several values.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Any {
    One(Step),
    /// `[*]` or `.*`
    All,
}

/// A path that can have `*`.
#[derive(Debug, Clone)]
pub(super) struct Path {
    steps: Vec<Any>,
    mode: Mode,
}

/// Why a path leads to nothing: the text is no JSON, or what it leads through is not there.
struct Missing;

impl From<Malformed> for Missing {
    fn from(_: Malformed) -> Self {
        Missing
    }
}

impl Path {
    pub(super) fn parse(text: &str) -> Option<Path> {
        let mut steps = Vec::new();
        // Pieces between the stars are paths of their own.
        let mut pieces = text
            .trim()
            .split_inclusive("[*]")
            .flat_map(|piece| piece.split_inclusive(".*"));
        let (mut mode, mut first) = (Mode::Strict, true);
        pieces.try_for_each(|piece| {
            let plain = piece
                .strip_suffix("[*]")
                .or_else(|| piece.strip_suffix(".*"));
            let star = plain.is_some();
            let plain = plain.unwrap_or(piece);
            let path = if first {
                plain.to_owned()
            } else {
                format!("${plain}")
            };
            let (found, said) = json::parse_path(&path)?;
            if first {
                mode = said;
            }
            first = false;
            steps.extend(found.into_iter().map(Any::One));
            steps.extend(star.then_some(Any::All));
            Some(())
        })?;
        Some(Path { steps, mode })
    }

    pub(super) fn has_star(&self) -> bool {
        self.steps.contains(&Any::All)
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// The value that the path leads to, as JSON; of a path with `*` the list of all. `Ok(None)` is null or nothing.
    fn find(&self, text: &str) -> Result<Option<String>, Missing> {
        let mut scanner = Scanner::new(text.as_bytes());
        scanner.space();
        let begin = scanner.at;
        scanner.document()?;
        let mut found = Vec::new();
        let walked = walk(&text[begin..scanner.at], &self.steps, true, &mut found);
        if self.mode == Mode::Strict {
            walked?;
        }
        if !self.has_star() {
            let one = found.pop().filter(|found| *found != "null");
            return one.map(|raw| printed(raw).ok_or(Missing)).transpose();
        }
        let items = found.into_iter().map(printed).collect::<Option<Vec<_>>>();
        Ok(Some(format!("[{}]", items.ok_or(Missing)?.join(","))))
    }
}

/// Adds what `steps` lead to from `raw`; `Err` if a definite path does not go on.
fn walk<'a>(
    raw: &'a str,
    steps: &[Any],
    definite: bool,
    found: &mut Vec<&'a str>,
) -> Result<(), Missing> {
    let Some((step, rest)) = steps.split_first() else {
        found.push(raw);
        return Ok(());
    };
    let gone = if definite { Err(Missing) } else { Ok(()) };
    match step {
        Any::All if raw.starts_with(['{', '[']) => children(raw)?
            .iter()
            .try_for_each(|(_, child)| walk(child, rest, false, found)),
        Any::All => Ok(()),
        Any::One(Step::Field(name)) if raw.starts_with('{') => {
            let members = children(raw)?;
            match members.iter().rfind(|(known, _)| known == name) {
                Some((_, child)) => walk(child, rest, definite, found),
                None if rest.is_empty() => Ok(()),
                None => gone,
            }
        }
        Any::One(Step::Index(index)) if raw.starts_with('[') => match children(raw)?.get(*index) {
            Some((_, child)) => walk(child, rest, definite, found),
            None => Ok(()),
        },
        Any::One(_) => gone,
    }
}

/// The members of an object, of equal names the last one at the first one's place, or the items of a list.
fn children(raw: &str) -> Result<Vec<(String, &str)>, Malformed> {
    let mut scanner = Scanner::new(raw.as_bytes());
    let mut found: Vec<(String, &str)> = Vec::new();
    let value = |scanner: &mut Scanner<'_>| {
        scanner.space();
        let begin = scanner.at;
        scanner.value()?;
        Ok::<_, Malformed>(&raw[begin..scanner.at])
    };
    if raw.starts_with('[') {
        scanner.items(|scanner| {
            found.push((String::new(), value(scanner)?));
            Ok::<_, Malformed>(())
        })?;
        return Ok(found);
    }
    scanner.members(|scanner, name, escaped| {
        let mut plain = Vec::new();
        unescape(name, escaped, &mut plain);
        let name = String::from_utf8_lossy(&plain).into_owned();
        let value = value(scanner)?;
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some(member) => member.1 = value,
            None => found.push((name, value)),
        }
        Ok::<_, Malformed>(())
    })?;
    Ok(found)
}

/// JSON as Flink's `ObjectMapper` prints it: without blanks, names in order, numbers as `BigDecimal`.
fn printed(raw: &str) -> Option<String> {
    let list = raw.starts_with('[');
    if !list && !raw.starts_with('{') {
        let mut scanner = Scanner::new(raw.as_bytes());
        let (content, kind) = scanner.value().ok()?;
        return match kind {
            Kind::Text { escaped } => {
                let (mut plain, mut text) = (Vec::new(), Vec::new());
                unescape(content, escaped, &mut plain);
                quote(&plain, &mut text);
                String::from_utf8(text).ok()
            }
            Kind::Number => json::printed_number(raw).map(std::borrow::Cow::into_owned),
            _ => Some(raw.to_owned()),
        };
    }
    let mut members = children(raw).ok()?;
    if !list {
        members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    }
    let mut parts = Vec::with_capacity(members.len());
    for (name, child) in members {
        let child = printed(child)?;
        parts.push(if list {
            child
        } else {
            let mut text = Vec::new();
            quote(name.as_bytes(), &mut text);
            format!("{}:{child}", String::from_utf8(text).ok()?)
        });
    }
    let (open, close) = if list { ('[', ']') } else { ('{', '}') };
    Some(format!("{open}{}{close}", parts.join(",")))
}

/// What `ON EMPTY` or `ON ERROR` says.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Otherwise {
    Null,
    Array,
    Object,
    Fail,
}

impl Otherwise {
    fn named(words: &str) -> Option<Self> {
        Some(match words {
            "NULL" => Otherwise::Null,
            "EMPTY ARRAY" | "EMPTY" => Otherwise::Array,
            "EMPTY OBJECT" => Otherwise::Object,
            "ERROR" => Otherwise::Fail,
            _ => return None,
        })
    }

    fn value(self, event: &str) -> DfResult<Option<String>> {
        Ok(match self {
            Otherwise::Null => None,
            Otherwise::Array => Some("[]".to_owned()),
            Otherwise::Object => Some("{}".to_owned()),
            Otherwise::Fail => return Err(failed(format!("JSON_QUERY: {event}"))),
        })
    }
}

/// How a value is put into a list.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wrapper {
    Never,
    Always,
    /// Unless it is one.
    Conditional,
}

#[derive(Debug, Clone)]
struct Query {
    path: Path,
    wrapper: Wrapper,
    on_empty: Otherwise,
    on_error: Otherwise,
}

impl Query {
    fn run(&self, text: &str) -> DfResult<Option<String>> {
        let strict = self.path.mode == Mode::Strict;
        let value = match self.path.find(text) {
            Ok(Some(value)) => value,
            // Strictly, null and nothing are errors, too.
            Ok(None) | Err(Missing) if strict => return self.on_error.value("an error"),
            _ => return self.on_empty.value("nothing was found"),
        };
        let wrap = match self.wrapper {
            Wrapper::Never => false,
            Wrapper::Always => true,
            Wrapper::Conditional => !value.starts_with('['),
        };
        if wrap {
            return Ok(Some(format!("[{value}]")));
        }
        if value.starts_with(['{', '[']) {
            return Ok(Some(value));
        }
        if strict {
            self.on_error.value("a scalar")
        } else {
            self.on_empty.value("a scalar")
        }
    }
}

pub(super) fn path(call: &mut Invocation<'_>) -> Result<(String, Path), Error> {
    call.arity(2..=2)?;
    let path = call.args.remove(1);
    let Some(text) = path.literal_text() else {
        return Err(call.wrong("the path must be a literal"));
    };
    match Path::parse(text) {
        Some(path) => Ok((text.to_owned(), path)),
        None => Err(Error::unsupported(
            format!("the JSON path '{text}'"),
            call.at,
            "",
        )),
    }
}

/// `JSON_QUERY(text, path [RETURNING t] [… WRAPPER] [… ON EMPTY] [… ON ERROR])`
pub(super) fn query(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    let (text, path) = path(call)?;
    let mut query = Query {
        path,
        wrapper: Wrapper::Never,
        on_empty: Otherwise::Null,
        on_error: Otherwise::Null,
    };
    let mut array = false;
    for clause in call.clauses {
        let refused = || Error::unsupported(format!("JSON_QUERY … {clause:?}"), call.at, "");
        match clause {
            Clause::Returning(ty) => match &ty.root {
                TypeRoot::Array(element) if is_text(&element.root) => array = true,
                root if is_text(root) => {}
                _ => return Err(refused()),
            },
            Clause::Word(word) => {
                let otherwise = |event| word.strip_suffix(event).map(Otherwise::named);
                match (otherwise(" ON EMPTY"), otherwise(" ON ERROR")) {
                    (Some(found), _) => query.on_empty = found.ok_or_else(refused)?,
                    (_, Some(found)) => query.on_error = found.ok_or_else(refused)?,
                    _ => query.wrapper = wrapper(word).ok_or_else(refused)?,
                }
            }
            Clause::Default(..) => return Err(refused()),
        }
    }
    let name = format!("JSON_QUERY[{text},{query:?}]");
    if array {
        if [query.on_empty, query.on_error].contains(&Otherwise::Object) {
            return Err(call.wrong("EMPTY OBJECT is no ARRAY"));
        }
        return arrays(call, name, query);
    }
    let mut typed = by_row_or_fail(call, &[Text], move |cells, row| {
        query.run(cells[0].text(row))
    })?;
    rename(&mut typed, name);
    Ok(typed)
}

fn wrapper(word: &str) -> Option<Wrapper> {
    Some(match word {
        "WITHOUT WRAPPER" | "WITHOUT ARRAY WRAPPER" => Wrapper::Never,
        "WITH WRAPPER"
        | "WITH ARRAY WRAPPER"
        | "WITH UNCONDITIONAL WRAPPER"
        | "WITH UNCONDITIONAL ARRAY WRAPPER" => Wrapper::Always,
        "WITH CONDITIONAL WRAPPER" | "WITH CONDITIONAL ARRAY WRAPPER" => Wrapper::Conditional,
        _ => return None,
    })
}

/// Names the call by all that was planned.
fn rename(typed: &mut Typed, name: String) {
    if let crate::plan::typed::TypedKind::Call(kernel, _) = &mut typed.kind {
        kernel.name = name.into();
    }
}

/// `RETURNING ARRAY<STRING>`: scalars as their texts, containers as JSON.
fn arrays(call: &mut Invocation<'_>, name: String, query: Query) -> Result<Typed, Error> {
    let args = call.take(&[Text])?;
    let ty = SqlType::of(TypeRoot::Array(Box::new(SqlType::string())));
    let target = ty.arrow();
    let kernel = Kernel::new(name, move |arrays, n_rows| {
        let cells = Cells::of(&arrays[0])?;
        let mut lists = ListBuilder::new(StringBuilder::new());
        for row in 0..n_rows {
            let found = match cells.is_null(row) {
                true => None,
                false => query.run(cells.text(row))?,
            };
            // An object is no list, which is an error in Flink.
            let found = match found {
                Some(found) if found.starts_with('{') => query.on_error.value("an object")?,
                found => found,
            };
            if let Some(found) = &found {
                let items = children(found).unwrap_or_default();
                for (_, item) in items {
                    lists.values().append_option(json::scalar(item));
                }
            }
            lists.append(found.is_some());
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        Ok(arrow::compute::cast(&lists, &target)?)
    });
    Typed::call(kernel, args, ty).fold()
}

/// `JSON_EXISTS(text, path [TRUE|FALSE|UNKNOWN|ERROR ON ERROR])`
pub(super) fn exists(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    let (text, path) = path(call)?;
    let mut on_error = Some(Some(false));
    for clause in call.clauses {
        on_error = match clause {
            Clause::Word(word) if word == "TRUE ON ERROR" => Some(Some(true)),
            Clause::Word(word) if word == "FALSE ON ERROR" => Some(Some(false)),
            Clause::Word(word) if word == "UNKNOWN ON ERROR" => Some(None),
            Clause::Word(word) if word == "ERROR ON ERROR" => None,
            other => {
                let what = format!("JSON_EXISTS … {other:?}");
                return Err(Error::unsupported(what, call.at, ""));
            }
        };
    }
    let name = format!("JSON_EXISTS[{text},{on_error:?}]");
    let mut typed = by_row_or_fail(call, &[Text], move |cells, row| {
        match (path.find(cells[0].text(row)), path.mode) {
            (Ok(Some(_)), _) => Ok(Some(true)),
            (_, Mode::Lax) => Ok(Some(false)),
            (_, Mode::Strict) => {
                on_error.ok_or_else(|| failed("JSON_EXISTS: the path leads to nothing"))
            }
        }
    })?;
    rename(&mut typed, name);
    Ok(typed)
}

#[cfg(test)]
mod tests {
    //! What Jayway's JsonPath finds, and what Jackson makes of it.

    use super::*;

    fn found(text: &str, path: &str) -> Option<String> {
        let path = Path::parse(path).unwrap();
        path.find(text).unwrap_or(Some("error".to_owned()))
    }

    #[test]
    fn stars_give_lists() {
        let text = r#"{"a": [{"x": 1, "y": [1]}, {"x": "2"}, 3], "o": {"p": {"x": 5}, "q": null}}"#;
        for (path, value) in [
            ("$.a[*].x", r#"[1,"2"]"#),
            ("$.a[*].y[0]", "[1]"),
            ("$.a[*]", r#"[{"x":1,"y":[1]},{"x":"2"},3]"#),
            ("$.o.*", r#"[{"x":5},null]"#),
            ("$.o.*.x", "[5]"),
            ("$.none[*]", "error"),
            ("lax $.none[*]", "[]"),
            ("$.a[0].x[*]", "[]"),
            ("$.*[*]", r#"[{"x":1,"y":[1]},{"x":"2"},3,{"x":5},null]"#),
        ] {
            assert_eq!(found(text, path).as_deref(), Some(value), "{path}");
        }
        assert_eq!(found(text, "$.o.q"), None);
        assert_eq!(found("no JSON", "$[*]").as_deref(), Some("error"));
    }

    #[test]
    fn names_are_sorted_and_numbers_respelled() {
        let text = r#"{"b": 1.50, "a": [1e3, -0, "\u0041"], "b": {"z": true, "y": null}}"#;
        let printed = r#"{"a":[1E+3,0,"A"],"b":{"y":null,"z":true}}"#;
        assert_eq!(found(text, "$").as_deref(), Some(printed));
    }
}
