//! Recursive descent over the tokens of one statement, after the shape of Trino's `SqlBase.g4`.
//!
//! Own, rather than sqlparser's, so that every node has its place, what the tree cannot hold is a syntax error instead
//! of being dropped, and nesting is bounded before anything recurses over the tree.

mod expr;
mod json;
mod predicate;
mod query;
mod statement;
mod types;

use crate::failure::{Pos, Result};
use crate::sql::ast::{Expr, Ident, Kind, Name, Query, Statement};
use crate::sql::lexer::{Tok, Token, syntax, tokens};

/// How deep constructs may nest.
const MAX_NESTING: usize = 100;
/// How many left-associative steps (`+`, `.`, `UNION`, joins) one outermost expression or query may chain.
const MAX_CHAIN: usize = 200;

/// How often a parenthesis may be read again as a relation: trying without end would take exponential time.
const MAX_BACKTRACKS: usize = 32;

/// Words that cannot be names unless quoted.
const RESERVED: [&str; 82] = [
    "ALTER",
    "AND",
    "AS",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CONSTRAINT",
    "CREATE",
    "CROSS",
    "CUBE",
    "CURRENT_CATALOG",
    "CURRENT_DATE",
    "CURRENT_PATH",
    "CURRENT_ROLE",
    "CURRENT_SCHEMA",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "CURRENT_USER",
    "DEALLOCATE",
    "DELETE",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "ESCAPE",
    "EXCEPT",
    "EXECUTE",
    "EXISTS",
    "EXTRACT",
    "FALSE",
    "FOR",
    "FROM",
    "FULL",
    "GROUP",
    "GROUPING",
    "HAVING",
    "IN",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTO",
    "IS",
    "JOIN",
    "JSON_ARRAY",
    "JSON_EXISTS",
    "JSON_OBJECT",
    "JSON_QUERY",
    "JSON_TABLE",
    "JSON_VALUE",
    "LEFT",
    "LIKE",
    "LISTAGG",
    "LOCALTIME",
    "LOCALTIMESTAMP",
    "NATURAL",
    "NORMALIZE",
    "NOT",
    "NULL",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "PREPARE",
    "RECURSIVE",
    "RIGHT",
    "ROLLUP",
    "SELECT",
    "SKIP",
    "TABLE",
    "THEN",
    "TRIM",
    "TRUE",
    "UESCAPE",
    "UNION",
    "UNNEST",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
    "WITH",
];

/// Words that end a clause although they may be names: never taken as an alias without `AS`.
const CLAUSE_WORDS: [&str; 8] = [
    "LIMIT",
    "OFFSET",
    "FETCH",
    "WINDOW",
    "TABLESAMPLE",
    "MATCH_RECOGNIZE",
    "QUALIFY",
    "PIVOT",
];

/// Parses one statement; a trailing semicolon is allowed.
pub(crate) fn statement(text: &str) -> Result<Statement> {
    let mut parser = Parser::new(text)?;
    let statement = parser.statement()?;
    parser.symbol(";");
    parser.end()?;
    Ok(statement)
}

/// How many `?` a statement has.
pub(crate) fn count_parameters(text: &str) -> Result<usize> {
    let mut parser = Parser::new(text)?;
    parser.statement()?;
    Ok(parser.parameters)
}

/// Parses a type that stands alone.
pub(crate) fn type_name(text: &str) -> Result<crate::sql::ast::TypeName> {
    let mut parser = Parser::new(text)?;
    let ty = parser.type_name()?;
    parser.end()?;
    Ok(ty)
}

pub(crate) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    nesting: usize,
    chain: usize,
    parameters: usize,
    backtracks: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Parser<'a>> {
        Ok(Parser {
            text,
            tokens: tokens(text)?,
            at: 0,
            nesting: 0,
            chain: 0,
            parameters: 0,
            backtracks: 0,
        })
    }

    fn token(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn tok(&self) -> &Tok {
        &self.token().tok
    }

    fn ahead(&self, n: usize) -> &Tok {
        &self.tokens[(self.at + n).min(self.tokens.len() - 1)].tok
    }

    fn pos(&self) -> Pos {
        self.token().pos
    }

    fn advance(&mut self) {
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
    }

    fn is_word(&self, word: &str) -> bool {
        is(self.tok(), word)
    }

    fn is_words(&self, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(n, word)| is(self.ahead(n), word))
    }

    /// Takes the keyword if it comes next.
    fn word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    fn words(&mut self, words: &[&str]) -> bool {
        let found = self.is_words(words);
        if found {
            words.iter().for_each(|_| self.advance());
        }
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.word(word) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("'{word}'")))
        }
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.tok(), Tok::Symbol(found) if *found == symbol)
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<()> {
        if self.symbol(symbol) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("'{symbol}'")))
        }
    }

    fn end(&self) -> Result<()> {
        if *self.tok() == Tok::End {
            Ok(())
        } else {
            Err(self.unexpected("<EOF>"))
        }
    }

    /// The token that comes next is not what the grammar wants.
    fn unexpected(&self, expected: &str) -> crate::failure::Failure {
        let token = self.token();
        let found = match &token.tok {
            Tok::End => "<EOF>".to_owned(),
            _ => self.text[token.start..token.end].to_owned(),
        };
        syntax(
            token.pos,
            format!("mismatched input '{found}'. Expecting: {expected}"),
        )
    }

    fn is_name(&self) -> bool {
        match self.tok() {
            Tok::Quoted(_) => true,
            Tok::Word(word) => !is_reserved(word),
            _ => false,
        }
    }

    fn ident(&mut self) -> Result<Ident> {
        let pos = self.pos();
        let (written, quoted) = match self.tok() {
            Tok::Quoted(name) => (name.clone(), true),
            Tok::Word(word) if !is_reserved(word) => (word.clone(), false),
            _ => return Err(self.unexpected("<identifier>")),
        };
        self.advance();
        Ok(Ident {
            value: written.to_lowercase(),
            written,
            quoted,
            pos,
        })
    }

    fn name(&mut self) -> Result<Name> {
        let mut parts = vec![self.ident()?];
        while self.is_symbol(".") {
            self.advance();
            parts.push(self.ident()?);
        }
        Ok(Name { parts })
    }

    fn text(&mut self) -> Result<String> {
        match self.tok() {
            Tok::Text(text) => {
                let text = text.clone();
                self.advance();
                Ok(text)
            }
            _ => Err(self.unexpected("<string>")),
        }
    }

    fn integer(&mut self) -> Result<String> {
        match self.tok() {
            Tok::Integer(digits) => {
                let digits = digits.clone();
                self.advance();
                Ok(digits)
            }
            _ => Err(self.unexpected("<integer>")),
        }
    }

    /// One or more `item`s with commas between.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.symbol(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn in_parens<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.expect("(")?;
        let value = inner(self)?;
        self.expect(")")?;
        Ok(value)
    }

    /// Runs `inner` one level deeper, refusing what would nest too deep to walk safely.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.nesting >= MAX_NESTING {
            return Err(syntax(
                self.pos(),
                "statement is too large (nested too deeply)",
            ));
        }
        if self.nesting == 0 {
            self.chain = 0;
        }
        self.nesting += 1;
        let value = inner(self);
        self.nesting -= 1;
        value
    }

    /// Counts one step of a left-deep chain.
    fn step(&mut self) -> Result<()> {
        self.chain += 1;
        if self.chain > MAX_CHAIN {
            return Err(syntax(
                self.pos(),
                "statement is too large (too many chained operators)",
            ));
        }
        Ok(())
    }

    /// Counts a link of one chain; the first two are free, for `t.x + 1` in many places is no chain.
    fn link(&mut self, links: &mut usize) -> Result<()> {
        *links += 1;
        if *links > 2 { self.step() } else { Ok(()) }
    }

    fn node(pos: Pos, kind: Kind) -> Expr {
        Expr {
            pos,
            kind: Box::new(kind),
        }
    }
}

/// Is a query next, rather than an expression, after an opening parenthesis?
impl Parser<'_> {
    fn is_query(&self) -> bool {
        let mut n = 0;
        while matches!(self.ahead(n), Tok::Symbol("(")) {
            n += 1;
        }
        ["SELECT", "WITH", "VALUES", "TABLE"]
            .iter()
            .any(|word| is(self.ahead(n), word))
    }

    fn subquery(&mut self) -> Result<Query> {
        self.in_parens(|parser| parser.query())
    }
}

fn is(tok: &Tok, word: &str) -> bool {
    matches!(tok, Tok::Word(found) if found.eq_ignore_ascii_case(word))
}

fn is_reserved(word: &str) -> bool {
    RESERVED
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(word))
}

fn is_clause_word(tok: &Tok) -> bool {
    CLAUSE_WORDS.iter().any(|word| is(tok, word))
}

#[cfg(test)]
mod tests;
