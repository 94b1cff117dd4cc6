//! Function signatures: `element_at(array(T), bigint) T`, read once and matched against argument types.

use std::collections::HashMap;

use crate::sql::ast::{TypeKind, TypeName};
use crate::sql::parser;
use crate::types::{Type, UTC, common};

/// A type with variables in it.
#[derive(Debug, Clone)]
enum Pattern {
    /// A single capital letter.
    Variable(char),
    Exact(Type),
    /// `decimal`, `timestamp`, `timestamp with time zone`, `time` of any precision.
    AnyOf(&'static str),
    Array(Box<Pattern>),
    Map(Box<Pattern>, Box<Pattern>),
}

/// A function's name, argument types and result type.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(crate) name: String,
    pub(crate) returns: String,
    written: String,
    args: Vec<Pattern>,
    /// The last argument may come any number of times.
    variadic: bool,
    result: Pattern,
}

impl Signature {
    /// Reads `name(types) result`; a trailing `...` repeats the last argument. The text is ours, so it must be right.
    pub(crate) fn parse(text: &str) -> Signature {
        let (name, rest) = text
            .split_once('(')
            .expect("a signature has an argument list");
        let close = closing(rest).expect("a signature has a result");
        let (written, returns) = (&rest[..close], rest[close + 2..].trim());
        let variadic = written.ends_with("...");
        let args = split(written.trim_end_matches("..."))
            .iter()
            .map(|arg| pattern(arg))
            .collect();
        Signature {
            name: name.to_owned(),
            returns: returns.to_owned(),
            written: written.to_owned(),
            args,
            variadic,
            result: pattern(returns),
        }
    }

    pub(crate) fn arguments(&self) -> String {
        self.written.clone()
    }

    pub(crate) fn text(&self) -> String {
        format!("{}({})", self.name, self.written)
    }

    /// What the arguments must be converted to and what comes out, if the numbers and shapes agree.
    pub(crate) fn bind(&self, args: &[Type]) -> Option<(Vec<Type>, Type)> {
        let fits = if self.variadic {
            args.len() >= self.args.len()
        } else {
            args.len() == self.args.len()
        };
        if !fits {
            return None;
        }
        let pattern = |index: usize| self.args.get(index).or(self.args.last());
        let mut bound = HashMap::new();
        for (index, arg) in args.iter().enumerate() {
            unify(pattern(index)?, arg, &mut bound)?;
        }
        let types = args
            .iter()
            .enumerate()
            .map(|(index, arg)| fill(pattern(index)?, Some(arg), &bound))
            .collect::<Option<_>>()?;
        // An "any precision" result takes the precision of the first argument of that kind.
        let model = match &self.result {
            Pattern::AnyOf(kind) => args.iter().find(|arg| arg.base_name() == *kind),
            _ => None,
        };
        Some((types, fill(&self.result, model, &bound)?))
    }
}

/// Where the parenthesis closes that was open before the text.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    text.char_indices().find_map(|(at, c)| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        (depth == 0).then_some(at)
    })
}

fn split(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut depth = 0;
    let mut part = String::new();
    for c in text.chars() {
        match c {
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            _ => {
                depth += i32::from(c == '(') - i32::from(c == ')');
                part.push(c);
            }
        }
    }
    parts.push(part);
    parts
        .into_iter()
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

fn pattern(text: &str) -> Pattern {
    match text {
        "decimal" => Pattern::AnyOf("decimal"),
        "timestamp" => Pattern::AnyOf("timestamp"),
        "timestamp with time zone" => Pattern::AnyOf("timestamp with time zone"),
        "time" => Pattern::AnyOf("time"),
        _ => named(&parser::type_name(text).expect("signatures name real types")),
    }
}

fn named(ty: &TypeName) -> Pattern {
    match &ty.kind {
        TypeKind::Array(element) => Pattern::Array(Box::new(named(element))),
        TypeKind::Map(key, value) => Pattern::Map(Box::new(named(key)), Box::new(named(value))),
        TypeKind::Plain(name, numbers) if numbers.is_empty() && name.len() == 1 => {
            Pattern::Variable(name.chars().next().unwrap_or('t'))
        }
        _ => Pattern::Exact(
            crate::sql::analyze::resolve_type(ty, &UTC.into())
                .expect("signatures name types that exist"),
        ),
    }
}

fn unify(pattern: &Pattern, arg: &Type, bound: &mut HashMap<char, Type>) -> Option<()> {
    match (pattern, arg) {
        (Pattern::Variable(name), _) => {
            let known = bound.get(name).cloned().unwrap_or(Type::Unknown);
            bound.insert(*name, common(&known, arg)?);
        }
        (Pattern::Array(element), Type::Array(arg)) => unify(element, arg, bound)?,
        (Pattern::Map(key, value), Type::Map(arg_key, arg_value)) => {
            unify(key, arg_key, bound)?;
            unify(value, arg_value, bound)?;
        }
        (Pattern::Array(element), Type::Unknown) => unify(element, arg, bound)?,
        (Pattern::Map(key, value), Type::Unknown) => {
            unify(key, arg, bound)?;
            unify(value, arg, bound)?;
        }
        (Pattern::Array(_) | Pattern::Map(..), _) => return None,
        (Pattern::AnyOf(kind), _) if arg.base_name() == *kind => {}
        (Pattern::AnyOf("decimal"), _) if arg.is_integer() => {}
        (Pattern::AnyOf(_), Type::Unknown) => {}
        (Pattern::AnyOf(_), _) => return None,
        (Pattern::Exact(_), _) => {}
    }
    Some(())
}

fn fill(pattern: &Pattern, arg: Option<&Type>, bound: &HashMap<char, Type>) -> Option<Type> {
    match pattern {
        Pattern::Variable(name) => bound.get(name).cloned(),
        Pattern::Exact(ty) => Some(ty.clone()),
        Pattern::Array(element) => Some(Type::array(fill(element, None, bound)?)),
        Pattern::Map(key, value) => Some(Type::map(
            fill(key, None, bound)?,
            fill(value, None, bound)?,
        )),
        Pattern::AnyOf(kind) => match (kind, arg) {
            (_, Some(arg)) if arg.base_name() == *kind => Some(arg.clone()),
            (&"decimal", Some(arg)) if arg.is_integer() => arg
                .as_decimal()
                .map(|(precision, scale)| Type::Decimal(precision, scale)),
            (&"timestamp", _) => Some(Type::Timestamp(3)),
            (&"timestamp with time zone", _) => Some(Type::TimestampTz(3, UTC.into())),
            (&"time", _) => Some(Type::Time(3)),
            (_, Some(_)) => Some(Type::Decimal(38, 0)),
            _ => None,
        },
    }
}
