//! The run: makes events when they are due, fills a batch for each partition, sends it, and counts what comes back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_client::{
    Acks, BatchBuilder, Client, Compression, Delivery, NewTopic, Producer, ProducerConfig,
    TopicPartition, partition_for_key,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{Codec, Config};
use crate::error::Error;
use crate::generator::{Event, Generator};
use crate::pace::Pace;
use crate::progress::{Latencies, Progress, Summary};

/// Events made between two looks at the clock; they take well under a millisecond.
const CHUNK: usize = 256;
/// Most bytes of one record.
const RECORD_MAX: usize = 1024;

/// Emits until the count is reached or `shutdown` is cancelled; then waits for what is under way.
///
/// # Errors
/// Only when it cannot start; records that could not be delivered are counted in the [`Summary`].
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<Summary, Error> {
    run_reporting(config, shutdown, |_| {}).await
}

/// [`run`], calling `report` every `report_every`.
///
/// # Errors
/// As [`run`].
pub async fn run_reporting(
    config: Config,
    shutdown: CancellationToken,
    report: impl FnMut(&Progress) + Send,
) -> Result<Summary, Error> {
    config.validate()?;
    let started = Run::start(config, report);
    let mut run = tokio::select! {
        started = started => started?,
        () = shutdown.cancelled() => return Ok(Summary::empty()),
    };
    run.emit(&shutdown).await?;
    Ok(run.finish().await)
}

struct Run<R> {
    config: Config,
    generator: Generator,
    pace: Pace,
    producer: Producer,
    report: R,
    batches: Vec<Filling>,
    /// Keyless records go to the partitions in turn.
    turn: usize,
    started: Instant,
    /// Event time of the first event; `None` when events carry the clock's time.
    start_time: Option<i64>,
    acks: Acknowledgements,
}

/// The open batch of one partition.
struct Filling {
    partition: TopicPartition,
    builder: Option<BatchBuilder>,
}

struct Acknowledgements {
    open: VecDeque<(Delivery, u64)>,
    in_flight: u64,
    acknowledged: u64,
    failed: u64,
    last_error: Option<String>,
    recent: Latencies,
    all: Latencies,
    reported: (Instant, u64),
}

impl<R: FnMut(&Progress) + Send> Run<R> {
    async fn start(config: Config, report: R) -> Result<Run<R>, Error> {
        let kafka = |what| move |source| Error::Kafka { what, source };
        let mut connect = kafka_client::Config::new(&config.bootstrap);
        "streamforge-emitter".clone_into(&mut connect.client_id);
        let connect = connect
            .with_properties(&config.properties)
            .map_err(kafka("connect"))?;
        let client = Client::connect(connect).await.map_err(kafka("connect"))?;
        let topic = NewTopic::new(&config.topic, config.partitions);
        let created = client
            .ensure_topic(&topic)
            .await
            .map_err(kafka("create the topic"))?;
        let topic = client
            .topic(&config.topic)
            .await
            .map_err(kafka("read the topic"))?;
        if !created && topic.partitions.len() != config.partitions as usize {
            info!(topic = %topic.name, partitions = topic.partitions.len(), "topic exists with other partitions");
        }
        let producer_config = ProducerConfig {
            acks: Acks::All,
            compression: config.compression.into(),
            memory: config.memory.as_u64() as usize,
            ..ProducerConfig::default()
        };
        let producer = Producer::new(&client, producer_config).map_err(kafka("send"))?;
        let partition = |partition| Filling {
            partition: TopicPartition::new(Arc::clone(&topic.name), partition),
            builder: None,
        };
        let now = Instant::now();
        Ok(Run {
            generator: Generator::new(&config),
            pace: Pace::new(&config),
            producer,
            report,
            batches: (0..topic.partitions.len() as i32).map(partition).collect(),
            turn: 0,
            started: now,
            start_time: match config.start_time {
                None if config.rate == 0 => None,
                None => Some(clock() - config.backfill.as_millis() as i64),
                given => given,
            },
            acks: Acknowledgements::new(now),
            config,
        })
    }

    async fn emit(&mut self, shutdown: &CancellationToken) -> Result<(), Error> {
        let mut left = self.config.count.unwrap_or(u64::MAX);
        let mut sent_at = Instant::now();
        while left > 0 && !shutdown.is_cancelled() {
            let made = self.make_due(left);
            left -= made;
            let idle = made < CHUNK as u64;
            // Slow streams do not wait for full batches.
            if idle && sent_at.elapsed() >= self.config.linger {
                self.send_all().await?;
                sent_at = Instant::now();
            }
            self.send_full().await?;
            self.acks.collect();
            self.report_if_due();
            if idle && left > 0 {
                let next = self.pace.due().saturating_sub(self.position());
                let pause = next.clamp(Duration::from_millis(1), self.config.linger);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => {}
                }
            } else {
                tokio::task::yield_now().await;
            }
        }
        self.send_all().await
    }

    /// How far into the stream of events the clock is.
    fn position(&self) -> Duration {
        self.started.elapsed() + self.config.backfill
    }

    /// Makes the events that are due, at most a chunk; returns how many.
    fn make_due(&mut self, most: u64) -> u64 {
        let position = self.position();
        let most = most.min(CHUNK as u64);
        let now = if self.start_time.is_none() {
            clock()
        } else {
            0
        };
        for made in 0..most {
            let due = self.pace.due();
            if self.config.rate > 0 && due > position {
                return made;
            }
            self.pace.advance();
            let time = self
                .start_time
                .map_or(now, |start| start + due.as_millis() as i64);
            let event = self.generator.next(time);
            self.add(&event);
        }
        most
    }

    fn add(&mut self, event: &Event) {
        let count = self.batches.len();
        let key = self.generator.key(event);
        let partition = match key {
            Some(key) => partition_for_key(key, count) as usize,
            None => self.turn % count,
        };
        self.turn = self.turn.wrapping_add(1);
        let capacity = self.config.batch.as_u64() as usize;
        let builder = self.batches[partition]
            .builder
            .get_or_insert_with(|| BatchBuilder::with_capacity(capacity + CHUNK * RECORD_MAX / 4));
        builder.append_with(event.sent, key, |out| self.generator.write(event, out));
    }

    async fn send_full(&mut self) -> Result<(), Error> {
        self.send(self.config.batch.as_u64() as usize).await
    }

    async fn send_all(&mut self) -> Result<(), Error> {
        self.send(0).await
    }

    /// Sends the batches of at least `size` bytes; waits while too much is under way.
    async fn send(&mut self, size: usize) -> Result<(), Error> {
        for filling in &mut self.batches {
            let Some(batch) = filling.builder.take_if(|batch| batch.size() >= size) else {
                continue;
            };
            let records = batch.len() as u64;
            let sending = self.producer.send_batch(filling.partition.clone(), batch);
            let delivery = sending.await.map_err(|source| Error::Kafka {
                what: "send",
                source,
            })?;
            self.acks.open.push_back((delivery, records));
            self.acks.in_flight += records;
        }
        Ok(())
    }

    fn report_if_due(&mut self) {
        let (reported, acknowledged) = self.acks.reported;
        let since = reported.elapsed();
        if since < self.config.report_every {
            return;
        }
        let acks = &mut self.acks;
        let progress = Progress {
            elapsed: self.started.elapsed(),
            acknowledged: acks.acknowledged,
            rate: (acks.acknowledged - acknowledged) as f64 / since.as_secs_f64(),
            in_flight: acks.in_flight,
            failed: acks.failed,
            ack_p99: acks.recent.quantile(0.99),
        };
        acks.all.absorb(&mut acks.recent);
        acks.reported = (Instant::now(), acks.acknowledged);
        (self.report)(&progress);
    }

    async fn finish(mut self) -> Summary {
        self.producer.flush().await;
        self.acks.collect();
        let acks = &mut self.acks;
        acks.all.absorb(&mut acks.recent);
        let summary = Summary {
            tally: self.generator.tally(),
            acknowledged: acks.acknowledged,
            failed: acks.failed,
            last_error: acks.last_error.take(),
            bytes: self.producer.stats().bytes,
            elapsed: self.started.elapsed(),
            ack_p50: acks.all.quantile(0.5),
            ack_p99: acks.all.quantile(0.99),
        };
        info!(
            acknowledged = summary.acknowledged,
            failed = summary.failed,
            "emitter ended after {:?}",
            summary.elapsed
        );
        summary
    }
}

impl Acknowledgements {
    fn new(now: Instant) -> Acknowledgements {
        Acknowledgements {
            open: VecDeque::new(),
            in_flight: 0,
            acknowledged: 0,
            failed: 0,
            last_error: None,
            recent: Latencies::new(),
            all: Latencies::new(),
            reported: (now, 0),
        }
    }

    /// Takes the reports that have come in.
    fn collect(&mut self) {
        while let Some((delivery, records)) = self.open.front() {
            let Some(outcome) = delivery.try_get() else {
                return;
            };
            let records = *records;
            self.open.pop_front();
            self.in_flight -= records;
            match outcome {
                Ok(report) => {
                    self.acknowledged += records;
                    self.recent.add(report.latency, records);
                }
                Err(error) => {
                    warn!(records, %error, "records not delivered");
                    self.failed += records;
                    self.last_error = Some(error.to_string());
                }
            }
        }
    }
}

impl Summary {
    /// Of a run that was stopped before it began.
    fn empty() -> Summary {
        Summary {
            tally: crate::generator::Tally::default(),
            acknowledged: 0,
            failed: 0,
            last_error: None,
            bytes: 0,
            elapsed: Duration::ZERO,
            ack_p50: Duration::ZERO,
            ack_p99: Duration::ZERO,
        }
    }
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Compression {
        match codec {
            Codec::None => Compression::None,
            Codec::Gzip => Compression::Gzip,
            Codec::Snappy => Compression::Snappy,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        }
    }
}

/// Milliseconds since 1970 by the system's clock.
fn clock() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
