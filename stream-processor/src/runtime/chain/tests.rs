//! How a node's event time follows from its inputs, some of them silent.

use std::sync::Arc;

use futures::FutureExt;
use parking_lot::Mutex;

use super::{Body, Chain, ChainNode, NodeTime, Port};
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::NodeId;
use crate::operator::{CheckpointId, EventTime};
use crate::runtime::ends::{Prepared, SinkWriter};
use crate::runtime::metrics::NodeMetrics;

struct Seen(Arc<Mutex<Vec<i64>>>);

impl SinkWriter for Seen {
    fn write(&mut self, _: ChangeBatch) -> Result<(), Error> {
        Ok(())
    }

    fn watermark(&mut self, watermark: EventTime) -> Result<(), Error> {
        self.0.lock().push(watermark.0);
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId) -> Prepared {
        async { Ok(Vec::new()) }.boxed()
    }
}

/// A node with so many senders at each port, and the watermarks it gets.
fn node(ports: &[usize]) -> (Chain, Arc<Mutex<Vec<i64>>>) {
    let seen = Arc::default();
    let node = ChainNode {
        id: NodeId(0),
        name: String::new(),
        body: Some(Body::Sink(Box::new(Seen(Arc::clone(&seen))))),
        ports: ports.iter().map(|senders| Port::new(*senders)).collect(),
        targets: Vec::new(),
        exchanges: Vec::new(),
        metrics: NodeMetrics::new(Arc::default()),
        time: NodeTime::default(),
    };
    (Chain::new(vec![node]), seen)
}

#[test]
fn of_senders_to_one_port_the_furthest_counts_when_all_are_silent() {
    let (mut chain, seen) = node(&[2]);
    chain.advance((0, 0, 0), EventTime(10)).unwrap();
    chain.advance((0, 0, 1), EventTime(30)).unwrap();
    chain.set_idle((0, 0, 1), true).unwrap();
    assert_eq!(*seen.lock(), [10]);
    chain.set_idle((0, 0, 0), true).unwrap();
    assert_eq!(*seen.lock(), [10, 30]);
    // Who speaks again is behind, and holds back nothing that has passed.
    chain.set_idle((0, 0, 0), false).unwrap();
    chain.advance((0, 0, 0), EventTime(20)).unwrap();
    chain.advance((0, 0, 0), EventTime(40)).unwrap();
    assert_eq!(*seen.lock(), [10, 30, 40]);
}

#[test]
fn a_node_with_two_inputs_does_not_move_when_both_are_silent() {
    let (mut chain, seen) = node(&[1, 1]);
    chain.advance((0, 0, 0), EventTime(10)).unwrap();
    chain.advance((0, 1, 0), EventTime(30)).unwrap();
    chain.set_idle((0, 1, 0), true).unwrap();
    chain.set_idle((0, 0, 0), true).unwrap();
    assert_eq!(*seen.lock(), [10]);
}

#[test]
fn a_silent_input_is_not_waited_for() {
    let (mut chain, seen) = node(&[1, 1]);
    chain.advance((0, 0, 0), EventTime(10)).unwrap();
    chain.advance((0, 1, 0), EventTime(30)).unwrap();
    chain.set_idle((0, 0, 0), true).unwrap();
    chain.advance((0, 1, 0), EventTime(40)).unwrap();
    assert_eq!(*seen.lock(), [10, 30, 40]);
}

#[test]
fn an_ended_input_is_not_waited_for() {
    let (mut chain, seen) = node(&[2, 1]);
    chain.advance((0, 0, 0), EventTime(10)).unwrap();
    chain.advance((0, 0, 1), EventTime(20)).unwrap();
    chain.end((0, 1, 0)).unwrap();
    chain.end((0, 0, 0)).unwrap();
    chain.end((0, 0, 1)).unwrap();
    assert_eq!(*seen.lock(), [10, 20, i64::MAX]);
}
