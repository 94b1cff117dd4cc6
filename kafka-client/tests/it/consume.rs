//! What is produced is consumed, through every codec and from any position.

use std::time::Duration;

use kafka_client::{
    Acks, Compression, ConsumerConfig, Error, Isolation, OffsetSpec, PartitionConsumer, Producer,
    ProducerConfig, Record, StartAt, TopicPartition, partition_for_key,
};

use crate::broker::{Broker, read_all, topic};

#[tokio::test]
async fn records_sent_with_every_codec_and_acks_are_read_back() {
    let broker = Broker::start().await;
    let client = broker.client().await;
    for (number, compression) in [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ]
    .into_iter()
    .enumerate()
    {
        let name = topic(&client, &format!("codec-{number}"), 3).await;
        let acks = [Acks::All, Acks::Leader, Acks::None][number % 3];
        let config = ProducerConfig {
            acks,
            idempotent: acks == Acks::All,
            compression,
            ..ProducerConfig::default()
        };
        let producer = Producer::new(&client, config).unwrap();
        let mut deliveries = Vec::new();
        for index in 0..500_u32 {
            let key = format!("key-{}", index % 50);
            let value = format!("value {index} {}", "x".repeat(index as usize));
            let value = (index % 7 != 0).then_some(value.as_bytes());
            let headers = [("index", Some(&b"h"[..])), ("none", None)];
            let record = Record {
                key: Some(key.as_bytes()),
                value,
                timestamp: 1_700_000_000_000 + i64::from(index),
                headers: &headers,
                ..Record::default()
            };
            deliveries.push((producer.send(&name, record).await.unwrap(), key));
        }
        producer.flush().await;
        assert_eq!(producer.stats().records, 500);
        let read = if acks == Acks::None {
            // Nobody says when they are stored.
            testkit::wait_until("500 records", Duration::from_secs(10), async || {
                Some(read_all(&client, &name).await).filter(|read| read.len() == 500)
            })
            .await
        } else {
            read_all(&client, &name).await
        };
        assert_eq!(read.len(), 500, "{compression:?}");
        for (delivery, key) in deliveries {
            let report = delivery.wait().await.unwrap();
            let expected = partition_for_key(key.as_bytes(), 3);
            assert_eq!(
                report.partition,
                TopicPartition::new(name.clone(), expected)
            );
            if acks != Acks::None {
                let found = read.iter().find(|read| {
                    (read.partition, read.offset) == (report.partition.partition, report.offset)
                });
                assert_eq!(found.unwrap().key.as_deref(), Some(key.as_bytes()));
            }
        }
        assert_eq!(read.iter().filter(|read| read.value.is_none()).count(), 72);
    }
}

#[tokio::test]
async fn reading_starts_at_offsets_times_and_ends_and_reports_what_is_gone() {
    let broker = Broker::start().await;
    let client = broker.client().await;
    let name = topic(&client, "positions", 1).await;
    let producer = Producer::new(&client, ProducerConfig::default()).unwrap();
    let send = async |range: std::ops::Range<i64>| {
        for index in range {
            let value = index.to_string();
            let value = Some(value.as_bytes());
            let record = Record {
                value,
                timestamp: 1000 * index,
                ..Record::default()
            };
            producer.send(&name, record).await.unwrap();
        }
        producer.flush().await;
    };
    for batch in 0..10 {
        send(batch * 10..batch * 10 + 10).await;
    }
    let listed = async |spec| {
        client
            .list_offsets(&name, &[0], spec, Isolation::ReadUncommitted)
            .await
            .unwrap()[0]
    };
    assert_eq!(listed(OffsetSpec::Earliest).await.offset, Some(0));
    assert_eq!(listed(OffsetSpec::Latest).await.offset, Some(100));
    assert_eq!(listed(OffsetSpec::AtTime(41_500)).await.offset, Some(42));
    assert_eq!(listed(OffsetSpec::AtTime(99_001)).await.offset, None);
    let partition = TopicPartition::new(name.clone(), 0);
    let mut consumer = PartitionConsumer::new(&client, ConsumerConfig::default());
    for (start, first) in [
        (StartAt::Earliest, 0),
        (StartAt::Offset(57), 57),
        (StartAt::Time(41_500), 42),
        (StartAt::Offset(99), 99),
    ] {
        consumer.assign([(partition.clone(), start)]);
        let records = consumer.next().await.unwrap().decode().unwrap();
        assert_eq!(records.offsets[0], first, "{start:?}");
        assert_eq!(records.value(0).unwrap(), first.to_string().as_bytes());
        assert_eq!(records.timestamps[0], first * 1000);
        assert_eq!(consumer.high_watermark(&partition), Some(100));
    }
    // Behind the last record: nothing until there is a new one.
    consumer.assign([(partition.clone(), StartAt::Latest)]);
    testkit::wait_until("the position", Duration::from_secs(10), async || {
        consumer.position(&partition)
    })
    .await;
    assert!(consumer.try_next().is_none());
    send(100..101).await;
    let records = consumer.next().await.unwrap().decode().unwrap();
    assert_eq!(
        (records.offsets[0], consumer.position(&partition)),
        (100, Some(101))
    );
    consumer.assign([(partition.clone(), StartAt::Offset(5000))]);
    let (of, error) = consumer.next().await.unwrap_err();
    assert_eq!(of, partition);
    assert!(
        matches!(error, Error::OffsetOutOfRange { offset: 5000, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_slow_reader_holds_no_more_than_its_bound_and_gets_everything() {
    let broker = Broker::start().await;
    let client = broker.client().await;
    let name = topic(&client, "slow", 2).await;
    let config = ProducerConfig {
        batch_bytes: 16 << 10,
        ..ProducerConfig::default()
    };
    let producer = Producer::new(&client, config).unwrap();
    for index in 0..4000_i32 {
        let value = vec![index as u8; 1000];
        let record = Record {
            partition: Some(index % 2),
            value: Some(&value),
            timestamp: 1,
            ..Record::default()
        };
        producer.send(&name, record).await.unwrap();
    }
    producer.flush().await;
    let config = ConsumerConfig {
        prefetch_bytes: 200 << 10,
        max_bytes: 100 << 10,
        partition_max_bytes: 50 << 10,
        ..ConsumerConfig::default()
    };
    let mut consumer = PartitionConsumer::new(&client, config);
    let partitions = [0, 1].map(|partition| TopicPartition::new(name.clone(), partition));
    consumer.assign(
        partitions
            .iter()
            .map(|partition| (partition.clone(), StartAt::Earliest)),
    );
    consumer.pause(&partitions[1..]);
    let mut seen = [0_usize; 2];
    while seen[0] < 2000 {
        let fetched = consumer.next().await.unwrap();
        assert!(fetched.size() <= 100 << 10, "{}", fetched.size());
        seen[fetched.partition.partition as usize] += fetched.decode().unwrap().len();
    }
    // What was asked for before the pause may have come.
    assert!(seen[1] < 200, "{seen:?}");
    consumer.resume(&partitions);
    while seen[1] < 2000 {
        let fetched = consumer.next().await.unwrap();
        seen[fetched.partition.partition as usize] += fetched.decode().unwrap().len();
    }
    assert_eq!(seen, [2000, 2000]);
}
