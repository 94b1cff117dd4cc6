//! The operators of a job and their counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::jobs::{Entry, Vertex};
use crate::runtime::job::stats::JobView;
use crate::runtime::metrics::NodeMetrics;

const NANOS: u64 = 1_000_000;

/// Records that are there to read and not read, if a source knows.
pub(super) fn lag(view: &JobView) -> Option<u64> {
    let known = view
        .nodes
        .iter()
        .flatten()
        .map(|instance| instance.lag.load(Ordering::Relaxed));
    known
        .filter(|lag| *lag != u64::MAX)
        .reduce(|left, right| left + right)
}

/// Rows that came after their window had closed.
pub(super) fn late(view: &JobView) -> u64 {
    view.nodes
        .iter()
        .flatten()
        .map(|instance| instance.late.load(Ordering::Relaxed))
        .sum()
}

pub(super) fn all(job: &Entry) -> Value {
    let view = job.view();
    let vertices = job.vertices();
    vertices
        .iter()
        .enumerate()
        .map(|(index, vertex)| page(&view, index, vertex))
        .collect()
}

pub(super) fn one(job: &Entry, id: &str) -> Option<Value> {
    let vertices = job.vertices();
    let index = vertices.iter().position(|vertex| vertex.uid == id)?;
    Some(page(&job.view(), index, &vertices[index]))
}

/// Flink's list of named values, all as text.
pub(super) fn metrics(job: &Entry, id: &str) -> Option<Value> {
    let vertices = job.vertices();
    let index = vertices.iter().position(|vertex| vertex.uid == id)?;
    let view = job.view();
    let figures = figures(instances(&view, index));
    let listed = figures
        .as_object()?
        .iter()
        .map(|(name, value)| json!({ "id": name, "value": value.to_string() }));
    Some(listed.collect())
}

/// The graph as Flink's page draws it.
pub(super) fn plan(job: &Entry) -> Value {
    let vertices = job.vertices();
    let node = |vertex: &Vertex| {
        let inputs: Vec<_> = vertex
            .inputs
            .iter()
            .enumerate()
            .map(|(num, (from, strategy))| {
                let id = vertices.get(*from).map(|sender| sender.uid.as_str());
                json!({ "num": num, "id": id, "ship_strategy": strategy, "exchange": "pipelined_bounded" })
            })
            .collect();
        json!({
            "id": vertex.uid,
            "parallelism": vertex.parallelism,
            "operator": vertex.kind,
            "description": vertex.name,
            "inputs": inputs,
        })
    };
    vertices.iter().map(node).collect()
}

fn instances(view: &JobView, index: usize) -> &[Arc<NodeMetrics>] {
    view.nodes.get(index).map_or(&[], Vec::as_slice)
}

fn page(view: &JobView, index: usize, vertex: &Vertex) -> Value {
    json!({
        "id": vertex.uid,
        "name": vertex.name,
        "operator": vertex.kind,
        "maxParallelism": crate::operator::KEY_GROUPS,
        "parallelism": vertex.parallelism,
        "status": view.state.name(),
        "start-time": view.started_at,
        "end-time": view.ended_at.unwrap_or(-1),
        "metrics": figures(instances(view, index)),
    })
}

/// Sums over the instances; the watermark is the lowest.
fn figures(instances: &[Arc<NodeMetrics>]) -> Value {
    let sum = |counter: fn(&NodeMetrics) -> &AtomicU64| -> u64 {
        instances
            .iter()
            .map(|instance| counter(instance).load(Ordering::Relaxed))
            .sum()
    };
    let watermark = instances
        .iter()
        .map(|instance| instance.watermark.load(Ordering::Relaxed))
        .min();
    let lags = instances
        .iter()
        .map(|instance| instance.lag.load(Ordering::Relaxed));
    let lag = lags
        .filter(|lag| *lag != u64::MAX)
        .reduce(|left, right| left + right);
    json!({
        "read-records": sum(|of| &of.records_in),
        "write-records": sum(|of| &of.records_out),
        "read-bytes": sum(|of| &of.bytes),
        "late-records": sum(|of| &of.late),
        "state-size": sum(|of| &of.state_bytes),
        "watermark": watermark.filter(|watermark| *watermark != i64::MIN),
        "lag": lag,
        "accumulated-busy-time": sum(|of| &of.task.busy) / NANOS,
        "accumulated-backpressured-time": sum(|of| &of.task.back_pressured) / NANOS,
        "accumulated-idle-time": sum(|of| &of.task.idle) / NANOS,
    })
}
