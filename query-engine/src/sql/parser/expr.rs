//! Expressions, types and function calls.

use super::Parser;
use crate::failure::{Failure, Pos, Result};
use crate::sql::ast::{Arith, Call, Compare, Expr, Kind, Name, Over, TypeKind, TypeName, Unit};
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
        self.predicates(value)
    }

    fn predicates(&mut self, mut left: Expr) -> Result<Expr> {
        let mut links = 0;
        loop {
            let pos = self.pos();
            if let Some(op) = self.comparison() {
                self.link(&mut links)?;
                left = self.compared(pos, op, left)?;
                continue;
            }
            if self.word("IS") {
                self.link(&mut links)?;
                left = self.is_predicate(pos, left)?;
                continue;
            }
            let negated = self.is_word("NOT")
                && ["BETWEEN", "IN", "LIKE"].iter().any(|word| matches!(self.ahead(1), Tok::Word(next) if next.eq_ignore_ascii_case(word)));
            if negated {
                self.advance();
            }
            let found = if self.word("BETWEEN") {
                self.between(pos, left)?
            } else if self.word("IN") {
                self.in_predicate(pos, left)?
            } else if self.word("LIKE") {
                let pattern = self.value_expr()?;
                let escape = if self.word("ESCAPE") {
                    Some(self.value_expr()?)
                } else {
                    None
                };
                Self::node(
                    pos,
                    Kind::Like {
                        expr: left,
                        pattern,
                        escape,
                    },
                )
            } else {
                return Ok(left);
            };
            self.link(&mut links)?;
            left = if negated {
                Self::node(pos, Kind::Not(found))
            } else {
                found
            };
        }
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

    fn unit(&mut self) -> Result<Unit> {
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

    pub(crate) fn type_name(&mut self) -> Result<TypeName> {
        self.nested(|parser| {
            let mut ty = parser.base_type()?;
            while parser.is_word("ARRAY") {
                let pos = parser.pos();
                parser.step()?;
                parser.advance();
                ty = TypeName {
                    pos,
                    kind: TypeKind::Array(Box::new(ty)),
                };
            }
            Ok(ty)
        })
    }

    fn base_type(&mut self) -> Result<TypeName> {
        let pos = self.pos();
        let name = self.ident()?.value;
        let kind = match name.as_str() {
            "array" if self.is_symbol("(") || self.is_symbol("<") => {
                TypeKind::Array(Box::new(self.type_args(Self::type_name)?))
            }
            "map" if self.is_symbol("(") || self.is_symbol("<") => self.type_args(|parser| {
                let key = parser.type_name()?;
                parser.expect(",")?;
                Ok(TypeKind::Map(Box::new(key), Box::new(parser.type_name()?)))
            })?,
            "row" if self.is_symbol("(") => {
                TypeKind::Row(self.in_parens(|p| p.list(Self::row_field))?)
            }
            "interval" => {
                let from = self.unit()?;
                self.expect_word("TO")?;
                let to = self.unit()?;
                match (from, to) {
                    (Unit::Day, Unit::Second) => {
                        TypeKind::Plain("interval day to second".into(), vec![])
                    }
                    (Unit::Year, Unit::Month) => {
                        TypeKind::Plain("interval year to month".into(), vec![])
                    }
                    _ => return Err(Failure::unsupported(pos, "this interval type")),
                }
            }
            _ => self.plain_type(name)?,
        };
        Ok(TypeName { pos, kind })
    }

    fn type_args<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let close = if self.symbol("<") { ">" } else { ")" };
        if close == ")" {
            self.expect("(")?;
        }
        let value = inner(self)?;
        self.expect(close)?;
        Ok(value)
    }

    fn plain_type(&mut self, mut name: String) -> Result<TypeKind> {
        if name == "double" {
            self.word("PRECISION");
        }
        let mut numbers = Vec::new();
        if self.is_symbol("(") {
            let digits = self.in_parens(|parser| parser.list(Self::integer))?;
            for digit in digits {
                let number = digit.parse().map_err(|_| self.unexpected("<type>"))?;
                numbers.push(number);
            }
        }
        if name == "time" || name == "timestamp" {
            if self.words(&["WITH", "TIME", "ZONE"]) {
                name.push_str(" with time zone");
            } else {
                self.words(&["WITHOUT", "TIME", "ZONE"]);
            }
        }
        Ok(TypeKind::Plain(name, numbers))
    }

    /// `name type` or just `type`: a name is there when another type begins after it.
    fn row_field(&mut self) -> Result<(Option<crate::sql::ast::Ident>, TypeName)> {
        let named = match self.ahead(1) {
            Tok::Quoted(_) => true,
            Tok::Word(word) => {
                !["WITH", "WITHOUT", "PRECISION", "ARRAY"]
                    .iter()
                    .any(|w| word.eq_ignore_ascii_case(w))
                    || matches!(self.ahead(2), Tok::Symbol("("))
            }
            _ => false,
        };
        let interval =
            self.is_words(&["INTERVAL", "DAY", "TO"]) || self.is_words(&["INTERVAL", "YEAR", "TO"]);
        let name = if named && !interval {
            Some(self.ident()?)
        } else {
            None
        };
        Ok((name, self.type_name()?))
    }
}
