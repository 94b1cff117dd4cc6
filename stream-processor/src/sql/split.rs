//! Cuts a script into statements at semicolons outside strings, comments and statement sets.

use crate::error::{Error, Position};
use crate::sql::lexer::{Spanned, Token, tokenize};

/// A statement of a script and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Without the final semicolon.
    pub text: String,
    /// Of its first character in the script.
    pub position: Position,
}

/// The statements of `script`; empty ones are left out.
pub fn split(script: &str) -> Result<Vec<Statement>, Error> {
    let tokens = tokenize(script, Position { line: 1, column: 1 })?;
    let mut statements = Vec::new();
    let mut first = 0;
    let mut at = 0;
    while at < tokens.len() {
        if is_end(&tokens[at].token) && !(at > first && in_set(&tokens[first..at])) {
            if at > first {
                statements.push(Statement {
                    text: script[tokens[first].range.start..tokens[at - 1].range.end].to_owned(),
                    position: tokens[first].position,
                });
            }
            first = at + 1;
        }
        if tokens[at].token == Token::End && at >= first && first < at {
            // An unfinished statement set: hand it over, the parser says what is missing.
            statements.push(Statement {
                text: script[tokens[first].range.start..].to_owned(),
                position: tokens[first].position,
            });
        }
        at += 1;
    }
    Ok(statements)
}

fn is_end(token: &Token) -> bool {
    matches!(token, Token::Symbol(";") | Token::End)
}

/// Whether these tokens begin a statement set whose `END` has not come.
fn in_set(tokens: &[Spanned]) -> bool {
    let word = |at: usize, word: &str| {
        matches!(tokens.get(at).map(|spanned| &spanned.token),
            Some(Token::Word(found)) if found.eq_ignore_ascii_case(word))
    };
    let start = usize::from(word(0, "EXPLAIN"));
    let opened = (word(start, "EXECUTE") || word(start, "BEGIN"))
        && word(start + 1, "STATEMENT")
        && word(start + 2, "SET");
    // `END` of a CASE never follows a semicolon.
    let closed = tokens.len() > 4
        && word(tokens.len() - 1, "END")
        && (matches!(tokens[tokens.len() - 2].token, Token::Symbol(";"))
            || word(tokens.len() - 2, "BEGIN"));
    opened && !closed
}

#[cfg(test)]
mod tests;
