//! Cuts a statement into tokens, each with its line and column.
//!
//! It is apart from the parser because positions, quoting and comments are settled here once: every later error can
//! point at a place in the text.

use crate::failure::{Code, Failure, Pos, Result};

/// What a token is. Keywords are plain identifiers here; the parser knows which words it looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tok {
    /// An unquoted word as written.
    Word(String),
    /// A `"quoted"` identifier without its quotes.
    Quoted(String),
    Integer(String),
    Decimal(String),
    Double(String),
    Text(String),
    Bytes(Vec<u8>),
    Symbol(&'static str),
    End,
}

/// A token, where it begins, and its byte span in the text.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) tok: Tok,
    pub(crate) pos: Pos,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

const SYMBOLS: [&str; 31] = [
    "<=", ">=", "<>", "!=", "||", "->", "=>", "::", "(", ")", "[", "]", ",", ".", ";", "?", "+",
    "-", "*", "/", "%", "=", "<", ">", ":", "{", "}", "|", "^", "$", "@",
];

/// Cuts `text` into tokens, ending with [`Tok::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut lexer = Lexer {
        text,
        at: 0,
        pos: Pos { line: 1, column: 1 },
    };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank()?;
        let (start, pos) = (lexer.at, lexer.pos);
        let tok = lexer.next()?;
        let done = tok == Tok::End;
        tokens.push(Token {
            tok,
            pos,
            start,
            end: lexer.at,
        });
        if done {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    pos: Pos,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        if c == '\n' {
            self.pos = Pos {
                line: self.pos.line + 1,
                column: 1,
            };
        } else {
            self.pos.column += 1;
        }
        Some(c)
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&keep) {
            self.bump();
        }
    }

    fn skip_blank(&mut self) -> Result<()> {
        loop {
            self.take_while(char::is_whitespace);
            if self.rest().starts_with("--") {
                self.take_while(|c| c != '\n');
            } else if self.rest().starts_with("/*") {
                let pos = self.pos;
                match self.rest().find("*/") {
                    Some(length) => {
                        let end = self.at + length + 2;
                        while self.at < end {
                            self.bump();
                        }
                    }
                    None => return Err(syntax(pos, "mismatched input '/*'. Expecting: '*/'")),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<Tok> {
        let pos = self.pos;
        let Some(first) = self.peek() else {
            return Ok(Tok::End);
        };
        let second = self.rest().chars().nth(1);
        match first {
            '\'' => Ok(Tok::Text(self.quoted('\'')?)),
            '"' => {
                let name = self.quoted('"')?;
                if name.is_empty() {
                    return Err(syntax(pos, "Zero-length delimited identifier not allowed"));
                }
                Ok(Tok::Quoted(name))
            }
            'x' | 'X' if second == Some('\'') => {
                self.bump();
                hex(&self.quoted('\'')?, pos).map(Tok::Bytes)
            }
            'u' | 'U' if self.rest()[1..].starts_with("&'") => {
                self.bump();
                self.bump();
                unicode(&self.quoted('\'')?, pos).map(Tok::Text)
            }
            '0'..='9' => self.number(),
            '.' if second.is_some_and(|c| c.is_ascii_digit()) => self.number(),
            c if c.is_alphabetic() || c == '_' => {
                let start = self.at;
                self.take_while(|c| c.is_alphanumeric() || c == '_');
                Ok(Tok::Word(self.text[start..self.at].to_owned()))
            }
            '`' => Err(syntax(
                pos,
                "backquoted identifiers are not supported; use double quotes to quote identifiers",
            )),
            _ => {
                let Some(symbol) = SYMBOLS
                    .iter()
                    .find(|symbol| self.rest().starts_with(**symbol))
                else {
                    return Err(syntax(pos, format!("mismatched input '{first}'")));
                };
                for _ in symbol.chars() {
                    self.bump();
                }
                Ok(Tok::Symbol(symbol))
            }
        }
    }

    /// The text between quotes, a doubled quote standing for itself.
    fn quoted(&mut self, quote: char) -> Result<String> {
        let pos = self.pos;
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                Some(c) if c == quote => {
                    if self.peek() != Some(quote) {
                        return Ok(text);
                    }
                    self.bump();
                    text.push(quote);
                }
                Some(c) => text.push(c),
                None => {
                    return Err(syntax(
                        pos,
                        format!("mismatched input '{quote}'. Expecting: closing quote"),
                    ));
                }
            }
        }
    }

    fn number(&mut self) -> Result<Tok> {
        let (start, pos) = (self.at, self.pos);
        let digit = |c: char| c.is_ascii_digit() || c == '_';
        self.take_while(digit);
        let mut exact = true;
        if self.peek() == Some('.') {
            exact = false;
            self.bump();
            self.take_while(digit);
        }
        let mut exponent = self.rest().chars();
        let mut double = false;
        if matches!(exponent.next(), Some('e' | 'E')) {
            let sign_or_digit = exponent.next();
            let signed = matches!(sign_or_digit, Some('+' | '-'));
            let first = if signed {
                exponent.next()
            } else {
                sign_or_digit
            };
            if first.is_some_and(|c| c.is_ascii_digit()) {
                double = true;
                self.bump();
                if signed {
                    self.bump();
                }
                self.take_while(digit);
            }
        }
        if self.peek().is_some_and(|c| c.is_alphabetic() || c == '_') {
            let found = &self.text[start..self.at];
            return Err(syntax(
                pos,
                format!(
                    "identifiers must not start with a digit; surround the identifier with double quotes (near '{found}')"
                ),
            ));
        }
        let text = self.text[start..self.at].replace('_', "");
        Ok(if double {
            Tok::Double(text)
        } else if exact {
            Tok::Integer(text)
        } else {
            Tok::Decimal(text)
        })
    }
}

/// A syntax error at a place.
pub(crate) fn syntax(pos: Pos, message: impl Into<String>) -> Failure {
    Failure::at(Code::SyntaxError, pos, message)
}

fn hex(text: &str, pos: Pos) -> Result<Vec<u8>> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    if !digits.len().is_multiple_of(2) {
        return Err(syntax(
            pos,
            "Binary literal must contain an even number of digits",
        ));
    }
    digits
        .chunks(2)
        .map(|pair| {
            let value = |byte: u8| char::from(byte).to_digit(16);
            match (value(pair[0]), value(pair[1])) {
                (Some(high), Some(low)) => Ok(u8::try_from(high * 16 + low).unwrap_or(0)),
                _ => Err(syntax(
                    pos,
                    "Binary literal can only contain hexadecimal digits",
                )),
            }
        })
        .collect()
}

fn unicode(text: &str, pos: Pos) -> Result<String> {
    let bad = || syntax(pos, "Incomplete escape sequence");
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let length = match chars.next().ok_or_else(bad)? {
            '\\' => {
                out.push('\\');
                continue;
            }
            '+' => (6, String::new()),
            digit => (3, digit.to_string()),
        };
        let mut digits = length.1;
        for _ in 0..length.0 {
            digits.push(chars.next().ok_or_else(bad)?);
        }
        let value = u32::from_str_radix(&digits, 16).map_err(|_| bad())?;
        out.push(
            char::from_u32(value)
                .ok_or_else(|| syntax(pos, format!("Invalid escaped character: {digits}")))?,
        );
    }
    Ok(out)
}
