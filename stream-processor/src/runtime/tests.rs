//! Jobs of hand-written operators over files: chaining, exchange, event time, checkpoints, and exactly once under kills.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray, UInt16Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion_physical_expr::expressions::col;
use object_store::memory::InMemory;
use object_store::path::Path;
use proptest::prelude::*;
use tokio::sync::mpsc;

use crate::batch::ChangeBatch;
use crate::config::Config;
use crate::connectors::Connectors;
use crate::error::Error;
use crate::graph::{
    ChangelogMode, Edge, JobConfig, Node, NodeId, NodeKind, OperatorFactory, Partitioning,
    SinkSpec, SourceSpec, StreamGraph, Watermark,
};
use crate::key_group::key_groups;
use crate::operator::{CheckpointId, EventTime, Operator, Output, StateRows, StateTable, Subtask};
use crate::runtime::job::stats::{JobState, JobStats};
use crate::runtime::job::{Command, Limits, Outcome};
use crate::runtime::pool::Pool;
use crate::runtime::supervisor::{CheckpointPlace, RestartPolicy, Supervised};
use crate::table::{Column, ColumnKind, SqlType, TableDefinition, TablePath, TypeRoot};

/// Sums `amount` by `account`, keeps every sum as state, and emits the sums when event time ends.
#[derive(Debug)]
struct SumFactory {
    /// Fails once, after this many rows over all instances; negative for never.
    fail_after: Arc<AtomicI64>,
}

struct Sum {
    subtask: Subtask,
    sums: BTreeMap<i64, i64>,
    fail_after: Arc<AtomicI64>,
}

impl OperatorFactory for SumFactory {
    fn create(&self, subtask: Subtask) -> Result<Box<dyn Operator>, Error> {
        Ok(Box::new(Sum {
            subtask,
            sums: BTreeMap::new(),
            fail_after: self.fail_after.clone(),
        }))
    }
}

fn sums_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("account", DataType::Int64, true),
        Field::new("total", DataType::Int64, true),
    ]))
}

impl Operator for Sum {
    fn on_batch(
        &mut self,
        _port: usize,
        batch: ChangeBatch,
        _output: &mut dyn Output,
    ) -> Result<(), Error> {
        let accounts = batch.rows.column(0).as_primitive::<Int64Type>();
        let amounts = batch.rows.column(1).as_primitive::<Int64Type>();
        for (account, amount) in accounts.values().iter().zip(amounts.values()) {
            let left = self.fail_after.fetch_sub(1, Ordering::Relaxed);
            if left == 0 {
                return Err(Error::failed("injected"));
            }
            *self.sums.entry(*account).or_default() += amount;
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime, output: &mut dyn Output) -> Result<(), Error> {
        if watermark == EventTime::MAX {
            let sums = std::mem::take(&mut self.sums);
            let accounts = Int64Array::from_iter_values(sums.keys().copied());
            let totals = Int64Array::from_iter_values(sums.values().copied());
            let rows =
                RecordBatch::try_new(sums_schema(), vec![Arc::new(accounts), Arc::new(totals)]);
            output.emit(ChangeBatch::inserts(rows.unwrap()))?;
        }
        output.watermark(watermark)
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Vec<StateTable>, Error> {
        let accounts: arrow::array::ArrayRef =
            Arc::new(Int64Array::from_iter_values(self.sums.keys().copied()));
        let totals = Int64Array::from_iter_values(self.sums.values().copied());
        let groups =
            UInt16Array::from(key_groups(std::slice::from_ref(&accounts), accounts.len())?);
        let schema = Schema::new(vec![
            Field::new("__key_group", DataType::UInt16, false),
            Field::new("account", DataType::Int64, false),
            Field::new("total", DataType::Int64, false),
        ]);
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(groups), accounts, Arc::new(totals)];
        Ok(vec![StateTable {
            name: "sums".to_owned(),
            rows: vec![
                RecordBatch::try_new(Arc::new(schema), columns)
                    .unwrap()
                    .into(),
            ],
        }])
    }

    fn restore(&mut self, tables: Vec<StateTable>) -> Result<(), Error> {
        for batch in tables.into_iter().flat_map(StateTable::into_batches) {
            let groups = batch
                .column(0)
                .as_primitive::<arrow::datatypes::UInt16Type>();
            let accounts = batch.column(1).as_primitive::<Int64Type>();
            let totals = batch.column(2).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                assert!(self.subtask.key_groups().contains(&groups.value(row)));
                self.sums.insert(accounts.value(row), totals.value(row));
            }
        }
        Ok(())
    }
}

fn column(name: &str, root: TypeRoot) -> Column {
    Column {
        name: name.to_owned(),
        data_type: SqlType {
            root,
            nullable: true,
        },
        kind: ColumnKind::Physical,
    }
}

fn table(name: &str, columns: Vec<Column>, options: &[(&str, &str)]) -> Arc<TableDefinition> {
    let options = options.iter();
    Arc::new(TableDefinition {
        path: TablePath {
            catalog: "default_catalog".to_owned(),
            database: "default_database".to_owned(),
            table: name.to_owned(),
        },
        columns,
        watermark: None,
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        options: options
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    })
}

/// What is read: payments with a watermark.
fn payments(input: &FilePath) -> (SourceSpec, SchemaRef) {
    let columns = vec![
        column("account", TypeRoot::BigInt),
        column("amount", TypeRoot::BigInt),
        column("ts", TypeRoot::Timestamp(3)),
    ];
    let options = [
        ("connector", "filesystem"),
        ("format", "json"),
        ("path", input.to_str().unwrap()),
    ];
    let table = table("payments", columns, &options);
    let fields = table.columns.iter();
    let fields = fields.map(|column| Field::new(&column.name, column.data_type.arrow(), true));
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let watermark = Watermark {
        column: 2,
        expression: col("ts", &schema).unwrap(),
    };
    let spec = SourceSpec {
        table,
        read: vec![0, 1, 2],
        extractions: Vec::new(),
        computed: Vec::new(),
        watermark: Some(watermark),
        output: vec![0, 1, 2],
    };
    (spec, schema)
}

/// files → (hash by account) → sums → files
fn graph(input: &FilePath, output: &FilePath, parallelism: usize, fail_after: i64) -> StreamGraph {
    let (source, schema) = payments(input);
    let columns = vec![
        column("account", TypeRoot::BigInt),
        column("total", TypeRoot::BigInt),
    ];
    let options = [
        ("connector", "filesystem"),
        ("format", "json"),
        ("path", output.to_str().unwrap()),
    ];
    let sink = SinkSpec {
        table: table("totals", columns, &options),
        changelog: ChangelogMode::InsertOnly,
        primary_key: Vec::new(),
        overwrite: false,
    };
    let edge = |from, partitioning| Edge {
        from: NodeId(from),
        partitioning,
    };
    let node = |uid: &str, kind, inputs, schema: &SchemaRef| Node {
        uid: uid.to_owned(),
        name: uid.to_owned(),
        kind,
        inputs,
        schema: schema.clone(),
        parallelism,
    };
    let sum = SumFactory {
        fail_after: Arc::new(AtomicI64::new(fail_after)),
    };
    StreamGraph {
        name: "test".to_owned(),
        nodes: vec![
            node(
                "source",
                NodeKind::Source(Arc::new(source)),
                Vec::new(),
                &schema,
            ),
            node(
                "sum",
                NodeKind::Operator(Arc::new(sum)),
                vec![edge(0, Partitioning::Hash(vec![0]))],
                &sums_schema(),
            ),
            node(
                "sink",
                NodeKind::Sink(Arc::new(sink)),
                vec![edge(1, Partitioning::Forward)],
                &sums_schema(),
            ),
        ],
        config: JobConfig {
            checkpoint_interval: Some(Duration::from_millis(1)),
            auto_watermark_interval: Duration::from_millis(200),
            source_idle_timeout: None,
            batch: false,
        },
    }
}

/// A job with its checkpoints in memory.
struct Bench {
    pool: Arc<Pool>,
    place: CheckpointPlace,
}

impl Bench {
    fn new() -> Self {
        Bench {
            pool: Arc::new(Pool::start(3).unwrap()),
            place: CheckpointPlace {
                store: Arc::new(InMemory::new()),
                base: Path::from("checkpoints"),
                retain: 2,
            },
        }
    }

    fn supervised(&self, graph: StreamGraph, stats: Arc<JobStats>) -> Supervised {
        let connectors = Connectors::new(
            Config::default().connectors(),
            tokio::runtime::Handle::current(),
        );
        Supervised {
            job: "job".to_owned(),
            graph,
            ends: connectors,
            pool: self.pool.clone(),
            place: self.place.clone(),
            limits: Limits {
                channel_bytes: 4096,
                checkpoint_timeout: Duration::from_secs(30),
                pending_commits: 4,
            },
            policy: RestartPolicy {
                first_delay: Duration::from_millis(1),
                longest_delay: Duration::from_millis(10),
                attempts: Some(10),
                stable_after: Duration::from_secs(60),
            },
            stats,
        }
    }
}

/// Writes `n_files` files of payments; gives the sums they come to.
fn write_payments(directory: &FilePath, n_files: usize, n_rows: i64) -> BTreeMap<i64, i64> {
    let mut sums = BTreeMap::new();
    for file in 0..n_files {
        let mut text = String::new();
        for row in 0..n_rows {
            let (account, amount) = ((row * 7 + file as i64) % 97, row % 13 + 1);
            *sums.entry(account).or_default() += amount;
            let second = row % 60;
            text.push_str(&format!(
                "{{\"account\":{account},\"amount\":{amount},\"ts\":\"2026-01-01 00:00:{second:02}\"}}\n"
            ));
        }
        std::fs::write(directory.join(format!("payments-{file}.json")), text).unwrap();
    }
    sums
}

fn read_totals(directory: &FilePath) -> Vec<(i64, i64)> {
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("part-")
        {
            for line in std::fs::read_to_string(path).unwrap().lines() {
                let row: serde_json::Value = serde_json::from_str(line).unwrap();
                rows.push((
                    row["account"].as_i64().unwrap(),
                    row["total"].as_i64().unwrap(),
                ));
            }
        }
    }
    rows.sort_unstable();
    rows
}

struct Places {
    _root: tempfile::TempDir,
    input: std::path::PathBuf,
    output: std::path::PathBuf,
}

fn places() -> Places {
    let root = testkit::temp_dir();
    let (input, output) = (root.path().join("in"), root.path().join("out"));
    std::fs::create_dir(&input).unwrap();
    std::fs::create_dir(&output).unwrap();
    Places {
        _root: root,
        input,
        output,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounded_job_ends_with_each_row_counted_once() {
    for parallelism in [1, 3] {
        let places = places();
        let expected = write_payments(&places.input, 4, 3000);
        let bench = Bench::new();
        let stats = JobStats::new();
        let graph = graph(&places.input, &places.output, parallelism, -1);
        let (_commands, receiver) = mpsc::channel(1);
        let outcome = bench.supervised(graph, stats.clone()).run(receiver).await;
        assert_eq!(outcome.unwrap(), Outcome::Finished);
        assert_eq!(
            read_totals(&places.output),
            expected.into_iter().collect::<Vec<_>>()
        );
        let view = stats.view();
        assert_eq!(view.state, JobState::Finished);
        let read: u64 = view.nodes[0]
            .iter()
            .map(|node| node.records_in.load(Ordering::Relaxed))
            .sum();
        assert_eq!(read, 12_000);
        assert!(view.completed_checkpoints >= 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_operator_goes_on_from_the_last_checkpoint() {
    let places = places();
    let expected = write_payments(&places.input, 2, 20_000);
    let bench = Bench::new();
    let stats = JobStats::new();
    let graph = graph(&places.input, &places.output, 2, 25_000);
    let (_commands, receiver) = mpsc::channel(1);
    let outcome = bench.supervised(graph, stats.clone()).run(receiver).await;
    assert_eq!(outcome.unwrap(), Outcome::Finished);
    assert_eq!(
        read_totals(&places.output),
        expected.into_iter().collect::<Vec<_>>()
    );
    let view = stats.view();
    assert_eq!(view.restarts, 1);
    assert!(
        view.failures[0].1.contains("`sum` failed: injected"),
        "{:?}",
        view.failures
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_job_continues_with_other_parallelism() {
    let places = places();
    let expected = write_payments(&places.input, 3, 20_000);
    let bench = Bench::new();
    let graph_of = |parallelism| graph(&places.input, &places.output, parallelism, -1);
    let (commands, receiver) = mpsc::channel(1);
    commands.send(Command::Drain).await.unwrap();
    let first = bench
        .supervised(graph_of(3), JobStats::new())
        .run(receiver)
        .await;
    assert_eq!(first.unwrap(), Outcome::Drained);
    let (_commands, receiver) = mpsc::channel(1);
    let second = bench
        .supervised(graph_of(2), JobStats::new())
        .run(receiver)
        .await;
    assert_eq!(second.unwrap(), Outcome::Finished);
    assert_eq!(
        read_totals(&places.output),
        expected.into_iter().collect::<Vec<_>>()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Kills the whole job (as a dying process would: nothing is told) at random moments, each time going on with
    /// another parallelism.
    #[test]
    fn kills_lose_and_repeat_nothing(kills in prop::collection::vec((1usize..4, 0u64..12_000), 1..5)) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let places = places();
        let expected = write_payments(&places.input, 3, 8_000);
        let bench = Bench::new();
        runtime.block_on(async {
            for (parallelism, after) in kills {
                let stats = JobStats::new();
                let graph = graph(&places.input, &places.output, parallelism, -1);
                let (_commands, receiver) = mpsc::channel(1);
                let job = bench.supervised(graph, stats.clone()).run(receiver);
                let killed = async {
                    loop {
                        let read: u64 = stats.view().nodes.first().map_or(0, |nodes| {
                            nodes.iter().map(|node| node.records_in.load(Ordering::Relaxed)).sum()
                        });
                        if read >= after {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    _ = job => {}
                    () = killed => {}
                }
            }
            let graph = graph(&places.input, &places.output, 2, -1);
            let (_commands, receiver) = mpsc::channel(1);
            let outcome = bench.supervised(graph, JobStats::new()).run(receiver).await;
            prop_assert_eq!(outcome.unwrap(), Outcome::Finished);
            prop_assert_eq!(read_totals(&places.output), expected.into_iter().collect::<Vec<_>>());
            Ok(())
        })?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_taken_over_publishes_nothing() {
    use crate::checkpoint::store::{Collected, JobStore};
    let place = Bench::new().place;
    let claim = || JobStore::claim(place.store.clone(), &place.base, "job", 2);
    let (mut old, _, first) = claim().await.unwrap();
    old.publish(first, Collected::default(), 0).await.unwrap();
    let (mut new, restored, next) = claim().await.unwrap();
    assert_eq!(restored.unwrap().manifest.checkpoint, first);
    let zombie = old
        .publish(CheckpointId(first.0 + 1), Collected::default(), 0)
        .await;
    assert!(
        zombie
            .unwrap_err()
            .to_string()
            .contains("taken this job over")
    );
    new.publish(next, Collected::default(), 0).await.unwrap();
    let (_, restored, _) = claim().await.unwrap();
    assert_eq!(restored.unwrap().manifest.checkpoint, next);
}

#[tokio::test]
async fn state_that_did_not_change_is_not_written_again() {
    use crate::checkpoint::store::{Collected, JobStore};
    let place = Bench::new().place;
    let (mut store, _, first) = JobStore::claim(place.store.clone(), &place.base, "job", 2)
        .await
        .unwrap();
    let batch = |value: &str| {
        let text = StringArray::from(vec![value; 3]);
        let schema = Schema::new(vec![Field::new("text", DataType::Utf8, false)]);
        StateRows::from(RecordBatch::try_new(Arc::new(schema), vec![Arc::new(text)]).unwrap())
    };
    let (old, new) = (batch("old"), batch("new"));
    let collected = |rows: Vec<StateRows>| Collected {
        tables: vec![(
            "operator".to_owned(),
            Subtask {
                index: 0,
                parallelism: 1,
            },
            vec![StateTable {
                name: "texts".to_owned(),
                rows,
            }],
        )],
        ..Collected::default()
    };
    let one = store
        .publish(first, collected(vec![old.clone()]), 0)
        .await
        .unwrap();
    let second = CheckpointId(first.0 + 1);
    let two = store
        .publish(second, collected(vec![old.clone(), new.clone()]), 0)
        .await
        .unwrap();
    let segments = |manifest: &crate::checkpoint::manifest::Manifest| {
        manifest.operators["operator"].tables[0].segments.clone()
    };
    assert_eq!(segments(&two)[0], segments(&one)[0]);
    assert_eq!(segments(&two).len(), 2);
    let third = CheckpointId(first.0 + 2);
    let fourth = CheckpointId(first.0 + 3);
    let three = store
        .publish(third, collected(vec![new.stub()]), 0)
        .await
        .unwrap();
    assert_eq!(segments(&three), segments(&two)[1..]);
    store
        .publish(fourth, collected(vec![new.stub()]), 0)
        .await
        .unwrap();
    drop(store);
    let (mut store, restored, _) = JobStore::claim(place.store.clone(), &place.base, "job", 2)
        .await
        .unwrap();
    let operator = &restored.unwrap().manifest.operators["operator"];
    let tables = store.restore("operator", operator, 1).await.unwrap();
    assert_eq!(tables[0][0].rows[0].batch(), new.batch());
    assert_eq!(tables[0][0].rows.len(), 1);
}
