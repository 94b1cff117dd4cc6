//! Names of types: `decimal(10, 2)`, `array(row(a integer))`, `timestamp(3) with time zone`.

use super::Parser;
use crate::failure::{Failure, Result};
use crate::sql::ast::{Ident, TypeKind, TypeName, Unit};
use crate::sql::lexer::Tok;

impl Parser<'_> {
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
    fn row_field(&mut self) -> Result<(Option<Ident>, TypeName)> {
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
