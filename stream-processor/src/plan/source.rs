//! Declared tables as inputs: types of computed columns, the watermark, the specification for the connector.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field as ArrowField, Schema};
use chrono_tz::Tz;

use super::expr::Analyzer;
use super::rel::{Field, Op, Rel, Role};
use super::scope::Scope;
use super::typed::{Typed, TypedKind};
use crate::error::Error;
use crate::graph::{ChangelogMode, ComputedColumn, SourceSpec, Watermark};
use crate::operators::calc::{Widening, extraction};
use crate::sql::Settings;
use crate::sql::ast::Expr;
use crate::sql::parser::parse_expression;
use crate::table::{ColumnKind, TableDefinition, TypeRoot};

/// Finds the types of computed columns and checks the watermark of a table that is being created.
pub(crate) fn check_table(table: &mut TableDefinition, zone: Tz) -> Result<(), Error> {
    let mut scope = Scope::default();
    // Computed columns see the physical and metadata ones wherever they stand.
    for column in &table.columns {
        if !matches!(column.kind, ColumnKind::Computed(_)) {
            scope
                .columns
                .push((None, Field::plain(&column.name, column.data_type.clone())));
        }
    }
    for index in 0..table.columns.len() {
        let ColumnKind::Computed(text) = &table.columns[index].kind else {
            continue;
        };
        let typed = typed(text, &scope, zone, &table.columns[index].name)?;
        table.columns[index].data_type = typed.ty;
    }
    let mut names: Vec<&str> = table
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::invalid(format!(
            "column `{}` is declared twice",
            twice[0]
        )));
    }
    let Some((name, text)) = &table.watermark else {
        return Ok(());
    };
    let all = full_scope(table);
    let expr = typed_in(text, &all, zone, name)?;
    let root = table
        .columns
        .iter()
        .find(|column| column.name == *name)
        .map(|column| &column.data_type.root);
    match root {
        Some(TypeRoot::Timestamp(0..=3) | TypeRoot::TimestampLtz(0..=3)) => {}
        Some(other) => {
            return Err(Error::invalid(format!(
                "the row-time column `{name}` must be TIMESTAMP(3) or TIMESTAMP_LTZ(3), not {other}"
            )));
        }
        None => {
            return Err(Error::invalid(format!(
                "WATERMARK FOR `{name}`: no such column"
            )));
        }
    }
    if !matches!(
        expr.ty.root,
        TypeRoot::Timestamp(_) | TypeRoot::TimestampLtz(_)
    ) {
        return Err(Error::invalid(format!(
            "the watermark of `{name}` cannot be {}",
            expr.ty
        )));
    }
    Ok(())
}

fn typed(text: &str, scope: &Scope, zone: Tz, column: &str) -> Result<Typed, Error> {
    typed_in(text, scope, zone, column)
}

fn typed_in(text: &str, scope: &Scope, zone: Tz, column: &str) -> Result<Typed, Error> {
    let analyzer = Analyzer {
        scope,
        grouping: None,
        zone,
    };
    let analysed = |expr: Expr| analyzer.expr(&expr);
    parse_expression(text)
        .and_then(analysed)
        .map_err(|error| Error::invalid(format!("in the expression of column `{column}`: {error}")))
}

/// A scan of every column.
pub(crate) fn scan(table: Arc<TableDefinition>) -> Arc<Rel> {
    let fields = table
        .columns
        .iter()
        .map(|column| {
            let is_proctime =
                matches!(&column.kind, ColumnKind::Computed(text) if is_proctime(text));
            let is_rowtime = table
                .watermark
                .as_ref()
                .is_some_and(|(name, _)| *name == column.name);
            Field {
                name: column.name.clone(),
                ty: column.data_type.clone(),
                role: match (is_rowtime, is_proctime) {
                    (true, _) => Role::Rowtime,
                    (_, true) => Role::Proctime,
                    _ => Role::Plain,
                },
            }
        })
        .collect();
    let option = |key: &str| table.options.get(key).map(String::as_str);
    let format = option("value.format")
        .or(option("format"))
        .unwrap_or_default();
    let changes = if option("connector") == Some("upsert-kafka") {
        ChangelogMode::Upsert
    } else if format.ends_with("debezium-json") {
        ChangelogMode::Retract
    } else {
        ChangelogMode::InsertOnly
    };
    Arc::new(Rel {
        op: Op::Scan(table),
        inputs: Vec::new(),
        fields,
        changes,
    })
}

/// Refuses to read the changes of `table` where Flink would, or would read them otherwise.
pub(super) fn check_changes(table: &TableDefinition, settings: &Settings) -> Result<(), Error> {
    if settings.job_config()?.batch {
        return Err(Error::invalid(format!(
            "Querying a table in batch mode is currently only possible for INSERT-only table sources. But the source for table {} produces other changelog messages than INSERT.",
            table.path
        )));
    }
    let key = "table.exec.source.cdc-events-duplicate";
    let duplicates = settings.all().get(key);
    if duplicates.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(Error::invalid(format!(
            "'{key}' is not supported, and table {} has changes",
            table.path
        )));
    }
    Ok(())
}

fn is_proctime(text: &str) -> bool {
    let plain: String = text.chars().filter(|next| !next.is_whitespace()).collect();
    plain.eq_ignore_ascii_case("PROCTIME()")
}

/// The columns whose texts the computed columns of `table` take JSON values out of.
pub(super) fn extracted_columns(
    table: &TableDefinition,
    zone: Tz,
) -> Result<BTreeSet<usize>, Error> {
    let scope = full_scope(table);
    let mut texts = BTreeSet::new();
    for column in &table.columns {
        if let ColumnKind::Computed(text) = &column.kind {
            typed(text, &scope, zone, &column.name)?.visit(&mut |expr| {
                texts.extend(extraction(expr).map(|(column, ..)| column));
            });
        }
    }
    Ok(texts)
}

/// Every column, by its name.
fn full_scope(table: &TableDefinition) -> Scope {
    let columns = table.columns.iter();
    let columns = columns.map(|column| {
        let field = Field::plain(&column.name, column.data_type.clone());
        (None, field)
    });
    Scope::of(columns.collect())
}

/// What the source must read, compute and emit so that the columns `wanted` come out in that order.
#[expect(
    clippy::too_many_lines,
    reason = "one pass after the other over the same columns"
)]
pub(crate) fn spec(
    table: &Arc<TableDefinition>,
    wanted: &[usize],
    zone: Tz,
) -> Result<SourceSpec, Error> {
    let n_columns = table.columns.len();
    let full = full_scope(table);
    let mut exprs: Vec<Option<Typed>> = vec![None; n_columns];
    for (index, column) in table.columns.iter().enumerate() {
        if let ColumnKind::Computed(text) = &column.kind {
            exprs[index] = Some(typed(text, &full, zone, &column.name)?);
        }
    }
    let watermark = match &table.watermark {
        None => None,
        Some((name, text)) => {
            let column = table.columns.iter().position(|column| column.name == *name);
            column
                .map(|column| Ok::<_, Error>((column, typed_in(text, &full, zone, name)?)))
                .transpose()?
        }
    };
    // Everything that is wanted or that something wanted reads.
    let mut needed = vec![false; n_columns];
    for index in wanted {
        need(*index, &exprs, &mut needed);
    }
    if let Some((column, expr)) = &watermark {
        need(*column, &exprs, &mut needed);
        expr.mark_columns(&mut |index| need(index, &exprs, &mut needed));
    }
    let read: Vec<usize> = (0..n_columns)
        .filter(|index| needed[*index] && exprs[*index].is_none())
        .collect();
    let mut place = vec![usize::MAX; n_columns];
    for (at, index) in read.iter().enumerate() {
        place[*index] = at;
    }
    // Flink's computed columns read only physical and metadata columns.
    let of_read = |expr: &Typed| expr.remap(&|column| place[column]);
    let values: Vec<(usize, Typed)> = (0..n_columns)
        .filter(|index| needed[*index])
        .filter_map(|index| Some((index, of_read(exprs[index].as_ref()?))))
        .collect();
    let fields: Vec<ArrowField> = read
        .iter()
        .map(|index| arrow_field(table, *index))
        .collect();
    let mut widening = Widening::new(&Schema::new(fields), values.iter().map(|(_, expr)| expr));
    let extractions = widening.extractions();
    let n_before = widening.fields.len();
    let shared = widening.share(values.iter().map(|(_, expr)| expr))?;
    let mut computed: Vec<ComputedColumn> = widening.fields[n_before..]
        .iter()
        .zip(shared)
        .map(|(field, expression)| ComputedColumn {
            field: field.clone(),
            expression: Some(expression),
        })
        .collect();
    let mut fields = widening.fields.clone();
    for (index, expr) in &values {
        let proctime =
            matches!(&expr.kind, TypedKind::Call(kernel, _) if &*kernel.name == "PROCTIME");
        let field = Arc::new(arrow_field(table, *index));
        let schema = Schema::new(fields.clone());
        let value = || widening.replace(expr).compile(&schema);
        place[*index] = fields.len();
        fields.push(field.clone());
        computed.push(ComputedColumn {
            field,
            expression: (!proctime).then(value).transpose()?,
        });
    }
    let schema = Schema::new(fields);
    let watermark = match watermark {
        None => None,
        Some((column, expr)) => Some(Watermark {
            column: place[column],
            expression: expr.remap(&|column| place[column]).compile(&schema)?,
        }),
    };
    Ok(SourceSpec {
        table: table.clone(),
        read,
        extractions,
        computed,
        watermark,
        output: wanted.iter().map(|index| place[*index]).collect(),
    })
}

fn need(index: usize, exprs: &[Option<Typed>], needed: &mut [bool]) {
    if needed[index] {
        return;
    }
    needed[index] = true;
    if let Some(expr) = &exprs[index] {
        let mut below = Vec::new();
        expr.mark_columns(&mut |column| below.push(column));
        for column in below {
            need(column, exprs, needed);
        }
    }
}

fn arrow_field(table: &TableDefinition, index: usize) -> ArrowField {
    let column = &table.columns[index];
    ArrowField::new(&column.name, column.data_type.arrow(), true)
}
