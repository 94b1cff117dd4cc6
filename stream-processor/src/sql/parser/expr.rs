//! Expressions by precedence climbing; calls with special clauses are in [`super::function`].

use super::{Parser, is_reserved};
use crate::error::{Error, Position};
use crate::sql::ast::{BinaryOp, Expr, ExprKind, Literal, Order, TimeUnit};
use crate::sql::lexer::Token;

impl Parser<'_> {
    /// An expression.
    pub(super) fn expr(&mut self) -> Result<Expr, Error> {
        self.nested(Self::disjunction)
    }

    pub(super) fn expr_list(&mut self) -> Result<Vec<Expr>, Error> {
        let mut list = vec![self.expr()?];
        while self.take_symbol(",") {
            list.push(self.expr()?);
        }
        Ok(list)
    }

    fn disjunction(&mut self) -> Result<Expr, Error> {
        let mut left = self.conjunction()?;
        while self.take_word("OR") {
            let right = self.conjunction()?;
            left = binary(BinaryOp::Or, left, right);
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Expr, Error> {
        let mut left = self.negation()?;
        while self.take_word("AND") {
            let right = self.negation()?;
            left = binary(BinaryOp::And, left, right);
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Expr, Error> {
        let position = self.position();
        if self.take_word("NOT") {
            let inner = self.nested(Self::negation)?;
            return Ok(Expr {
                kind: ExprKind::Not(Box::new(inner)),
                position,
            });
        }
        self.predicate()
    }

    fn predicate(&mut self) -> Result<Expr, Error> {
        let mut left = self.comparison()?;
        loop {
            let position = left.position;
            let kind = if self.take_word("IS") {
                self.is_predicate(left)?
            } else if self.are_words(&["NOT", "BETWEEN"])
                || self.are_words(&["NOT", "IN"])
                || self.are_words(&["NOT", "LIKE"])
                || self.are_words(&["NOT", "SIMILAR"])
            {
                self.advance();
                self.set_predicate(left, true)?
            } else if ["BETWEEN", "IN", "LIKE", "SIMILAR"]
                .iter()
                .any(|word| self.is_word(word))
            {
                self.set_predicate(left, false)?
            } else {
                return Ok(left);
            };
            left = Expr { kind, position };
        }
    }

    fn is_predicate(&mut self, left: Expr) -> Result<ExprKind, Error> {
        let negated = self.take_word("NOT");
        let left = Box::new(left);
        if self.take_word("NULL") {
            return Ok(ExprKind::IsNull(left, negated));
        }
        for (word, truth) in [
            ("TRUE", Some(true)),
            ("FALSE", Some(false)),
            ("UNKNOWN", None),
        ] {
            if self.take_word(word) {
                return Ok(ExprKind::IsTruth(left, truth, negated));
            }
        }
        if self.take_words(&["DISTINCT", "FROM"]) {
            let right = self.comparison()?;
            return Ok(ExprKind::IsDistinct(left, Box::new(right), negated));
        }
        if self.take_word("JSON") {
            let kind = ["VALUE", "OBJECT", "ARRAY", "SCALAR"]
                .into_iter()
                .find(|word| self.take_word(word))
                .unwrap_or("VALUE");
            return Ok(ExprKind::IsJson(left, kind.to_owned(), negated));
        }
        Err(self.unexpected("NULL, TRUE, FALSE, UNKNOWN, DISTINCT FROM or JSON"))
    }

    fn set_predicate(&mut self, left: Expr, negated: bool) -> Result<ExprKind, Error> {
        let value = Box::new(left);
        if self.take_word("BETWEEN") {
            self.take_word("ASYMMETRIC");
            let low = Box::new(self.comparison()?);
            self.expect_word("AND")?;
            let high = Box::new(self.comparison()?);
            return Ok(ExprKind::Between(value, low, high, negated));
        }
        if self.take_word("IN") {
            self.expect_symbol("(")?;
            if self.is_word("SELECT") || self.is_word("WITH") {
                let query = self.query()?;
                self.expect_symbol(")")?;
                return Ok(ExprKind::InQuery(value, Box::new(query), negated));
            }
            let list = self.expr_list()?;
            self.expect_symbol(")")?;
            return Ok(ExprKind::InList(value, list, negated));
        }
        let similar = self.take_word("SIMILAR");
        self.expect_word(if similar { "TO" } else { "LIKE" })?;
        let pattern = Box::new(self.comparison()?);
        let escape = if self.take_word("ESCAPE") {
            Some(Box::new(self.comparison()?))
        } else {
            None
        };
        Ok(ExprKind::Like {
            value,
            pattern,
            escape,
            negated,
            similar,
        })
    }

    pub(super) fn comparison(&mut self) -> Result<Expr, Error> {
        let mut left = self.sum_level()?;
        loop {
            let op = match self.peek() {
                Token::Symbol("=") => BinaryOp::Eq,
                Token::Symbol("<>" | "!=") => BinaryOp::NotEq,
                Token::Symbol("<") => BinaryOp::Lt,
                Token::Symbol("<=") => BinaryOp::LtEq,
                Token::Symbol(">") => BinaryOp::Gt,
                Token::Symbol(">=") => BinaryOp::GtEq,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.sum_level()?;
            left = binary(op, left, right);
        }
    }

    pub(super) fn sum_level(&mut self) -> Result<Expr, Error> {
        let mut left = self.product()?;
        loop {
            let op = match self.peek() {
                Token::Symbol("+") => BinaryOp::Plus,
                Token::Symbol("-") => BinaryOp::Minus,
                Token::Symbol("||") => BinaryOp::Concat,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.product()?;
            left = binary(op, left, right);
        }
    }

    fn product(&mut self) -> Result<Expr, Error> {
        let mut left = self.unary()?;
        loop {
            let op = match self.peek() {
                Token::Symbol("*") => BinaryOp::Multiply,
                Token::Symbol("/") => BinaryOp::Divide,
                Token::Symbol("%") => BinaryOp::Modulo,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.unary()?;
            left = binary(op, left, right);
        }
    }

    fn unary(&mut self) -> Result<Expr, Error> {
        let position = self.position();
        if self.take_symbol("+") {
            return self.nested(Self::unary);
        }
        if self.take_symbol("-") {
            let inner = self.nested(Self::unary)?;
            return Ok(Expr {
                kind: ExprKind::Negate(Box::new(inner)),
                position,
            });
        }
        self.postfix()
    }

    fn postfix(&mut self) -> Result<Expr, Error> {
        let mut left = self.primary()?;
        loop {
            let position = left.position;
            let kind = if self.take_symbol("[") {
                let index = self.expr()?;
                self.expect_symbol("]")?;
                ExprKind::Index(Box::new(left), Box::new(index))
            } else if self.take_symbol(".") {
                let field = self.ident("a field")?;
                ExprKind::Field(Box::new(left), field)
            } else if self.take_words(&["AT", "TIME", "ZONE"]) {
                let zone = self.primary()?;
                ExprKind::AtTimeZone(Box::new(left), Box::new(zone))
            } else {
                return Ok(left);
            };
            left = Expr { kind, position };
        }
    }

    fn primary(&mut self) -> Result<Expr, Error> {
        let position = self.position();
        let kind = match self.peek().clone() {
            Token::Number(number) => {
                self.advance();
                ExprKind::Literal(Literal::Number(number))
            }
            Token::Text(text) => {
                self.advance();
                ExprKind::Literal(Literal::Text(text))
            }
            Token::Hex(text) => {
                self.advance();
                ExprKind::Literal(Literal::Binary(hex(&text, position)?))
            }
            Token::Symbol("(") => return self.parenthesis(),
            Token::Quoted(_) => ExprKind::Name(self.name_path()?),
            Token::Word(word) => return self.word(&word.to_ascii_uppercase(), position),
            _ => return Err(self.unexpected("an expression")),
        };
        Ok(Expr { kind, position })
    }

    fn parenthesis(&mut self) -> Result<Expr, Error> {
        let position = self.position();
        self.expect_symbol("(")?;
        if self.is_word("SELECT") || self.is_word("WITH") {
            let query = self.query()?;
            self.expect_symbol(")")?;
            return Ok(Expr {
                kind: ExprKind::Scalar(Box::new(query)),
                position,
            });
        }
        let mut list = self.expr_list()?;
        self.expect_symbol(")")?;
        if list.len() == 1
            && let Some(mut only) = list.pop()
        {
            only.position = position;
            return Ok(only);
        }
        Ok(Expr {
            kind: ExprKind::Row(list),
            position,
        })
    }

    fn name_path(&mut self) -> Result<Vec<crate::sql::ast::Ident>, Error> {
        let mut path = vec![self.ident("a column")?];
        while self.is_symbol(".") && matches!(self.peek_ahead(1), Token::Word(_) | Token::Quoted(_))
        {
            self.advance();
            path.push(self.ident("a column")?);
        }
        Ok(path)
    }

    #[expect(clippy::too_many_lines, reason = "one arm a word")]
    fn word(&mut self, word: &str, position: Position) -> Result<Expr, Error> {
        let expr = |kind| Ok(Expr { kind, position });
        let text_follows = matches!(self.peek_ahead(1), Token::Text(_));
        match word {
            "NULL" | "TRUE" | "FALSE" => {
                self.advance();
                expr(ExprKind::Literal(match word {
                    "NULL" => Literal::Null,
                    _ => Literal::Boolean(word == "TRUE"),
                }))
            }
            "DATE" | "TIME" | "TIMESTAMP" | "TIMESTAMP_LTZ" if text_follows => {
                self.advance();
                let text = self.text("a literal")?;
                expr(ExprKind::Literal(match word {
                    "DATE" => Literal::Date(text),
                    "TIME" => Literal::Time(text),
                    "TIMESTAMP" => Literal::Timestamp(text),
                    _ => Literal::TimestampLtz(text),
                }))
            }
            "INTERVAL" => {
                self.advance();
                let literal = self.interval(position)?;
                expr(ExprKind::Literal(literal))
            }
            "CASE" => self.case(position),
            "CAST" | "TRY_CAST" => self.cast(word == "TRY_CAST", position),
            "EXISTS" => {
                self.advance();
                self.expect_symbol("(")?;
                let query = self.query()?;
                self.expect_symbol(")")?;
                expr(ExprKind::Exists(Box::new(query)))
            }
            "ARRAY" | "MAP" if matches!(self.peek_ahead(1), Token::Symbol("[")) => {
                self.advance();
                self.advance();
                let list = if self.is_symbol("]") {
                    Vec::new()
                } else {
                    self.expr_list()?
                };
                self.expect_symbol("]")?;
                expr(if word == "ARRAY" {
                    ExprKind::Array(list)
                } else {
                    ExprKind::Map(list)
                })
            }
            "ROW" => {
                self.advance();
                self.expect_symbol("(")?;
                let list = self.expr_list()?;
                self.expect_symbol(")")?;
                expr(ExprKind::Row(list))
            }
            "CURRENT_TIMESTAMP"
            | "LOCALTIMESTAMP"
            | "CURRENT_DATE"
            | "CURRENT_TIME"
            | "LOCALTIME"
            | "NOW"
            | "CURRENT_ROW_TIMESTAMP"
                if !matches!(self.peek_ahead(1), Token::Symbol("(" | ".")) =>
            {
                self.advance();
                expr(Self::plain_call(word))
            }
            _ if matches!(self.peek_ahead(1), Token::Symbol("(")) => self.call(word, position),
            _ if is_reserved(word) => Err(self.unexpected("an expression")),
            _ => {
                let path = self.name_path()?;
                expr(ExprKind::Name(path))
            }
        }
    }

    fn case(&mut self, position: Position) -> Result<Expr, Error> {
        self.advance();
        let operand = if self.is_word("WHEN") {
            None
        } else {
            Some(Box::new(self.expr()?))
        };
        let mut branches = Vec::new();
        while self.take_word("WHEN") {
            let when = self.expr()?;
            self.expect_word("THEN")?;
            branches.push((when, self.expr()?));
        }
        if branches.is_empty() {
            return Err(self.unexpected("WHEN"));
        }
        let otherwise = if self.take_word("ELSE") {
            Some(Box::new(self.expr()?))
        } else {
            None
        };
        self.expect_word("END")?;
        Ok(Expr {
            kind: ExprKind::Case {
                operand,
                branches,
                otherwise,
            },
            position,
        })
    }

    fn cast(&mut self, attempt: bool, position: Position) -> Result<Expr, Error> {
        self.advance();
        self.expect_symbol("(")?;
        let value = Box::new(self.expr()?);
        self.expect_word("AS")?;
        let to = self.sql_type()?;
        self.expect_symbol(")")?;
        Ok(Expr {
            kind: ExprKind::Cast { value, to, attempt },
            position,
        })
    }

    fn interval(&mut self, position: Position) -> Result<Literal, Error> {
        let negative = self.take_symbol("-");
        let text = match self.peek().clone() {
            Token::Text(text) | Token::Number(text) => {
                self.advance();
                text
            }
            _ => return Err(self.unexpected("an interval")),
        };
        let from = self.time_unit()?;
        if self.take_symbol("(") {
            self.unsigned("a precision")?;
            self.expect_symbol(")")?;
        }
        let to = if self.take_word("TO") {
            Some(self.time_unit()?)
        } else {
            None
        };
        super::function::interval_value(&text, from, to, negative)
            .ok_or_else(|| Error::syntax(format!("'{text}' is no interval of this unit"), position))
    }

    pub(super) fn time_unit(&mut self) -> Result<TimeUnit, Error> {
        let Token::Word(word) = self.peek() else {
            return Err(self.unexpected("a unit of time"));
        };
        let Some(unit) = super::function::unit_named(word) else {
            return Err(self.unexpected("a unit of time"));
        };
        self.advance();
        Ok(unit)
    }

    pub(super) fn order_by(&mut self) -> Result<Vec<Order>, Error> {
        let mut order = Vec::new();
        if !self.take_words(&["ORDER", "BY"]) {
            return Ok(order);
        }
        loop {
            let expr = self.expr()?;
            let descending = self.take_word("DESC");
            if !descending {
                self.take_word("ASC");
            }
            let nulls_first = if self.take_words(&["NULLS", "FIRST"]) {
                Some(true)
            } else if self.take_words(&["NULLS", "LAST"]) {
                Some(false)
            } else {
                None
            };
            order.push(Order {
                expr,
                descending,
                nulls_first,
            });
            if !self.take_symbol(",") {
                return Ok(order);
            }
        }
    }
}

fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    let position = left.position;
    Expr {
        kind: ExprKind::Binary(op, Box::new(left), Box::new(right)),
        position,
    }
}

fn hex(text: &str, position: Position) -> Result<Vec<u8>, Error> {
    let wrong = || Error::syntax(format!("X'{text}' is no binary string"), position);
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(wrong());
    }
    (0..text.len())
        .step_by(2)
        .map(|start| u8::from_str_radix(&text[start..start + 2], 16).map_err(|_| wrong()))
        .collect()
}
