//! The nodes of one task instance: rows, watermarks, ends and barriers go from one to the next by plain calls.
//!
//! Input comes from [`crate::runtime::task`] (channels) or [`crate::runtime::source`]; what leaves the task goes
//! through [`Exchange`]s. The nodes are a directed acyclic graph in topological order, so a node is never entered
//! twice at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;

use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::NodeId;
use crate::operator::{CheckpointId, EventTime, Operator, Output, StateTable};
use crate::runtime::channel::{Message, batch_bytes};
use crate::runtime::ends::{Positions, Prepared, SinkWriter};
use crate::runtime::exchange::Exchange;
use crate::runtime::late;
use crate::runtime::metrics::{NodeMetrics, count};

/// The nodes of a task instance in topological order.
pub(crate) struct Chain {
    nodes: Vec<ChainNode>,
    /// The node where an error began, for the message.
    failed: Option<usize>,
    /// When the sizes of states were looked at, in milliseconds.
    measured: i64,
}

/// Milliseconds from one look at the sizes of states to the next.
const MEASURE_EVERY: i64 = 1000;

/// One node instance.
pub(crate) struct ChainNode {
    /// Its place in the graph.
    pub(crate) id: NodeId,
    /// As the job page shows it.
    pub(crate) name: String,
    /// What it does; taken out while it runs.
    pub(crate) body: Option<Body>,
    /// Inputs by port.
    pub(crate) ports: Vec<Port>,
    /// Who reads it in this task.
    pub(crate) targets: Vec<Target>,
    /// Who reads it in other tasks.
    pub(crate) exchanges: Vec<Exchange>,
    /// What it counts.
    pub(crate) metrics: Arc<NodeMetrics>,
    /// Event time, in and out.
    pub(crate) time: NodeTime,
}

/// What a node does.
pub(crate) enum Body {
    /// Rows come from the task's source.
    Head,
    /// Transforms.
    Operator(Box<dyn Operator>),
    /// Writes.
    Sink(Box<dyn SinkWriter>),
}

/// A reader of a node within the task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// Index in the chain.
    pub(crate) node: usize,
    /// Its port.
    pub(crate) port: usize,
    /// Takes the late rows and not the results.
    pub(crate) late: bool,
}

/// The inputs of one port: one channel for each sending instance, or one chained node.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    inputs: Vec<Input>,
    /// It has been idle since before its watermark was last looked at.
    rests: bool,
}

#[derive(Debug, Clone, Copy)]
struct Input {
    watermark: EventTime,
    idle: bool,
    ended: bool,
}

/// How far a node is in event time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeTime {
    input: EventTime,
    output: EventTime,
    idle: bool,
    ended: bool,
}

/// What one node instance gives to a checkpoint.
pub(crate) struct NodeSnapshot {
    /// The node.
    pub(crate) node: NodeId,
    /// State of an operator.
    pub(crate) tables: Vec<StateTable>,
    /// Positions of a source.
    pub(crate) positions: Option<Positions>,
    /// Work of a sink.
    pub(crate) prepared: Option<Prepared>,
}

// === impl Port, NodeTime ===

impl Port {
    /// A port fed by `n_inputs` senders.
    pub(crate) fn new(n_inputs: usize) -> Self {
        let input = Input {
            watermark: EventTime::MIN,
            idle: false,
            ended: false,
        };
        Port {
            inputs: vec![input; n_inputs],
            rests: false,
        }
    }

    fn ended(&self) -> bool {
        self.inputs.iter().all(|input| input.ended)
    }

    /// None of the senders that are left speaks.
    fn idle(&self) -> bool {
        self.inputs.iter().all(|input| input.ended || input.idle)
    }

    /// The least of the senders that speak; when none does, nothing older than the furthest is waited for, as in Flink.
    fn watermark(&self) -> Option<EventTime> {
        let live = || self.inputs.iter().filter(|input| !input.ended);
        let active = live().filter(|input| !input.idle);
        let least = active.map(|input| input.watermark).min();
        least.or_else(|| live().map(|input| input.watermark).max())
    }
}

impl Default for NodeTime {
    fn default() -> Self {
        NodeTime {
            input: EventTime::MIN,
            output: EventTime::MIN,
            idle: false,
            ended: false,
        }
    }
}

// === impl Chain ===

impl Chain {
    pub(crate) fn new(nodes: Vec<ChainNode>) -> Self {
        Chain {
            nodes,
            failed: None,
            measured: 0,
        }
    }

    /// The name of the node where the last error began.
    pub(crate) fn failed_node(&self) -> Option<&str> {
        self.failed.map(|node| self.nodes[node].name.as_str())
    }

    pub(crate) fn metrics(&self, node: usize) -> &NodeMetrics {
        &self.nodes[node].metrics
    }

    /// Whether everything behind the task can take more.
    pub(crate) fn has_credit(&mut self) -> bool {
        self.nodes.iter_mut().all(|node| {
            let ready = match &mut node.body {
                Some(Body::Sink(sink)) => sink.is_ready(),
                _ => true,
            };
            ready && node.exchanges.iter().all(Exchange::has_credit)
        })
    }

    /// Rows arrive at a port.
    pub(crate) fn push(
        &mut self,
        node: usize,
        port: usize,
        batch: ChangeBatch,
    ) -> Result<(), Error> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let metrics = &self.nodes[node].metrics;
        count(&metrics.records_in, batch.num_rows());
        if let Some(Body::Sink(_)) = &self.nodes[node].body {
            count(&metrics.bytes, batch_bytes(&batch));
        }
        self.run(node, |body, output| match body {
            Body::Head => Ok(()),
            Body::Operator(operator) => operator.on_batch(port, batch, output),
            Body::Sink(sink) => sink.write(batch),
        })
    }

    /// Event time of an input advances.
    pub(crate) fn advance(
        &mut self,
        (node, port, input): (usize, usize, usize),
        watermark: EventTime,
    ) -> Result<(), Error> {
        let state = &mut self.nodes[node].ports[port].inputs[input];
        if watermark > state.watermark {
            state.watermark = watermark;
        }
        self.combine(node)
    }

    /// An input falls silent or speaks again.
    pub(crate) fn set_idle(
        &mut self,
        (node, port, input): (usize, usize, usize),
        idle: bool,
    ) -> Result<(), Error> {
        self.nodes[node].ports[port].inputs[input].idle = idle;
        self.combine(node)
    }

    /// An input ends.
    pub(crate) fn end(&mut self, (node, port, input): (usize, usize, usize)) -> Result<(), Error> {
        self.nodes[node].ports[port].inputs[input].ended = true;
        if self.nodes[node].ports[port].ended() {
            self.run(node, |body, output| match body {
                Body::Operator(operator) => operator.on_end_of_input(port, output),
                Body::Head | Body::Sink(_) => Ok(()),
            })?;
        }
        self.combine(node)?;
        if self.nodes[node].ports.iter().all(Port::ended) {
            if let Some(Body::Sink(_)) = &self.nodes[node].body {
                self.run(node, |body, _| match body {
                    Body::Sink(sink) => sink.end(),
                    Body::Head | Body::Operator(_) => Ok(()),
                })?;
            }
            self.emit_end(node)?;
        }
        Ok(())
    }

    /// Whether each node has seen the end of its input.
    pub(crate) fn ended(&self) -> bool {
        self.nodes.iter().all(|node| node.time.ended)
    }

    /// Processing time passes; also refreshes the figures that cost something.
    pub(crate) fn tick(&mut self, now: i64) -> Result<(), Error> {
        // Some operators have to count for it.
        let measure = now - self.measured >= MEASURE_EVERY;
        if measure {
            self.measured = now;
        }
        for node in 0..self.nodes.len() {
            self.run(node, |body, output| match body {
                Body::Head => Ok(()),
                Body::Operator(operator) => operator.on_processing_time(now, output),
                Body::Sink(sink) => sink.tick(now),
            })?;
            if measure && let Some(Body::Operator(operator)) = &self.nodes[node].body {
                let size = operator.state_size() as u64;
                let state_bytes = &self.nodes[node].metrics.state_bytes;
                state_bytes.store(size, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// A barrier passes through all nodes and on to the next tasks.
    pub(crate) fn barrier(
        &mut self,
        checkpoint: CheckpointId,
        now: i64,
    ) -> Result<Vec<NodeSnapshot>, Error> {
        self.tick(now)?;
        for node in 0..self.nodes.len() {
            self.run(node, |body, output| match body {
                Body::Operator(operator) => operator.before_barrier(output),
                Body::Head | Body::Sink(_) => Ok(()),
            })?;
        }
        let mut snapshots = Vec::new();
        for node in 0..self.nodes.len() {
            let mut snapshot = NodeSnapshot {
                node: self.nodes[node].id,
                tables: Vec::new(),
                positions: None,
                prepared: None,
            };
            self.run(node, |body, _| {
                match body {
                    Body::Head => {}
                    Body::Operator(operator) => snapshot.tables = operator.snapshot(checkpoint)?,
                    Body::Sink(sink) => snapshot.prepared = Some(sink.prepare(checkpoint)),
                }
                Ok(())
            })?;
            snapshots.push(snapshot);
            for exchange in &self.nodes[node].exchanges {
                exchange.broadcast(&Message::Barrier(checkpoint));
            }
        }
        Ok(snapshots)
    }

    /// Rows leave a node.
    pub(crate) fn emit(&mut self, node: usize, batch: &ChangeBatch) -> Result<(), Error> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        count(&self.nodes[node].metrics.records_out, batch.num_rows());
        for index in 0..self.nodes[node].targets.len() {
            let target = self.nodes[node].targets[index];
            if !target.late {
                self.push(target.node, target.port, batch.clone())?;
            }
        }
        for exchange in &mut self.nodes[node].exchanges {
            exchange.send(batch)?;
        }
        Ok(())
    }

    /// Event time leaves a node, if it advances.
    pub(crate) fn emit_watermark(
        &mut self,
        node: usize,
        watermark: EventTime,
    ) -> Result<(), Error> {
        if watermark <= self.nodes[node].time.output {
            return Ok(());
        }
        self.nodes[node].time.output = watermark;
        let shown = &self.nodes[node].metrics.watermark;
        shown.store(watermark.0, Ordering::Relaxed);
        self.broadcast(node, &Message::Watermark(watermark), |chain, place| {
            chain.advance(place, watermark)
        })
    }

    /// A node falls silent or speaks again.
    pub(crate) fn emit_idle(&mut self, node: usize, idle: bool) -> Result<(), Error> {
        if self.nodes[node].time.idle == idle || self.nodes[node].time.ended {
            return Ok(());
        }
        self.nodes[node].time.idle = idle;
        self.broadcast(node, &Message::Idle(idle), |chain, place| {
            chain.set_idle(place, idle)
        })
    }

    /// Nothing more leaves a node.
    pub(crate) fn emit_end(&mut self, node: usize) -> Result<(), Error> {
        if self.nodes[node].time.ended {
            return Ok(());
        }
        self.nodes[node].time.ended = true;
        self.broadcast(node, &Message::End, Chain::end)
    }

    fn broadcast(
        &mut self,
        node: usize,
        message: &Message,
        chained: impl Fn(&mut Chain, (usize, usize, usize)) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for index in 0..self.nodes[node].targets.len() {
            let target = self.nodes[node].targets[index];
            chained(self, (target.node, target.port, 0))?;
        }
        for exchange in &self.nodes[node].exchanges {
            exchange.broadcast(message);
        }
        Ok(())
    }

    /// Works out a node's event time from its inputs and passes on what changed.
    fn combine(&mut self, node: usize) -> Result<(), Error> {
        let live = || self.nodes[node].ports.iter().filter(|port| !port.ended());
        let all_ended = live().next().is_none();
        let idle = !all_ended && live().all(Port::idle);
        if !idle {
            self.emit_idle(node, false)?;
        }
        // A port that falls silent has its last word first, as in Flink; then it is no longer waited for.
        self.pass_watermark(node)?;
        let mut rest = false;
        for port in &mut self.nodes[node].ports {
            rest |= port.idle() && !port.rests;
            port.rests = port.idle();
        }
        if rest {
            self.pass_watermark(node)?;
        }
        if idle {
            self.emit_idle(node, true)?;
        }
        Ok(())
    }

    /// The least watermark of the ports that speak; all of them silent, a node does not move.
    fn pass_watermark(&mut self, node: usize) -> Result<(), Error> {
        let live = || self.nodes[node].ports.iter().filter(|port| !port.ended());
        let watermark = match live().next() {
            None => Some(EventTime::MAX),
            Some(_) => live()
                .filter(|port| !port.rests)
                .filter_map(Port::watermark)
                .min(),
        };
        if let Some(watermark) = watermark.filter(|new| *new > self.nodes[node].time.input) {
            self.nodes[node].time.input = watermark;
            let shown = &self.nodes[node].metrics.watermark;
            shown.store(watermark.0, Ordering::Relaxed);
            self.run(node, |body, output| match body {
                Body::Head => Ok(()),
                Body::Operator(operator) => operator.on_watermark(watermark, output),
                Body::Sink(sink) => sink.watermark(watermark),
            })?;
        }
        Ok(())
    }

    fn run(
        &mut self,
        node: usize,
        call: impl FnOnce(&mut Body, &mut Emitter<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(mut body) = self.nodes[node].body.take() else {
            return Err(Error::failed(format!(
                "node `{}` was entered twice",
                self.nodes[node].name
            )));
        };
        let outcome = call(&mut body, &mut Emitter { chain: self, node });
        self.nodes[node].body = Some(body);
        if outcome.is_err() && self.failed.is_none() {
            self.failed = Some(node);
        }
        outcome
    }
}

/// The [`Output`] of one node while it runs.
struct Emitter<'a> {
    chain: &'a mut Chain,
    node: usize,
}

impl Output for Emitter<'_> {
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        self.chain.emit(self.node, &batch)
    }

    fn watermark(&mut self, watermark: EventTime) -> Result<(), Error> {
        self.chain.emit_watermark(self.node, watermark)
    }

    fn late(&mut self, rows: RecordBatch) -> Result<(), Error> {
        let node = &self.chain.nodes[self.node];
        count(&node.metrics.late, rows.num_rows());
        if rows.num_rows() == 0 || !node.targets.iter().any(|target| target.late) {
            return Ok(());
        }
        let described = ChangeBatch::inserts(late::describe(&node.name, &rows)?);
        for index in 0..self.chain.nodes[self.node].targets.len() {
            let target = self.chain.nodes[self.node].targets[index];
            if target.late {
                self.chain
                    .push(target.node, target.port, described.clone())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
