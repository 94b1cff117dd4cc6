//! Filter and projection; also the union of several inputs, which is a projection of nothing.
//!
//! JSON_VALUE calls over one column are read together, in one pass over each text, and what several expressions have
//! in common is computed once.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringBuilder,
};
use arrow::compute::{cast, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;

use super::keys::batch_of;
use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::functions::json::{self, Step};
use crate::graph::OperatorFactory;
use crate::operator::{EventTime, Operator, Output, Subtask};
use crate::plan::typed::{Typed, TypedKind};
use crate::plan::watermark::{self, is_current};
use crate::table::SqlType;

/// The paths that are read from one column.
#[derive(Debug, Clone)]
pub(crate) struct Extraction {
    column: usize,
    paths: json::Paths,
    n_paths: usize,
}

/// For each column, the paths read from it: as written and as steps.
type Extracted = Vec<(usize, Vec<(String, Vec<Step>)>)>;

/// Makes filters and projections.
#[derive(Debug, Clone)]
pub(crate) struct Calc {
    extractions: Vec<Extraction>,
    /// Subexpressions with several uses, each over the input, the extracted columns and those before it.
    shared: Vec<Arc<dyn PhysicalExpr>>,
    /// The input, the extracted columns and the shared ones.
    wide: SchemaRef,
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// Filter before the input is widened: the condition reads only columns of the input.
    filter_first: bool,
    /// The columns of `wide` that `exprs` read, in their order there; only they pass a filter.
    read: Vec<usize>,
    /// Over the columns `read`.
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    output: SchemaRef,
    /// The input with the columns that tell the watermark, if expressions ask for it.
    timed: Option<SchemaRef>,
    watermark: EventTime,
}

/// Columns that are computed before the filter and the expressions, which then read them.
pub(crate) struct Widening {
    /// The input, the extracted columns and the shared ones.
    pub(crate) fields: Vec<Arc<Field>>,
    extracted: Extracted,
    /// Where the extracted columns of each input column begin.
    starts: Vec<usize>,
    shared: Vec<(Typed, usize)>,
}

impl Calc {
    pub(crate) fn new(
        input: &SchemaRef,
        filter: Option<&Typed>,
        exprs: &[Typed],
        output: SchemaRef,
    ) -> Result<Self, Error> {
        let (timed, calls) = with_watermark(input, exprs.iter().chain(filter));
        let read = |expr: &Typed| {
            expr.rewrite(&mut |inner| {
                let at = calls
                    .iter()
                    .position(|ty| is_current(inner) && *ty == inner.ty)?;
                Some(Typed::column(input.fields().len() + at, inner.ty.clone()))
            })
        };
        let filter = filter.map(read);
        let (filter, exprs) = (filter.as_ref(), exprs.iter().map(read).collect::<Vec<_>>());
        let input = timed.as_ref().unwrap_or(input);
        let mut widening = Widening::new(input, exprs.iter().chain(filter));
        let shared = widening.share(exprs.iter().chain(filter))?;
        let wide = Arc::new(Schema::new(std::mem::take(&mut widening.fields)));
        let filter = filter.map(|filter| widening.replace(filter));
        let exprs: Vec<Typed> = exprs.iter().map(|expr| widening.replace(expr)).collect();

        let reads = |exprs: &mut dyn Iterator<Item = &Typed>| {
            let mut read = vec![false; wide.fields().len()];
            exprs.for_each(|expr| expr.mark_columns(&mut |column| read[column] = true));
            (0..read.len())
                .filter(|column| read[*column])
                .collect::<Vec<_>>()
        };
        let n_input = input.fields().len();
        let read = reads(&mut exprs.iter());
        let place = |column: usize| read.iter().position(|read| *read == column).unwrap_or(0);
        let narrow = wide.project(&read).map_err(super::keys::failed)?;
        Ok(Calc {
            filter_first: reads(&mut filter.iter())
                .iter()
                .all(|column| *column < n_input),
            filter: filter.map(|filter| filter.compile(&wide)).transpose()?,
            exprs: exprs
                .iter()
                .map(|expr| expr.remap(&place).compile(&narrow))
                .collect::<Result<_, _>>()?,
            extractions: widening.extractions(),
            shared,
            wide,
            read,
            output,
            timed,
            watermark: EventTime::MIN,
        })
    }

    /// The batch with the columns that tell the watermark.
    fn timed(&self, batch: RecordBatch) -> Result<RecordBatch, Error> {
        let Some(timed) = &self.timed else {
            return Ok(batch);
        };
        let mut columns = batch.columns().to_vec();
        let known = (self.watermark != EventTime::MIN).then_some(self.watermark.0);
        for field in &timed.fields()[columns.len()..] {
            let millis = Int64Array::from(vec![known; batch.num_rows()]);
            columns.push(cast(&millis, field.data_type()).map_err(super::keys::failed)?);
        }
        batch_of(timed, columns)
    }
}

/// The input with a column for each type of CURRENT_WATERMARK in `exprs`, and the types.
fn with_watermark<'e>(
    input: &SchemaRef,
    exprs: impl Iterator<Item = &'e Typed>,
) -> (Option<SchemaRef>, Vec<SqlType>) {
    let mut calls = Vec::new();
    exprs.for_each(|expr| watermark::types(expr, &mut calls));
    if calls.is_empty() {
        return (None, calls);
    }
    let mut fields: Vec<_> = input.fields().iter().cloned().collect();
    let told = calls
        .iter()
        .map(|ty| Field::new("$watermark", ty.arrow(), true));
    fields.extend(told.map(Arc::new));
    (Some(Arc::new(Schema::new(fields))), calls)
}

impl Widening {
    pub(crate) fn new<'e>(input: &Schema, exprs: impl Iterator<Item = &'e Typed>) -> Self {
        let mut extracted = Extracted::new();
        exprs.for_each(|expr| collect(expr, &mut extracted));
        let mut fields: Vec<_> = input.fields().iter().cloned().collect();
        let mut starts = Vec::new();
        for (column, paths) in &extracted {
            starts.push(fields.len());
            for (name, _) in paths {
                let name = format!("{column}.{name}");
                fields.push(Arc::new(Field::new(name, DataType::Utf8, true)));
            }
        }
        Widening {
            fields,
            extracted,
            starts,
            shared: Vec::new(),
        }
    }

    /// Adds a column for each subexpression that stands at several places and cannot fail.
    pub(crate) fn share<'e>(
        &mut self,
        exprs: impl Iterator<Item = &'e Typed>,
    ) -> Result<Vec<Arc<dyn PhysicalExpr>>, Error> {
        let mut uses: Vec<(Typed, usize)> = Vec::new();
        let exprs: Vec<Typed> = exprs.map(|expr| self.replace(expr)).collect();
        exprs.iter().for_each(|expr| count_calls(expr, &mut uses));
        let mut compiled = Vec::new();
        // Inner calls were counted before outer ones, which read their columns.
        for (call, n_uses) in uses {
            if n_uses < 2 || !call.can_be_shared() {
                continue;
            }
            let before = Schema::new(self.fields.clone());
            let inner = call.rewrite(&mut |inner| self.column_of(inner));
            compiled.push(inner.compile(&before)?);
            let name = format!("shared.{}", compiled.len());
            self.shared.push((call.clone(), self.fields.len()));
            self.fields
                .push(Arc::new(Field::new(name, call.ty.arrow(), true)));
        }
        Ok(compiled)
    }

    /// The shared column that holds `expr`.
    fn column_of(&self, expr: &Typed) -> Option<Typed> {
        let (_, column) = self.shared.iter().find(|(shared, _)| shared == expr)?;
        Some(Typed::column(*column, expr.ty.clone()))
    }

    /// `expr` with what has been computed read from its column.
    pub(crate) fn replace(&self, expr: &Typed) -> Typed {
        let extracted = expr.rewrite(&mut |inner| {
            let (column, name, _) = extraction(inner)?;
            let known = |(known, _): &(usize, _)| *known == column;
            let at = self.extracted.iter().position(known)?;
            let path = self.extracted[at]
                .1
                .iter()
                .position(|(path, _)| *path == name)?;
            Some(Typed::column(self.starts[at] + path, inner.ty.clone()))
        });
        extracted.rewrite(&mut |inner| self.column_of(inner))
    }

    pub(crate) fn extractions(&self) -> Vec<Extraction> {
        let extracted = self.extracted.iter();
        extracted
            .map(|(column, paths)| Extraction {
                column: *column,
                paths: json::Paths::new(paths.iter().map(|(_, steps)| steps.as_slice())),
                n_paths: paths.len(),
            })
            .collect()
    }
}

/// A JSON_VALUE of a column with a literal path and no clauses: the column, the path as written and as steps.
pub(crate) fn extraction(expr: &Typed) -> Option<(usize, String, Vec<Step>)> {
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

fn collect(expr: &Typed, found: &mut Extracted) {
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

/// Counts the calls in `expr`, inner ones first.
fn count_calls(expr: &Typed, uses: &mut Vec<(Typed, usize)>) {
    for child in expr.children() {
        count_calls(child, uses);
    }
    if matches!(expr.kind, TypedKind::Call(..)) {
        match uses.iter_mut().find(|(known, _)| known == expr) {
            Some((_, n_uses)) => *n_uses += 1,
            None => uses.push((expr.clone(), 1)),
        }
    }
}

impl OperatorFactory for Calc {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        Ok(Box::new(self.clone()))
    }
}

impl Calc {
    /// The batch with the columns that are computed beforehand.
    fn widen(&self, mut batch: RecordBatch) -> Result<RecordBatch, Error> {
        if !self.extractions.is_empty() {
            let mut columns = batch.columns().to_vec();
            for extraction in &self.extractions {
                extraction.run(&mut columns);
            }
            batch = self.first_columns(columns)?;
        }
        for shared in &self.shared {
            let mut columns = batch.columns().to_vec();
            columns.push(evaluate(shared, &batch)?);
            batch = self.first_columns(columns)?;
        }
        Ok(batch)
    }

    fn first_columns(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch, Error> {
        let fields = &self.wide.fields()[..columns.len()];
        batch_of(&Arc::new(Schema::new(fields)), columns)
    }

    fn mask(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>, Error> {
        let Some(filter) = &self.filter else {
            return Ok(None);
        };
        let mask = evaluate(filter, rows)?;
        match mask.as_boolean_opt() {
            Some(mask) if mask.null_count() > 0 => Ok(Some(prep_null_mask_filter(mask))),
            Some(mask) => Ok(Some(mask.clone())),
            None => Err(Error::failed("a condition was no BOOLEAN")),
        }
    }

    /// The columns that the expressions read, of the rows that pass the filter.
    fn select(&self, mut batch: ChangeBatch) -> Result<ChangeBatch, Error> {
        if self.filter_first {
            if let Some(mask) = self.mask(&batch.rows)? {
                batch = keep_rows(batch, &mask)?;
            }
            if batch.num_rows() > 0 {
                batch.rows = self
                    .widen(batch.rows)?
                    .project(&self.read)
                    .map_err(super::keys::failed)?;
            }
            return Ok(batch);
        }
        let wide = self.widen(batch.rows)?;
        let mask = self.mask(&wide)?;
        batch.rows = wide.project(&self.read).map_err(super::keys::failed)?;
        match mask {
            Some(mask) => keep_rows(batch, &mask),
            None => Ok(batch),
        }
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
            datafusion_common::DataFusionError::Execution(message) => Error::failed(message),
            other => Error::caused("could not evaluate an expression", other),
        })
}

impl Extraction {
    /// How many columns it appends.
    pub(crate) fn width(&self) -> usize {
        self.n_paths
    }

    /// Appends the extracted columns to `columns`, among which the texts are.
    pub(crate) fn run(&self, columns: &mut Vec<ArrayRef>) {
        let texts = columns[self.column].clone();
        let texts = texts.as_string::<i32>();
        let mut builders: Vec<StringBuilder> = (0..self.n_paths)
            .map(|_| StringBuilder::with_capacity(texts.len(), texts.len() * 24))
            .collect();
        let mut found = Vec::with_capacity(self.n_paths);
        for text in texts {
            if text.is_none_or(|text| self.paths.find(text, &mut found).is_err()) {
                builders.iter_mut().for_each(StringBuilder::append_null);
                continue;
            }
            for (builder, found) in builders.iter_mut().zip(&found) {
                match found.and_then(json::Found::scalar) {
                    Some(value) => builder.append_value(value),
                    None => builder.append_null(),
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
        batch.rows = self.timed(batch.rows)?;
        let batch = self.select(batch)?;
        if batch.num_rows() == 0 {
            return Ok(());
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

    fn on_watermark(&mut self, watermark: EventTime, output: &mut dyn Output) -> Result<(), Error> {
        self.watermark = watermark;
        output.watermark(watermark)
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
