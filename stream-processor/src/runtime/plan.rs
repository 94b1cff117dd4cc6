//! Cuts a graph into tasks.
//!
//! A node joins the task of its inputs if each of them is one-to-one and they are all in the same task; otherwise it
//! begins a task. Sources that can share a fetch are in one task. So tasks form a directed acyclic graph, and only the
//! first node of a task is fed from other tasks.

use std::collections::HashMap;

use crate::error::Error;
use crate::graph::{Edge, Node, NodeId, NodeKind, Partitioning, SourceSpec, StreamGraph};

/// Nodes that run together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TaskPlan {
    /// In topological order.
    pub(crate) nodes: Vec<NodeId>,
    /// Instances.
    pub(crate) parallelism: usize,
    /// Its first nodes are sources (that share one fetch if there are several).
    pub(crate) reads: bool,
}

/// The tasks of a job and where each node went.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In topological order.
    pub(crate) tasks: Vec<TaskPlan>,
    /// Task and place in it, by node.
    pub(crate) place: Vec<(usize, usize)>,
}

impl Plan {
    /// Cuts `graph`; sources for which `share` gives equal keys share a task.
    pub(crate) fn cut(
        graph: &StreamGraph,
        share: impl Fn(&Node, &SourceSpec) -> Option<String>,
    ) -> Result<Plan, Error> {
        let mut tasks: Vec<TaskPlan> = Vec::new();
        let mut place: Vec<(usize, usize)> = Vec::new();
        let mut shared: HashMap<(String, usize), usize> = HashMap::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            check(graph, index)?;
            let joined = match &node.kind {
                NodeKind::Source(spec) => share(node, spec).and_then(|key| {
                    let next = tasks.len();
                    let task = *shared.entry((key, node.parallelism)).or_insert(next);
                    (task != next).then_some(task)
                }),
                _ => chainable(&graph.nodes, node, &place),
            };
            let task = joined.unwrap_or_else(|| {
                tasks.push(TaskPlan {
                    nodes: Vec::new(),
                    parallelism: node.parallelism,
                    reads: matches!(node.kind, NodeKind::Source(_)),
                });
                tasks.len() - 1
            });
            place.push((task, tasks[task].nodes.len()));
            tasks[task].nodes.push(NodeId(index));
        }
        Ok(Plan { tasks, place })
    }

    /// Whether rows on `edge` into `node` stay within a task.
    pub(crate) fn is_chained(&self, node: NodeId, edge: &Edge) -> bool {
        self.place[node.0].0 == self.place[edge.from.0].0
    }
}

fn chainable(nodes: &[Node], node: &Node, place: &[(usize, usize)]) -> Option<usize> {
    let mut tasks = node.inputs.iter().map(|edge| {
        let one_to_one = matches!(
            edge.partitioning,
            Partitioning::Forward | Partitioning::Late
        );
        let equal = nodes[edge.from.0].parallelism == node.parallelism;
        (one_to_one && equal).then(|| place[edge.from.0].0)
    });
    let first = tasks.next()??;
    tasks.all(|task| task == Some(first)).then_some(first)
}

fn check(graph: &StreamGraph, index: usize) -> Result<(), Error> {
    let node = &graph.nodes[index];
    let broken = |why: &str| Err(Error::failed(format!("the plan of `{}` {why}", node.name)));
    let is_source = matches!(node.kind, NodeKind::Source(_));
    if node.parallelism == 0 {
        return broken("has no instances");
    }
    if is_source != node.inputs.is_empty() {
        return broken("has inputs where it must not, or none where it must");
    }
    for edge in &node.inputs {
        if edge.from.0 >= index {
            return broken("reads a node that comes after it");
        }
        let one_to_one = edge.partitioning == Partitioning::Forward;
        if one_to_one && graph.nodes[edge.from.0].parallelism != node.parallelism {
            return broken("reads one to one from a node of other parallelism");
        }
        let late = edge.partitioning == Partitioning::Late;
        if late
            && (node.inputs.len() > 1 || graph.nodes[edge.from.0].parallelism != node.parallelism)
        {
            return broken("reads late rows together with others, or with other parallelism");
        }
    }
    Ok(())
}
