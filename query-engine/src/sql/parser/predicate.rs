//! Predicates and what joins them: OR, AND, NOT, comparisons, BETWEEN, IN, LIKE, IS.

use super::Parser;
use crate::failure::{Pos, Result};
use crate::sql::ast::{Compare, Expr, Kind};
use crate::sql::lexer::Tok;

impl Parser<'_> {
    pub(crate) fn expr(&mut self) -> Result<Expr> {
        self.nested(Self::or)
    }

    fn or(&mut self) -> Result<Expr> {
        let first = self.and()?;
        if !self.is_word("OR") {
            return Ok(first);
        }
        let pos = first.pos;
        let mut terms = vec![first];
        while self.word("OR") {
            terms.push(self.and()?);
        }
        Ok(Self::node(pos, Kind::Or(terms)))
    }

    fn and(&mut self) -> Result<Expr> {
        let first = self.not()?;
        if !self.is_word("AND") {
            return Ok(first);
        }
        let pos = first.pos;
        let mut terms = vec![first];
        while self.word("AND") {
            terms.push(self.not()?);
        }
        Ok(Self::node(pos, Kind::And(terms)))
    }

    fn not(&mut self) -> Result<Expr> {
        let pos = self.pos();
        if self.word("NOT") {
            let inner = self.nested(Self::not)?;
            return Ok(Self::node(pos, Kind::Not(inner)));
        }
        let value = self.value_expr()?;
        self.predicate(value)
    }

    /// At most one predicate: `1 = 1 = true` is no expression in Trino's grammar.
    fn predicate(&mut self, left: Expr) -> Result<Expr> {
        let pos = self.pos();
        if let Some(op) = self.comparison() {
            return self.compared(pos, op, left);
        }
        if self.word("IS") {
            return self.is_predicate(pos, left);
        }
        let negated = self.is_word("NOT")
            && ["BETWEEN", "IN", "LIKE"].iter().any(
                |word| matches!(self.ahead(1), Tok::Word(next) if next.eq_ignore_ascii_case(word)),
            );
        if negated {
            self.advance();
        }
        let found = if self.word("BETWEEN") {
            self.between(pos, left)?
        } else if self.word("IN") {
            self.in_predicate(pos, left)?
        } else if self.word("LIKE") {
            self.like_predicate(pos, left)?
        } else {
            return Ok(left);
        };
        Ok(if negated {
            Self::node(pos, Kind::Not(found))
        } else {
            found
        })
    }

    fn like_predicate(&mut self, pos: Pos, expr: Expr) -> Result<Expr> {
        let pattern = self.value_expr()?;
        let escape = if self.word("ESCAPE") {
            Some(self.value_expr()?)
        } else {
            None
        };
        Ok(Self::node(
            pos,
            Kind::Like {
                expr,
                pattern,
                escape,
            },
        ))
    }

    fn comparison(&mut self) -> Option<Compare> {
        let op = match self.tok() {
            Tok::Symbol("=") => Compare::Eq,
            Tok::Symbol("<>" | "!=") => Compare::NotEq,
            Tok::Symbol("<") => Compare::Lt,
            Tok::Symbol("<=") => Compare::LtEq,
            Tok::Symbol(">") => Compare::Gt,
            Tok::Symbol(">=") => Compare::GtEq,
            _ => return None,
        };
        self.advance();
        Some(op)
    }

    fn compared(&mut self, pos: Pos, op: Compare, left: Expr) -> Result<Expr> {
        let quantifier = ["ALL", "ANY", "SOME"].iter().any(|word| self.is_word(word));
        if quantifier && matches!(self.ahead(1), Tok::Symbol("(")) {
            let all = self.is_word("ALL");
            self.advance();
            let query = self.subquery()?;
            return Ok(Self::node(
                pos,
                Kind::Quantified {
                    op,
                    all,
                    left,
                    query,
                },
            ));
        }
        let right = self.value_expr()?;
        Ok(Self::node(pos, Kind::Compare(op, left, right)))
    }

    fn is_predicate(&mut self, pos: Pos, left: Expr) -> Result<Expr> {
        let negated = self.word("NOT");
        let found = if self.word("NULL") {
            Self::node(pos, Kind::IsNull(left))
        } else if self.word("TRUE") {
            Self::node(pos, Kind::IsTruth(left, Some(true)))
        } else if self.word("FALSE") {
            Self::node(pos, Kind::IsTruth(left, Some(false)))
        } else if self.word("UNKNOWN") {
            Self::node(pos, Kind::IsTruth(left, None))
        } else if self.words(&["DISTINCT", "FROM"]) {
            let right = self.value_expr()?;
            Self::node(pos, Kind::Distinct(left, right))
        } else {
            return Err(self.unexpected("'DISTINCT', 'FALSE', 'NOT', 'NULL', 'TRUE', 'UNKNOWN'"));
        };
        Ok(if negated {
            Self::node(pos, Kind::Not(found))
        } else {
            found
        })
    }

    fn between(&mut self, pos: Pos, expr: Expr) -> Result<Expr> {
        let symmetric = self.word("SYMMETRIC");
        if !symmetric {
            self.word("ASYMMETRIC");
        }
        let low = self.value_expr()?;
        self.expect_word("AND")?;
        let high = self.value_expr()?;
        Ok(Self::node(
            pos,
            Kind::Between {
                expr,
                low,
                high,
                symmetric,
            },
        ))
    }

    fn in_predicate(&mut self, pos: Pos, left: Expr) -> Result<Expr> {
        if matches!(self.ahead(1), Tok::Word(_)) && self.is_symbol("(") && self.is_query() {
            let query = self.subquery()?;
            return Ok(Self::node(pos, Kind::InQuery(left, query)));
        }
        let items = self.in_parens(|parser| parser.list(Self::expr))?;
        Ok(Self::node(pos, Kind::InList(left, items)))
    }
}
