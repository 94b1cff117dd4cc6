//! Java's regular expressions in terms of the crate `regex`, and the functions that take them.
//!
//! The two read many patterns alike and mean different things: Java's classes are ASCII, its `.` stops at more ends of
//! lines. [`translate`] knows what both have and writes it so that no difference is left; it refuses the rest.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

use super::Kind::{Int, Text};
use super::{Invocation, by_row_named};
use crate::error::Error;
use crate::plan::typed::Typed;

type Ranges = Vec<(char, char)>;

const DIGIT: &[(char, char)] = &[('0', '9')];
const WORD: &[(char, char)] = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
const SPACE: &[(char, char)] = &[('\t', '\r'), (' ', ' ')];
/// Where `.` stops.
const LINE_END: &[(char, char)] = &[
    ('\n', '\n'),
    ('\r', '\r'),
    ('\u{85}', '\u{85}'),
    ('\u{2028}', '\u{2029}'),
];

pub(super) fn resolve(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(2..=3)?;
    let pattern = call.args[1]
        .literal_text()
        .ok_or_else(|| call.wrong("the pattern must be a literal"))?
        .to_owned();
    let translated = translate(&pattern).and_then(|pattern| {
        Regex::new(&pattern)
            .map_err(|_| "what Java would not take, or what is too large".to_owned())
    });
    let regex = translated.map_err(|what| {
        Error::unsupported(
            format!("the regular expression '{pattern}'"),
            call.at,
            format!("; it has {what}"),
        )
    })?;
    let name = format!("{}[{pattern}]", call.name);
    match call.name {
        "REGEXP" => by_row_named(name, call, &[Text], move |cells, row| {
            // Nothing is like the empty pattern, in Flink.
            Some(!pattern.is_empty() && regex.is_match(cells[0].text(row)))
        }),
        "REGEXP_COUNT" => {
            call.arity(2..=2)?;
            by_row_named(name, call, &[Text], move |cells, row| {
                i32::try_from(matches(&regex, cells[0].text(row)).len()).ok()
            })
        }
        "REGEXP_INSTR" => {
            call.arity(2..=2)?;
            by_row_named(name, call, &[Text], move |cells, row| {
                let text = cells[0].text(row);
                let before = |found: regex::Match<'_>| text[..found.start()].encode_utf16().count();
                Some(regex.find(text).map_or(0, |found| before(found) as i32 + 1))
            })
        }
        "REGEXP_SUBSTR" => {
            call.arity(2..=2)?;
            by_row_named(name, call, &[Text], move |cells, row| {
                let found = regex.find(cells[0].text(row))?;
                Some(found.as_str().to_owned())
            })
        }
        "REGEXP_EXTRACT" => by_row_named(name, call, &[Text, Text, Int], move |cells, row| {
            let group = cells.get(2).map_or(0, |cell| cell.int(row));
            let captures = regex.captures(cells[0].text(row))?;
            let group = captures.get(usize::try_from(group).ok()?)?;
            Some(group.as_str().to_owned())
        }),
        _ => {
            call.arity(3..=3)?;
            by_row_named(name, call, &[Text], move |cells, row| {
                Some(replace_all(&regex, cells[0].text(row), cells[2].text(row)))
            })
        }
    }
}

/// All that `Matcher.find` finds: an empty match may follow another one at once.
fn matches<'t>(regex: &Regex, text: &'t str) -> Vec<regex::Match<'t>> {
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some(found) = regex.find_at(text, at) {
        all.push(found);
        at = found.end();
        if found.is_empty() {
            match text[at..].chars().next() {
                Some(next) => at += next.len_utf8(),
                None => break,
            }
        }
    }
    all
}

/// `replaceAll(regex, Matcher.quoteReplacement(replacement))`: the replacement is taken as it stands, and an empty match
/// may follow another one at once.
fn replace_all(regex: &Regex, text: &str, replacement: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut copied = 0;
    for found in matches(regex, text) {
        result.push_str(&text[copied..found.start()]);
        result.push_str(replacement);
        copied = found.end();
    }
    result.push_str(&text[copied..]);
    result
}

/// Flags that hold up to the end of their group.
#[derive(Clone, Copy, Default)]
struct Flags {
    /// `i`: ASCII letters only.
    any_case: bool,
    /// `s`: `.` is every character.
    dot_all: bool,
}

struct Translator<'p> {
    rest: Peekable<Chars<'p>>,
    out: String,
    flags: Flags,
    /// Those around each open group.
    outer: Vec<Flags>,
    /// Whether a quantifier may follow.
    atom: bool,
}

/// The pattern for `regex` that matches what Java's does; `Err` names what neither side has in the same way.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    let mut translator = Translator {
        rest: pattern.chars().peekable(),
        out: String::new(),
        flags: Flags::default(),
        outer: Vec::new(),
        atom: false,
    };
    while let Some(next) = translator.rest.next() {
        translator.step(next)?;
    }
    Ok(translator.out)
}

impl Translator<'_> {
    fn step(&mut self, next: char) -> Result<(), String> {
        match next {
            '(' => return self.open_group(),
            ')' => {
                self.flags = self.outer.pop().ok_or("a `)` too many")?;
                self.out.push(')');
            }
            '|' => {
                self.out.push('|');
                self.atom = false;
                return Ok(());
            }
            '^' | '$' => self.out.push(next),
            '.' if self.flags.dot_all => self.out.push_str("(?s:.)"),
            '.' => class(&mut self.out, true, LINE_END, ""),
            '[' => self.bracket()?,
            '*' | '+' | '?' | '{' => return self.quantifier(next),
            '\\' => self.escape()?,
            other => self.literal(other),
        }
        self.atom = true;
        Ok(())
    }

    fn literal(&mut self, literal: char) {
        if self.flags.any_case && literal.is_ascii_alphabetic() {
            let other = (literal as u8 ^ 0x20) as char;
            let _ = write!(self.out, "[{literal}{other}]");
        } else {
            self.out
                .push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
        }
    }

    fn open_group(&mut self) -> Result<(), String> {
        self.atom = false;
        let outer = self.flags;
        if self.rest.next_if_eq(&'?').is_none() {
            self.out.push('(');
            self.outer.push(outer);
            return Ok(());
        }
        if self.rest.next_if_eq(&'<').is_some() {
            let name: String =
                std::iter::from_fn(|| self.rest.next_if(char::is_ascii_alphanumeric)).collect();
            if name.is_empty() || self.rest.next() != Some('>') {
                return Err("a look-behind".to_owned());
            }
            let _ = write!(self.out, "(?<{name}>");
            self.outer.push(outer);
            return Ok(());
        }
        let mut on = true;
        loop {
            match self.rest.next() {
                Some('-') if on => on = false,
                Some('i') => self.flags.any_case = on,
                Some('s') => self.flags.dot_all = on,
                Some(':') => {
                    self.out.push_str("(?:");
                    self.outer.push(outer);
                    return Ok(());
                }
                Some(')') => return Ok(()),
                Some(other) => return Err(format!("`(?{other}`")),
                None => return Err("an open group".to_owned()),
            }
        }
    }

    fn quantifier(&mut self, first: char) -> Result<(), String> {
        if !self.atom {
            return Err(format!("a `{first}` after nothing"));
        }
        self.out.push(first);
        if first == '{' {
            let bounds: String = std::iter::from_fn(|| {
                self.rest
                    .next_if(|next| next.is_ascii_digit() || *next == ',')
            })
            .collect();
            if !bounds.starts_with(|first: char| first.is_ascii_digit())
                || self.rest.next() != Some('}')
            {
                return Err("a `{` that bounds nothing".to_owned());
            }
            self.out.push_str(&bounds);
            self.out.push('}');
        }
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        if matches!(self.rest.peek(), Some('+' | '*' | '?' | '{')) {
            return Err("a possessive quantifier, or two of them".to_owned());
        }
        Ok(())
    }

    /// What stands behind a backslash, outside of brackets.
    fn escape(&mut self) -> Result<(), String> {
        match self.rest.peek() {
            // Letters of all languages are of words here, as in Java before 19.
            Some(&boundary @ ('b' | 'B')) => {
                self.rest.next();
                if self.rest.peek() == Some(&'{') {
                    return Err("`\\b{`".to_owned());
                }
                self.out.push('\\');
                self.out.push(boundary);
            }
            Some(&end @ ('A' | 'z')) => {
                self.rest.next();
                self.out.push('\\');
                self.out.push(end);
            }
            _ => match self.escaped()? {
                Escaped::Literal(literal) => self.literal(literal),
                Escaped::Class(ranges, negated) => class(&mut self.out, negated, ranges, ""),
                Escaped::Category(category) => self.out.push_str(&category),
            },
        }
        Ok(())
    }

    fn escaped(&mut self) -> Result<Escaped, String> {
        let next = self.rest.next().ok_or("a `\\` at its end")?;
        Ok(match next {
            'd' | 'D' => Escaped::Class(DIGIT, next == 'D'),
            'w' | 'W' => Escaped::Class(WORD, next == 'W'),
            's' | 'S' => Escaped::Class(SPACE, next == 'S'),
            'p' | 'P' => Escaped::Category(self.category(next)?),
            't' => Escaped::Literal('\t'),
            'n' => Escaped::Literal('\n'),
            'r' => Escaped::Literal('\r'),
            'f' => Escaped::Literal('\u{c}'),
            'a' => Escaped::Literal('\u{7}'),
            'e' => Escaped::Literal('\u{1b}'),
            'x' => Escaped::Literal(self.hex(2)?),
            'u' => Escaped::Literal(self.hex(4)?),
            other if other.is_ascii_alphanumeric() => return Err(format!("`\\{other}`")),
            other => Escaped::Literal(other),
        })
    }

    fn hex(&mut self, n_digits: usize) -> Result<char, String> {
        let digits: String = self.rest.by_ref().take(n_digits).collect();
        let code = u32::from_str_radix(&digits, 16).ok();
        let code = code.filter(|_| digits.len() == n_digits);
        code.and_then(char::from_u32)
            .ok_or_else(|| format!("the character {digits}"))
    }

    /// `\pL`, `\p{Lu}`: a general category; other names mean other things in Java.
    fn category(&mut self, p: char) -> Result<String, String> {
        let name: String = if self.rest.next_if_eq(&'{').is_some() {
            self.rest.by_ref().take_while(|next| *next != '}').collect()
        } else {
            self.rest.next().into_iter().collect()
        };
        let general = matches!(name.as_bytes(), [b'A'..=b'Z'] | [b'A'..=b'Z', b'a'..=b'z']);
        if !general || name == "LC" || self.flags.any_case {
            return Err(format!("`\\{p}{{{name}}}`"));
        }
        Ok(format!("\\{p}{{{name}}}"))
    }

    /// A class in brackets, behind the `[`.
    fn bracket(&mut self) -> Result<(), String> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        let (mut ranges, mut categories) = (Ranges::new(), String::new());
        let mut first = true;
        loop {
            let next = self.rest.next().ok_or("an open `[`")?;
            let low = match next {
                ']' if !first => break,
                '[' => return Err("a class in a class".to_owned()),
                '&' if self.rest.peek() == Some(&'&') => return Err("`&&`".to_owned()),
                '\\' => match self.escaped()? {
                    Escaped::Literal(literal) => Some(literal),
                    Escaped::Class(of, false) => {
                        ranges.extend_from_slice(of);
                        None
                    }
                    Escaped::Class(of, true) => {
                        ranges.extend(complement(of));
                        None
                    }
                    Escaped::Category(category) => {
                        categories.push_str(&category);
                        None
                    }
                },
                literal => Some(literal),
            };
            first = false;
            if let Some(low) = low {
                ranges.push((low, self.upper(low)?));
            }
        }
        if self.flags.any_case {
            either_case(&mut ranges);
        }
        class(&mut self.out, negated, &ranges, &categories);
        Ok(())
    }

    /// The end of a range that begins with `low`.
    fn upper(&mut self, low: char) -> Result<char, String> {
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('-') || matches!(ahead.peek(), Some(']') | None) {
            return Ok(low);
        }
        self.rest = ahead;
        let high = match self.rest.next() {
            Some('[') | None => return Err("a class in a class".to_owned()),
            Some('\\') => match self.escaped()? {
                Escaped::Literal(literal) => literal,
                _ => return Err("a range up to a class".to_owned()),
            },
            Some(high) => high,
        };
        if high < low {
            return Err(format!("the range {low}-{high}"));
        }
        Ok(high)
    }
}

enum Escaped {
    Literal(char),
    /// Whether it is what the ranges do not have.
    Class(&'static [(char, char)], bool),
    Category(String),
}

/// Writes a class of `ranges` and `categories`, or of what they do not have.
fn class(out: &mut String, negated: bool, ranges: &[(char, char)], categories: &str) {
    out.push_str(if negated { "[^" } else { "[" });
    for (low, high) in ranges {
        let _ = write!(out, "\\x{{{:x}}}-\\x{{{:x}}}", *low as u32, *high as u32);
    }
    out.push_str(categories);
    out.push(']');
}

/// What sorted `ranges` do not have.
fn complement(ranges: &[(char, char)]) -> Ranges {
    let mut rest = Ranges::new();
    let mut from = '\0';
    for (low, high) in ranges {
        // All of them are ASCII.
        if from < *low {
            rest.push((from, (*low as u8 - 1) as char));
        }
        from = (*high as u8 + 1) as char;
    }
    rest.push((from, char::MAX));
    rest
}

/// Adds the letters of the other case.
fn either_case(ranges: &mut Ranges) {
    for at in 0..ranges.len() {
        let (low, high) = ranges[at];
        for (first, last) in [('a', 'z'), ('A', 'Z')] {
            let (from, to) = (low.max(first), high.min(last));
            if from <= to {
                ranges.push(((from as u8 ^ 0x20) as char, (to as u8 ^ 0x20) as char));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Where Java and the crate `regex` differ.

    use super::{Regex, replace_all, translate};

    fn replaced(text: &str, pattern: &str) -> String {
        let regex = Regex::new(&translate(pattern).unwrap()).unwrap();
        replace_all(&regex, text, "-")
    }

    #[test]
    fn classes_are_ascii() {
        assert_eq!(replaced("Größe 1", r"\W"), "Gr--e-1");
        assert_eq!(replaced("Größe", r"\w+"), "-öß-");
        assert_eq!(replaced("1٣", r"\d"), "-٣");
        assert_eq!(replaced("a\u{a0}b c", r"\s"), "a\u{a0}b-c");
        assert_eq!(replaced("ab1 ", r"[^\D]"), "ab- ");
        assert_eq!(replaced("aß1 ", r"[\W\d]"), "a---");
        assert_eq!(replaced("a\rb\nc\u{2028}", "."), "-\r-\n-\u{2028}");
        assert_eq!(replaced("a\rb", "(?s)."), "---");
    }

    #[test]
    fn the_other_case_is_of_ascii_letters() {
        assert_eq!(replaced("KkÖö\u{212a}", "(?i)k"), "--Öö\u{212a}");
        assert_eq!(replaced("Öö", "(?i)ö"), "Ö-");
        assert_eq!(replaced("abaBAb", "a(?i:b)"), "--Ab");
        assert_eq!(replaced("xXyY", "(?i)[x]"), "--yY");
        assert_eq!(replaced("xXyY", "(?i)[^x-z]"), "xXyY");
        assert_eq!(replaced("xX", "((?i)x)x|X"), "x-");
    }

    #[test]
    fn plain_patterns_stay_what_they_are() {
        assert_eq!(replaced("a.b|c", r"\.|\|"), "a-b-c");
        assert_eq!(replaced("a-b]c", "[-]"), "a-b]c");
        assert_eq!(replaced("a-b]c", r"[]\-]"), "a-b-c");
        assert_eq!(replaced("ab#c d", "[#& ]"), "ab-c-d");
        assert_eq!(replaced("aaa", "a{2}?"), "-a");
        assert_eq!(replaced("k=v&x", "(&|^)k=([^&]*)"), "-&x");
        assert_eq!(replaced("tab\tA", r"\x41|\u0009"), "tab--");
        assert_eq!(replaced("Éa", r"\p{Lu}"), "-a");
        assert_eq!(replaced("x~y*z", "[~~x*--]"), "--y-z");
    }

    #[test]
    fn empty_matches_follow_others_at_once() {
        assert_eq!(replaced("baaac", "a*"), "-b--c-");
        assert_eq!(replaced("öb", ""), "-ö-b-");
        let regex = Regex::new("a").unwrap();
        assert_eq!(replace_all(&regex, "bab", r"$0\1"), r"b$0\1b");
    }

    #[test]
    fn what_java_alone_has_is_refused() {
        for pattern in [
            "a++",
            "a*+",
            "a{2}+",
            "a?+",
            "a**",
            "(?=a)",
            "(?<=a)",
            "(?>a)",
            r"(a)\1",
            r"\Qa\E",
            r"\h",
            r"\Z",
            "(?m)^a",
            "(?x)a b",
            "(?P<n>a)",
            "[a[b]]",
            "[a-z&&[b]]",
            r"\p{Alpha}",
            "a{,2}",
            "*a",
            "[[:alpha:]]",
            "(a",
            "a)",
            "[a",
            "a\\",
        ] {
            let refused = translate(pattern).is_err_and(|why| !why.is_empty());
            let invalid = translate(pattern).is_ok_and(|text| Regex::new(&text).is_err());
            assert!(refused || invalid, "{pattern}");
        }
    }
}
