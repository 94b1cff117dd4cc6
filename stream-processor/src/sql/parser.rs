//! Turns tokens into statements and expressions, all of Flink SQL's grammar that we offer.
//!
//! Own instead of sqlparser's, which neither keeps hints nor knows computed columns, METADATA, WATERMARK, ROW types or
//! partitioned window inputs, and reports most positions as 0. The rest of the grammar is in the submodules, one for
//! each family; the result is [`crate::sql::ast`].

mod ddl;
mod expr;
mod function;
mod grouping;
mod over;
pub(crate) use function::milliseconds;
mod query;
mod types;

use crate::error::{Error, Position};
use crate::sql::ast::{Command, Expr, Ident};
use crate::sql::lexer::{Spanned, Token, tokenize};
#[cfg(test)]
use crate::table::SqlType;

/// How deep expressions and queries may nest, so that no text can overflow the stack.
const DEPTH: usize = 48;

/// Words that are no alias and no column unless quoted.
const RESERVED: [&str; 62] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "BY",
    "HAVING",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "FETCH",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "JOIN",
    "INNER",
    "LEFT",
    "RIGHT",
    "FULL",
    "CROSS",
    "NATURAL",
    "ON",
    "USING",
    "AS",
    "AND",
    "OR",
    "NOT",
    "IN",
    "IS",
    "BETWEEN",
    "LIKE",
    "SIMILAR",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "CAST",
    "NULL",
    "TRUE",
    "FALSE",
    "DISTINCT",
    "ALL",
    "WITH",
    "FOR",
    "OVER",
    "PARTITION",
    "INSERT",
    "INTO",
    "VALUES",
    "CREATE",
    "DROP",
    "TABLE",
    "EXISTS",
    "INTERVAL",
    "ARRAY",
    "ROW",
    "LATERAL",
    "UNNEST",
    "WINDOW",
    "MATCH_RECOGNIZE",
    "ESCAPE",
    "PER",
];

/// One statement, whose first character stands at `origin`.
pub(crate) fn parse_statement(text: &str, origin: Position) -> Result<Command, Error> {
    let mut parser = Parser::new(text, origin)?;
    let command = parser.command()?;
    parser.take_symbol(";");
    parser.expect_end()?;
    Ok(command)
}

/// A lone expression: a computed column or a watermark.
pub(crate) fn parse_expression(text: &str) -> Result<Expr, Error> {
    let mut parser = Parser::new(text, Position { line: 1, column: 1 })?;
    let expr = parser.expr()?;
    parser.expect_end()?;
    Ok(expr)
}

/// A type as in DDL.
#[cfg(test)]
pub(crate) fn parse_type(text: &str) -> Result<SqlType, Error> {
    let mut parser = Parser::new(text, Position { line: 1, column: 1 })?;
    let parsed = parser.sql_type()?;
    parser.expect_end()?;
    Ok(parsed)
}

/// A cursor over the tokens of one statement.
pub(crate) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, origin: Position) -> Result<Self, Error> {
        Ok(Parser {
            text,
            tokens: tokenize(text, origin)?,
            at: 0,
            depth: 0,
        })
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at].token
    }

    fn peek_ahead(&self, by: usize) -> &Token {
        &self.tokens[(self.at + by).min(self.tokens.len() - 1)].token
    }

    fn position(&self) -> Position {
        self.tokens[self.at].position
    }

    fn advance(&mut self) -> Token {
        let token = self.tokens[self.at].token.clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn is_word(&self, word: &str) -> bool {
        is_word(self.peek(), word)
    }

    fn are_words(&self, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(ahead, word)| is_word(self.peek_ahead(ahead), word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    fn take_words(&mut self, words: &[&str]) -> bool {
        let found = self.are_words(words);
        if found {
            for _ in words {
                self.advance();
            }
        }
        found
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(found) if *found == symbol)
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<(), Error> {
        if self.take_word(word) {
            Ok(())
        } else {
            Err(self.unexpected(word))
        }
    }

    fn expect_words(&mut self, words: &[&str]) -> Result<(), Error> {
        words.iter().try_for_each(|word| self.expect_word(word))
    }

    fn expect_symbol(&mut self, symbol: &str) -> Result<(), Error> {
        if self.take_symbol(symbol) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("`{symbol}`")))
        }
    }

    fn expect_end(&self) -> Result<(), Error> {
        match self.peek() {
            Token::End => Ok(()),
            _ => Err(self.unexpected("the end of the statement")),
        }
    }

    /// Flink's clients take `Encountered "<EOF>"` for a statement that goes on.
    fn unexpected(&self, wanted: &str) -> Error {
        let found = self.peek().describe();
        Error::syntax(
            format!("Encountered {found} where {wanted} was expected"),
            self.position(),
        )
    }

    fn ident(&mut self, what: &str) -> Result<Ident, Error> {
        let position = self.position();
        match self.peek() {
            Token::Quoted(_) | Token::Word(_) => {}
            _ => return Err(self.unexpected(what)),
        }
        if let Token::Word(word) = self.peek()
            && is_reserved(word)
        {
            return Err(Error::syntax(
                format!(
                    "Encountered the reserved word `{word}` where {what} was expected; quote it with backticks"
                ),
                position,
            ));
        }
        match self.advance() {
            Token::Quoted(value) | Token::Word(value) => Ok(Ident { value, position }),
            _ => Err(self.unexpected(what)),
        }
    }

    fn path(&mut self, what: &str) -> Result<Vec<Ident>, Error> {
        let mut path = vec![self.ident(what)?];
        while self.take_symbol(".") {
            path.push(self.ident(what)?);
        }
        Ok(path)
    }

    fn ident_list(&mut self) -> Result<Vec<Ident>, Error> {
        self.expect_symbol("(")?;
        let mut list = vec![self.ident("a column")?];
        while self.take_symbol(",") {
            list.push(self.ident("a column")?);
        }
        self.expect_symbol(")")?;
        Ok(list)
    }

    fn text(&mut self, what: &str) -> Result<String, Error> {
        if let Token::Text(_) = self.peek()
            && let Token::Text(text) = self.advance()
        {
            return Ok(text);
        }
        Err(self.unexpected(what))
    }

    fn unsigned(&mut self, what: &str) -> Result<u32, Error> {
        if let Token::Number(number) = self.peek()
            && let Ok(value) = number.parse()
        {
            self.advance();
            return Ok(value);
        }
        Err(self.unexpected(what))
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= DEPTH {
            return Err(Error::unsupported(
                format!("nesting deeper than {DEPTH} levels"),
                self.position(),
                "",
            ));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// The text from the token at index `from` up to, but without, the current one.
    fn text_since(&self, from: usize) -> String {
        let start = self.tokens[from].range.start;
        let end = self.tokens[self.at.saturating_sub(1).max(from)].range.end;
        self.text[start..end].to_owned()
    }
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found) if found.eq_ignore_ascii_case(word))
}

fn is_reserved(word: &str) -> bool {
    RESERVED
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests;
