//! Arithmetic, literals and function calls: what binds tighter than a predicate.

use super::Parser;
use crate::failure::{Failure, Pos, Result};
use crate::sql::ast::{Arith, Call, Expr, Kind, Name, Over, TypeKind, TypeName, Unit};
use crate::sql::lexer::Tok;

impl Parser<'_> {
    /// Arithmetic and `||`: everything that binds tighter than a predicate.
    pub(super) fn value_expr(&mut self) -> Result<Expr> {
        let first = self.additive()?;
        if !self.is_symbol("||") {
            return Ok(first);
        }
        let pos = self.pos();
        let mut parts = vec![first];
        while self.symbol("||") {
            parts.push(self.additive()?);
        }
        Ok(Self::node(pos, Kind::Concat(parts)))
    }

    fn additive(&mut self) -> Result<Expr> {
        let mut left = self.multiplicative()?;
        let mut links = 0;
        loop {
            let pos = self.pos();
            let op = if self.symbol("+") {
                Arith::Add
            } else if self.symbol("-") {
                Arith::Subtract
            } else {
                return Ok(left);
            };
            self.link(&mut links)?;
            let right = self.multiplicative()?;
            left = Self::node(pos, Kind::Arith(op, left, right));
        }
    }

    fn multiplicative(&mut self) -> Result<Expr> {
        let mut left = self.unary()?;
        let mut links = 0;
        loop {
            let pos = self.pos();
            let op = if self.symbol("*") {
                Arith::Multiply
            } else if self.symbol("/") {
                Arith::Divide
            } else if self.symbol("%") {
                Arith::Modulus
            } else {
                return Ok(left);
            };
            self.link(&mut links)?;
            let right = self.unary()?;
            left = Self::node(pos, Kind::Arith(op, left, right));
        }
    }

    fn unary(&mut self) -> Result<Expr> {
        let pos = self.pos();
        if self.symbol("-") {
            let inner = self.nested(Self::unary)?;
            return Ok(Self::node(pos, Kind::Negate(inner)));
        }
        if self.symbol("+") {
            return self.nested(Self::unary);
        }
        let mut value = self.postfix()?;
        while self.is_words(&["AT", "TIME", "ZONE"]) {
            let pos = self.pos();
            self.words(&["AT", "TIME", "ZONE"]);
            self.step()?;
            let zone = self.postfix()?;
            value = Self::node(pos, Kind::AtTimeZone(value, zone));
        }
        Ok(value)
    }

    fn postfix(&mut self) -> Result<Expr> {
        let mut value = self.primary()?;
        let mut links = 0;
        loop {
            let pos = self.pos();
            if self.is_symbol("[") {
                self.advance();
                self.link(&mut links)?;
                let index = self.expr()?;
                self.expect("]")?;
                value = Self::node(pos, Kind::Subscript(value, index));
            } else if self.is_symbol(".") && !matches!(self.ahead(1), Tok::Symbol("*")) {
                self.advance();
                self.link(&mut links)?;
                let field = self.ident()?;
                value = Self::node(value.pos, Kind::Dereference(value, field));
            } else {
                return Ok(value);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr> {
        let pos = self.pos();
        let kind = match self.tok().clone() {
            Tok::Text(text) => Kind::Text(text),
            Tok::Bytes(bytes) => Kind::Bytes(bytes),
            Tok::Integer(digits) => Kind::Integer(digits),
            Tok::Decimal(digits) => Kind::Decimal(digits),
            Tok::Double(digits) => Kind::Double(digits),
            Tok::Symbol("?") => {
                self.advance();
                return Ok(self.parameter(pos));
            }
            Tok::Symbol("(") => return self.parenthesised_expr(pos),
            Tok::Word(word) => return self.word_expr(pos, &word.to_ascii_uppercase()),
            Tok::Quoted(_) => return self.name_expr(pos),
            _ => return Err(self.unexpected("<expression>")),
        };
        self.advance();
        Ok(Self::node(pos, kind))
    }

    pub(super) fn parameter(&mut self, pos: Pos) -> Expr {
        self.parameters += 1;
        Self::node(pos, Kind::Parameter(self.parameters - 1))
    }

    fn parenthesised_expr(&mut self, pos: Pos) -> Result<Expr> {
        if self.is_lambda_list() {
            let params = self.in_parens(|parser| {
                if parser.is_symbol(")") {
                    Ok(Vec::new())
                } else {
                    parser.list(Self::ident)
                }
            })?;
            self.expect("->")?;
            let body = self.expr()?;
            return Ok(Self::node(pos, Kind::Lambda(params, body)));
        }
        if matches!(self.ahead(1), Tok::Word(_)) && self.is_query() {
            let query = self.subquery()?;
            return Ok(Self::node(pos, Kind::Subquery(query)));
        }
        let mut items = self.in_parens(|parser| parser.list(Self::expr))?;
        match (items.len(), items.pop()) {
            (1, Some(only)) => Ok(only),
            (_, Some(last)) => {
                items.push(last);
                Ok(Self::node(pos, Kind::Row(items)))
            }
            (_, None) => Err(self.unexpected("<expression>")),
        }
    }

    /// `(a, b) ->` or `() ->`.
    fn is_lambda_list(&self) -> bool {
        let mut n = 1;
        loop {
            match self.ahead(n) {
                Tok::Word(_) | Tok::Quoted(_) | Tok::Symbol(",") => n += 1,
                Tok::Symbol(")") => return matches!(self.ahead(n + 1), Tok::Symbol("->")),
                _ => return false,
            }
        }
    }

    fn word_expr(&mut self, pos: Pos, word: &str) -> Result<Expr> {
        let call = matches!(self.ahead(1), Tok::Symbol("("));
        let kind = match word {
            "NULL" => Kind::Null,
            "TRUE" => Kind::Boolean(true),
            "FALSE" => Kind::Boolean(false),
            "CASE" => return self.case(pos),
            "CAST" | "TRY_CAST" if call => return self.cast(pos, word == "TRY_CAST"),
            "EXISTS" if call => {
                self.advance();
                let query = self.subquery()?;
                return Ok(Self::node(pos, Kind::Exists(query)));
            }
            "EXTRACT" if call => return self.extract(pos),
            "ARRAY" if matches!(self.ahead(1), Tok::Symbol("[")) => return self.array(pos),
            "ROW" if call => {
                self.advance();
                let items = self.in_parens(|parser| parser.list(Self::expr))?;
                return Ok(Self::node(pos, Kind::Row(items)));
            }
            "INTERVAL" if self.is_interval() => return self.interval(pos),
            "POSITION" | "TRIM" | "SUBSTRING" | "NORMALIZE" | "LISTAGG" if call => {
                return self.spelled_call(pos, word);
            }
            "JSON_VALUE" | "JSON_QUERY" | "JSON_EXISTS" if call => return self.json_call(pos),
            "JSON_OBJECT" | "JSON_ARRAY" if call => return Err(Failure::unsupported(pos, word)),
            "GROUPING" if call => {
                let name = Name {
                    parts: vec![self.forced_ident()],
                };
                return self.call(pos, name);
            }
            "CURRENT_DATE" | "CURRENT_USER" | "CURRENT_CATALOG" | "CURRENT_SCHEMA"
            | "CURRENT_PATH" => Kind::Special(word.to_ascii_lowercase(), None),
            "CURRENT_TIME" | "CURRENT_TIMESTAMP" | "LOCALTIME" | "LOCALTIMESTAMP" => {
                self.advance();
                let precision = if self.is_symbol("(") {
                    Some(self.in_parens(Self::integer)?)
                } else {
                    None
                };
                let precision =
                    match precision {
                        Some(digits) => Some(digits.parse().map_err(|_| {
                            Failure::unsupported(pos, format!("precision {digits}"))
                        })?),
                        None => None,
                    };
                return Ok(Self::node(
                    pos,
                    Kind::Special(word.to_ascii_lowercase(), precision),
                ));
            }
            _ if self.is_typed_literal() => return self.typed_literal(pos),
            _ => return self.name_expr(pos),
        };
        self.advance();
        Ok(Self::node(pos, kind))
    }

    /// A reserved word used as a function's name.
    fn forced_ident(&mut self) -> crate::sql::ast::Ident {
        let token = self.token();
        let written = self.text[token.start..token.end].to_owned();
        let ident = crate::sql::ast::Ident {
            value: written.to_lowercase(),
            written,
            quoted: false,
            pos: token.pos,
        };
        self.advance();
        ident
    }

    fn name_expr(&mut self, pos: Pos) -> Result<Expr> {
        let first = self.ident()?;
        if self.is_symbol("->") {
            self.advance();
            let body = self.expr()?;
            return Ok(Self::node(pos, Kind::Lambda(vec![first], body)));
        }
        // `catalog.schema.function(`: a dotted name is a function's only when a parenthesis follows.
        let mut n = 0;
        while matches!(self.ahead(n), Tok::Symbol("."))
            && matches!(self.ahead(n + 1), Tok::Word(_) | Tok::Quoted(_))
        {
            n += 2;
        }
        if !matches!(self.ahead(n), Tok::Symbol("(")) {
            return Ok(Self::node(pos, Kind::Ident(first)));
        }
        let mut parts = vec![first];
        while self.symbol(".") {
            parts.push(self.ident()?);
        }
        self.call(pos, Name { parts })
    }

    fn call(&mut self, pos: Pos, name: Name) -> Result<Expr> {
        let mut call = Call {
            name,
            args: Vec::new(),
            star: false,
            distinct: false,
            order_by: Vec::new(),
            filter: None,
            ignore_nulls: None,
            over: None,
        };
        self.expect("(")?;
        if self.is_symbol("*") && matches!(self.ahead(1), Tok::Symbol(")")) {
            self.advance();
            call.star = true;
        } else if !self.is_symbol(")") {
            call.distinct = !self.word("ALL") && self.word("DISTINCT");
            if !self.is_word("ORDER") {
                call.args = self.list(Self::expr)?;
            }
            call.order_by = self.order_by()?;
        }
        self.expect(")")?;
        self.call_tail(pos, call)
    }

    pub(super) fn call_tail(&mut self, pos: Pos, mut call: Call) -> Result<Expr> {
        if self.is_word("FILTER") && matches!(self.ahead(1), Tok::Symbol("(")) {
            self.advance();
            call.filter = Some(self.in_parens(|parser| {
                parser.expect_word("WHERE")?;
                parser.expr()
            })?);
        }
        if self.words(&["IGNORE", "NULLS"]) {
            call.ignore_nulls = Some(true);
        } else if self.words(&["RESPECT", "NULLS"]) {
            call.ignore_nulls = Some(false);
        }
        if self.is_word("OVER") {
            self.advance();
            call.over = Some(if self.is_symbol("(") {
                Over::Spec(self.window()?)
            } else {
                Over::Named(self.ident()?)
            });
        }
        Ok(Self::node(pos, Kind::Call(call)))
    }

    fn case(&mut self, pos: Pos) -> Result<Expr> {
        self.advance();
        let operand = if self.is_word("WHEN") {
            None
        } else {
            Some(self.expr()?)
        };
        let mut whens = Vec::new();
        while self.word("WHEN") {
            let when = self.expr()?;
            self.expect_word("THEN")?;
            whens.push((when, self.expr()?));
        }
        if whens.is_empty() {
            return Err(self.unexpected("'WHEN'"));
        }
        let otherwise = if self.word("ELSE") {
            Some(self.expr()?)
        } else {
            None
        };
        self.expect_word("END")?;
        Ok(Self::node(
            pos,
            Kind::Case {
                operand,
                whens,
                otherwise,
            },
        ))
    }

    fn cast(&mut self, pos: Pos, try_cast: bool) -> Result<Expr> {
        self.advance();
        self.in_parens(|parser| {
            let expr = parser.expr()?;
            parser.expect_word("AS")?;
            let ty = parser.type_name()?;
            Ok(Self::node(pos, Kind::Cast { expr, ty, try_cast }))
        })
    }

    fn extract(&mut self, pos: Pos) -> Result<Expr> {
        self.advance();
        self.in_parens(|parser| {
            let field = parser.ident()?;
            parser.expect_word("FROM")?;
            let value = parser.expr()?;
            Ok(Self::node(pos, Kind::Extract(field, value)))
        })
    }

    fn array(&mut self, pos: Pos) -> Result<Expr> {
        self.advance();
        self.expect("[")?;
        let items = if self.is_symbol("]") {
            Vec::new()
        } else {
            self.list(Self::expr)?
        };
        self.expect("]")?;
        Ok(Self::node(pos, Kind::Array(items)))
    }

    fn is_interval(&self) -> bool {
        matches!(self.ahead(1), Tok::Text(_))
            || (matches!(self.ahead(1), Tok::Symbol("+" | "-"))
                && matches!(self.ahead(2), Tok::Text(_)))
    }

    fn interval(&mut self, pos: Pos) -> Result<Expr> {
        self.advance();
        let negative = self.symbol("-");
        if !negative {
            self.symbol("+");
        }
        let value = self.text()?;
        let from = self.unit()?;
        let to = if self.word("TO") {
            Some(self.unit()?)
        } else {
            None
        };
        Ok(Self::node(
            pos,
            Kind::Interval {
                negative,
                value,
                from,
                to,
            },
        ))
    }

    pub(super) fn unit(&mut self) -> Result<Unit> {
        let units = [
            ("YEAR", Unit::Year),
            ("MONTH", Unit::Month),
            ("WEEK", Unit::Week),
            ("DAY", Unit::Day),
            ("HOUR", Unit::Hour),
            ("MINUTE", Unit::Minute),
            ("SECOND", Unit::Second),
        ];
        for (word, unit) in units {
            if self.word(word) {
                return Ok(unit);
            }
        }
        Err(self.unexpected("'DAY', 'HOUR', 'MINUTE', 'MONTH', 'SECOND', 'YEAR'"))
    }

    /// `DATE '…'`, `DOUBLE PRECISION '…'`, `TIMESTAMP WITH TIME ZONE` never: a type's name right before a string.
    fn is_typed_literal(&self) -> bool {
        let word = matches!(self.tok(), Tok::Word(word) if !super::is_reserved(word));
        word && (matches!(self.ahead(1), Tok::Text(_))
            || (self.is_words(&["DOUBLE", "PRECISION"]) && matches!(self.ahead(2), Tok::Text(_))))
    }

    fn typed_literal(&mut self, pos: Pos) -> Result<Expr> {
        let name = self.ident()?.value;
        if name == "double" {
            self.word("PRECISION");
        }
        let ty = TypeName {
            pos,
            kind: TypeKind::Plain(name, Vec::new()),
        };
        let text = self.text()?;
        Ok(Self::node(pos, Kind::Typed(ty, text)))
    }
}
