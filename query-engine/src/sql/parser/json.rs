//! Calls with a grammar of their own: `trim(leading from x)`, `listagg … within group`, `json_value('…', 'lax $.a')`.

use super::Parser;
use crate::failure::{Failure, Pos, Result};
use crate::sql::ast::{Call, Expr, Ident, Kind, Name};

impl Parser<'_> {
    fn plain_call(pos: Pos, name: &str, args: Vec<Expr>) -> Call {
        let ident = Ident {
            value: name.to_owned(),
            written: name.to_owned(),
            quoted: false,
            pos,
        };
        Call {
            name: Name { parts: vec![ident] },
            args,
            star: false,
            distinct: false,
            order_by: Vec::new(),
            filter: None,
            ignore_nulls: None,
            over: None,
        }
    }

    pub(super) fn spelled_call(&mut self, pos: Pos, word: &str) -> Result<Expr> {
        self.advance();
        self.expect("(")?;
        let call = match word {
            "POSITION" => {
                let needle = self.value_expr()?;
                self.expect_word("IN")?;
                let haystack = self.value_expr()?;
                Self::plain_call(pos, "strpos", vec![haystack, needle])
            }
            "TRIM" => self.trim(pos)?,
            "SUBSTRING" => self.substring(pos)?,
            "NORMALIZE" => {
                let mut args = vec![self.value_expr()?];
                if self.symbol(",") {
                    let at = self.pos();
                    args.push(Self::node(
                        at,
                        Kind::Text(self.ident()?.written.to_uppercase()),
                    ));
                }
                Self::plain_call(pos, "normalize", args)
            }
            _ => return self.listagg(pos),
        };
        self.expect(")")?;
        self.call_tail(pos, call)
    }

    fn trim(&mut self, pos: Pos) -> Result<Call> {
        let name = if self.word("LEADING") {
            "ltrim"
        } else if self.word("TRAILING") {
            "rtrim"
        } else {
            self.word("BOTH");
            "trim"
        };
        if self.word("FROM") {
            return Ok(Self::plain_call(pos, name, vec![self.value_expr()?]));
        }
        let first = self.value_expr()?;
        if self.word("FROM") {
            let text = self.value_expr()?;
            return Ok(Self::plain_call(pos, name, vec![text, first]));
        }
        let mut args = vec![first];
        if self.symbol(",") {
            args.push(self.value_expr()?);
        }
        Ok(Self::plain_call(pos, name, args))
    }

    fn substring(&mut self, pos: Pos) -> Result<Call> {
        let mut args = vec![self.value_expr()?];
        if self.word("FROM") {
            args.push(self.value_expr()?);
            if self.word("FOR") {
                args.push(self.value_expr()?);
            }
        } else {
            while self.symbol(",") {
                args.push(self.expr()?);
            }
        }
        Ok(Self::plain_call(pos, "substring", args))
    }

    fn listagg(&mut self, pos: Pos) -> Result<Expr> {
        let distinct = !self.word("ALL") && self.word("DISTINCT");
        let mut args = vec![self.expr()?];
        if self.symbol(",") {
            let at = self.pos();
            args.push(Self::node(at, Kind::Text(self.text()?)));
        }
        if self.words(&["ON", "OVERFLOW"]) && !self.word("ERROR") {
            return Err(Failure::unsupported(self.pos(), "ON OVERFLOW TRUNCATE"));
        }
        self.expect(")")?;
        let mut call = Self::plain_call(pos, "listagg", args);
        call.distinct = distinct;
        self.expect_word("WITHIN")?;
        self.expect_word("GROUP")?;
        call.order_by = self.in_parens(Self::order_by)?;
        self.call_tail(pos, call)
    }

    pub(super) fn json_call(&mut self, pos: Pos) -> Result<Expr> {
        let function = match self.tok() {
            crate::sql::lexer::Tok::Word(word) => word.to_ascii_lowercase(),
            _ => return Err(self.unexpected("<identifier>")),
        };
        self.advance();
        self.in_parens(|parser| {
            let input = parser.expr()?;
            if parser.words(&["FORMAT", "JSON"]) && parser.is_word("ENCODING") {
                return Err(Failure::unsupported(parser.pos(), "ENCODING"));
            }
            parser.expect(",")?;
            let path = parser.text()?;
            let returning = if parser.word("RETURNING") {
                Some(parser.type_name()?)
            } else {
                None
            };
            if !parser.is_symbol(")") {
                return Err(Failure::unsupported(
                    parser.pos(),
                    format!("this clause of {function}"),
                ));
            }
            Ok(Self::node(
                pos,
                Kind::Json {
                    function,
                    input,
                    path,
                    returning,
                },
            ))
        })
    }
}
