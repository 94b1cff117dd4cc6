//! Filter and projection; also the union of several inputs, which is a projection of nothing.
//!
//! JSON_VALUE calls over one column are read together, in one pass over each text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringBuilder};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_plan::PhysicalExpr;

use super::keys::batch_of;
use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::functions::json::{self, Step};
use crate::graph::OperatorFactory;
use crate::operator::{Operator, Output, Subtask};
use crate::plan::typed::{Typed, TypedKind};

/// The paths that are read from one column.
#[derive(Debug, Clone)]
struct Extraction {
    column: usize,
    paths: Vec<Vec<Step>>,
}

/// For each column, the paths read from it: as written and as steps.
type Paths = Vec<(usize, Vec<(String, Vec<Step>)>)>;

/// Makes filters and projections.
#[derive(Debug, Clone)]
pub(crate) struct Calc {
    extractions: Vec<Extraction>,
    /// The input with the extracted columns.
    wide: SchemaRef,
    filter: Option<Arc<dyn PhysicalExpr>>,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    /// Filter before extraction: it reads no extracted column.
    filter_first: bool,
    output: SchemaRef,
}

impl Calc {
    pub(crate) fn new(
        input: &SchemaRef,
        filter: Option<&Typed>,
        exprs: &[Typed],
        output: SchemaRef,
    ) -> Result<Self, Error> {
        let mut found: Paths = Vec::new();
        for expr in exprs.iter().chain(filter) {
            collect(expr, &mut found);
        }
        found.retain(|(_, paths)| paths.len() > 1);
        let mut fields: Vec<_> = input.fields().iter().cloned().collect();
        let mut starts = Vec::new();
        for (column, paths) in &found {
            starts.push((*column, fields.len()));
            for (name, _) in paths {
                fields.push(Arc::new(Field::new(
                    format!("{column}.{name}"),
                    DataType::Utf8,
                    true,
                )));
            }
        }
        let wide = Arc::new(Schema::new(fields));
        let replace = |expr: &Typed| {
            expr.rewrite(&mut |inner| {
                let (column, name, _) = extraction(inner)?;
                let at = found.iter().position(|(found, _)| *found == column)?;
                let path = found[at].1.iter().position(|(path, _)| *path == name)?;
                Some(Typed::column(starts[at].1 + path, inner.ty.clone()))
            })
        };
        let filter_typed = filter.map(replace);
        let filter_first = filter_typed
            .as_ref()
            .is_none_or(|typed| filter == Some(typed));
        Ok(Calc {
            filter: filter_typed.map(|typed| typed.compile(&wide)).transpose()?,
            exprs: exprs
                .iter()
                .map(|expr| replace(expr).compile(&wide))
                .collect::<Result<_, _>>()?,
            extractions: found
                .into_iter()
                .map(|(column, paths)| Extraction {
                    column,
                    paths: paths.into_iter().map(|(_, steps)| steps).collect(),
                })
                .collect(),
            wide,
            filter_first,
            output,
        })
    }
}

/// A JSON_VALUE of a column with a literal path and no clauses.
fn extraction(expr: &Typed) -> Option<(usize, String, Vec<Step>)> {
    let TypedKind::Call(kernel, args) = &expr.kind else {
        return None;
    };
    let path = kernel.name.strip_prefix("JSON_VALUE[")?.strip_suffix(']')?;
    let (steps, _) = json::parse_path(path)?;
    match args.first().map(|arg| &arg.kind) {
        Some(TypedKind::Column(column)) => Some((*column, path.to_owned(), steps)),
        _ => None,
    }
}

fn collect(expr: &Typed, found: &mut Paths) {
    if let Some((column, path, steps)) = extraction(expr) {
        let at = match found.iter().position(|(known, _)| *known == column) {
            Some(at) => at,
            None => {
                found.push((column, Vec::new()));
                found.len() - 1
            }
        };
        if !found[at].1.iter().any(|(known, _)| *known == path) {
            found[at].1.push((path, steps));
        }
    }
    for child in expr.children() {
        collect(child, found);
    }
}

impl OperatorFactory for Calc {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        Ok(Box::new(self.clone()))
    }
}

impl Calc {
    fn widen(&self, batch: RecordBatch) -> Result<RecordBatch, Error> {
        if self.extractions.is_empty() {
            return Ok(batch);
        }
        let mut columns = batch.columns().to_vec();
        for extraction in &self.extractions {
            extraction.run(batch.column(extraction.column), &mut columns);
        }
        batch_of(&self.wide, columns)
    }

    fn keep(&self, batch: ChangeBatch) -> Result<ChangeBatch, Error> {
        let Some(filter) = &self.filter else {
            return Ok(batch);
        };
        let mask = evaluate(filter, &batch.rows)?;
        let mask = match mask.as_boolean_opt() {
            Some(mask) if mask.null_count() > 0 => prep_null_mask_filter(mask),
            Some(mask) => mask.clone(),
            None => return Err(Error::failed("a condition was no BOOLEAN")),
        };
        keep_rows(batch, &mask)
    }
}

/// The rows of `batch` where `mask` is true.
pub(crate) fn keep_rows(batch: ChangeBatch, mask: &BooleanArray) -> Result<ChangeBatch, Error> {
    if mask.true_count() == mask.len() {
        return Ok(batch);
    }
    let rows = filter_record_batch(&batch.rows, mask).map_err(super::keys::failed)?;
    Ok(match &batch.kinds {
        None => ChangeBatch::inserts(rows),
        Some(kinds) => {
            let kinds: Vec<RowKind> = kinds
                .iter()
                .zip(mask.values())
                .filter_map(|(kind, keep)| keep.then_some(*kind))
                .collect();
            ChangeBatch::changes(rows, kinds.into())
        }
    })
}

/// `expr` over `rows`; what fails is a value that SQL says must fail.
pub(crate) fn evaluate(
    expr: &Arc<dyn PhysicalExpr>,
    rows: &RecordBatch,
) -> Result<ArrayRef, Error> {
    expr.evaluate(rows)
        .and_then(|value| value.into_array(rows.num_rows()))
        .map_err(|error| match error {
            datafusion::common::DataFusionError::Execution(message) => Error::failed(message),
            other => Error::caused("could not evaluate an expression", other),
        })
}

impl Extraction {
    fn run(&self, texts: &ArrayRef, columns: &mut Vec<ArrayRef>) {
        let texts = texts.as_string::<i32>();
        let paths: Vec<&[Step]> = self.paths.iter().map(Vec::as_slice).collect();
        let mut builders: Vec<StringBuilder> = paths
            .iter()
            .map(|_| StringBuilder::with_capacity(texts.len(), texts.len() * 24))
            .collect();
        let mut value = String::new();
        let mut found = vec![None; paths.len()];
        for text in texts {
            let valid = text.is_some_and(|text| json::find(text, &paths, &mut found).is_ok());
            for (builder, raw) in builders.iter_mut().zip(&found) {
                value.clear();
                let scalar = raw
                    .filter(|_| valid)
                    .and_then(|raw| json::scalar(raw.get(), &mut value));
                if scalar == Some(true) {
                    builder.append_value(&value);
                } else {
                    builder.append_null();
                }
            }
        }
        columns.extend(
            builders
                .into_iter()
                .map(|mut builder| Arc::new(builder.finish()) as ArrayRef),
        );
    }
}

impl Operator for Calc {
    fn on_batch(
        &mut self,
        _: usize,
        mut batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        if self.filter_first {
            batch = self.keep(batch)?;
        }
        if batch.num_rows() == 0 {
            return Ok(());
        }
        batch.rows = self.widen(batch.rows)?;
        if !self.filter_first {
            batch = self.keep(batch)?;
            if batch.num_rows() == 0 {
                return Ok(());
            }
        }
        let columns = self
            .exprs
            .iter()
            .map(|expr| evaluate(expr, &batch.rows))
            .collect::<Result<Vec<_>, _>>()?;
        let options =
            arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let rows = RecordBatch::try_new_with_options(self.output.clone(), columns, &options)
            .map_err(super::keys::failed)?;
        output.emit(ChangeBatch {
            rows,
            kinds: batch.kinds,
        })
    }
}

/// Passes every input on.
#[derive(Debug)]
pub(crate) struct Union {
    pub(crate) output: SchemaRef,
}

impl OperatorFactory for Union {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        Ok(Box::new(Union {
            output: self.output.clone(),
        }))
    }
}

impl Operator for Union {
    fn on_batch(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let rows = batch_of(&self.output, batch.rows.columns().to_vec())?;
        output.emit(ChangeBatch {
            rows,
            kinds: batch.kinds,
        })
    }
}
