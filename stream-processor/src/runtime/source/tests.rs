//! Which splits are waited for: silent ones not, ones that could not be heard very much.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion_physical_expr::expressions::col;
use futures::FutureExt;
use parking_lot::Mutex;

use super::{Head, Progress, SourceRunner};
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::{JobConfig, NodeId, SourceSpec, Watermark};
use crate::operator::{CheckpointId, EventTime};
use crate::runtime::chain::{Body, Chain, ChainNode, NodeTime, Port, Target};
use crate::runtime::ends::{Polled, Positions, Prepared, SinkWriter, Source, SplitRows};
use crate::runtime::metrics::NodeMetrics;
use crate::table::{Column, ColumnKind, SqlType, TableDefinition, TablePath, TypeRoot};

const TIMEOUT: i64 = 10_000;

/// What the test does to the outside.
#[derive(Default)]
struct World {
    splits: usize,
    /// Split and event times.
    rows: VecDeque<(usize, Vec<i64>)>,
    unreachable: Vec<usize>,
}

struct Scripted(Arc<Mutex<World>>);

impl Source for Scripted {
    fn splits(&self) -> usize {
        self.0.lock().splits
    }

    fn poll(&mut self, _now: i64) -> Result<Polled, Error> {
        let Some((split, times)) = self.0.lock().rows.pop_front() else {
            return Ok(Polled::Pending);
        };
        let records = times.len();
        let times = TimestampMillisecondArray::from(times);
        let table = RecordBatch::try_new(schema(), vec![Arc::new(times)]).unwrap();
        Ok(Polled::Rows(SplitRows {
            split,
            tables: vec![ChangeBatch::inserts(table)],
            bytes: 0,
            records,
        }))
    }

    fn positions(&self) -> Positions {
        Positions::new()
    }

    fn answers(&self, split: usize) -> bool {
        !self.0.lock().unreachable.contains(&split)
    }
}

/// Keeps the watermarks that reach it.
struct Seen {
    watermarks: Arc<Mutex<Vec<i64>>>,
    ready: Arc<AtomicBool>,
}

impl SinkWriter for Seen {
    fn write(&mut self, _: ChangeBatch) -> Result<(), Error> {
        Ok(())
    }

    fn is_ready(&mut self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    fn watermark(&mut self, watermark: EventTime) -> Result<(), Error> {
        self.watermarks.lock().push(watermark.0);
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId) -> Prepared {
        async { Ok(Vec::new()) }.boxed()
    }
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Arc::new(Schema::new(vec![Field::new("ts", time, true)]))
}

fn spec() -> SourceSpec {
    let table = TableDefinition {
        path: TablePath {
            catalog: "c".to_owned(),
            database: "d".to_owned(),
            table: "t".to_owned(),
        },
        columns: vec![Column {
            name: "ts".to_owned(),
            data_type: SqlType::of(TypeRoot::Timestamp(3)),
            kind: ColumnKind::Physical,
        }],
        watermark: None,
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        options: std::collections::BTreeMap::new(),
    };
    SourceSpec {
        table: Arc::new(table),
        read: vec![0],
        extractions: Vec::new(),
        computed: Vec::new(),
        watermark: Some(Watermark {
            column: 0,
            expression: col("ts", &schema()).unwrap(),
        }),
        output: vec![0],
    }
}

struct Bench {
    world: Arc<Mutex<World>>,
    watermarks: Arc<Mutex<Vec<i64>>>,
    ready: Arc<AtomicBool>,
    chain: Chain,
    runner: SourceRunner,
    now: i64,
}

impl Bench {
    fn new(splits: usize) -> Self {
        let world = Arc::new(Mutex::new(World {
            splits,
            ..World::default()
        }));
        let (watermarks, ready) = (Arc::default(), Arc::new(AtomicBool::new(true)));
        let sink = Seen {
            watermarks: Arc::clone(&watermarks),
            ready: Arc::clone(&ready),
        };
        let node = |id, body, ports, targets| ChainNode {
            id: NodeId(id),
            name: String::new(),
            body: Some(body),
            ports,
            targets,
            exchanges: Vec::new(),
            metrics: NodeMetrics::new(Arc::default()),
            time: NodeTime::default(),
        };
        let target = Target {
            node: 1,
            port: 0,
            late: false,
        };
        let chain = Chain::new(vec![
            node(0, Body::Head, Vec::new(), vec![target]),
            node(
                1,
                Body::Sink(Box::new(sink)),
                vec![Port::new(1)],
                Vec::new(),
            ),
        ]);
        let config = JobConfig {
            checkpoint_interval: None,
            auto_watermark_interval: Duration::from_millis(200),
            source_idle_timeout: Some(Duration::from_millis(TIMEOUT as u64)),
            batch: false,
        };
        let head = Head::new(0, Arc::new(spec()), schema());
        let source = Box::new(Scripted(Arc::clone(&world)));
        Bench {
            world,
            watermarks,
            ready,
            chain,
            runner: SourceRunner::new(source, vec![head], &config),
            now: 1_000_000,
        }
    }

    /// Rows arrive and are read.
    fn rows(&mut self, split: usize, times: &[i64]) {
        self.world.lock().rows.push_back((split, times.to_vec()));
        let progress = self.runner.step(&mut self.chain, self.now).unwrap();
        assert_eq!(progress, Progress::Rows);
    }

    /// Time passes in steps of 100 ms.
    fn pass(&mut self, millis: i64) {
        for _ in 0..millis / 100 {
            self.tick_after(100);
        }
    }

    fn tick_after(&mut self, millis: i64) {
        self.now += millis;
        self.runner.tick(&mut self.chain, self.now).unwrap();
    }

    fn watermark(&self) -> Option<i64> {
        self.watermarks.lock().last().copied()
    }
}

#[test]
fn a_silent_split_is_waited_for_until_the_timeout() {
    let mut bench = Bench::new(2);
    bench.rows(0, &[5000]);
    bench.rows(1, &[1000]);
    bench.pass(100);
    assert_eq!(bench.watermark(), Some(1000));
    bench.pass(6000);
    bench.rows(0, &[6000]);
    bench.pass(TIMEOUT - 6300);
    assert_eq!(bench.watermark(), Some(1000));
    bench.pass(400);
    assert_eq!(bench.watermark(), Some(6000));
}

#[test]
fn when_all_splits_are_silent_nothing_moves() {
    let mut bench = Bench::new(2);
    bench.rows(0, &[5000]);
    bench.rows(1, &[1000]);
    bench.pass(2 * TIMEOUT);
    assert_eq!(bench.watermark(), Some(1000));
    // Both go on where they were: neither is late.
    bench.rows(1, &[1500]);
    bench.rows(0, &[5100]);
    bench.pass(100);
    assert_eq!(bench.watermark(), Some(1500));
}

#[test]
fn a_split_is_not_silent_while_what_follows_is_full() {
    let mut bench = Bench::new(2);
    bench.rows(0, &[5000]);
    bench.rows(1, &[1000]);
    bench.ready.store(false, Ordering::Relaxed);
    bench.pass(3 * TIMEOUT);
    bench.ready.store(true, Ordering::Relaxed);
    bench.rows(0, &[9000]);
    bench.pass(200);
    assert_eq!(bench.watermark(), Some(1000));
}

#[test]
fn a_split_is_not_silent_while_the_task_is_held_up() {
    let mut bench = Bench::new(2);
    bench.rows(0, &[5000]);
    bench.rows(1, &[1000]);
    bench.pass(100);
    bench.tick_after(3 * TIMEOUT);
    bench.rows(0, &[9000]);
    bench.pass(200);
    assert_eq!(bench.watermark(), Some(1000));
}

#[test]
fn a_split_that_cannot_be_asked_is_not_silent() {
    let mut bench = Bench::new(2);
    bench.rows(0, &[5000]);
    bench.rows(1, &[1000]);
    bench.world.lock().unreachable = vec![0, 1];
    bench.pass(3 * TIMEOUT);
    bench.world.lock().unreachable.clear();
    bench.rows(0, &[40_000]);
    bench.pass(200);
    assert_eq!(bench.watermark(), Some(1000));
    bench.rows(1, &[39_000]);
    bench.pass(200);
    assert_eq!(bench.watermark(), Some(39_000));
}

#[test]
fn a_split_that_comes_up_is_waited_for_until_it_is_silent() {
    let mut bench = Bench::new(1);
    bench.rows(0, &[5000]);
    bench.pass(200);
    assert_eq!(bench.watermark(), Some(5000));
    bench.world.lock().splits = 2;
    bench.rows(0, &[6000]);
    bench.pass(1000);
    assert_eq!(bench.watermark(), Some(5000));
    bench.rows(1, &[5500]);
    bench.pass(200);
    assert_eq!(bench.watermark(), Some(5500));
}
