//! `EXPLAIN`: the streaming plan as text, and the settings that change nothing.

use super::Settings;
use crate::graph::{Node, NodeKind, StreamGraph};

/// The nodes of `graph`, one a line, with their inputs.
pub(super) fn explain(graph: &StreamGraph, settings: &Settings) -> String {
    let mut text = String::from("== Streaming Plan ==\n");
    for (index, node) in graph.nodes.iter().enumerate() {
        text += &line(index, node);
    }
    let ignored = settings.ignored();
    if !ignored.is_empty() {
        text += "\n== Settings Without Effect ==\n";
        for key in ignored {
            text += &format!("{key}\n");
        }
    }
    text
}

fn line(index: usize, node: &Node) -> String {
    let inputs: Vec<String> = node
        .inputs
        .iter()
        .map(|edge| format!("{} {:?}", edge.from.0, edge.partitioning))
        .collect();
    let from = if inputs.is_empty() {
        String::new()
    } else {
        format!(" <- {}", inputs.join(", "))
    };
    let changes = match &node.kind {
        NodeKind::Sink(spec) => format!(", changelog={:?}", spec.changelog),
        _ => String::new(),
    };
    let columns: Vec<&str> = node
        .schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    format!(
        "{index}: {} (parallelism={}{changes}, columns=[{}]){from}\n",
        node.name,
        node.parallelism,
        columns.join(", ")
    )
}
