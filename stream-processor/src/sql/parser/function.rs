//! Calls whose arguments are no plain list: EXTRACT, FLOOR … TO, TRIM, the JSON functions; and units of time.

use super::Parser;
use crate::error::{Error, Position};
use crate::sql::ast::{Call, Clause, Expr, ExprKind, Literal, TimeUnit};
use crate::sql::lexer::Token;

impl Parser<'_> {
    pub(super) fn plain_call(name: &str) -> ExprKind {
        ExprKind::Call(Box::new(Call {
            name: name.to_owned(),
            args: Vec::new(),
            star: false,
            distinct: false,
            filter: None,
            over: None,
            clauses: Vec::new(),
        }))
    }

    /// `NAME(…)` with FILTER and OVER.
    pub(super) fn call(&mut self, name: &str, position: Position) -> Result<Expr, Error> {
        self.advance();
        self.expect_symbol("(")?;
        let mut call = Call {
            name: name.to_owned(),
            args: Vec::new(),
            star: false,
            distinct: false,
            filter: None,
            over: None,
            clauses: Vec::new(),
        };
        if !self.take_symbol(")") {
            self.arguments(&mut call)?;
            self.clauses(&mut call)?;
            self.expect_symbol(")")?;
        }
        if self.is_word("FILTER") && matches!(self.peek_ahead(1), Token::Symbol("(")) {
            self.advance();
            self.expect_symbol("(")?;
            self.expect_word("WHERE")?;
            call.filter = Some(self.expr()?);
            self.expect_symbol(")")?;
        }
        if self.is_word("WITHIN") || self.are_words(&["IGNORE", "NULLS"]) {
            return Err(self.unexpected("the end of the call"));
        }
        if self.take_word("OVER") {
            call.over = Some(self.over()?);
        }
        Ok(Expr {
            kind: ExprKind::Call(Box::new(call)),
            position,
        })
    }

    fn arguments(&mut self, call: &mut Call) -> Result<(), Error> {
        if self.is_symbol("*") && matches!(self.peek_ahead(1), Token::Symbol(")")) {
            self.advance();
            call.star = true;
            return Ok(());
        }
        match call.name.as_str() {
            "EXTRACT" => {
                let unit = self.unit_argument()?;
                self.expect_word("FROM")?;
                let value = self.expr()?;
                call.args = vec![unit, value];
                return Ok(());
            }
            "TIMESTAMPADD" | "TIMESTAMPDIFF" => {
                call.args.push(self.unit_argument()?);
                self.expect_symbol(",")?;
            }
            "TRIM" => return self.trim(call),
            "POSITION" | "OVERLAY" | "SUBSTRING" => return self.worded(call),
            "JSON_OBJECT" | "JSON_OBJECTAGG" => return self.json_object(call),
            _ => {}
        }
        if self.take_word("DISTINCT") {
            call.distinct = true;
        } else if self.is_word("ALL") {
            self.advance();
        }
        if ["NULL", "ABSENT"].iter().any(|word| self.is_word(word)) && is_on(self.peek_ahead(1)) {
            return Ok(());
        }
        call.args.extend(self.expr_list()?);
        if matches!(call.name.as_str(), "FLOOR" | "CEIL" | "CEILING") && self.take_word("TO") {
            call.args.push(self.unit_argument()?);
        }
        Ok(())
    }

    fn unit_argument(&mut self) -> Result<Expr, Error> {
        let position = self.position();
        let unit = self.time_unit()?;
        Ok(Expr {
            kind: ExprKind::Unit(unit),
            position,
        })
    }

    fn trim(&mut self, call: &mut Call) -> Result<(), Error> {
        let position = self.position();
        let side = ["BOTH", "LEADING", "TRAILING"]
            .into_iter()
            .find(|word| self.take_word(word))
            .unwrap_or("BOTH");
        call.clauses.push(Clause::Word(side.to_owned()));
        let blank = Expr {
            kind: ExprKind::Literal(Literal::Text(" ".to_owned())),
            position,
        };
        if self.take_word("FROM") {
            call.args = vec![self.expr()?, blank];
            return Ok(());
        }
        let first = self.expr()?;
        call.args = if self.take_word("FROM") {
            vec![self.expr()?, first]
        } else {
            vec![first, blank]
        };
        Ok(())
    }

    /// `POSITION(a IN b)`, `SUBSTRING(a FROM b FOR c)`, `OVERLAY(a PLACING b FROM c FOR d)`, or commas.
    fn worded(&mut self, call: &mut Call) -> Result<(), Error> {
        if call.name == "POSITION" {
            // A plain expression would take `IN` for a predicate.
            let first = self.sum_only()?;
            self.expect_word("IN")?;
            call.args = vec![first, self.expr()?];
            return Ok(());
        }
        call.args.push(self.expr()?);
        while ["PLACING", "FROM", "FOR"]
            .iter()
            .any(|word| self.is_word(word))
            || self.is_symbol(",")
        {
            self.advance();
            call.args.push(self.expr()?);
        }
        Ok(())
    }

    fn sum_only(&mut self) -> Result<Expr, Error> {
        self.nested(Self::sum_level)
    }

    fn json_object(&mut self, call: &mut Call) -> Result<(), Error> {
        loop {
            if ["NULL", "ABSENT"].iter().any(|word| self.is_word(word)) && is_on(self.peek_ahead(1))
            {
                return Ok(());
            }
            self.take_word("KEY");
            call.args.push(self.expr()?);
            self.expect_word("VALUE")?;
            call.args.push(self.expr()?);
            if !self.take_symbol(",") {
                return Ok(());
            }
        }
    }

    /// `RETURNING t`, `NULL|ERROR|DEFAULT x ON EMPTY|ERROR`, `WITH|WITHOUT … WRAPPER`, `ABSENT ON NULL`.
    fn clauses(&mut self, call: &mut Call) -> Result<(), Error> {
        if call.name == "ARRAY_AGG" {
            for words in ["RESPECT", "IGNORE"] {
                if self.are_words(&[words, "NULLS"]) {
                    self.advance();
                    self.advance();
                    call.clauses.push(Clause::Word(format!("{words} NULLS")));
                }
            }
        }
        if !call.name.starts_with("JSON_") {
            return Ok(());
        }
        while !self.is_symbol(")") {
            if self.take_word("RETURNING") {
                call.clauses.push(Clause::Returning(self.sql_type()?));
                continue;
            }
            if self.take_word("DEFAULT") {
                let value = self.sum_only()?;
                self.expect_word("ON")?;
                let event = self.clause_word()?;
                call.clauses.push(Clause::Default(value, event));
                continue;
            }
            let mut words = vec![self.clause_word()?];
            while let Token::Word(word) = self.peek() {
                let word = word.to_ascii_uppercase();
                let last = matches!(word.as_str(), "WRAPPER" | "EMPTY" | "ERROR" | "NULL");
                self.advance();
                words.push(word);
                if last {
                    break;
                }
            }
            call.clauses.push(Clause::Word(words.join(" ")));
        }
        Ok(())
    }

    fn clause_word(&mut self) -> Result<String, Error> {
        if let Token::Word(word) = self.peek() {
            let word = word.to_ascii_uppercase();
            self.advance();
            return Ok(word);
        }
        Err(self.unexpected("`)`"))
    }
}

fn is_on(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.eq_ignore_ascii_case("ON"))
}

/// The unit that `word` names, in the singular or plural.
pub(super) fn unit_named(word: &str) -> Option<TimeUnit> {
    Some(match word.to_ascii_uppercase().as_str() {
        "MILLISECOND" | "MILLISECONDS" => TimeUnit::Millisecond,
        "SECOND" | "SECONDS" | "SQL_TSI_SECOND" => TimeUnit::Second,
        "MINUTE" | "MINUTES" | "SQL_TSI_MINUTE" => TimeUnit::Minute,
        "HOUR" | "HOURS" | "SQL_TSI_HOUR" => TimeUnit::Hour,
        "DAY" | "DAYS" | "SQL_TSI_DAY" => TimeUnit::Day,
        "WEEK" | "WEEKS" | "SQL_TSI_WEEK" => TimeUnit::Week,
        "MONTH" | "MONTHS" | "SQL_TSI_MONTH" => TimeUnit::Month,
        "QUARTER" | "QUARTERS" | "SQL_TSI_QUARTER" => TimeUnit::Quarter,
        "YEAR" | "YEARS" | "SQL_TSI_YEAR" => TimeUnit::Year,
        "DOW" => TimeUnit::DayOfWeek,
        "DOY" => TimeUnit::DayOfYear,
        "DECADE" => TimeUnit::Decade,
        "CENTURY" => TimeUnit::Century,
        "MILLENNIUM" => TimeUnit::Millennium,
        "EPOCH" => TimeUnit::Epoch,
        "MICROSECOND" | "MICROSECONDS" => TimeUnit::Microsecond,
        "NANOSECOND" | "NANOSECONDS" => TimeUnit::Nanosecond,
        "ISOYEAR" => TimeUnit::IsoYear,
        "ISODOW" => TimeUnit::IsoDayOfWeek,
        _ => return None,
    })
}

/// The value of `INTERVAL 'text' from TO to`.
pub(super) fn interval_value(
    text: &str,
    from: TimeUnit,
    to: Option<TimeUnit>,
    negative: bool,
) -> Option<Literal> {
    let text = text.trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (!negative, rest),
        None => (negative, text),
    };
    let sign = if negative { -1 } else { 1 };
    if let Some(to) = to {
        return interval_range(text, from, to, sign);
    }
    let months = match from {
        TimeUnit::Month => Some(1),
        TimeUnit::Quarter => Some(3),
        TimeUnit::Year => Some(12),
        _ => None,
    };
    if let Some(months) = months {
        let count: i32 = text.parse().ok()?;
        return Some(Literal::YearMonth(
            count.checked_mul(months)?.checked_mul(sign)?,
        ));
    }
    let unit = milliseconds(from)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.is_empty() && from != TimeUnit::Second {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let millis = whole
        .checked_mul(unit)?
        .checked_add(fraction_millis(fraction)?)?;
    Some(Literal::DayTime(millis * i64::from(sign)))
}

fn interval_range(text: &str, from: TimeUnit, to: TimeUnit, sign: i32) -> Option<Literal> {
    if from == TimeUnit::Year && to == TimeUnit::Month {
        let (years, months) = text.split_once('-')?;
        let years: i32 = years.parse().ok()?;
        let months: i32 = months.parse().ok()?;
        return Some(Literal::YearMonth(
            years.checked_mul(12)?.checked_add(months)? * sign,
        ));
    }
    let units = [
        TimeUnit::Day,
        TimeUnit::Hour,
        TimeUnit::Minute,
        TimeUnit::Second,
    ];
    let first = units.iter().position(|unit| *unit == from)?;
    let last = units.iter().position(|unit| *unit == to)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let parts: Vec<&str> = whole.split([' ', ':']).collect();
    if last <= first || parts.len() != last - first + 1 {
        return None;
    }
    let mut millis = fraction_millis(fraction)?;
    for (part, unit) in parts.iter().zip(&units[first..=last]) {
        let part: i64 = part.parse().ok()?;
        millis = millis.checked_add(part.checked_mul(milliseconds(*unit)?)?)?;
    }
    Some(Literal::DayTime(millis * i64::from(sign)))
}

fn fraction_millis(fraction: &str) -> Option<i64> {
    if fraction.is_empty() {
        return Some(0);
    }
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    digits.parse().ok()
}

/// How many milliseconds a unit has, if it always has the same.
pub(crate) fn milliseconds(unit: TimeUnit) -> Option<i64> {
    Some(match unit {
        TimeUnit::Millisecond => 1,
        TimeUnit::Second => 1000,
        TimeUnit::Minute => 60_000,
        TimeUnit::Hour => 3_600_000,
        TimeUnit::Day => 86_400_000,
        TimeUnit::Week => 7 * 86_400_000,
        _ => return None,
    })
}
