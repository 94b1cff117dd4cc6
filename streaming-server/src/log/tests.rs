//! The log on real files: order, deduplication, recovery from every kind of torn tail, failing disks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use proptest::prelude::*;

use super::batch::BatchHeader;
use super::records::{BatchFields, OwnRecord, encode_batch, encode_with_body};
use super::*;

const NOW: i64 = 1_900_000_000_000;

fn env() -> Arc<Env> {
    Arc::new(Env {
        writers: pool::Pool::start("test-writer", 4).unwrap(),
        readers: pool::Pool::start("test-reader", 1).unwrap(),
        disk: Disk::default(),
        metrics: Metrics::register(&mut telemetry::Registry::default()),
        leader_epoch: 7,
        recent_per_partition: 0,
        recent_total: 0,
        recent_used: AtomicU64::new(0),
        producer_expiry_ms: 1000,
        max_producers: 100,
    })
}

fn settings() -> Settings {
    Settings {
        segment_bytes: 1 << 20,
        segment_ms: i64::MAX,
        retention_ms: -1,
        retention_bytes: -1,
        max_message_bytes: 1 << 20,
        log_append_time: false,
    }
}

fn open_with(directory: &Path, env: &Arc<Env>, settings: Settings) -> Arc<Partition> {
    Partition::open("t", 0, directory, env, settings, NOW).unwrap()
}

fn open(directory: &Path) -> Arc<Partition> {
    open_with(directory, &env(), settings())
}

fn batch(values: &[&str], timestamp: i64) -> Bytes {
    let record = |value: &&str| OwnRecord {
        key: Vec::new(),
        value: Some(value.as_bytes().to_vec()),
    };
    encode_batch(&values.iter().map(record).collect::<Vec<_>>(), timestamp)
}

/// A batch of an idempotent producer whose compressed records nobody looks into.
fn sent_by(producer: i64, epoch: i16, sequence: i32, count: i32) -> Bytes {
    let fields = BatchFields {
        timestamp: NOW,
        count,
        attributes: 4,
        producer: (producer, epoch, sequence),
    };
    encode_with_body(&fields, b"opaque")
}

fn wait(appended: Appended) -> Result<i64, Error> {
    let base_offset = appended.base_offset;
    futures::executor::block_on(appended.durable.wait()).map(|()| base_offset)
}

fn append(partition: &Arc<Partition>, batch: &Bytes) -> Result<i64, Error> {
    wait(partition.append(batch, NOW)?)
}

fn read(partition: &Partition, offset: i64, max_bytes: usize) -> Bytes {
    match partition.plan_read(offset, max_bytes, true).unwrap().1 {
        Plan::Ready(chunks) => chunks.concat().into(),
        Plan::File(slice) => slice.read(&partition.env).unwrap(),
    }
}

/// Base offset and payload of every batch from `offset` on.
fn batches(partition: &Partition, offset: i64) -> Vec<(i64, Bytes)> {
    let mut found = Vec::new();
    let mut offset = offset;
    while offset < partition.position().high_watermark {
        let mut bytes = read(partition, offset, 1000);
        assert!(!bytes.is_empty(), "nothing at {offset}");
        while !bytes.is_empty() {
            let header = BatchHeader::verify(&bytes).unwrap();
            found.push((
                header.base_offset,
                bytes.slice(batch::HEADER_LEN..header.size()),
            ));
            offset = header.last_offset() + 1;
            drop(bytes.split_to(header.size()));
        }
    }
    found
}

fn payload(batch: &Bytes) -> Bytes {
    batch.slice(batch::HEADER_LEN..)
}

fn log_file(directory: &Path, base: i64) -> PathBuf {
    directory.join(format!("{base:020}.log"))
}

#[test]
fn batches_get_consecutive_offsets_and_stay_as_they_were_sent() {
    let directory = testkit::temp_dir();
    let partition = open(directory.path());
    let sent = [
        batch(&["a", "b", "c"], NOW),
        sent_by(5, 0, 0, 4),
        batch(&["d"], NOW),
    ];
    let offsets: Vec<_> = sent
        .iter()
        .map(|batch| append(&partition, batch).unwrap())
        .collect();
    assert_eq!(offsets, [0, 3, 7]);
    assert_eq!(
        partition.position(),
        Position {
            log_start: 0,
            high_watermark: 8
        }
    );
    let mut stored = read(&partition, 0, 1 << 20);
    for (batch, offset) in sent.iter().zip(offsets) {
        let kept = stored.split_to(batch.len());
        assert_eq!(
            kept[..8],
            offset.to_be_bytes(),
            "the offset is the broker's"
        );
        assert_eq!(kept[12..16], 7_i32.to_be_bytes(), "so is the leader epoch");
        assert_eq!(
            (&kept[8..12], &kept[16..]),
            (&batch[8..12], &batch[16..]),
            "all else is the producer's"
        );
    }
    assert!(stored.is_empty());
}

#[test]
fn a_fetch_gets_whole_batches_and_at_least_the_first() {
    let directory = testkit::temp_dir();
    let partition = open(directory.path());
    let one = batch(&["0123456789"; 10], NOW);
    for _ in 0..3 {
        append(&partition, &one).unwrap();
    }
    let bases = |offset, max_bytes, whole_first| {
        let bytes = match partition
            .plan_read(offset, max_bytes, whole_first)
            .unwrap()
            .1
        {
            Plan::Ready(chunks) => Bytes::from(chunks.concat()),
            Plan::File(slice) => slice.read(&partition.env).unwrap(),
        };
        bytes
            .chunks(one.len())
            .map(|batch| BatchHeader::verify(batch).unwrap().base_offset)
            .collect::<Vec<_>>()
    };
    assert_eq!(bases(0, 1 << 20, true), [0, 10, 20]);
    assert_eq!(
        bases(15, 1 << 20, true),
        [10, 20],
        "from the middle of a batch its whole batch comes"
    );
    assert_eq!(bases(0, one.len() * 2 + 5, true), [0, 10]);
    assert_eq!(
        bases(20, 1, true),
        [20],
        "or a consumer with small buffers could never go on"
    );
    assert_eq!(bases(20, 1, false), [0_i64; 0]);
    assert_eq!(bases(30, 1, true), [0_i64; 0]);
    assert!(matches!(
        partition.plan_read(31, 1, true),
        Err(Error::OffsetOutOfRange {
            start: 0,
            end: 30,
            ..
        })
    ));
    assert!(matches!(
        partition.plan_read(-1, 1, true),
        Err(Error::OffsetOutOfRange { .. })
    ));
}

#[test]
fn nothing_is_acknowledged_or_served_before_it_is_synced() {
    let directory = testkit::temp_dir();
    let env = env();
    let partition = open_with(directory.path(), &env, settings());
    let gate = env.disk.faults.gate.lock();
    let first = partition.append(&batch(&["a"], NOW), NOW).unwrap();
    let second = partition.append(&batch(&["b"], NOW), NOW).unwrap();
    assert_eq!((first.base_offset, second.base_offset), (0, 1));
    assert_eq!(partition.position().high_watermark, 0);
    assert_eq!(read(&partition, 0, 1 << 20), Bytes::new());
    assert!(partition.plan_read(1, 1, true).is_err());
    drop(gate);
    wait(second).unwrap();
    assert_eq!(
        partition.position().high_watermark,
        2,
        "acknowledged means everything before is durable too"
    );
    wait(first).unwrap();
}

#[test]
fn damaged_and_forbidden_batches_are_refused() {
    let directory = testkit::temp_dir();
    let partition = open_with(
        directory.path(),
        &env(),
        Settings {
            max_message_bytes: 200,
            ..settings()
        },
    );
    let good = batch(&["value"], NOW);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.to_vec();
        change(&mut bytes);
        let end = bytes.len().min(good.len());
        let crc = crc32c::crc32c(&bytes[21.min(end)..end]);
        if bytes.len() > 21 {
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        append(&partition, &Bytes::from(bytes))
            .unwrap_err()
            .to_string()
    };
    let mut flipped = good.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let error = append(&partition, &Bytes::from(flipped)).unwrap_err();
    assert!(
        matches!(error, Error::Batch(BatchError::Checksum)),
        "{error}"
    );
    assert!(with(&|bytes| bytes.truncate(50)).contains("could not accept"));
    assert!(with(&|bytes| bytes[16] = 1).contains("could not accept"));
    assert!(with(&|bytes| bytes[22] |= 0x20).contains("control"));
    assert!(with(&|bytes| bytes[22] |= 0x10).contains("transactions"));
    assert!(
        with(&|bytes| bytes[26] = 9).contains("could not accept"),
        "offsets and count disagree"
    );
    assert!(
        with(&|bytes| bytes[61] = 0x7e).contains("could not accept"),
        "record length"
    );
    assert!(with(&|bytes| bytes.extend_from_slice(&[0; 9])).contains("exactly one batch"));
    let large = batch(&["0123456789"; 30], NOW);
    assert!(matches!(
        append(&partition, &large),
        Err(Error::TooLarge { max: 200, .. })
    ));
    assert_eq!(partition.position().high_watermark, 0);
    assert_eq!(append(&partition, &good).unwrap(), 0);
}

#[test]
fn log_append_time_is_stamped_and_the_checksum_renewed() {
    let directory = testkit::temp_dir();
    let partition = open_with(
        directory.path(),
        &env(),
        Settings {
            log_append_time: true,
            ..settings()
        },
    );
    let appended = partition.append(&batch(&["a"], 5), NOW).unwrap();
    assert_eq!(appended.log_append_time, NOW);
    wait(appended).unwrap();
    let stored = read(&partition, 0, 1000);
    let header = BatchHeader::verify(&stored).unwrap();
    assert_eq!(
        (header.max_timestamp, header.has_log_append_time()),
        (NOW, true)
    );
    assert_eq!(
        partition.find_by_time(NOW).unwrap(),
        Some(Found {
            offset: 0,
            timestamp: NOW
        })
    );
}

#[test]
fn a_log_cut_at_any_byte_keeps_every_whole_batch_before_the_cut() {
    let directory = testkit::temp_dir();
    let sent: Vec<_> = (0..4)
        .map(|i| batch(&["x", "yy"][..=(i % 2)], NOW))
        .collect();
    {
        let partition = open(directory.path());
        for batch in &sent {
            append(&partition, batch).unwrap();
        }
        // Not closed: this is what a kill leaves.
    }
    let whole = std::fs::read(log_file(directory.path(), 0)).unwrap();
    let ends: Vec<usize> = sent
        .iter()
        .scan(0, |end, batch| {
            *end += batch.len();
            Some(*end)
        })
        .collect();
    let env = env();
    for cut in 0..=*ends.last().unwrap() {
        let torn = testkit::temp_dir();
        let mut bytes = whole[..cut].to_vec();
        // Half of the time the tail is reserved space full of zeros, as after a crash.
        bytes.resize(if cut % 2 == 0 { cut } else { cut + 500 }, 0);
        std::fs::write(log_file(torn.path(), 0), bytes).unwrap();
        let partition = open_with(torn.path(), &env, settings());
        // A missing zero is no loss where zeros follow.
        let is_whole = |end: &&usize| {
            **end <= cut || (cut % 2 == 1 && whole[cut..**end].iter().all(|byte| *byte == 0))
        };
        let n_whole = ends.iter().filter(is_whole).count();
        let found: Vec<_> = batches(&partition, 0)
            .into_iter()
            .map(|(_, payload)| payload)
            .collect();
        let wanted: Vec<_> = sent[..n_whole].iter().map(payload).collect();
        assert_eq!(found, wanted, "cut at byte {cut}");
        if cut % 16 == 0 {
            let next = partition.position().high_watermark;
            assert_eq!(
                append(&partition, &sent[0]).unwrap(),
                next,
                "cut at byte {cut}"
            );
        }
    }
}

#[test]
fn a_flipped_byte_in_the_tail_ends_the_log_before_it() {
    let directory = testkit::temp_dir();
    let sent = [batch(&["first"], NOW), batch(&["second"], NOW)];
    {
        let partition = open(directory.path());
        for batch in &sent {
            append(&partition, batch).unwrap();
        }
    }
    let whole = std::fs::read(log_file(directory.path(), 0)).unwrap();
    let env = env();
    for at in sent[0].len()..sent[0].len() + sent[1].len() {
        // The leader epoch is the one field that neither the checksum nor the order of offsets covers.
        if (12..16).contains(&(at - sent[0].len())) {
            continue;
        }
        let damaged = testkit::temp_dir();
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        std::fs::write(log_file(damaged.path(), 0), bytes).unwrap();
        let partition = open_with(damaged.path(), &env, settings());
        assert_eq!(
            batches(&partition, 0),
            [(0, payload(&sent[0]))],
            "flipped byte {at}"
        );
    }
}

#[test]
fn a_clean_close_and_a_kill_give_the_same_log_back() {
    for clean in [true, false] {
        let directory = testkit::temp_dir();
        let sent: Vec<_> = (0..40)
            .map(|i| batch(&[&"v".repeat(i * 20)], NOW + i64::try_from(i).unwrap()))
            .collect();
        let small = Settings {
            segment_bytes: 4096,
            ..settings()
        };
        {
            let partition = open_with(directory.path(), &env(), small.clone());
            for batch in &sent {
                append(&partition, batch).unwrap();
            }
            if clean {
                partition.close().unwrap();
            }
        }
        let partition = open_with(directory.path(), &env(), small);
        let found: Vec<_> = batches(&partition, 0)
            .into_iter()
            .map(|(_, payload)| payload)
            .collect();
        assert_eq!(
            found,
            sent.iter().map(payload).collect::<Vec<_>>(),
            "clean: {clean}"
        );
        let files = std::fs::read_dir(directory.path()).unwrap().count();
        assert!(files > 3, "several segments: {files}");
        assert_eq!(append(&partition, &sent[0]).unwrap(), 40);
        assert_eq!(
            partition.find_by_time(NOW + 30).unwrap(),
            Some(Found {
                offset: 30,
                timestamp: NOW + 30
            })
        );
    }
}

#[test]
fn a_batch_sent_again_is_stored_once_even_after_a_restart() {
    for clean in [true, false] {
        let directory = testkit::temp_dir();
        {
            let partition = open(directory.path());
            for sequence in [0, 2, 4] {
                append(&partition, &sent_by(9, 0, sequence, 2)).unwrap();
            }
            assert_eq!(
                append(&partition, &sent_by(9, 0, 2, 2)).unwrap(),
                2,
                "the offset it got the first time"
            );
            if clean {
                partition.close().unwrap();
            }
        }
        let partition = open(directory.path());
        assert_eq!(
            append(&partition, &sent_by(9, 0, 4, 2)).unwrap(),
            4,
            "clean: {clean}"
        );
        assert_eq!(partition.position().high_watermark, 6);
        let refused = |batch: &Bytes| append(&partition, batch).unwrap_err();
        assert!(matches!(
            refused(&sent_by(9, 0, 8, 1)),
            Error::Sequence(SequenceError::OutOfOrder { last: 5, .. })
        ));
        assert!(matches!(
            refused(&sent_by(9, 1, 3, 1)),
            Error::Sequence(SequenceError::OutOfOrder { .. })
        ));
        assert_eq!(
            append(&partition, &sent_by(9, 1, 0, 1)).unwrap(),
            6,
            "a new epoch begins at 0"
        );
        assert!(matches!(
            refused(&sent_by(9, 0, 6, 1)),
            Error::Sequence(SequenceError::StaleEpoch { .. })
        ));
    }
}

#[test]
fn only_the_last_five_batches_of_a_producer_count_as_sent_again() {
    let directory = testkit::temp_dir();
    let partition = open(directory.path());
    for sequence in 0..7 {
        append(&partition, &sent_by(1, 0, sequence, 1)).unwrap();
    }
    assert_eq!(append(&partition, &sent_by(1, 0, 2, 1)).unwrap(), 2);
    assert!(append(&partition, &sent_by(1, 0, 1, 1)).is_err());
    let wraps = sent_by(2, 0, i32::MAX, 2);
    append(&partition, &wraps).unwrap();
    append(&partition, &sent_by(2, 0, 1, 1)).unwrap();
}

#[test]
fn a_producer_table_ahead_of_the_log_is_not_believed() {
    let directory = testkit::temp_dir();
    let second = sent_by(3, 0, 1, 1);
    {
        let partition = open(directory.path());
        append(&partition, &sent_by(3, 0, 0, 1)).unwrap();
        append(&partition, &second).unwrap();
        partition.close().unwrap();
    }
    // The disk lost the last batch, which only an unsynced write can do.
    let path = log_file(directory.path(), 0);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - second.len()]).unwrap();
    let partition = open(directory.path());
    assert_eq!(partition.position().high_watermark, 1);
    assert_eq!(
        append(&partition, &second).unwrap(),
        1,
        "stored, not taken for a duplicate"
    );
    assert_eq!(partition.position().high_watermark, 2);
}

#[test]
fn a_full_disk_refuses_and_takes_up_again_where_it_was() {
    let directory = testkit::temp_dir();
    let env = env();
    let partition = open_with(directory.path(), &env, settings());
    append(&partition, &sent_by(1, 0, 0, 1)).unwrap();
    for code in [
        rustix::io::Errno::NOSPC,
        rustix::io::Errno::ROFS,
        rustix::io::Errno::IO,
    ] {
        env.disk
            .faults
            .write
            .store(code.raw_os_error(), Ordering::SeqCst);
        let end = partition.position().high_watermark;
        let sequence = i32::try_from(end).unwrap();
        let error = append(&partition, &sent_by(1, 0, sequence, 1)).unwrap_err();
        assert!(matches!(error, Error::Storage { .. }), "{error}");
        let error = partition
            .append(&sent_by(1, 0, sequence, 1), 0)
            .unwrap_err();
        assert!(
            matches!(error, Error::Storage { .. }),
            "still refused: {error}"
        );
        assert_eq!(
            batches(&partition, 0).len(),
            usize::try_from(end).unwrap(),
            "reads go on"
        );
        env.disk.faults.write.store(0, Ordering::SeqCst);
        let retried = (1..).find_map(|i| {
            let outcome = partition.append(&sent_by(1, 0, sequence, 1), i64::MAX / 2 + i * 2000);
            std::thread::yield_now();
            outcome.ok()
        });
        assert_eq!(
            wait(retried.unwrap()).unwrap(),
            end,
            "no offset is skipped and the retry is no duplicate"
        );
    }
    drop(partition);
    assert_eq!(batches(&open(directory.path()), 0).len(), 4);
}

#[test]
fn a_full_disk_does_not_stop_retention() {
    let directory = testkit::temp_dir();
    let env = env();
    let small = Settings {
        segment_bytes: 300,
        retention_ms: 100,
        ..settings()
    };
    let partition = open_with(directory.path(), &env, small);
    for i in 0..20 {
        append(&partition, &batch(&["0123456789"], NOW + i * 10)).unwrap();
    }
    let full = rustix::io::Errno::NOSPC.raw_os_error();
    env.disk.faults.write.store(full, Ordering::SeqCst);
    let refused = append(&partition, &batch(&["no room"], NOW + 200)).unwrap_err();
    assert!(matches!(refused, Error::Storage { .. }), "{refused}");
    partition.housekeep(NOW + 190).unwrap();
    let start = partition.position().log_start;
    assert!((4..=9).contains(&start), "{start}");
    env.disk.faults.write.store(0, Ordering::SeqCst);
    let retried = (1..).find_map(|i| {
        let outcome = partition.append(&batch(&["room again"], NOW + 200), i64::MAX / 2 + i * 2000);
        std::thread::yield_now();
        outcome.ok()
    });
    assert_eq!(wait(retried.unwrap()).unwrap(), 20);
    assert_eq!(partition.position().log_start, start);
    assert_eq!(batches(&partition, start).len() as i64, 21 - start);
}

#[test]
fn a_failed_sync_fails_the_partition_until_a_restart() {
    let directory = testkit::temp_dir();
    let env = env();
    let partition = open_with(directory.path(), &env, settings());
    append(&partition, &batch(&["kept"], NOW)).unwrap();
    env.disk
        .faults
        .sync
        .store(rustix::io::Errno::IO.raw_os_error(), Ordering::SeqCst);
    assert!(matches!(
        append(&partition, &batch(&["in doubt"], NOW)),
        Err(Error::Storage { .. })
    ));
    env.disk.faults.sync.store(0, Ordering::SeqCst);
    for i in 0..5 {
        let outcome = partition.append(&batch(&["later"], NOW), i64::MAX / 2 + i * 2000);
        assert!(
            matches!(outcome, Err(Error::Storage { .. })),
            "never retried on pages the kernel has dropped"
        );
    }
    assert_eq!(partition.position().high_watermark, 1);
    drop(partition);
    let partition = open(directory.path());
    assert_eq!(
        batches(&partition, 0)[0],
        (0, payload(&batch(&["kept"], NOW)))
    );
    append(&partition, &batch(&["later"], NOW)).unwrap();
}

#[test]
fn too_little_free_space_counts_as_a_full_disk() {
    let directory = testkit::temp_dir();
    let mut env = Arc::into_inner(env()).unwrap();
    env.disk.min_free = u64::MAX;
    let partition = open_with(directory.path(), &Arc::new(env), settings());
    let error = append(&partition, &batch(&["a"], NOW)).unwrap_err();
    assert!(error.to_string().contains("No space left"), "{error}");
}

#[test]
fn retention_deletes_whole_old_segments() {
    let directory = testkit::temp_dir();
    let small = Settings {
        segment_bytes: 300,
        retention_ms: 100,
        ..settings()
    };
    let partition = open_with(directory.path(), &env(), small.clone());
    for i in 0..20 {
        append(&partition, &batch(&["0123456789"], NOW + i * 10)).unwrap();
    }
    partition.housekeep(NOW + 190).unwrap();
    let start = partition.position().log_start;
    assert!(
        (4..=9).contains(&start),
        "records older than 100 ms are gone, a segment at a time: {start}"
    );
    assert!(matches!(
        partition.plan_read(0, 1, true),
        Err(Error::OffsetOutOfRange { .. })
    ));
    assert_eq!(batches(&partition, start).first().unwrap().0, start);
    partition.housekeep(NOW + 10_000).unwrap();
    assert_eq!(
        partition.position(),
        Position {
            log_start: 20,
            high_watermark: 20
        }
    );
    drop(partition);
    let partition = open_with(directory.path(), &env(), small);
    assert_eq!(
        partition.position(),
        Position {
            log_start: 20,
            high_watermark: 20
        },
        "offsets never start over"
    );
    assert_eq!(append(&partition, &batch(&["next"], NOW)).unwrap(), 20);
}

#[test]
fn a_reader_that_retention_overtakes_brings_no_file_back() {
    let directory = testkit::temp_dir();
    let small = Settings {
        segment_bytes: 300,
        retention_ms: 100,
        ..settings()
    };
    {
        let partition = open_with(directory.path(), &env(), small.clone());
        for i in 0..20 {
            append(&partition, &batch(&["0123456789"], NOW + i * 10)).unwrap();
        }
        partition.close().unwrap();
    }
    let env = env();
    let partition = open_with(directory.path(), &env, small.clone());
    let Plan::File(slice) = partition.plan_read(0, 1000, true).unwrap().1 else {
        panic!("an old segment is in memory");
    };
    partition.housekeep(NOW + 190).unwrap();
    let start = partition.position().log_start;
    assert!(start > 0, "retention deleted nothing");
    let error = slice.read(&env).unwrap_err();
    assert!(matches!(error, Error::Expired { offset: 0 }), "{error}");
    assert!(!log_file(directory.path(), 0).try_exists().unwrap());
    drop(partition);
    // Earlier versions did bring it back, empty.
    std::fs::write(log_file(directory.path(), 0), b"").unwrap();
    let partition = open_with(directory.path(), &env, small);
    assert_eq!(partition.position().log_start, start);
    assert_eq!(batches(&partition, start).len() as i64, 20 - start);
}

#[test]
fn retention_by_size_keeps_at_least_that_much() {
    let directory = testkit::temp_dir();
    let one = batch(&["0123456789"], NOW);
    let small = Settings {
        segment_bytes: one.len() as u64 * 2,
        retention_bytes: 1000,
        ..settings()
    };
    let partition = open_with(directory.path(), &env(), small);
    for _ in 0..50 {
        append(&partition, &one).unwrap();
    }
    partition.housekeep(NOW).unwrap();
    let kept = partition.size();
    assert!(
        (1000..1000 + one.len() as u64 * 3).contains(&kept),
        "{kept}"
    );
}

#[test]
fn records_can_be_deleted_up_to_an_offset() {
    let directory = testkit::temp_dir();
    let partition = open(directory.path());
    for _ in 0..3 {
        append(&partition, &batch(&["a", "b"], NOW)).unwrap();
    }
    assert_eq!(partition.delete_before(3).unwrap(), 3);
    assert_eq!(
        partition.delete_before(1).unwrap(),
        3,
        "what is gone does not come back"
    );
    assert!(matches!(
        partition.delete_before(7),
        Err(Error::OffsetOutOfRange { .. })
    ));
    partition.persist_start().unwrap();
    drop(partition);
    let partition = open(directory.path());
    let wanted = Position {
        log_start: 3,
        high_watermark: 6,
    };
    assert_eq!(partition.position(), wanted, "nor after a restart");
    assert_eq!(partition.delete_before(-1).unwrap(), 6);
}

#[test]
fn offsets_are_found_by_time_inside_compressed_batches_too() {
    let directory = testkit::temp_dir();
    let partition = open(directory.path());
    // Two records at NOW and NOW + 5, their offset and timestamp deltas being 0, 0 and 1, 5 (zigzag 10).
    let records: &[u8] = &[12, 0, 0, 0, 1, 1, 0, 12, 0, 10, 2, 1, 1, 0];
    let gzip = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(records).unwrap();
        encoder.finish().unwrap()
    };
    let bodies = [
        (0, records.to_vec()),
        (1, gzip),
        (2, snap::raw::Encoder::new().compress_vec(records).unwrap()),
        (4, zstd::encode_all(records, 1).unwrap()),
    ];
    for (i, (codec, body)) in (0..).zip(bodies) {
        let timestamp = NOW + i * 10;
        let fields = BatchFields {
            timestamp,
            count: 2,
            attributes: codec,
            producer: (-1, -1, -1),
        };
        let mut bytes = encode_with_body(&fields, &body).to_vec();
        bytes[35..43].copy_from_slice(&(timestamp + 5).to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        append(&partition, &Bytes::from(bytes)).unwrap();
    }
    for (i, codec) in [0, 1, 2, 4].into_iter().enumerate() {
        let i = i64::try_from(i).unwrap();
        let (first, second) = (NOW + i * 10, NOW + i * 10 + 5);
        let at = |time| partition.find_by_time(time).unwrap();
        assert_eq!(
            at(first),
            Some(Found {
                offset: i * 2,
                timestamp: first
            }),
            "codec {codec}"
        );
        assert_eq!(
            at(first + 1),
            Some(Found {
                offset: i * 2 + 1,
                timestamp: second
            }),
            "codec {codec}"
        );
    }
    assert_eq!(partition.find_by_time(NOW + 36).unwrap(), None);
    assert_eq!(
        partition.find_max_timestamp().unwrap(),
        Some(Found {
            offset: 7,
            timestamp: NOW + 35
        })
    );
}

#[test]
fn a_deleted_partition_lets_nobody_wait() {
    let directory = testkit::temp_dir();
    let env = env();
    let partition = open_with(directory.path(), &env, settings());
    let gate = env.disk.faults.gate.lock();
    let waiting = partition.append(&batch(&["a"], NOW), NOW).unwrap();
    let watcher = Arc::new(Watcher::default());
    partition.watch(&watcher);
    partition.mark_deleted();
    assert!(matches!(wait(waiting), Err(Error::Deleted)));
    futures::executor::block_on(watcher.moved());
    assert!(matches!(
        partition.append(&batch(&["b"], NOW), NOW),
        Err(Error::Deleted)
    ));
    drop(gate);
}

#[test]
fn silent_producers_are_forgotten() {
    let directory = testkit::temp_dir();
    let partition = open(directory.path());
    append(&partition, &sent_by(1, 0, 0, 1)).unwrap();
    assert_eq!(partition.n_producers(), 1);
    partition.housekeep(NOW + 5000).unwrap();
    assert_eq!(partition.n_producers(), 0);
}

/// Batches of every codec, changed at random, with a checksum that is right again.
#[test]
fn fuzzed_batches_are_refused_or_read_but_never_panic() {
    let records: Vec<_> = (0..5_u8)
        .map(|index| OwnRecord {
            key: vec![index],
            value: (index > 0).then(|| vec![b'v'; 40]),
        })
        .collect();
    let plain = encode_batch(&records, NOW);
    let body = &plain[batch::HEADER_LEN..];
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    io::Write::write_all(&mut lz4, body).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut gzip, body).unwrap();
    let bodies = [
        body.to_vec(),
        gzip.finish().unwrap(),
        snap::raw::Encoder::new().compress_vec(body).unwrap(),
        lz4.finish().unwrap(),
        zstd::encode_all(body, 3).unwrap(),
    ];
    let corpus: Vec<Vec<u8>> = (0_i16..)
        .zip(&bodies)
        .map(|(attributes, body)| {
            let fields = BatchFields {
                timestamp: NOW,
                count: 5,
                attributes,
                producer: (7, 0, 0),
            };
            encode_with_body(&fields, body).to_vec()
        })
        .collect();
    let partition = open(testkit::temp_dir().path());
    testkit::fuzz(&corpus, |bytes| {
        let mut bytes = bytes.to_vec();
        if bytes.len() > batch::HEADER_LEN {
            let len = i32::try_from(bytes.len() - 12).unwrap();
            bytes[8..12].copy_from_slice(&len.to_be_bytes());
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let bytes = Bytes::from(bytes);
        if let Ok(records) = records::Records::open(&bytes, 1 << 20) {
            // Damage may show at any record.
            let _ = records.walk(|_| true);
        }
        let before = partition.position();
        match partition.append(&bytes, NOW) {
            Ok(appended) => assert!(wait(appended).unwrap() <= before.high_watermark),
            Err(error) => assert!(!matches!(error, Error::Storage { .. }), "{error}"),
        }
    });
    let end = partition.position().high_watermark;
    assert!(end > 0, "some changes do no harm");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_offset_is_found_whatever_the_sizes(
        sizes in proptest::collection::vec((1_usize..6, 0_usize..20_000), 1..40),
        segment_bytes in 2_000_u64..200_000,
        recent in prop_oneof![Just(0_usize), Just(50_000)],
        reopen in any::<bool>(),
    ) {
        let directory = testkit::temp_dir();
        let make_env = || {
            let mut env = Arc::into_inner(env()).unwrap();
            (env.recent_per_partition, env.recent_total) = (recent, recent as u64);
            Arc::new(env)
        };
        let settings = Settings { segment_bytes, ..settings() };
        let mut partition = open_with(directory.path(), &make_env(), settings.clone());
        let mut owners = Vec::new();
        for (i, (count, size)) in sizes.iter().enumerate() {
            let value = "v".repeat(size / count);
            let base = append(&partition, &batch(&vec![value.as_str(); *count], NOW + i64::try_from(i).unwrap())).unwrap();
            prop_assert_eq!(base, i64::try_from(owners.len()).unwrap());
            owners.extend(std::iter::repeat_n(base, *count));
        }
        if reopen {
            drop(partition);
            partition = open_with(directory.path(), &make_env(), settings);
        }
        for (offset, owner) in owners.iter().enumerate() {
            let bytes = read(&partition, i64::try_from(offset).unwrap(), 1);
            let header = BatchHeader::verify(&bytes).unwrap();
            prop_assert_eq!(header.base_offset, *owner);
            prop_assert_eq!(header.size(), bytes.len());
        }
        for i in 0..sizes.len() {
            let time = NOW + i64::try_from(i).unwrap();
            let base = owners.iter().scan(None, |last, owner| {
                let is_new = *last != Some(*owner);
                *last = Some(*owner);
                Some(is_new.then_some(*owner))
            }).flatten().nth(i);
            prop_assert_eq!(partition.find_by_time(time).unwrap().map(|found| found.offset), base);
        }
    }

    #[test]
    fn bytes_that_are_no_batch_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        prop_assert!(BatchHeader::verify(&bytes).is_err());
        if let Ok(records) = records::Records::open(&bytes, 1000) {
            // Whatever comes out, nothing may panic.
            let _ = records.walk(|_| true);
        }
    }

    #[test]
    fn records_read_back_as_written(values in proptest::collection::vec((any::<Vec<u8>>(), proptest::option::of(any::<Vec<u8>>())), 1..20)) {
        let records: Vec<_> = values.iter().map(|(key, value)| OwnRecord { key: key.clone(), value: value.clone() }).collect();
        let encoded = encode_batch(&records, NOW);
        prop_assert!(BatchHeader::verify(&encoded).is_ok());
        let mut found = Vec::new();
        records::Records::open(&encoded, 0).unwrap().walk(|record| {
            found.push(OwnRecord { key: record.key.unwrap().to_vec(), value: record.value.map(<[u8]>::to_vec) });
            true
        }).unwrap();
        prop_assert_eq!(found, records);
    }
}
