//! Makes the task instances of an attempt: channels, opened sources and sinks, restored operators.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use crate::error::Error;
use crate::graph::{Node, NodeId, NodeKind, Partitioning};
use crate::operator::{StateTable, Subtask};
use crate::runtime::chain::{Body, Chain, ChainNode, NodeTime, Port, Target};
use crate::runtime::channel::Channel;
use crate::runtime::ends::{Positions, SinkContext};
use crate::runtime::exchange::{Exchange, Spread};
use crate::runtime::job::Attempt;
use crate::runtime::metrics::{NodeMetrics, TaskTimes, TimeKeeper};
use crate::runtime::plan::{Plan, TaskPlan};
use crate::runtime::pool::Waker;
use crate::runtime::source::{Head, SourceRunner};
use crate::runtime::task::{Control, Inlet, Task, TaskEvent, TaskId};

/// Tasks that are ready to run.
pub(crate) struct Built {
    tasks: Vec<(Waker, Task)>,
}

/// Tasks that run; dropping it stops them.
pub(crate) struct Running {
    /// Each with its waker, in any order.
    pub(crate) tasks: Vec<(TaskId, Waker, Arc<Control>)>,
}

/// The edges out of a node instance.
type Outlets = Vec<(Spread, Vec<Arc<Channel>>)>;

/// Channels by receiving task instance and by (sending node, sending instance, receiving node, port).
#[derive(Default)]
struct Wires {
    inlets: HashMap<(usize, usize), Vec<Inlet>>,
    outlets: HashMap<(NodeId, usize), Outlets>,
}

/// Builds all tasks of the attempt.
pub(crate) async fn build(
    attempt: &mut Attempt<'_>,
    events: UnboundedSender<TaskEvent>,
) -> Result<Built, Error> {
    let restored_sources = attempt
        .restored
        .as_ref()
        .map(|restored| restored.manifest.sources.clone())
        .unwrap_or_default();
    let plan = Plan::cut(attempt.graph, |node, spec| {
        // Tables that were read to different places cannot go on together.
        let key = attempt.ends.share_key(spec)?;
        let at = restored_sources.get(&node.uid);
        Some(format!("{key} {:?}", at.map(serde_json::to_string)))
    })?;
    check_restored(attempt)?;
    let wakers: Vec<Vec<Waker>> = plan
        .tasks
        .iter()
        .map(|task| (0..task.parallelism).map(|_| attempt.pool.slot()).collect())
        .collect();
    let mut wires = connect(attempt, &plan, &wakers);
    let mut states = restore_operators(attempt).await?;
    let mut node_metrics: Vec<Vec<Arc<NodeMetrics>>> = vec![Vec::new(); attempt.graph.nodes.len()];
    let mut tasks = Vec::new();
    for (index, task) in plan.tasks.iter().enumerate() {
        for (subtask, waker) in wakers[index].iter().enumerate() {
            let id = TaskId {
                task: index,
                subtask,
            };
            let times = Arc::new(TaskTimes::default());
            let mut nodes = Vec::new();
            for node in &task.nodes {
                let metrics = NodeMetrics::new(times.clone());
                node_metrics[node.0].push(metrics.clone());
                let state = states.remove(&(*node, subtask));
                let body = open(attempt, *node, subtask, state, waker).await?;
                let outlets = wires.outlets.remove(&(*node, subtask));
                nodes.push(chain_node(attempt, &plan, *node, (body, metrics), outlets));
            }
            let source = open_source(attempt, task, subtask, &restored_sources, waker).await?;
            let task = Task {
                id,
                chain: Chain::new(nodes),
                source,
                inlets: wires.inlets.remove(&(index, subtask)).unwrap_or_default(),
                control: Arc::new(Control::default()),
                events: events.clone(),
                time: TimeKeeper::new(times, Instant::now()),
                taken: attempt.next_checkpoint.0.saturating_sub(1),
                aligning: None,
                next_inlet: 0,
                told_end: false,
            };
            tasks.push((waker.clone(), task));
        }
    }
    attempt.stats.set_nodes(node_metrics);
    Ok(Built { tasks })
}

fn chain_node(
    attempt: &Attempt<'_>,
    plan: &Plan,
    node: NodeId,
    (body, metrics): (Body, Arc<NodeMetrics>),
    outlets: Option<Outlets>,
) -> ChainNode {
    let task = &plan.tasks[plan.place[node.0].0];
    let outlets = outlets.unwrap_or_default().into_iter();
    ChainNode {
        id: node,
        name: attempt.graph.nodes[node.0].name.clone(),
        body: Some(body),
        ports: ports(attempt, plan, node),
        targets: chained_targets(attempt, plan, task, node),
        exchanges: outlets
            .map(|(spread, channels)| Exchange::new(spread, channels))
            .collect(),
        metrics,
        time: NodeTime::default(),
    }
}

impl Built {
    /// Lets the tasks run.
    pub(crate) fn start(self) -> Running {
        let mut tasks = Vec::new();
        for (waker, task) in self.tasks {
            tasks.push((task.id, waker.clone(), task.control.clone()));
            waker.install(Box::new(task));
        }
        Running { tasks }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for (_, waker, control) in &self.tasks {
            control.cancelled.store(true, Ordering::Release);
            waker.wake();
        }
    }
}

/// Refuses a checkpoint with state that no operator of the job would take.
fn check_restored(attempt: &Attempt<'_>) -> Result<(), Error> {
    let Some(restored) = &attempt.restored else {
        return Ok(());
    };
    let known = |uid: &String| attempt.graph.nodes.iter().any(|node| node.uid == *uid);
    let operators = restored.manifest.operators.iter();
    let orphan = operators
        .filter(|(_, state)| state.tables.iter().any(|table| !table.segments.is_empty()))
        .map(|(uid, _)| uid)
        .chain(restored.manifest.sources.keys())
        .find(|uid| !known(uid));
    match orphan {
        None => Ok(()),
        Some(uid) => Err(Error::Restore {
            message: format!("the checkpoint holds state of `{uid}`, which the job does not have"),
        }),
    }
}

async fn restore_operators(
    attempt: &mut Attempt<'_>,
) -> Result<HashMap<(NodeId, usize), Vec<StateTable>>, Error> {
    let mut states = HashMap::new();
    let Some(restored) = &attempt.restored else {
        return Ok(states);
    };
    for (index, node) in attempt.graph.nodes.iter().enumerate() {
        let Some(operator) = restored.manifest.operators.get(&node.uid) else {
            continue;
        };
        let instances = attempt
            .store
            .restore(&node.uid, operator, node.parallelism)
            .await?;
        for (subtask, tables) in instances.into_iter().enumerate() {
            states.insert((NodeId(index), subtask), tables);
        }
    }
    Ok(states)
}

fn connect(attempt: &Attempt<'_>, plan: &Plan, wakers: &[Vec<Waker>]) -> Wires {
    let mut wires = Wires::default();
    for (index, node) in attempt.graph.nodes.iter().enumerate() {
        let (to_task, to_place) = plan.place[index];
        for (port, edge) in node.inputs.iter().enumerate() {
            if plan.is_chained(NodeId(index), edge) {
                continue;
            }
            let from_task = plan.place[edge.from.0].0;
            for from in 0..plan.tasks[from_task].parallelism {
                let (spread, receivers) = spread(&edge.partitioning, from, node);
                let mut channels = Vec::new();
                for to in receivers {
                    let channel = Channel::new(
                        attempt.limits.channel_bytes,
                        wakers[from_task][from].clone(),
                        wakers[to_task][to].clone(),
                    );
                    let one_to_one = matches!(edge.partitioning, Partitioning::Forward);
                    let input = if one_to_one { 0 } else { from };
                    wires.inlets.entry((to_task, to)).or_default().push(Inlet {
                        channel: channel.clone(),
                        place: (to_place, port, input),
                        aligned: false,
                        ended: false,
                    });
                    channels.push(channel);
                }
                let outlets = wires.outlets.entry((edge.from, from)).or_default();
                outlets.push((spread, channels));
            }
        }
    }
    wires
}

fn spread(partitioning: &Partitioning, from: usize, to: &Node) -> (Spread, std::ops::Range<usize>) {
    let all = 0..to.parallelism;
    match partitioning {
        Partitioning::Forward | Partitioning::Late => (Spread::All, from..from + 1),
        Partitioning::Hash(columns) => (Spread::Hash(columns.clone()), all),
        Partitioning::Rebalance => (Spread::RoundRobin, all),
        Partitioning::Broadcast => (Spread::All, all),
    }
}

fn ports(attempt: &Attempt<'_>, plan: &Plan, node: NodeId) -> Vec<Port> {
    let edges = attempt.graph.nodes[node.0].inputs.iter();
    let ports = edges.map(|edge| {
        let one_to_one = plan.is_chained(node, edge) || edge.partitioning == Partitioning::Forward;
        let senders = plan.tasks[plan.place[edge.from.0].0].parallelism;
        Port::new(if one_to_one { 1 } else { senders })
    });
    ports.collect()
}

fn chained_targets(
    attempt: &Attempt<'_>,
    plan: &Plan,
    task: &TaskPlan,
    node: NodeId,
) -> Vec<Target> {
    let mut targets = Vec::new();
    for reader in &task.nodes {
        for (port, edge) in attempt.graph.nodes[reader.0].inputs.iter().enumerate() {
            if edge.from == node && plan.is_chained(*reader, edge) {
                targets.push(Target {
                    node: plan.place[reader.0].1,
                    port,
                    late: edge.partitioning == Partitioning::Late,
                });
            }
        }
    }
    targets
}

async fn open(
    attempt: &Attempt<'_>,
    id: NodeId,
    subtask: usize,
    state: Option<Vec<StateTable>>,
    waker: &Waker,
) -> Result<Body, Error> {
    let node = &attempt.graph.nodes[id.0];
    let subtask = Subtask {
        index: subtask,
        parallelism: node.parallelism,
    };
    match &node.kind {
        NodeKind::Source(_) => Ok(Body::Head),
        NodeKind::Operator(factory) => {
            let mut operator = factory.create(subtask)?;
            if let Some(tables) = state.filter(|tables| !tables.is_empty()) {
                operator.restore(tables)?;
            }
            Ok(Body::Operator(operator))
        }
        NodeKind::Sink(spec) => {
            let context = SinkContext {
                job: attempt.job.to_owned(),
                uid: node.uid.clone(),
            };
            let sink = attempt
                .ends
                .sink(spec, subtask, &context, waker.clone())
                .await?;
            Ok(Body::Sink(sink))
        }
    }
}

async fn open_source(
    attempt: &Attempt<'_>,
    task: &TaskPlan,
    subtask: usize,
    restored: &std::collections::BTreeMap<String, Positions>,
    waker: &Waker,
) -> Result<Option<SourceRunner>, Error> {
    if !task.reads {
        return Ok(None);
    }
    let mut specs = Vec::new();
    let mut heads = Vec::new();
    let mut positions = None;
    for (place, node) in task.nodes.iter().enumerate() {
        let node = &attempt.graph.nodes[node.0];
        if let NodeKind::Source(spec) = &node.kind {
            specs.push(spec.clone());
            heads.push(Head::new(place, spec.clone(), node.schema.clone()));
            positions = restored.get(&node.uid);
        }
    }
    let subtask = Subtask {
        index: subtask,
        parallelism: task.parallelism,
    };
    let source = attempt
        .ends
        .source(&specs, subtask, positions, waker.clone())
        .await?;
    Ok(Some(SourceRunner::new(
        source,
        heads,
        &attempt.graph.config,
    )))
}
