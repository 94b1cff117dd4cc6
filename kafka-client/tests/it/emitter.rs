//! The emitter against the broker: what it says it sent is what is there. It stands here because a service may not use
//! another one, not even in its tests.

use std::collections::HashSet;
use std::time::Duration;

use data_emitter::{Codec, Config, Profile, Shape};
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, read_all, topic};

const START: i64 = 1_795_000_000_000;

fn config(broker: &Broker, topic: &str) -> Config {
    Config {
        bootstrap: broker.address.to_string(),
        topic: topic.to_owned(),
        start_time: Some(START),
        rate: 0,
        count: Some(20_000),
        duplicate: 0.02,
        malformed: 0.01,
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_of_a_seed_put_the_same_records_into_every_partition() {
    let broker = Broker::start().await;
    let client = broker.client().await;
    let mut contents = Vec::new();
    for (name, compression) in [("first", Codec::None), ("second", Codec::Zstd)] {
        topic(&client, name, 4).await;
        let config = Config {
            compression,
            ..config(&broker, name)
        };
        let summary = data_emitter::run(config, CancellationToken::new())
            .await
            .unwrap();
        assert_eq!((summary.acknowledged, summary.failed), (20_000, 0));
        let read = read_all(&client, name).await;
        assert_eq!(read.len(), 20_000);
        let distinct: HashSet<_> = read.iter().map(|record| &record.value).collect();
        assert_eq!(distinct.len() as u64, 20_000 - summary.tally.duplicates);
        assert_eq!(read.iter().map(|record| record.partition).max(), Some(3));
        contents.push(read);
    }
    assert_eq!(contents[0], contents[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_is_sent_at_once_and_then_the_rate_holds() {
    let broker = Broker::start().await;
    let client = broker.client().await;
    let config = Config {
        start_time: None,
        backfill: Duration::from_secs(60),
        rate: 500,
        count: Some(30_500),
        ..config(&broker, "backfill")
    };
    let mut reports = Vec::new();
    let summary = data_emitter::run_reporting(config, CancellationToken::new(), |progress| {
        reports.push(progress.clone());
    })
    .await
    .unwrap();
    assert_eq!(summary.acknowledged, 30_500);
    // 30000 events lie in the minute before the start; the others take the second they should.
    let seconds = summary.elapsed.as_secs_f64();
    assert!((0.9..8.0).contains(&seconds), "{summary}");
    assert_eq!(read_all(&client, "backfill").await.len(), 30_500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_profiles_shapes_and_an_early_end_work() {
    let broker = Broker::start().await;
    let client = broker.client().await;
    let second = Duration::from_secs(1);
    for (profile, shape) in [
        (
            Profile::Weblog,
            Shape::Burst {
                every: second,
                length: second / 2,
                factor: 3,
            },
        ),
        (
            Profile::Nexmark,
            Shape::Ramp {
                from: 10,
                over: second,
            },
        ),
    ] {
        let name = topic(&client, &format!("{profile:?}"), 4).await;
        let shutdown = CancellationToken::new();
        let config = Config {
            profile,
            shape,
            rate: 2000,
            count: None,
            report_every: Duration::from_millis(50),
            ..config(&broker, &name)
        };
        let stop = shutdown.clone();
        let summary = data_emitter::run_reporting(config, shutdown, |progress| {
            if progress.acknowledged > 300 {
                stop.cancel();
            }
        })
        .await
        .unwrap();
        assert_eq!(
            (summary.acknowledged, summary.failed),
            (summary.tally.records, 0)
        );
        assert_eq!(
            read_all(&client, &name).await.len() as u64,
            summary.acknowledged
        );
    }
}
