//! The lexer keeps hints and positions, and never panics.

use proptest::prelude::*;

use super::{Token, tokenize};
use crate::error::Position;

const START: Position = Position { line: 1, column: 1 };

#[test]
fn hints_stay_and_comments_go() {
    let tokens = tokenize(
        "SELECT /*+ X('a'='b') */ 'it''s' -- no\n /* no */ `a b`",
        START,
    )
    .unwrap();
    let kinds: Vec<Token> = tokens.iter().map(|spanned| spanned.token.clone()).collect();
    assert_eq!(
        kinds,
        [
            Token::Word("SELECT".to_owned()),
            Token::Hint(" X('a'='b') ".to_owned()),
            Token::Text("it's".to_owned()),
            Token::Quoted("a b".to_owned()),
            Token::End
        ]
    );
    assert_eq!(
        tokens[3].position,
        Position {
            line: 2,
            column: 11
        }
    );
}

proptest! {
    #[test]
    fn any_text_is_cut_or_refused(text in "\\PC*") {
        let _ = tokenize(&text, START);
    }
}
