//! Types as DDL and CAST write them, and back to text.

use std::fmt;

use super::Parser;
use crate::error::Error;
use crate::sql::lexer::Token;
use crate::table::{SqlType, TypeRoot};

const MAX_LENGTH: u32 = i32::MAX as u32;

impl Parser<'_> {
    /// A type with `[NOT] NULL` and the postfix `ARRAY` and `MULTISET`.
    pub(super) fn sql_type(&mut self) -> Result<SqlType, Error> {
        self.nested(|parser| {
            let mut parsed = SqlType {
                root: parser.type_root()?,
                nullable: parser.nullability()?,
            };
            loop {
                let root = if parser.take_word("ARRAY") {
                    TypeRoot::Array(Box::new(parsed))
                } else if parser.take_word("MULTISET") {
                    TypeRoot::Multiset(Box::new(parsed))
                } else {
                    return Ok(parsed);
                };
                parsed = SqlType {
                    root,
                    nullable: parser.nullability()?,
                };
            }
        })
    }

    fn nullability(&mut self) -> Result<bool, Error> {
        if self.take_word("NULL") {
            return Ok(true);
        }
        if self.are_words(&["NOT", "NULL"]) {
            self.expect_words(&["NOT", "NULL"])?;
            return Ok(false);
        }
        Ok(true)
    }

    fn type_root(&mut self) -> Result<TypeRoot, Error> {
        let position = self.position();
        let Token::Word(word) = self.peek() else {
            return Err(self.unexpected("a type"));
        };
        let name = word.to_ascii_uppercase();
        self.advance();
        Ok(match name.as_str() {
            "BOOLEAN" => TypeRoot::Boolean,
            "TINYINT" => TypeRoot::TinyInt,
            "SMALLINT" => TypeRoot::SmallInt,
            "INT" | "INTEGER" => TypeRoot::Int,
            "BIGINT" => TypeRoot::BigInt,
            "FLOAT" => TypeRoot::Float,
            "DOUBLE" => {
                self.take_word("PRECISION");
                TypeRoot::Double
            }
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "CHAR" => TypeRoot::Char(self.length()?.unwrap_or(1)),
            "VARCHAR" => TypeRoot::Varchar(self.length()?.unwrap_or(1)),
            "STRING" => TypeRoot::Varchar(MAX_LENGTH),
            "BINARY" => TypeRoot::Binary(self.length()?.unwrap_or(1)),
            "VARBINARY" => TypeRoot::Varbinary(self.length()?.unwrap_or(1)),
            "BYTES" => TypeRoot::Varbinary(MAX_LENGTH),
            "DATE" => TypeRoot::Date,
            "TIME" => TypeRoot::Time(self.time_precision(0)?),
            "TIMESTAMP" => self.timestamp()?,
            "TIMESTAMP_LTZ" => TypeRoot::TimestampLtz(self.time_precision(6)?),
            "ARRAY" => TypeRoot::Array(Box::new(self.angled()?)),
            "MULTISET" => TypeRoot::Multiset(Box::new(self.angled()?)),
            "MAP" => {
                self.expect_symbol("<")?;
                let key = self.sql_type()?;
                self.expect_symbol(",")?;
                let value = self.sql_type()?;
                self.close_angle()?;
                TypeRoot::Map(Box::new(key), Box::new(value))
            }
            "ROW" => TypeRoot::Row(self.row_fields()?),
            _ => {
                return Err(Error::unsupported(
                    format!("the type `{name}`"),
                    position,
                    "",
                ));
            }
        })
    }

    fn angled(&mut self) -> Result<SqlType, Error> {
        self.expect_symbol("<")?;
        let inner = self.sql_type()?;
        self.close_angle()?;
        Ok(inner)
    }

    /// `>`; `ROW<a INT>>=` never occurs, but `<>` closes an empty row.
    fn close_angle(&mut self) -> Result<(), Error> {
        self.expect_symbol(">")
    }

    fn row_fields(&mut self) -> Result<Vec<(String, SqlType)>, Error> {
        let close = if self.take_symbol("<") {
            ">"
        } else {
            self.expect_symbol("(")?;
            ")"
        };
        let mut fields = Vec::new();
        loop {
            let name = self.ident("a field")?;
            fields.push((name.value, self.sql_type()?));
            if let Token::Text(_) = self.peek() {
                self.advance();
            }
            if !self.take_symbol(",") {
                break;
            }
        }
        self.expect_symbol(close)?;
        Ok(fields)
    }

    fn decimal(&mut self) -> Result<TypeRoot, Error> {
        let position = self.position();
        let (mut precision, mut scale) = (10, 0);
        if self.take_symbol("(") {
            precision = self.unsigned("a precision")?;
            if self.take_symbol(",") {
                scale = self.unsigned("a scale")?;
            }
            self.expect_symbol(")")?;
        }
        if precision == 0 || precision > 38 || scale > precision {
            return Err(Error::validation(
                format!(
                    "DECIMAL({precision}, {scale}) needs 1 to 38 digits and a scale within them"
                ),
                position,
            ));
        }
        Ok(TypeRoot::Decimal(precision as u8, scale as i8))
    }

    fn length(&mut self) -> Result<Option<u32>, Error> {
        if !self.take_symbol("(") {
            return Ok(None);
        }
        let position = self.position();
        let length = self.unsigned("a length")?;
        if length == 0 || length > MAX_LENGTH {
            return Err(Error::validation(
                format!("a length must be from 1 to {MAX_LENGTH}, not {length}"),
                position,
            ));
        }
        self.expect_symbol(")")?;
        Ok(Some(length))
    }

    fn time_precision(&mut self, default: u8) -> Result<u8, Error> {
        if !self.take_symbol("(") {
            return Ok(default);
        }
        let position = self.position();
        let precision = self.unsigned("a precision")?;
        if precision > 9 {
            return Err(Error::validation(
                format!("a time's precision must be from 0 to 9, not {precision}"),
                position,
            ));
        }
        self.expect_symbol(")")?;
        Ok(precision as u8)
    }

    fn timestamp(&mut self) -> Result<TypeRoot, Error> {
        let precision = self.time_precision(6)?;
        let position = self.position();
        if self.take_words(&["WITH", "LOCAL", "TIME", "ZONE"]) {
            return Ok(TypeRoot::TimestampLtz(precision));
        }
        if self.take_words(&["WITHOUT", "TIME", "ZONE"]) {
            return Ok(TypeRoot::Timestamp(precision));
        }
        if self.are_words(&["WITH", "TIME", "ZONE"]) {
            return Err(Error::unsupported(
                "TIMESTAMP WITH TIME ZONE",
                position,
                "; use TIMESTAMP_LTZ",
            ));
        }
        Ok(TypeRoot::Timestamp(precision))
    }
}

impl SqlType {
    /// A nullable type.
    pub(crate) fn of(root: TypeRoot) -> Self {
        SqlType {
            root,
            nullable: true,
        }
    }

    /// A type that has no NULL.
    pub(crate) fn required(root: TypeRoot) -> Self {
        SqlType {
            root,
            nullable: false,
        }
    }

    /// `STRING`
    pub(crate) fn string() -> Self {
        SqlType::of(TypeRoot::Varchar(MAX_LENGTH))
    }

    /// The same type with this nullability.
    pub(crate) fn with_nullable(&self, nullable: bool) -> Self {
        SqlType {
            root: self.root.clone(),
            nullable,
        }
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.root)?;
        if self.nullable {
            Ok(())
        } else {
            write!(formatter, " NOT NULL")
        }
    }
}

impl fmt::Display for TypeRoot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TypeRoot::Boolean => write!(formatter, "BOOLEAN"),
            TypeRoot::TinyInt => write!(formatter, "TINYINT"),
            TypeRoot::SmallInt => write!(formatter, "SMALLINT"),
            TypeRoot::Int => write!(formatter, "INT"),
            TypeRoot::BigInt => write!(formatter, "BIGINT"),
            TypeRoot::Float => write!(formatter, "FLOAT"),
            TypeRoot::Double => write!(formatter, "DOUBLE"),
            TypeRoot::Decimal(precision, scale) => {
                write!(formatter, "DECIMAL({precision}, {scale})")
            }
            TypeRoot::Char(length) => write!(formatter, "CHAR({length})"),
            TypeRoot::Varchar(MAX_LENGTH) => write!(formatter, "STRING"),
            TypeRoot::Varchar(length) => write!(formatter, "VARCHAR({length})"),
            TypeRoot::Binary(length) => write!(formatter, "BINARY({length})"),
            TypeRoot::Varbinary(MAX_LENGTH) => write!(formatter, "BYTES"),
            TypeRoot::Varbinary(length) => write!(formatter, "VARBINARY({length})"),
            TypeRoot::Date => write!(formatter, "DATE"),
            TypeRoot::Time(precision) => write!(formatter, "TIME({precision})"),
            TypeRoot::Timestamp(precision) => write!(formatter, "TIMESTAMP({precision})"),
            TypeRoot::TimestampLtz(precision) => write!(formatter, "TIMESTAMP_LTZ({precision})"),
            TypeRoot::IntervalYearMonth => write!(formatter, "INTERVAL YEAR TO MONTH"),
            TypeRoot::IntervalDayTime => write!(formatter, "INTERVAL DAY TO SECOND(3)"),
            TypeRoot::Array(element) => write!(formatter, "ARRAY<{element}>"),
            TypeRoot::Multiset(element) => write!(formatter, "MULTISET<{element}>"),
            TypeRoot::Map(key, value) => write!(formatter, "MAP<{key}, {value}>"),
            TypeRoot::Row(fields) => {
                write!(formatter, "ROW<")?;
                for (index, (name, field)) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(formatter, "{comma}`{name}` {field}")?;
                }
                write!(formatter, ">")
            }
        }
    }
}
