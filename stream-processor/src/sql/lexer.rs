//! Cuts Flink SQL text into tokens that remember where they stood.
//!
//! Own, because hints (`/*+ … */`) must not vanish like other comments and every later message names line and column.
//! Text comes from [`crate::sql::split`] and the parser; tokens go to [`crate::sql::parser`].

use crate::error::{Error, Position};

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// A bare word: keyword or identifier.
    Word(String),
    /// An identifier in backticks.
    Quoted(String),
    /// A character string, escapes resolved.
    Text(String),
    /// A hexadecimal binary string `X'…'`.
    Hex(String),
    /// A number as written.
    Number(String),
    /// An operator or punctuation.
    Symbol(&'static str),
    /// What stands between `/*+` and `*/`.
    Hint(String),
    /// The end of the text.
    End,
}

impl Token {
    /// The token as a message shows it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Token::Word(word) => format!("`{word}`"),
            Token::Quoted(name) => format!("`{name}`"),
            Token::Text(text) => format!("'{text}'"),
            Token::Hex(text) => format!("X'{text}'"),
            Token::Number(number) => format!("`{number}`"),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::Hint(_) => "a hint".to_owned(),
            Token::End => "\"<EOF>\"".to_owned(),
        }
    }
}

/// A token and where it stood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned {
    /// The token.
    pub(crate) token: Token,
    /// Line and column of its first character.
    pub(crate) position: Position,
    /// Byte range in the text.
    pub(crate) range: std::ops::Range<usize>,
}

/// The tokens of `text`, whose first character stands at `origin`; the last one is [`Token::End`].
pub(crate) fn tokenize(text: &str, origin: Position) -> Result<Vec<Spanned>, Error> {
    let mut lexer = Lexer {
        text,
        offset: 0,
        position: origin,
    };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank()?;
        let (position, start) = (lexer.position, lexer.offset);
        let token = lexer.token()?;
        let end = token == Token::End;
        tokens.push(Spanned {
            token,
            position,
            range: start..lexer.offset,
        });
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    offset: usize,
    position: Position,
}

/// Longest first, so that the first match is the right one.
const SYMBOLS: [&str; 27] = [
    "<=>", "=>", "<>", "!=", "<=", ">=", "||", "{-", "-}", "(", ")", ",", ";", ".", "+", "-", "*",
    "/", "%", "<", ">", "=", "[", "]", "{", "}", "?",
];
/// Those that only patterns use.
const RARE_SYMBOLS: [&str; 4] = [":", "|", "^", "$"];

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.offset..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.offset += next.len_utf8();
        if next == '\n' {
            self.position.line += 1;
            self.position.column = 1;
        } else {
            self.position.column += 1;
        }
        Some(next)
    }

    fn bump_bytes(&mut self, end: usize) {
        while self.offset < end {
            self.bump();
        }
    }

    fn skip_blank(&mut self) -> Result<(), Error> {
        loop {
            let rest = self.rest();
            if rest.starts_with("--") {
                let end = rest.find('\n').unwrap_or(rest.len());
                self.bump_bytes(self.offset + end);
            } else if rest.starts_with("/*") && !rest.starts_with("/*+") {
                let at = self.position;
                let Some(end) = rest[2..].find("*/") else {
                    return Err(Error::syntax("comment without end", at));
                };
                self.bump_bytes(self.offset + end + 4);
            } else if rest.starts_with(|next: char| next.is_whitespace() || next == '\u{feff}') {
                self.bump();
            } else {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> Result<Token, Error> {
        let at = self.position;
        let Some(first) = self.peek() else {
            return Ok(Token::End);
        };
        if self.rest().starts_with("/*+") {
            let Some(end) = self.rest().find("*/") else {
                return Err(Error::syntax("hint without end", at));
            };
            let inner = self.rest()[3..end].to_owned();
            self.bump_bytes(self.offset + end + 2);
            return Ok(Token::Hint(inner));
        }
        match first {
            '\'' => Ok(Token::Text(self.quoted('\'', "string")?)),
            '`' => Ok(Token::Quoted(self.quoted('`', "identifier")?)),
            '"' => Err(Error::unsupported(
                "a double-quoted identifier",
                at,
                "; quote identifiers with backticks",
            )),
            'x' | 'X' if self.rest()[1..].starts_with('\'') => {
                self.bump();
                Ok(Token::Hex(self.quoted('\'', "binary string")?))
            }
            '0'..='9' => Ok(Token::Number(self.number())),
            '.' if self.rest()[1..].starts_with(|next: char| next.is_ascii_digit()) => {
                Ok(Token::Number(self.number()))
            }
            _ if first.is_alphabetic() || first == '_' => Ok(Token::Word(self.word())),
            _ => self.symbol(at),
        }
    }

    fn symbol(&mut self, at: Position) -> Result<Token, Error> {
        for symbol in SYMBOLS.iter().chain(&RARE_SYMBOLS) {
            if self.rest().starts_with(symbol) {
                self.bump_bytes(self.offset + symbol.len());
                return Ok(Token::Symbol(symbol));
            }
        }
        let wrong = self.peek().unwrap_or(' ');
        Err(Error::syntax(format!("unexpected character `{wrong}`"), at))
    }

    fn quoted(&mut self, quote: char, what: &str) -> Result<String, Error> {
        let at = self.position;
        self.bump();
        let mut value = String::new();
        loop {
            match self.bump() {
                None => return Err(Error::syntax(format!("{what} without end"), at)),
                Some(next) if next == quote => {
                    if self.peek() != Some(quote) {
                        return Ok(value);
                    }
                    self.bump();
                    value.push(quote);
                }
                Some(next) => value.push(next),
            }
        }
    }

    fn number(&mut self) -> String {
        let start = self.offset;
        let bytes = self.text.as_bytes();
        let mut end = start;
        let digits = |mut end: usize| {
            while bytes.get(end).is_some_and(u8::is_ascii_digit) {
                end += 1;
            }
            end
        };
        end = digits(end);
        if bytes.get(end) == Some(&b'.') {
            end = digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
                end = digits(end + 1 + sign);
            }
        }
        self.bump_bytes(end);
        self.text[start..end].to_owned()
    }

    fn word(&mut self) -> String {
        let start = self.offset;
        while self
            .peek()
            .is_some_and(|next| next.is_alphanumeric() || next == '_' || next == '$')
        {
            self.bump();
        }
        self.text[start..self.offset].to_owned()
    }
}

#[cfg(test)]
mod tests;
