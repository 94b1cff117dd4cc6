//! Starts the broker, accepts connections, looks after the log, and stops without losing what was begun.
//!
//! Everything that runs is a task of one [`JoinSet`] here or a job of a [`Pool`]; nothing outlives [`serve`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use telemetry::{Health, Registry};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, Groups, OFFSETS_TOPIC, Sessions, replay};
use crate::connection::{self, Ended, Shared};
use crate::data_dir::DataDir;
use crate::group::{Coordinator, Limits};
use crate::log::pool::Pool;
use crate::log::{Disk, Env};
use crate::metrics::Metrics;
use crate::sasl::Users;
use crate::topics::settings::Defaults;
use crate::topics::{Topics, open_catalog};
use crate::{Config, Error, admin, tls};

/// Time that connections get to finish what they began.
const DRAIN: Duration = Duration::from_secs(3);
/// Pause after the system refused to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the Kafka protocol on `listener` and metrics and health on `admin_listener` until `shutdown` is cancelled,
/// then finishes the requests already begun and closes the log.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    admin_listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    config.validate()?;
    let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
    let health = Health::new();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let stop_admin = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(admin::serve(
        admin_listener,
        Arc::new(registry),
        health.clone(),
        stop_admin.clone(),
    ));

    let address = listener.local_addr().map_err(|source| Error::Start {
        what: "read its own address",
        source,
    })?;
    let stopping = CancellationToken::new();
    let (opening, stop_groups) = (config.clone(), stopping.clone());
    let opened = tokio::task::spawn_blocking(move || open(&opening, metrics, stop_groups)).await;
    let opened = opened.map_err(|error| Error::Start {
        what: "open the log",
        source: error.into(),
    })??;
    let broker = Arc::new(broker(config, address, opened, stopping)?);
    let serve = async {
        // A broker that died after it had deleted a topic has not forgotten the offsets.
        let is_gone = |topic: &str| broker.topics.get(topic).is_none();
        broker.groups.forget_topics(is_gone, Broker::now_ms()).await;
        health.ready();
        tracing::info!(%address, topics = broker.topics.all().len(), "broker ready");
        accept(&broker, tls, listener, &shutdown).await;
    };

    tokio::select! {
        () = serve => {}
        () = keep_house(&broker) => {}
        () = broker.groups.run(Broker::now_ms) => {}
    }
    health.not_ready("stopping");
    close(&broker).await;
    stop_admin.cancel();
    while let Some(ended) = tasks.join_next().await {
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "admin endpoints ended early");
        }
    }
    tracing::info!("broker stopped");
    Ok(())
}

/// What is in the data directory.
pub(crate) type Opened = (Arc<Env>, Topics, Groups);

/// The broker that clients reach at `address`.
pub(crate) fn broker(
    config: Config,
    address: SocketAddr,
    (env, topics, groups): Opened,
    stopping: CancellationToken,
) -> Result<Broker, Error> {
    let chores = Pool::start("broker-chores", 1).map_err(|source| Error::Start {
        what: "start threads",
        source,
    })?;
    Ok(Broker {
        host: config
            .advertised_host
            .clone()
            .unwrap_or_else(|| address.ip().to_string()),
        port: config.advertised_port.unwrap_or_else(|| address.port()),
        sessions: Mutex::new(Sessions::new(
            config.max_fetch_sessions,
            usize::try_from(config.max_partitions).unwrap_or(usize::MAX),
        )),
        fetch_memory: Arc::new(Semaphore::new(kib(config.fetch_memory))),
        stopping,
        topics: Arc::new(topics),
        groups: Arc::new(groups),
        users: Users::new(&config.users),
        chores,
        env,
        config,
    })
}

/// Opens the data directory and everything in it; blocks.
pub(crate) fn open(
    config: &Config,
    metrics: Metrics,
    stopping: CancellationToken,
) -> Result<Opened, Error> {
    let threads = |name, n_threads| {
        Pool::start(name, n_threads).map_err(|source| Error::Start {
            what: "start threads",
            source,
        })
    };
    let catalog = open_catalog(DataDir::open(&config.data_dir)?)?;
    let recent_total = config.recent_memory.as_u64();
    let env = Arc::new(Env {
        writers: threads("broker-writer", config.writer_threads)?,
        readers: threads("broker-reader", config.reader_threads)?,
        disk: Disk::keeping_free(config.min_free_space.as_u64()),
        metrics,
        leader_epoch: catalog.leader_epoch(),
        // Any one partition may use half of the memory, so that a busy one does not starve the others.
        recent_per_partition: usize::try_from(recent_total / 2).unwrap_or(usize::MAX),
        recent_total,
        recent_used: AtomicU64::new(0),
        producer_expiry_ms: i64::try_from(config.producer_expiry.as_millis()).unwrap_or(i64::MAX),
        max_producers: config.max_producers_per_partition,
    });
    let topics = Topics::open(
        catalog,
        Arc::clone(&env),
        Defaults::new(config),
        config.max_partitions,
        Broker::now_ms(),
    )?;
    let groups = open_groups(config, &topics, &env, stopping)?;
    Ok((env, topics, groups))
}

/// Creates or replays the group coordinator's log.
fn open_groups(
    config: &Config,
    topics: &Topics,
    env: &Env,
    stopping: CancellationToken,
) -> Result<Groups, Error> {
    const PARTITIONS: i32 = 4;
    let fail = |source: Box<dyn std::error::Error + Send + Sync>| Error::Partition {
        topic: OFFSETS_TOPIC.to_owned(),
        partition: 0,
        source,
    };
    let topic = match topics.get(OFFSETS_TOPIC) {
        Some(topic) => topic,
        None => {
            let overrides = [
                ("retention.ms", "-1".to_owned()),
                ("retention.bytes", "-1".to_owned()),
                ("segment.bytes", (8 << 20).to_string()),
                (
                    "max.message.bytes",
                    config.max_request_size.as_u64().to_string(),
                ),
            ];
            let overrides = overrides
                .map(|(name, value)| (name.to_owned(), value))
                .into();
            topics
                .create(OFFSETS_TOPIC, PARTITIONS, overrides, Broker::now_ms())
                .map_err(|error| fail(error.into()))?
        }
    };
    let mut coordinator = Coordinator::new(Limits {
        initial_rebalance_delay: config.group_initial_rebalance_delay,
        min_session_timeout: config.group_min_session_timeout,
        max_session_timeout: config.group_max_session_timeout,
        max_members: config.group_max_size,
        max_groups: config.max_groups,
        max_metadata_bytes: 1 << 20,
    });
    replay(&mut coordinator, &topic, env).map_err(|error| fail(error.into()))?;
    Ok(Groups::new(topic, coordinator, stopping))
}

/// Accepts connections until `shutdown`, then lets them finish.
async fn accept(
    broker: &Arc<Broker>,
    tls: Option<TlsAcceptor>,
    listener: TcpListener,
    shutdown: &CancellationToken,
) {
    let shared = Arc::new(Shared::new(Arc::clone(broker)));
    let room = Arc::new(Semaphore::new(broker.config.max_connections));
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => {
                report(ended);
                continue;
            }
            permit = Arc::clone(&room).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                connections.spawn(async move {
                    let _permit = permit;
                    serve_one(&shared, tls, stream, peer).await;
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: trying at once would only burn the processor.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    broker.stopping.cancel();
    let drained = tokio::time::timeout(DRAIN, async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(
            n_connections = connections.len(),
            "connections cut off at shutdown"
        );
    }
    connections.shutdown().await;
}

async fn serve_one(shared: &Shared, tls: Option<TlsAcceptor>, stream: TcpStream, peer: SocketAddr) {
    let metrics = &shared.broker.env.metrics;
    metrics.connections.inc();
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "could not set nodelay");
    }
    let host = peer.ip().to_string();
    let served = match tls {
        None => connection::serve(shared, stream, &host).await,
        Some(tls) => {
            let limit = shared.broker.config.transfer_timeout;
            match tokio::time::timeout(limit, tls.accept(stream)).await {
                Err(_) => Err(Ended::Stalled {
                    what: "agreeing on encryption",
                }),
                Ok(Err(error)) => Err(error.into()),
                Ok(Ok(stream)) => connection::serve(shared, stream, &host).await,
            }
        }
    };
    if let Err(error) = served {
        match &error {
            // Clients that just go away are nothing to report.
            Ended::Io(_) | Ended::Stalled { what: "idle" } => {
                tracing::debug!(%peer, error = %telemetry::chain(&error), "connection ended");
            }
            _ => tracing::info!(%peer, error = %telemetry::chain(&error), "connection refused"),
        }
    }
    metrics.connections.dec();
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection panicked");
    }
}

/// Looks after every partition again and again; never returns.
async fn keep_house(broker: &Arc<Broker>) {
    let retention = i64::try_from(broker.config.offsets_retention.as_millis()).unwrap_or(i64::MAX);
    let mut interval = tokio::time::interval(broker.config.housekeeping_interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let topics = Arc::clone(&broker.topics);
        let metrics = broker.env.metrics.clone();
        let done = broker
            .chores
            .run(move || keep_house_once(&topics, &metrics))
            .await;
        if done.is_none() {
            tracing::error!("housekeeping was given up");
        }
        broker.groups.keep_house(Broker::now_ms(), retention);
        let n_groups = i64::try_from(broker.groups.n_groups()).unwrap_or(i64::MAX);
        broker.env.metrics.groups.set(n_groups);
    }
}

fn keep_house_once(topics: &Topics, metrics: &Metrics) {
    let (mut n_topics, mut n_partitions, mut n_bytes, mut n_producers) =
        (0_i64, 0_i64, 0_u64, 0_usize);
    for topic in topics.all() {
        n_topics += 1;
        for (number, partition) in topic.partitions.iter().enumerate() {
            if let Err(error) = partition.housekeep(Broker::now_ms()) {
                tracing::warn!(topic = %topic.name, partition = number, %error, "housekeeping failed");
            }
            n_partitions += 1;
            n_bytes += partition.size();
            n_producers += partition.n_producers();
        }
    }
    metrics.topics.set(n_topics);
    metrics.partitions.set(n_partitions);
    metrics
        .log_bytes
        .set(i64::try_from(n_bytes).unwrap_or(i64::MAX));
    metrics
        .producers
        .set(i64::try_from(n_producers).unwrap_or(i64::MAX));
}

/// Closes every partition cleanly, so that the next start has nothing to scan.
async fn close(broker: &Arc<Broker>) {
    let topics = Arc::clone(&broker.topics);
    let closing = broker.chores.run(move || {
        for topic in topics.all() {
            for (number, partition) in topic.partitions.iter().enumerate() {
                if let Err(error) = partition.close() {
                    tracing::warn!(topic = %topic.name, partition = number, %error, "partition not closed cleanly");
                }
            }
        }
    });
    closing.await;
}

fn kib(size: bytesize::ByteSize) -> usize {
    usize::try_from(size.as_u64() / 1024)
        .unwrap_or(usize::MAX)
        .min(Semaphore::MAX_PERMITS)
}
