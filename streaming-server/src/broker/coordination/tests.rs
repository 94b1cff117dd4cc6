//! The group log on real files.

use super::*;
use crate::metrics::Metrics;
use crate::{Config, server};

const NOW: i64 = 1_900_000_000_000;

/// Offset 7 for the first `n_partitions` of `t`; the metadata of those from the thousandth on is `metadata`.
fn offsets(n_partitions: i32, metadata: &str) -> Vec<(OffsetKey, Committed)> {
    let offset = |partition| {
        let key = OffsetKey {
            topic: "t".to_owned(),
            partition,
        };
        let committed = Committed {
            offset: 7,
            leader_epoch: -1,
            metadata: if partition < 1000 { "" } else { metadata }.to_owned(),
            commit_ms: NOW,
            log_offset: 0,
        };
        (key, committed)
    };
    (0..n_partitions).map(offset).collect()
}

#[tokio::test]
async fn the_group_logs_past_goes_only_when_all_of_it_is_written_anew() {
    let directory = testkit::temp_dir();
    let config = Config {
        data_dir: directory.path().to_owned(),
        min_free_space: bytesize::ByteSize::b(0),
        max_request_size: bytesize::ByteSize::kib(100),
        ..Config::default()
    };
    let metrics = Metrics::register(&mut telemetry::Registry::default());
    let (_env, _topics, groups) = server::open(&config, metrics, CancellationToken::new()).unwrap();
    let partition = Arc::clone(&groups.topic.partitions[groups.partition_of("g")]);
    let garbage: Vec<_> = (0..1000).map(|_| group_tombstone("gone")).collect();
    for _ in 0..11 {
        let appended = partition.append(&encode_batch(&garbage, NOW), NOW);
        appended.unwrap().durable.wait().await.unwrap();
    }
    let caller = Caller {
        group: "g".to_owned(),
        generation: -1,
        ..Caller::default()
    };
    let know = |offsets| {
        let coordinator = &mut groups.state.lock().coordinator;
        coordinator.begin_commit(Instant::now(), &caller).unwrap();
        coordinator.committed("g", offsets);
        coordinator.commit_ended("g");
    };
    let test = async {
        // The second batch of the live records is larger than the log takes.
        know(offsets(1010, &"m".repeat(20_000)));
        groups.keep_house(NOW, NOW);
        groups.commit(&caller, offsets(1, ""), NOW).await.unwrap();
        assert_eq!(partition.position().log_start, 0);
        know(offsets(1010, ""));
        groups.keep_house(NOW, NOW);
        let is_shorter = async || (partition.position().log_start > 11_000).then_some(());
        testkit::wait_until("the log to be shorter", Duration::from_secs(20), is_shorter).await;
    };
    tokio::select! {
        () = groups.run(|| NOW) => panic!("nobody follows the writes"),
        () = test => {}
    }
}
