//! One instance of a Kafka source: fetches its share of the partitions, for all tables that read them.
//!
//! A tokio task fetches ahead within a byte bound and wakes the stream task, which decompresses and decodes. Another
//! looks for new partitions from time to time; they are read from their beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Array, Int64Array, MapBuilder, MapFieldNames, StringArray,
    StringBuilder, TimestampMillisecondArray,
};
use kafka_client::{
    Client, ConsumerConfig, FetchHealth, Fetched, Isolation, OffsetSpec, PartitionConsumer,
    RecordColumns, StartAt, TopicPartition,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::connectors::ConnectorConfig;
use crate::connectors::kafka::options::{Bounded, KafkaOptions, Startup, key_format};
use crate::connectors::records::RecordReader;
use crate::error::Error;
use crate::formats::Payloads;
use crate::graph::SourceSpec;
use crate::operator::Subtask;
use crate::runtime::ends::{Polled, Positions, Source, SplitRows};
use crate::runtime::pool::Waker;

/// Records decoded at once.
const BATCH: usize = 4096;

struct KafkaSource {
    readers: Vec<RecordReader>,
    splits: Vec<Split>,
    incoming: mpsc::Receiver<Result<Incoming, Error>>,
    current: Option<Current>,
    bounded: bool,
    health: FetchHealth,
    _fetching: JoinSet<()>,
}

struct Split {
    partition: TopicPartition,
    position: i64,
    end: Option<i64>,
    high_watermark: i64,
    told_end: bool,
}

/// What the fetching task says.
enum Incoming {
    Fetched(Fetched),
    /// Partitions that came up, with their first offsets.
    Found(Vec<(TopicPartition, i64)>),
}

/// Fetched records that are being handed out.
struct Current {
    split: usize,
    records: RecordColumns,
    at: usize,
    bytes: usize,
}

/// Opens an instance for all of `tables`, whose options name the same records.
pub(crate) async fn open(
    config: &ConnectorConfig,
    tables: &[Arc<SourceSpec>],
    subtask: Subtask,
    positions: Option<&Positions>,
    waker: Waker,
) -> Result<Box<dyn Source>, Error> {
    let Some(first) = tables.first() else {
        return Err(Error::failed("a Kafka source without tables"));
    };
    let options = KafkaOptions::of(&first.table)?;
    let mut readers = Vec::new();
    for spec in tables {
        let options = KafkaOptions::of(&spec.table)?;
        let key = key_format(&spec.table)?;
        readers.push(RecordReader::new(spec, &options.format, key.as_ref())?);
    }
    let client = Client::connect(options.client.clone())
        .await
        .map_err(|error| Error::caused("could not connect to Kafka", error))?;
    let mut splits = Vec::new();
    for topic in &options.topics {
        splits.extend(open_topic(&client, &options, topic, subtask, positions).await?);
    }
    let consumer = PartitionConsumer::new(
        &client,
        ConsumerConfig {
            prefetch_bytes: config.prefetch_bytes,
            ..ConsumerConfig::default()
        },
    );
    let unfinished = splits.iter().filter(|split| !split.is_done());
    consumer.assign(unfinished.map(|split| {
        let start = StartAt::Offset(split.position);
        (split.partition.clone(), start)
    }));
    let health = consumer.health();
    let (sender, incoming) = mpsc::channel(2);
    let (finder, found) = mpsc::channel(1);
    let mut fetching = JoinSet::new();
    fetching.spawn(fetch(consumer, found, sender, waker));
    let bounded = options.bounded != Bounded::Never;
    if let Some(every) = options.discovery.filter(|_| !bounded) {
        let discovery = Discovery {
            client,
            topics: options.topics,
            subtask,
            known: splits.iter().map(|split| split.partition.clone()).collect(),
        };
        fetching.spawn(discovery.run(every, finder));
    }
    Ok(Box::new(KafkaSource {
        readers,
        splits,
        incoming,
        current: None,
        bounded,
        health,
        _fetching: fetching,
    }))
}

/// Fetches until nobody takes it any more.
async fn fetch(
    mut consumer: PartitionConsumer,
    mut found: mpsc::Receiver<Vec<(TopicPartition, i64)>>,
    sender: mpsc::Sender<Result<Incoming, Error>>,
    waker: Waker,
) {
    loop {
        let next = tokio::select! {
            next = consumer.next() => next,
            Some(partitions) = found.recv() => {
                let start = |(partition, offset): &(TopicPartition, i64)| {
                    (partition.clone(), StartAt::Offset(*offset))
                };
                let starts: Vec<_> = partitions.iter().map(start).collect();
                // The source knows a partition before its first records come.
                if sender.send(Ok(Incoming::Found(partitions))).await.is_err() {
                    return;
                }
                waker.wake();
                consumer.assign(starts);
                continue;
            }
        };
        let item = match next {
            Ok(fetched) => Ok(Incoming::Fetched(fetched)),
            Err((partition, error)) if error.is_retriable() => {
                warn!(topic = %partition.topic, partition = partition.partition, error = %telemetry::chain(&error), "could not fetch, trying on");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            Err((partition, error)) => Err(Error::caused(
                format!(
                    "could not read partition {} of `{}`",
                    partition.partition, partition.topic
                ),
                error,
            )),
        };
        let failed = item.is_err();
        if sender.send(item).await.is_err() || failed {
            waker.wake();
            return;
        }
        waker.wake();
    }
}

/// Looks for partitions that an instance should read and does not.
struct Discovery {
    client: Client,
    topics: Vec<String>,
    subtask: Subtask,
    known: BTreeSet<TopicPartition>,
}

impl Discovery {
    /// Tells `finder` about new partitions, until nobody listens.
    async fn run(mut self, every: Duration, finder: mpsc::Sender<Vec<(TopicPartition, i64)>>) {
        loop {
            tokio::time::sleep(every).await;
            for topic in self.topics.clone() {
                match self.look(&topic).await {
                    Ok(new) if new.is_empty() => {}
                    Ok(new) => {
                        info!(topic, partitions = new.len(), "new partitions found");
                        self.known.extend(new.iter().map(|(new, _)| new.clone()));
                        if finder.send(new).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        warn!(topic, error = %telemetry::chain(&error), "could not look for new partitions, trying on");
                    }
                }
            }
        }
    }

    async fn look(&self, topic: &str) -> Result<Vec<(TopicPartition, i64)>, Error> {
        let new: Vec<i32> = partitions_of(&self.client, topic, self.subtask)
            .await?
            .into_iter()
            .filter(|partition| !self.known.contains(&TopicPartition::new(topic, *partition)))
            .collect();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let earliest = list(&self.client, topic, &new, OffsetSpec::Earliest).await?;
        let place = |(partition, offset)| (TopicPartition::new(topic, partition), offset);
        Ok(earliest.into_iter().map(place).collect())
    }
}

/// The partitions that an instance reads.
async fn partitions_of(client: &Client, topic: &str, subtask: Subtask) -> Result<Vec<i32>, Error> {
    let problem = |error| Error::caused(format!("could not look up the topic `{topic}`"), error);
    let info = client.await_topic(topic).await.map_err(problem)?;
    let all = info.partitions.iter().map(|partition| partition.partition);
    Ok(all
        .filter(|partition| *partition as usize % subtask.parallelism == subtask.index)
        .collect())
}

async fn open_topic(
    client: &Client,
    options: &KafkaOptions,
    topic: &str,
    subtask: Subtask,
    positions: Option<&Positions>,
) -> Result<Vec<Split>, Error> {
    let mine = partitions_of(client, topic, subtask).await?;
    if mine.is_empty() {
        return Ok(Vec::new());
    }
    let earliest = list(client, topic, &mine, OffsetSpec::Earliest).await?;
    let start = match positions {
        // Partitions that the checkpoint does not know are new: all of theirs is to be read.
        Some(_) => earliest.clone(),
        None => starts(client, options, topic, &mine, &options.startup, &earliest).await?,
    };
    let ends = ends(client, options, topic, &mine).await?;
    let splits = mine.iter().map(|partition| {
        let name = split_name(topic, *partition);
        let restored = positions.and_then(|all| all.get(&name)?.as_i64());
        Split {
            partition: TopicPartition::new(topic, *partition),
            position: restored
                .or_else(|| start.get(partition).copied())
                .unwrap_or(0),
            end: ends
                .as_ref()
                .map(|ends| ends.get(partition).copied().unwrap_or(0)),
            high_watermark: 0,
            told_end: false,
        }
    });
    Ok(splits.collect())
}

async fn list(
    client: &Client,
    topic: &str,
    partitions: &[i32],
    spec: OffsetSpec,
) -> Result<BTreeMap<i32, i64>, Error> {
    let problem = |error| Error::caused(format!("could not list the offsets of `{topic}`"), error);
    let listed = client
        .list_offsets(topic, partitions, spec, Isolation::ReadCommitted)
        .await
        .map_err(problem)?;
    let known = listed.into_iter();
    Ok(known
        .filter_map(|listed| Some((listed.partition, listed.offset?)))
        .collect())
}

async fn starts(
    client: &Client,
    options: &KafkaOptions,
    topic: &str,
    partitions: &[i32],
    startup: &Startup,
    earliest: &BTreeMap<i32, i64>,
) -> Result<BTreeMap<i32, i64>, Error> {
    match startup {
        Startup::Earliest => Ok(earliest.clone()),
        Startup::Latest => list(client, topic, partitions, OffsetSpec::Latest).await,
        Startup::Time(time) => {
            let mut found = list(client, topic, partitions, OffsetSpec::Latest).await?;
            found.extend(list(client, topic, partitions, OffsetSpec::AtTime(*time)).await?);
            Ok(found)
        }
        Startup::Offsets(offsets) => {
            let mut found = earliest.clone();
            found.extend(
                offsets
                    .iter()
                    .map(|(partition, offset)| (*partition, *offset)),
            );
            Ok(found)
        }
        Startup::Group => {
            let mut found = committed(client, options, topic, partitions).await?;
            let Some(missing) = partitions
                .iter()
                .find(|partition| !found.contains_key(partition))
            else {
                return Ok(found);
            };
            let rest = match &options.reset {
                Some(Startup::Earliest) => earliest.clone(),
                Some(_) => list(client, topic, partitions, OffsetSpec::Latest).await?,
                None => {
                    return Err(Error::failed(format!(
                        "the group has no offset for partition {missing} of `{topic}`; set 'scan.startup.mode' or 'properties.auto.offset.reset'"
                    )));
                }
            };
            for (partition, offset) in rest {
                found.entry(partition).or_insert(offset);
            }
            Ok(found)
        }
    }
}

async fn committed(
    client: &Client,
    options: &KafkaOptions,
    topic: &str,
    partitions: &[i32],
) -> Result<BTreeMap<i32, i64>, Error> {
    let Some(group) = &options.group else {
        return Err(Error::invalid(
            "'scan.startup.mode' = 'group-offsets' needs 'properties.group.id'",
        ));
    };
    let partitions: Vec<_> = partitions
        .iter()
        .map(|partition| TopicPartition::new(topic, *partition))
        .collect();
    let problem = |error| Error::caused(format!("could not read the offsets of `{group}`"), error);
    let offsets = client
        .committed_offsets(group, &partitions)
        .await
        .map_err(problem)?;
    let known = offsets
        .into_iter()
        .filter(|committed| committed.offset >= 0);
    Ok(known
        .map(|committed| (committed.partition.partition, committed.offset))
        .collect())
}

async fn ends(
    client: &Client,
    options: &KafkaOptions,
    topic: &str,
    partitions: &[i32],
) -> Result<Option<BTreeMap<i32, i64>>, Error> {
    let latest = || list(client, topic, partitions, OffsetSpec::Latest);
    Ok(match &options.bounded {
        Bounded::Never => None,
        Bounded::Latest => Some(latest().await?),
        Bounded::Offsets(offsets) => {
            let mut ends = latest().await?;
            ends.extend(
                offsets
                    .iter()
                    .map(|(partition, offset)| (*partition, *offset)),
            );
            Some(ends)
        }
        Bounded::Time(time) => {
            let mut ends = latest().await?;
            ends.extend(list(client, topic, partitions, OffsetSpec::AtTime(*time)).await?);
            Some(ends)
        }
        Bounded::Group => Some(committed(client, options, topic, partitions).await?),
    })
}

fn split_name(topic: &str, partition: i32) -> String {
    format!("{topic}-{partition}")
}

impl Split {
    /// Of a partition that came up while the job ran.
    fn found((partition, position): (TopicPartition, i64)) -> Self {
        Split {
            partition,
            position,
            end: None,
            high_watermark: 0,
            told_end: false,
        }
    }

    fn is_done(&self) -> bool {
        self.end.is_some_and(|end| self.position >= end)
    }
}

// === impl KafkaSource ===

impl KafkaSource {
    /// Takes the next fetch that has anything to say.
    fn take(&mut self) -> Result<bool, Error> {
        let fetched = match self.incoming.try_recv() {
            Ok(incoming) => match incoming? {
                Incoming::Fetched(fetched) => fetched,
                Incoming::Found(partitions) => {
                    self.splits.extend(partitions.into_iter().map(Split::found));
                    return Ok(true);
                }
            },
            Err(mpsc::error::TryRecvError::Empty) => return Ok(false),
            Err(mpsc::error::TryRecvError::Disconnected) => {
                return Err(Error::failed("fetching from Kafka has stopped"));
            }
        };
        let position = |split: &Split| split.partition == fetched.partition;
        let Some(index) = self.splits.iter().position(position) else {
            return Ok(true);
        };
        let records = fetched
            .decode()
            .map_err(|error| Error::caused("could not decode records", error))?;
        self.splits[index].high_watermark = fetched.high_watermark;
        self.current = Some(Current {
            split: index,
            records,
            at: 0,
            bytes: fetched.size(),
        });
        Ok(true)
    }

    /// Decodes the next records of the current fetch.
    fn hand_out(&mut self) -> Result<Option<SplitRows>, Error> {
        let Some(current) = &mut self.current else {
            return Ok(None);
        };
        let split = &mut self.splits[current.split];
        let records = &current.records;
        let begin = current.at;
        let mut end = (begin + BATCH).min(records.len());
        if let Some(stop) = split.end {
            end = begin + records.offsets[begin..end].partition_point(|offset| *offset < stop);
        }
        let mut rows = None;
        if end > begin {
            let (keys, values) = (&records.keys[begin..end], &records.values[begin..end]);
            let values = Payloads {
                data: &records.data,
                spans: values,
            };
            let keys = Payloads {
                data: &records.data,
                spans: keys,
            };
            let column = |key: &str| metadata(&split.partition, records, begin..end, key);
            let tables = self
                .readers
                .iter_mut()
                .map(|reader| reader.read(values, Some(keys), column))
                .collect::<Result<Vec<_>, _>>()?;
            split.position = records.offsets[end - 1] + 1;
            rows = Some(SplitRows {
                split: current.split,
                tables,
                bytes: std::mem::take(&mut current.bytes),
                records: end - begin,
            });
        }
        current.at = end;
        let at_stop = split.is_done() || (rows.is_none() && end < records.len());
        if end == records.len() || at_stop {
            let behind = records.next_offset;
            split.position = match split.end {
                Some(stop) => split.position.max(behind.min(stop)),
                None => split.position.max(behind),
            };
            self.current = None;
        }
        Ok(rows)
    }
}

impl Source for KafkaSource {
    fn splits(&self) -> usize {
        self.splits.len()
    }

    fn poll(&mut self, _now: i64) -> Result<Polled, Error> {
        loop {
            if let Some(rows) = self.hand_out()? {
                return Ok(Polled::Rows(rows));
            }
            if self.bounded {
                let done = self
                    .splits
                    .iter()
                    .position(|split| split.is_done() && !split.told_end);
                if let Some(split) = done {
                    self.splits[split].told_end = true;
                    return Ok(Polled::SplitEnded(split));
                }
                if self.splits.iter().all(|split| split.told_end) {
                    return Ok(Polled::Ended);
                }
            }
            if self.current.is_none() && !self.take()? {
                return Ok(Polled::Pending);
            }
        }
    }

    fn positions(&self) -> Positions {
        let splits = self.splits.iter();
        splits
            .map(|split| {
                let name = split_name(&split.partition.topic, split.partition.partition);
                (name, split.position.into())
            })
            .collect()
    }

    fn answers(&self, split: usize) -> bool {
        self.health.answers(&self.splits[split].partition)
    }

    fn lag(&self) -> Option<u64> {
        let behind = |split: &Split| (split.high_watermark - split.position).max(0) as u64;
        Some(self.splits.iter().map(behind).sum())
    }
}

fn metadata(
    partition: &TopicPartition,
    records: &RecordColumns,
    range: std::ops::Range<usize>,
    key: &str,
) -> Result<ArrayRef, Error> {
    let n_records = range.len();
    match key {
        "topic" => Ok(Arc::new(StringArray::from(vec![
            &*partition.topic;
            n_records
        ]))),
        "partition" => Ok(Arc::new(Int32Array::from(vec![
            partition.partition;
            n_records
        ]))),
        "offset" => Ok(Arc::new(Int64Array::from(records.offsets[range].to_vec()))),
        "timestamp" => {
            let times = TimestampMillisecondArray::from(records.timestamps[range].to_vec());
            Ok(Arc::new(times.with_timezone("UTC")))
        }
        "headers" => headers(records, range),
        other => Err(Error::invalid(format!(
            "connector 'kafka' has no metadata '{other}'"
        ))),
    }
}

fn headers(records: &RecordColumns, range: std::ops::Range<usize>) -> Result<ArrayRef, Error> {
    let names = MapFieldNames {
        entry: "entries".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    };
    let mut map = MapBuilder::new(Some(names), StringBuilder::new(), BinaryBuilder::new());
    let problem = |error| Error::caused("could not read the headers of records", error);
    for index in range {
        // Of equal names the last one counts, as in Flink's map.
        let mut of_record: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
        of_record.extend(records.headers(index));
        for (name, value) in of_record {
            map.keys().append_value(String::from_utf8_lossy(name));
            map.values().append_option(value);
        }
        map.append(true).map_err(problem)?;
    }
    Ok(Arc::new(map.finish()))
}
