//! One instance of a source within a task: polls the connector, makes computed columns, follows event time per split.
//!
//! Several tables may be read by one source (one fetch, one position); each then has its own node, columns and
//! watermark. Rows go into the [`Chain`]; what the watermark of a split is, and when it is passed on, is decided here.
//!
//! The rules are Flink's: the least watermark of the splits that are not idle counts, when all are idle nothing moves,
//! and the clock by which a split becomes idle stands while nothing can be read because what follows is full. Beyond
//! Flink's rules it also stands while the task is held up and while the split's server does not answer: a split that
//! could not be asked has not been silent, and its rows must not be late when they come.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMillisecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;

use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::{JobConfig, SourceSpec, Watermark};
use crate::operator::EventTime;
use crate::operators::calc::Extraction;
use crate::runtime::chain::Chain;
use crate::runtime::ends::{Polled, Positions, Source, SplitRows};
use crate::runtime::metrics::count;

/// Most milliseconds of listening between two ticks, which come every 100 ms unless the task is held up.
const LONGEST: i64 = 1000;

/// A source and the tables read from it.
pub(crate) struct SourceRunner {
    source: Box<dyn Source>,
    heads: Vec<Head>,
    splits: Vec<SplitTime>,
    idle_timeout: Option<i64>,
    /// When [`SourceRunner::tick`] was last called.
    ticked: Option<i64>,
    watermark_interval: Duration,
    ended: bool,
    idle: bool,
}

/// One table of a source.
pub(crate) struct Head {
    /// Its node in the chain.
    node: usize,
    spec: Arc<SourceSpec>,
    /// `read` columns, then computed ones.
    schema: SchemaRef,
    output: SchemaRef,
    /// The running maximum by split.
    watermarks: Vec<EventTime>,
    emitted: EventTime,
    emitted_at: i64,
}

#[derive(Debug, Clone, Copy)]
struct SplitTime {
    /// Milliseconds in which it could have spoken and did not.
    silent: i64,
    idle: bool,
    ended: bool,
}

/// What a step of the source came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Rows went into the chain.
    Rows,
    /// Nothing to read now.
    Pending,
    /// Everything has been read.
    Ended,
}

// === impl SourceRunner ===

impl SourceRunner {
    pub(crate) fn new(source: Box<dyn Source>, heads: Vec<Head>, config: &JobConfig) -> Self {
        SourceRunner {
            source,
            heads,
            splits: Vec::new(),
            idle_timeout: config
                .source_idle_timeout
                .map(|timeout| timeout.as_millis() as i64),
            ticked: None,
            watermark_interval: config.auto_watermark_interval,
            ended: false,
            idle: false,
        }
    }

    /// Reads once.
    pub(crate) fn step(&mut self, chain: &mut Chain, now: i64) -> Result<Progress, Error> {
        if self.ended {
            return Ok(Progress::Ended);
        }
        self.know_splits();
        match self.source.poll(now)? {
            Polled::Rows(rows) => {
                self.take(chain, rows, now)?;
                Ok(Progress::Rows)
            }
            Polled::Pending => Ok(Progress::Pending),
            Polled::SplitEnded(split) => {
                self.splits[split].ended = true;
                self.emit_watermarks(chain, now, Emission::Always)?;
                Ok(Progress::Rows)
            }
            Polled::Ended => {
                self.ended = true;
                for head in &self.heads {
                    chain.emit_watermark(head.node, EventTime::MAX)?;
                    chain.emit_end(head.node)?;
                }
                Ok(Progress::Ended)
            }
        }
    }

    /// Processing time passes: watermarks held back are sent, silent splits are no longer waited for.
    pub(crate) fn tick(&mut self, chain: &mut Chain, now: i64) -> Result<(), Error> {
        if self.ended {
            return Ok(());
        }
        self.know_splits();
        self.listen(chain.has_credit(), now);
        for head in &self.heads {
            let lag = self.source.lag().unwrap_or(u64::MAX);
            chain.metrics(head.node).lag.store(lag, Ordering::Relaxed);
        }
        self.emit_watermarks(chain, now, Emission::Always)?;
        self.tell_idle(chain)
    }

    /// Where to go on, for each table's node.
    pub(crate) fn positions(&self) -> (Vec<usize>, Positions) {
        let nodes = self.heads.iter().map(|head| head.node).collect();
        (nodes, self.source.positions())
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    fn know_splits(&mut self) {
        while self.splits.len() < self.source.splits() {
            self.splits.push(SplitTime {
                silent: 0,
                idle: false,
                ended: false,
            });
            for head in &mut self.heads {
                head.watermarks.push(EventTime::MIN);
            }
        }
    }

    /// Time passes for the splits, unless they could not be heard.
    fn listen(&mut self, has_credit: bool, now: i64) {
        let before = self.ticked.replace(now).unwrap_or(now);
        let (Some(timeout), true) = (self.idle_timeout, has_credit) else {
            return;
        };
        for (index, split) in self.splits.iter_mut().enumerate() {
            if self.source.answers(index) {
                split.silent += (now - before).clamp(0, LONGEST);
                split.idle |= split.silent >= timeout;
            }
        }
    }

    fn tell_idle(&mut self, chain: &mut Chain) -> Result<(), Error> {
        // An instance without splits has nothing to say either.
        let idle = self.splits.iter().all(|split| split.idle || split.ended);
        if idle != self.idle {
            self.idle = idle;
            for head in &self.heads {
                chain.emit_idle(head.node, idle)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, chain: &mut Chain, rows: SplitRows, now: i64) -> Result<(), Error> {
        self.know_splits();
        let split = rows.split;
        self.splits[split].silent = 0;
        self.splits[split].idle = false;
        self.tell_idle(chain)?;
        for (head, table) in self.heads.iter_mut().zip(rows.tables) {
            let metrics = chain.metrics(head.node);
            count(&metrics.bytes, rows.bytes);
            count(&metrics.records_in, rows.records);
            head.take(
                chain,
                table,
                split,
                &self.splits,
                now,
                self.watermark_interval,
            )?;
        }
        self.emit_watermarks(chain, now, Emission::WhenDue)
    }

    fn emit_watermarks(
        &mut self,
        chain: &mut Chain,
        now: i64,
        emission: Emission,
    ) -> Result<(), Error> {
        let interval = self.watermark_interval.as_millis() as i64;
        for head in &mut self.heads {
            let Some(watermark) = head.combined(&self.splits) else {
                continue;
            };
            // Flink's rule: at once when it moved by more than the interval, else when the interval has passed.
            let moved = watermark.0.saturating_sub(head.emitted.0);
            let due = moved > interval || now - head.emitted_at >= interval;
            if watermark > head.emitted && (due || emission == Emission::Always) {
                head.emitted = watermark;
                head.emitted_at = now;
                chain.emit_watermark(head.node, watermark)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Emission {
    Always,
    WhenDue,
}

// === impl Head ===

impl Head {
    /// The table `spec`, whose `read` columns arrive as `read` and whose rows leave from `node` as `output`.
    pub(crate) fn new(node: usize, spec: Arc<SourceSpec>, output: SchemaRef) -> Self {
        let columns = &spec.table.columns;
        let read = spec.read.iter().map(|column| {
            let column = &columns[*column];
            Arc::new(Field::new(
                &column.name,
                column.data_type.arrow(),
                column.data_type.nullable,
            ))
        });
        let n_extracted: usize = spec.extractions.iter().map(Extraction::width).sum();
        let extracted = (0..n_extracted)
            .map(|at| Arc::new(Field::new(format!("extracted.{at}"), DataType::Utf8, true)));
        let computed = spec.computed.iter().map(|column| column.field.clone());
        let all = read.chain(extracted).chain(computed);
        let schema = Arc::new(Schema::new(all.collect::<Vec<_>>()));
        Head {
            node,
            spec,
            schema,
            output,
            watermarks: Vec::new(),
            emitted: EventTime::MIN,
            emitted_at: 0,
        }
    }

    /// `None` when no split speaks.
    fn combined(&self, splits: &[SplitTime]) -> Option<EventTime> {
        let pairs = self.watermarks.iter().zip(splits);
        let active = pairs.filter(|(_, split)| !split.ended && !split.idle);
        active.map(|(watermark, _)| *watermark).min()
    }

    fn take(
        &mut self,
        chain: &mut Chain,
        table: ChangeBatch,
        split: usize,
        splits: &[SplitTime],
        now: i64,
        interval: Duration,
    ) -> Result<(), Error> {
        if table.num_rows() == 0 {
            return Ok(());
        }
        let kinds = table.kinds;
        let rows = self.compute(table.rows, now)?;
        let times = match &self.spec.watermark {
            Some(watermark) => Some(watermarks(watermark, &rows)?),
            None => None,
        };
        let projected = rows
            .project(&self.spec.output)
            .and_then(|rows| RecordBatch::try_new(self.output.clone(), rows.columns().to_vec()))
            .map_err(|error| Error::caused("could not project the rows of a source", error))?;
        let projected = ChangeBatch {
            rows: projected,
            kinds,
        };
        let Some(times) = times else {
            return chain.emit(self.node, &projected);
        };
        if interval.is_zero() {
            return self.emit_by_row(chain, &projected, &times, split, splits);
        }
        if let Some(highest) = arrow::compute::max(&times) {
            let state = &mut self.watermarks[split];
            *state = (*state).max(EventTime(highest));
        }
        chain.emit(self.node, &projected)
    }

    /// A watermark right after each row that raises it; the row itself is judged by the one before.
    fn emit_by_row(
        &mut self,
        chain: &mut Chain,
        rows: &ChangeBatch,
        times: &TimestampMillisecondArray,
        split: usize,
        splits: &[SplitTime],
    ) -> Result<(), Error> {
        let mut start = 0;
        for row in 0..rows.num_rows() {
            if times.is_null(row) || EventTime(times.value(row)) <= self.watermarks[split] {
                continue;
            }
            self.watermarks[split] = EventTime(times.value(row));
            let combined = self.combined(splits).unwrap_or(EventTime::MIN);
            if combined > self.emitted {
                self.emitted = combined;
                chain.emit(self.node, &rows.slice(start, row + 1 - start))?;
                chain.emit_watermark(self.node, combined)?;
                start = row + 1;
            }
        }
        chain.emit(self.node, &rows.slice(start, rows.num_rows() - start))
    }

    fn compute(&self, table: RecordBatch, now: i64) -> Result<RecordBatch, Error> {
        if self.spec.computed.is_empty() {
            return Ok(table);
        }
        let n_rows = table.num_rows();
        let mut columns = table.columns().to_vec();
        for extraction in &self.spec.extractions {
            extraction.run(&mut columns);
        }
        for column in &self.spec.computed {
            let so_far = Schema::new(self.schema.fields()[..columns.len()].to_vec());
            let value = match &column.expression {
                Some(expression) => {
                    let rows = batch(Arc::new(so_far), columns.clone(), n_rows)?;
                    evaluate(expression, &rows)?
                }
                None => Arc::new(
                    TimestampMillisecondArray::from(vec![now; n_rows]).with_timezone("UTC"),
                ),
            };
            columns.push(retype(value, column.field.data_type())?);
        }
        batch(self.schema.clone(), columns, n_rows)
    }
}

fn batch(schema: SchemaRef, columns: Vec<ArrayRef>, n_rows: usize) -> Result<RecordBatch, Error> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(n_rows));
    RecordBatch::try_new_with_options(schema, columns, &options)
        .map_err(|error| Error::caused("could not compute the columns of a source", error))
}

fn evaluate(expression: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef, Error> {
    expression
        .evaluate(rows)
        .and_then(|value| value.into_array(rows.num_rows()))
        .map_err(|error| Error::caused("could not compute the columns of a source", error))
}

fn retype(value: ArrayRef, to: &DataType) -> Result<ArrayRef, Error> {
    if value.data_type() == to {
        return Ok(value);
    }
    cast(&value, to)
        .map_err(|error| Error::caused("could not compute the columns of a source", error))
}

/// The watermark that each row asks for, in milliseconds.
fn watermarks(
    watermark: &Watermark,
    rows: &RecordBatch,
) -> Result<TimestampMillisecondArray, Error> {
    if rows.column(watermark.column).null_count() > 0 {
        return Err(Error::failed(format!(
            "RowTime field should not be null: column `{}` is, and no watermark can be told from it",
            rows.schema().field(watermark.column).name()
        )));
    }
    let value = evaluate(&watermark.expression, rows)?;
    let zone = match value.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let millis = retype(
        value,
        &DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, zone),
    )?;
    let plain = retype(millis, &DataType::Int64)?;
    let plain = plain.as_primitive::<Int64Type>();
    Ok(plain.reinterpret_cast())
}

#[cfg(test)]
mod tests;
