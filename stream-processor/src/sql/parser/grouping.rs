//! GROUP BY: expressions, `GROUPING SETS`, `CUBE` and `ROLLUP`, which multiply out to a list of sets.

use super::{Parser, is_reserved};
use crate::error::Error;
use crate::sql::ast::Expr;
use crate::sql::lexer::Token;

/// Most sets; `CUBE` has two to the power of its elements.
const MOST_SETS: usize = 256;

/// Sets of grouped expressions, by their places.
type Sets = Vec<Vec<usize>>;

impl Parser<'_> {
    /// What follows GROUP BY: all expressions, and which of them each set has if there are several sets.
    pub(super) fn group_by(&mut self) -> Result<(Vec<Expr>, Option<Sets>), Error> {
        let mut group = Vec::new();
        let mut sets: Sets = vec![Vec::new()];
        let mut is_plain = true;
        loop {
            let position = self.position();
            let (item, of_sets) = self.grouping(&mut group)?;
            is_plain &= !of_sets;
            let pairs = sets
                .iter()
                .flat_map(|set| item.iter().map(move |more| (set, more)));
            sets = pairs.map(|(set, more)| [&set[..], more].concat()).collect();
            if sets.len() > MOST_SETS {
                return Err(Error::unsupported(
                    format!("GROUP BY with more than {MOST_SETS} grouping sets"),
                    position,
                    "",
                ));
            }
            if !self.take_symbol(",") {
                break;
            }
        }
        Ok((group, (!is_plain).then_some(sets)))
    }

    /// One item: its sets, and whether it was written as such.
    fn grouping(&mut self, group: &mut Vec<Expr>) -> Result<(Sets, bool), Error> {
        if self.take_words(&["GROUPING", "SETS"]) {
            self.expect_symbol("(")?;
            let mut sets = Sets::new();
            loop {
                sets.extend(self.grouping(group)?.0);
                if !self.take_symbol(",") {
                    break;
                }
            }
            self.expect_symbol(")")?;
            return Ok((sets, true));
        }
        if self.take_word("ROLLUP") {
            let elements = self.elements(group)?;
            let lengths = (0..=elements.len()).rev();
            let sets = lengths.map(|length| elements[..length].concat()).collect();
            return Ok((sets, true));
        }
        if self.is_word("CUBE") {
            let position = self.position();
            self.advance();
            let elements = self.elements(group)?;
            if 1_usize
                .checked_shl(elements.len() as u32)
                .is_none_or(|n| n > MOST_SETS)
            {
                return Err(Error::unsupported(
                    format!("CUBE of {} elements", elements.len()),
                    position,
                    "",
                ));
            }
            let has = |set: usize, at: usize| set & (1 << (elements.len() - 1 - at)) != 0;
            let of_set = |set: usize| {
                let elements = elements.iter().enumerate();
                let chosen = elements.filter(|(at, _)| has(set, *at));
                chosen.flat_map(|(_, element)| element.clone()).collect()
            };
            let sets = (0..1_usize << elements.len()).rev().map(of_set).collect();
            return Ok((sets, true));
        }
        Ok((vec![self.element(group)?], false))
    }

    /// `(element, …)`
    fn elements(&mut self, group: &mut Vec<Expr>) -> Result<Sets, Error> {
        self.expect_symbol("(")?;
        let mut elements = Sets::new();
        loop {
            elements.push(self.element(group)?);
            if !self.take_symbol(",") {
                break;
            }
        }
        self.expect_symbol(")")?;
        Ok(elements)
    }

    /// An expression, or a list of them in parentheses, which may be empty.
    fn element(&mut self, group: &mut Vec<Expr>) -> Result<Vec<usize>, Error> {
        let is_list = self.is_symbol("(") && self.closes_element();
        let first = group.len();
        if is_list {
            self.advance();
            if !self.is_symbol(")") {
                group.extend(self.expr_list()?);
            }
            self.expect_symbol(")")?;
        } else {
            group.push(self.expr()?);
        }
        Ok((first..group.len()).collect())
    }

    /// Whether what follows the parenthesis that opens here ends the element: it is a list then, and no beginning of an
    /// expression.
    fn closes_element(&self) -> bool {
        let mut depth = 0;
        for ahead in 0.. {
            match self.peek_ahead(ahead) {
                Token::Symbol("(") => depth += 1,
                Token::Symbol(")") => depth -= 1,
                Token::End => return true,
                _ => {}
            }
            if depth == 0 {
                let next = self.peek_ahead(ahead + 1);
                return match next {
                    Token::Symbol(symbol) => matches!(*symbol, "," | ")" | ";"),
                    Token::End => true,
                    Token::Word(word) => is_reserved(word),
                    _ => false,
                };
            }
        }
        false
    }
}
