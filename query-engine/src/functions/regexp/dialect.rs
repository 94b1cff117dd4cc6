//! Joni's patterns in the spelling of Rust's engine, or why a pattern has none.
//!
//! Both read most patterns alike. What one of them reads otherwise without an error is spelled for the other here, or
//! refused.

use crate::failure::{Code, Failure, Result};

/// A pattern as Rust's engine shall read it.
#[derive(Debug, PartialEq)]
pub(super) struct Translated {
    pub(super) pattern: String,
    /// Is there an anchor that Joni tries before or after a newline at the text's end, and Rust does not?
    pub(super) minds_last_newline: bool,
}

pub(super) fn translate(pattern: &str) -> Result<Translated> {
    let mut reader = Reader {
        pattern,
        chars: pattern.chars().peekable(),
        out: String::with_capacity(pattern.len()),
        anchored: false,
        multiline: false,
    };
    reader.run()?;
    Ok(Translated {
        pattern: reader.out,
        minds_last_newline: reader.anchored,
    })
}

struct Reader<'p> {
    pattern: &'p str,
    chars: std::iter::Peekable<std::str::Chars<'p>>,
    out: String,
    anchored: bool,
    /// Has there been the flag `m`?
    multiline: bool,
}

impl Reader<'_> {
    fn run(&mut self) -> Result<()> {
        // How many brackets are open: a class may hold others.
        let mut depth = 0_usize;
        while let Some(c) = self.chars.next() {
            match c {
                '\\' => self.escape()?,
                '[' => {
                    depth += 1;
                    self.out.push(c);
                    self.class_start();
                }
                ']' if depth > 0 => {
                    depth -= 1;
                    self.out.push(c);
                }
                // Rust's difference and symmetric difference; Joni has ranges and characters.
                '-' | '~' if depth > 0 && self.chars.peek() == Some(&c) => {
                    return Err(self.refused(&format!("'{c}{c}' in a character class")));
                }
                c if depth > 0 => self.out.push(c),
                '(' => {
                    self.out.push(c);
                    self.group()?;
                }
                '*' | '+' | '?' | '}' => {
                    self.out.push(c);
                    self.quantified()?;
                }
                '$' | '^' => {
                    self.anchored |= c == '$' || self.multiline;
                    self.out.push(c);
                }
                c => self.out.push(c),
            }
        }
        Ok(())
    }

    fn escape(&mut self) -> Result<()> {
        match self.chars.next() {
            // The ends of a word in Rust, characters in Joni.
            Some(c @ ('<' | '>')) => self.out.push(c),
            Some('b') if self.chars.peek() == Some(&'{') => {
                return Err(self.refused("'\\b{'"));
            }
            Some(c @ ('p' | 'P' | 'x' | 'u')) if self.chars.peek() == Some(&'{') => {
                self.out.extend(['\\', c]);
                // `\p{L}+` repeats the class; the braces are no quantifier.
                while let Some(inner) = self.chars.next_if(|c| *c != '}') {
                    self.out.push(inner);
                }
                self.out.extend(self.chars.next());
            }
            Some(c) => self.out.extend(['\\', c]),
            None => self.out.push('\\'),
        }
        Ok(())
    }

    /// A bracket that comes first in a class, also in a negated one, is a character.
    fn class_start(&mut self) {
        self.out.extend(self.chars.next_if_eq(&'^'));
        self.out.extend(self.chars.next_if_eq(&']'));
    }

    fn group(&mut self) -> Result<()> {
        if self.chars.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        self.out.push('?');
        let rest: String = self.chars.clone().take(2).collect();
        if ["=", "!", "<=", "<!"]
            .iter()
            .any(|look| rest.starts_with(look))
        {
            return Err(self.refused("look-around"));
        }
        if rest.starts_with('>') {
            return Err(self.refused("an atomic group"));
        }
        if rest.starts_with('P') {
            return Err(self.refused("'(?P'"));
        }
        while let Some(flag) = self.chars.next_if(|c| c.is_ascii_alphabetic() || *c == '-') {
            if !"imsx-".contains(flag) {
                return Err(self.refused(&format!("the flag '{flag}'")));
            }
            self.multiline |= flag == 'm';
            self.out.push(flag);
        }
        Ok(())
    }

    /// After a quantifier `?` is lazy in both, and `+` is possessive in Joni but repeats once more in Rust.
    fn quantified(&mut self) -> Result<()> {
        if self.chars.peek() == Some(&'+') {
            return Err(self.refused("a possessive quantifier"));
        }
        self.out.extend(self.chars.next_if_eq(&'?'));
        Ok(())
    }

    fn refused(&self, what: &str) -> Failure {
        let pattern = self.pattern;
        Failure::new(
            Code::NotSupported,
            format!("{what} in the pattern '{pattern}' is not supported"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(pattern: &str) -> String {
        translate(pattern).unwrap().pattern
    }

    #[test]
    fn what_both_read_alike_is_left_alone() {
        for same in [
            r"\d+[a-z]*?",
            r"(?i)a|(?:b{2,3})?",
            r"\p{L}+\x{41}+",
            r"[]+*$]+",
            r"[^]+]",
            r"(?<year>\d{4})",
            r"[\w&&[^\d]]+",
            r"a\\",
        ] {
            assert_eq!(spelled(same), same);
        }
    }

    #[test]
    fn what_they_read_otherwise_is_spelled_for_rust_or_refused() {
        assert_eq!(spelled(r"\<[^\>]+\>"), "<[^>]+>");
        for refused in [
            "a++",
            "a*+",
            "a?+",
            "a{2}+",
            "(?=a)",
            "(?<!a)",
            "(?>a)",
            "(?P<n>a)",
            "(?U)a",
            "[a--b]",
            "[a~~b]",
            r"\b{start}",
        ] {
            let failure = translate(refused).unwrap_err();
            assert_eq!(failure.code, Code::NotSupported, "{refused}");
        }
    }

    #[test]
    fn anchors_at_lines_are_known() {
        let minds = |pattern| translate(pattern).unwrap().minds_last_newline;
        assert!(minds("a$"));
        assert!(minds("(?m)^a"));
        assert!(!minds("^a"));
        assert!(!minds(r"\$[$]"));
    }
}
