//! The catalog: what is created is there after a restart, what is deleted is not.

use super::settings::SETTINGS;
use super::*;
use crate::Config;
use crate::log::{Disk, pool::Pool};
use crate::metrics::Metrics;

fn open(directory: &std::path::Path) -> Topics {
    let opened = open_catalog(DataDir::open(directory).unwrap()).unwrap();
    let env = Arc::new(Env {
        writers: Pool::start("test-writer", 1).unwrap(),
        readers: Pool::start("test-reader", 1).unwrap(),
        disk: Disk::default(),
        metrics: Metrics::register(&mut telemetry::Registry::default()),
        leader_epoch: opened.leader_epoch(),
        recent_per_partition: 0,
        recent_total: 0,
        recent_used: 0.into(),
        producer_expiry_ms: 1000,
        max_producers: 10,
    });
    Topics::open(opened, env, Defaults::new(&Config::default()), 10, 0).unwrap()
}

fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn topics_survive_a_restart_with_their_settings() {
    let directory = testkit::temp_dir();
    let (id, cluster, producer_id) = {
        let topics = open(directory.path());
        let created = topics
            .create("kept", 2, overrides(&[("retention.ms", "5")]), 0)
            .unwrap();
        topics.create("gone", 1, BTreeMap::new(), 0).unwrap();
        topics.delete("gone").unwrap();
        topics.grow("kept", 3, 0).unwrap();
        topics
            .configure("kept", overrides(&[("retention.ms", "6")]))
            .unwrap();
        (
            created.id,
            topics.cluster_id().to_owned(),
            topics.next_producer_id().unwrap(),
        )
    };
    assert_eq!(cluster.len(), 22);
    let topics = open(directory.path());
    assert_eq!(topics.cluster_id(), cluster);
    let names: Vec<_> = topics
        .all()
        .iter()
        .map(|topic| topic.name.to_string())
        .collect();
    assert_eq!(names, ["kept"]);
    let kept = topics.get_by_id(id).unwrap();
    assert_eq!(kept.partitions.len(), 3);
    assert_eq!(kept.partitions[2].settings().retention_ms, 6);
    assert_eq!(
        kept.partitions[0].leader_epoch(),
        2,
        "it grows with each start"
    );
    assert!(
        topics.next_producer_id().unwrap() > producer_id,
        "no producer id is ever given out twice"
    );
}

#[test]
fn what_cannot_be_is_refused_and_leaves_no_trace() {
    let directory = testkit::temp_dir();
    let topics = open(directory.path());
    let refuse = |name: &str, n: i32, pairs: &[(&str, &str)]| {
        topics
            .create(name, n, overrides(pairs), 0)
            .err()
            .map(|error| error.to_string())
            .unwrap()
    };
    assert!(refuse("a/b", 1, &[]).contains("no topic name"));
    assert!(refuse("..", 1, &[]).contains("directory"));
    assert!(refuse("", 1, &[]).contains("1 to 249"));
    assert!(refuse("t", 0, &[]).contains("at least one partition"));
    assert!(refuse("t", 11, &[]).contains("max_partitions"));
    assert!(refuse("t", 1, &[("cleanup.policy", "compact")]).contains("serves only `delete`"));
    assert!(refuse("t", 1, &[("retention.ms", "soon")]).contains("needs a number"));
    assert!(refuse("t", 1, &[("no.such", "1")]).contains("no topic setting"));
    topics.create("t", 1, BTreeMap::new(), 0).unwrap();
    assert!(refuse("t", 1, &[]).contains("already exists"));
    assert!(topics.grow("t", 1, 0).is_err());
    assert!(topics.delete("u").is_err());
    assert_eq!(topics.all().len(), 1);
}

#[test]
fn every_setting_accepts_the_value_it_shows() {
    let defaults = Defaults::new(&Config::default());
    for setting in SETTINGS {
        let value = setting.value(defaults.settings());
        let applied = defaults.apply(&overrides(&[(setting.name, &value)]));
        assert_eq!(
            applied.as_ref(),
            Ok(defaults.settings()),
            "{} = {value}",
            setting.name
        );
    }
    assert!(SETTINGS.is_sorted_by_key(|setting| setting.name));
}

#[test]
fn a_data_directory_is_one_brokers_and_one_versions() {
    let directory = testkit::temp_dir();
    let held = DataDir::open(directory.path()).unwrap();
    let error = DataDir::open(directory.path()).unwrap_err();
    assert!(matches!(error, crate::Error::InUse { .. }), "{error}");
    drop(held);
    std::fs::write(directory.path().join("VERSION"), "something else").unwrap();
    let error = DataDir::open(directory.path()).unwrap_err();
    assert!(
        error.to_string().contains("of version `something else`"),
        "{error}"
    );
    let strange = testkit::temp_dir();
    std::fs::write(strange.path().join("holiday.jpg"), "").unwrap();
    let error = DataDir::open(strange.path()).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
    std::fs::write(
        directory.path().join("VERSION"),
        "streamforge-streaming-server 1\n",
    )
    .unwrap();
    std::fs::write(directory.path().join("catalog.json"), "{\"cluster_id\": 3}").unwrap();
    let error = open_catalog(DataDir::open(directory.path()).unwrap())
        .err()
        .unwrap();
    assert!(matches!(error, crate::Error::Catalog { .. }), "{error}");
}
