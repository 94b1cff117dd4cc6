//! `EXPLAIN`: the streaming plan as text, and the settings that change nothing.

use super::Settings;
use crate::graph::{ChangelogMode, Edge, Node, NodeKind, Partitioning, StreamGraph};

/// The nodes of `graph`, one a line, with their inputs.
pub(super) fn explain(graph: &StreamGraph, settings: &Settings) -> String {
    let mut text = String::from("== Streaming Plan ==\n");
    for (index, node) in graph.nodes.iter().enumerate() {
        text += &line(graph, index, node);
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

fn line(graph: &StreamGraph, index: usize, node: &Node) -> String {
    let inputs: Vec<String> = node.inputs.iter().map(|edge| input(graph, edge)).collect();
    let from = if inputs.is_empty() {
        String::new()
    } else {
        format!(" <- {}", inputs.join(", "))
    };
    let changes = match &node.kind {
        NodeKind::Sink(spec) => format!(", changelogMode=[{}]", kinds(spec.changelog)),
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

/// Where rows come from and how they get here, in the words of Flink's plans.
fn input(graph: &StreamGraph, edge: &Edge) -> String {
    let from = edge.from.0;
    match &edge.partitioning {
        Partitioning::Forward => format!("{from} forward"),
        Partitioning::Rebalance => format!("{from} rebalance"),
        Partitioning::Broadcast => format!("{from} broadcast"),
        Partitioning::Late => format!("{from} late rows"),
        Partitioning::Hash(columns) if columns.is_empty() => format!("{from} single"),
        Partitioning::Hash(columns) => {
            let schema = &graph.nodes[from].schema;
            let names: Vec<&str> = columns
                .iter()
                .map(|column| schema.field(*column).name().as_str())
                .collect();
            format!("{from} hash[{}]", names.join(", "))
        }
    }
}

fn kinds(changelog: ChangelogMode) -> &'static str {
    match changelog {
        ChangelogMode::InsertOnly => "I",
        ChangelogMode::Upsert => "I,UA,D",
        ChangelogMode::Retract => "I,UB,UA,D",
    }
}
