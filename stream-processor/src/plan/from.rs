//! FROM: tables, views, subqueries, window functions and joins.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Planner;
use super::condition::{split_condition, versions_of, with_keys};
use super::expr::{Analyzer, whole};
use super::hints::{name_of, with_hints};
use super::joined::{assemble, check_ttl, joined, joined_scope};
use super::query::Env;
use super::rel::{Field, Op, Rel, Role, WindowKind};
use super::scope::Scope;
use super::typed::TypedKind;
use super::unnest::Unnesting;
use crate::error::{Error, Position};
use crate::sql::Relation;
use crate::sql::ast::{Expr, Hint, Ident, JoinKind, SetExpr, TableKind, TableRef, WindowCall};
use crate::table::{SqlType, TypeRoot};

/// A step and the names its columns have.
pub(super) type Source = (Arc<Rel>, Scope);

impl Planner<'_> {
    pub(super) fn from(&self, table: &TableRef, env: &Env) -> Result<Source, Error> {
        let (rel, name) = match &table.kind {
            TableKind::Named { path, hints, as_of } => {
                if as_of.is_some() {
                    return Err(Error::unsupported(
                        "FOR SYSTEM_TIME AS OF here",
                        table.position,
                        "; it belongs to the right side of a JOIN",
                    ));
                }
                let rel = self.named(path, hints, env)?;
                (rel, path.last().map(|part| part.value.clone()))
            }
            TableKind::Query(query) => (self.query(query, env)?, None),
            TableKind::Window(call) => (self.window(call, env)?, None),
            TableKind::Unnest { expr, ordinality } => {
                return self.unnest_alone(&Unnesting {
                    expr,
                    ordinality: *ordinality,
                    table,
                    kind: JoinKind::Inner,
                    on: None,
                });
            }
            TableKind::Join {
                left,
                right,
                kind,
                on,
                using,
            } => {
                if !using.is_empty() {
                    return Err(Error::unsupported(
                        "JOIN … USING",
                        table.position,
                        "; use ON",
                    ));
                }
                return self.join(left, right, *kind, on.as_ref(), env, table.position);
            }
        };
        let name = table
            .alias
            .as_ref()
            .map(|alias| alias.value.clone())
            .or(name);
        let names = match &table.alias {
            Some(alias) if is_one_column_of_values(table, &rel) => std::slice::from_ref(alias),
            _ => &table.columns,
        };
        let rel = rename(rel, names)?;
        let columns = rel
            .fields
            .iter()
            .map(|field| (name.clone(), field.clone()))
            .collect();
        Ok((rel, Scope::of(columns)))
    }

    fn named(&self, path: &[Ident], hints: &[Hint], env: &Env) -> Result<Arc<Rel>, Error> {
        if let [name] = path
            && let Some((_, rel)) = env
                .ctes
                .iter()
                .rev()
                .find(|(known, _)| *known == name.value)
        {
            return Ok(rel.clone());
        }
        match self.lookup.find(path, env.place())?.1 {
            Relation::Table(table) => Ok(super::source::scan(with_hints(table, hints)?)),
            Relation::View(view) => {
                if let Some(hint) = hints.first() {
                    return Err(Error::validation("a view takes no hints", hint.position));
                }
                if env.depth > 16 {
                    return Err(Error::validation("views nest too deeply", path[0].position));
                }
                let inside = Env {
                    ctes: Vec::new(),
                    catalog: view.catalog.clone(),
                    database: view.database.clone(),
                    depth: env.depth + 1,
                    state_ttl: BTreeMap::new(),
                };
                rename(self.query(&view.query, &inside)?, &view.columns)
            }
        }
    }

    fn window(&self, call: &WindowCall, env: &Env) -> Result<Arc<Rel>, Error> {
        let (input, scope) = self.from(&call.input, env)?;
        let find = |ident: &Ident| {
            scope
                .columns
                .iter()
                .position(|(_, field)| field.name == ident.value)
                .ok_or_else(|| {
                    Error::validation(format!("unknown column `{}`", ident.value), ident.position)
                })
        };
        let time = find(&call.time_column)?;
        let partition = call
            .partition
            .iter()
            .map(find)
            .collect::<Result<Vec<_>, _>>()?;
        self.windowed(call, input, time, partition)
    }

    /// `input` with the windows that `call` assigns by the column `time`.
    pub(super) fn windowed(
        &self,
        call: &WindowCall,
        input: Arc<Rel>,
        time: usize,
        partition: Vec<usize>,
    ) -> Result<Arc<Rel>, Error> {
        match input.fields[time].role {
            Role::Rowtime => {}
            Role::Proctime => {
                return Err(Error::unsupported(
                    format!("{} over processing time", call.name),
                    call.time_column.position,
                    "; use a column with a WATERMARK",
                ));
            }
            _ => {
                return Err(Error::validation(
                    format!(
                        "`{}` is no time attribute; a window needs a column with a WATERMARK",
                        call.time_column.value
                    ),
                    call.time_column.position,
                ));
            }
        }
        if !partition.is_empty() && call.name != "SESSION" {
            return Err(Error::unsupported(
                format!("PARTITION BY in {}", call.name),
                call.position,
                "; GROUP BY the columns",
            ));
        }
        let kind = self.window_kind(call)?;
        let ltz = matches!(input.fields[time].ty.root, TypeRoot::TimestampLtz(_));
        let mut fields: Vec<Field> = input.fields.clone();
        for field in &mut fields {
            if field.role == Role::Rowtime {
                field.role = Role::Plain;
            }
        }
        let wall = SqlType::required(TypeRoot::Timestamp(3));
        let last = if ltz {
            SqlType::required(TypeRoot::TimestampLtz(3))
        } else {
            wall.clone()
        };
        for (name, ty, role) in [
            ("window_start", wall.clone(), Role::WindowStart),
            ("window_end", wall, Role::WindowEnd(ltz)),
            ("window_time", last, Role::Rowtime),
        ] {
            fields.push(Field {
                name: name.to_owned(),
                ty,
                role,
            });
        }
        let changes = input.changes;
        Ok(Arc::new(Rel {
            op: Op::Window {
                kind,
                time,
                partition,
            },
            inputs: vec![input],
            fields,
            changes,
        }))
    }

    fn window_kind(&self, call: &WindowCall) -> Result<WindowKind, Error> {
        let wrong = |why: &str| Error::validation(format!("{}: {why}", call.name), call.position);
        let scope = Scope::default();
        let analyzer = Analyzer {
            scope: &scope,
            grouping: None,
            zone: self.zone,
        };
        let names: &[&str] = match call.name.as_str() {
            "TUMBLE" => &["SIZE", "OFFSET"],
            "HOP" => &["SLIDE", "SIZE", "OFFSET"],
            "CUMULATE" => &["STEP", "SIZE", "OFFSET"],
            _ => &["GAP"],
        };
        let mut values = [None; 3];
        for (position, (label, expr)) in call.intervals.iter().enumerate() {
            let at = match label {
                None => Some(position).filter(|at| *at < names.len()),
                Some(label) => names.iter().position(|name| name == label),
            };
            let typed = analyzer.expr(expr)?;
            let millis = match &typed.kind {
                TypedKind::Literal(datafusion_common::ScalarValue::DurationMillisecond(millis)) => {
                    *millis
                }
                _ => whole(&typed).filter(|_| false),
            };
            match (at, millis) {
                (Some(at), Some(millis)) => values[at] = Some(millis),
                _ => return Err(wrong("the arguments must be intervals of days or less")),
            }
        }
        let need = |at: usize| {
            values[at]
                .filter(|value| *value > 0)
                .ok_or_else(|| wrong("needs positive intervals"))
        };
        Ok(match call.name.as_str() {
            "TUMBLE" => WindowKind::Tumble {
                size: need(0)?,
                offset: values[1].unwrap_or(0),
            },
            "SESSION" => WindowKind::Session { gap: need(0)? },
            name => {
                let (step, size, offset) = (need(0)?, need(1)?, values[2].unwrap_or(0));
                if size % step != 0 || size / step > 10_000 {
                    return Err(wrong("the size must be a multiple of the slide or step"));
                }
                if name == "HOP" {
                    WindowKind::Hop {
                        slide: step,
                        size,
                        offset,
                    }
                } else {
                    WindowKind::Cumulate { step, size, offset }
                }
            }
        })
    }

    fn join(
        &self,
        left: &TableRef,
        right: &TableRef,
        kind: JoinKind,
        on: Option<&Expr>,
        env: &Env,
        at: Position,
    ) -> Result<Source, Error> {
        let hinted = |side| name_of(side).and_then(|name| env.state_ttl.get(name).copied());
        let ttl = [hinted(left), hinted(right)];
        let left = self.from(left, env)?;
        if let TableKind::Named {
            path,
            hints,
            as_of: Some(as_of),
        } = &right.kind
        {
            if matches!(kind, JoinKind::Right | JoinKind::Full) {
                return Err(Error::unsupported(
                    format!(
                        "a temporal {} JOIN",
                        if kind == JoinKind::Right {
                            "RIGHT"
                        } else {
                            "FULL"
                        }
                    ),
                    at,
                    "; INNER and LEFT are",
                ));
            }
            let name = right.alias.clone().or_else(|| path.last().cloned());
            let rel = rename(self.named(path, hints, env)?, &right.columns)?;
            let columns = rel
                .fields
                .iter()
                .map(|field| (name.as_ref().map(|name| name.value.clone()), field.clone()))
                .collect();
            return self.temporal(left, (rel, Scope::of(columns)), kind, on, as_of, at);
        }
        if let TableKind::Unnest { expr, ordinality } = &right.kind {
            let unnesting = Unnesting {
                expr,
                ordinality: *ordinality,
                table: right,
                kind,
                on,
            };
            return self.unnest(left, &unnesting);
        }
        let right = self.from(right, env)?;
        let source = self.regular(&left, &right, kind, on, ttl)?;
        check_ttl(&source.0, ttl, at)?;
        Ok(source)
    }

    fn regular(
        &self,
        left: &Source,
        right: &Source,
        kind: JoinKind,
        on: Option<&Expr>,
        ttl: [Option<i64>; 2],
    ) -> Result<Source, Error> {
        let scope = joined_scope([&left.1, &right.1], kind, [false, false]);
        let analyzer = Analyzer {
            scope: &scope,
            grouping: None,
            zone: self.zone,
        };
        // Without a condition yet: WHERE may bring one.
        let on = on.map(|on| analyzer.boolean(on)).transpose()?;
        Ok(joined(left, right, kind, on, ttl))
    }

    #[expect(clippy::needless_pass_by_value, reason = "both sides are used up")]
    #[expect(clippy::too_many_lines, reason = "one check after the other")]
    fn temporal(
        &self,
        left: Source,
        right: Source,
        kind: JoinKind,
        on: Option<&Expr>,
        as_of: &Expr,
        at: Position,
    ) -> Result<Source, Error> {
        let time = Analyzer {
            scope: &left.1,
            grouping: None,
            zone: self.zone,
        }
        .expr(as_of)?;
        let left_time = match time.kind {
            TypedKind::Column(column) if left.0.fields[column].role == Role::Rowtime => column,
            TypedKind::Column(column) if left.0.fields[column].role == Role::Proctime => {
                return Err(Error::unsupported(
                    "a lookup join (FOR SYSTEM_TIME AS OF processing time)",
                    as_of.position,
                    "; join the table regularly, or by event time",
                ));
            }
            _ => {
                return Err(Error::validation(
                    "FOR SYSTEM_TIME AS OF needs the left side's rowtime",
                    as_of.position,
                ));
            }
        };
        let Some((versions, primary, right_time)) = versions_of(&right.0) else {
            return Err(Error::validation(
                "a temporal join needs a versioned table on the right: a PRIMARY KEY and a WATERMARK, or a view with ROW_NUMBER() … ORDER BY rowtime DESC = 1",
                at,
            ));
        };
        let outer = kind == JoinKind::Left;
        let scope = joined_scope([&left.1, &right.1], kind, [true, false]);
        let on = on.ok_or_else(|| Error::validation("a temporal join needs ON", at))?;
        let analyzer = Analyzer {
            scope: &scope,
            grouping: None,
            zone: self.zone,
        };
        let n_left = left.0.fields.len();
        let (pairs, condition) = split_condition(analyzer.boolean(on)?, n_left);
        let (left_rel, left_keys) = with_keys(&left.0, pairs.iter().map(|(left, _)| left.clone()));
        let shifted = pairs
            .iter()
            .map(|(_, right)| right.remap(&|column| column - n_left));
        let (right_rel, right_keys) = with_keys(&versions, shifted);
        let mut asked = right_keys.clone();
        let mut wanted = primary;
        asked.sort_unstable();
        wanted.sort_unstable();
        if asked != wanted {
            return Err(Error::validation(
                "a temporal join needs an equality for each column of the versioned table's key, and no other",
                at,
            ));
        }
        let fields: Vec<Field> = scope
            .columns
            .iter()
            .map(|(_, field)| field.clone())
            .collect();
        let op = |condition| Op::TemporalJoin {
            outer,
            left_keys,
            right_keys,
            left_time,
            right_time,
            condition,
        };
        // What a left row does, its result does.
        let changes = left.0.changes;
        let rel = assemble(
            [left_rel, right_rel],
            [n_left, versions.fields.len()],
            fields,
            condition,
            changes,
            op,
        );
        Ok((rel, scope))
    }
}

/// Whether the alias of the table is also that of its column: `(VALUES 1, 2) AS a`.
fn is_one_column_of_values(table: &TableRef, rel: &Rel) -> bool {
    let is_values = match &table.kind {
        TableKind::Query(query) => matches!(query.body, SetExpr::Values(..)),
        _ => false,
    };
    is_values && table.columns.is_empty() && rel.fields.len() == 1
}

fn rename(rel: Arc<Rel>, names: &[Ident]) -> Result<Arc<Rel>, Error> {
    let Some(first) = names.first() else {
        return Ok(rel);
    };
    if names.len() != rel.fields.len() {
        return Err(Error::validation(
            format!(
                "{} column names for {} columns",
                names.len(),
                rel.fields.len()
            ),
            first.position,
        ));
    }
    let items = rel
        .all()
        .into_iter()
        .zip(names)
        .map(|((_, expr), name)| (name.value.clone(), expr))
        .collect();
    Ok(Rel::calc(rel, None, items))
}
