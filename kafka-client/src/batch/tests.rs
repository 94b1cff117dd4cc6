//! Round trips of batches through every codec, and what happens to damaged ones.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::error::Error;

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

type Owned = (
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    i64,
    Vec<(String, Option<Vec<u8>>)>,
);

fn build(records: &[Owned], codec: Compression, base_offset: i64) -> Bytes {
    let mut builder = BatchBuilder::with_capacity(64);
    for (key, value, timestamp, headers) in records {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        builder.append(*timestamp, key.as_deref(), value.as_deref(), &headers);
    }
    let mut bytes = Vec::from(builder.finish(codec, NO_PRODUCER).unwrap());
    // The leader sets the base offset, which the checksum does not cover.
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    Bytes::from(bytes)
}

fn read(columns: &RecordColumns) -> Vec<Owned> {
    (0..columns.len())
        .map(|index| {
            let headers = columns
                .headers(index)
                .map(|(name, value)| {
                    (
                        String::from_utf8_lossy(name).into_owned(),
                        value.map(<[u8]>::to_vec),
                    )
                })
                .collect();
            let key = columns.key(index).map(<[u8]>::to_vec);
            (
                key,
                columns.value(index).map(<[u8]>::to_vec),
                columns.timestamps[index],
                headers,
            )
        })
        .collect()
}

fn record() -> impl Strategy<Value = Owned> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    let header = (
        "[a-z]{0,8}",
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)),
    );
    let timestamp = 0..4_000_000_000_000_i64;
    (
        bytes(),
        bytes(),
        timestamp,
        proptest::collection::vec(header, 0..3),
    )
}

proptest! {
    #[test]
    fn what_is_built_is_read_back_through_every_codec(
        first in proptest::collection::vec(record(), 1..40),
        second in proptest::collection::vec(record(), 1..40),
        codecs in (0..5_usize, 0..5_usize),
    ) {
        let mut bytes = Vec::from(build(&first, CODECS[codecs.0], 100));
        let behind = 100 + first.len() as i64;
        bytes.extend_from_slice(&build(&second, CODECS[codecs.1], behind));
        let all = [first, second].concat();
        let columns =
            decode_batches(&Bytes::from(bytes.clone()), 0, BatchLimits::default()).unwrap();
        prop_assert_eq!(read(&columns), all.clone());
        prop_assert_eq!(columns.next_offset, 100 + all.len() as i64);
        prop_assert_eq!(next_offset(&bytes, 0).unwrap(), columns.next_offset);
        let offsets: Vec<i64> = (100..columns.next_offset).collect();
        prop_assert_eq!(&columns.offsets, &offsets);
        // From the middle of a batch only the rest is seen.
        let from = 100 + all.len() as i64 / 2;
        let rest = decode_batches(&Bytes::from(bytes), from, BatchLimits::default()).unwrap();
        prop_assert_eq!(read(&rest), all[all.len() / 2..].to_vec());
    }

    #[test]
    fn damaged_batches_are_refused_without_panic(
        records in proptest::collection::vec(record(), 1..20),
        codec in 0..5_usize,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        fix_checksum in any::<bool>(),
    ) {
        let mut bytes = Vec::from(build(&records, CODECS[codec], 7));
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if fix_checksum {
            let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
            bytes[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
        } else {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        let limits = BatchLimits { max_decompressed: 1 << 20 };
        if let Ok(columns) = decode_batches(&Bytes::from(bytes), 0, limits) {
            // Whatever was accepted can be read.
            read(&columns);
        }
    }

    #[test]
    fn varints_of_any_value_are_read_back(value in any::<i64>()) {
        let mut bytes = Vec::new();
        varint::push(&mut bytes, value);
        prop_assert_eq!(bytes.len(), varint::len(value));
        let mut at = 0;
        prop_assert_eq!(varint::get(&bytes, &mut at), Some(value));
        prop_assert_eq!(at, bytes.len());
        bytes.pop();
        prop_assert_eq!(varint::get(&bytes, &mut 0), None);
    }
}

#[test]
fn fuzzed_batches_are_refused_or_read_but_never_panic() {
    let records: Vec<Owned> = (0..6).map(|index| plain(&"v".repeat(index * 9))).collect();
    let corpus: Vec<Vec<u8>> = CODECS
        .iter()
        .map(|codec| Vec::from(build(&records, *codec, 7)))
        .collect();
    let limits = BatchLimits {
        max_decompressed: 1 << 20,
    };
    testkit::fuzz(&corpus, |bytes| {
        let mut bytes = bytes.to_vec();
        if bytes.len() > ATTRIBUTES_AT {
            let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
            bytes[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
        }
        if let Ok(columns) = decode_batches(&Bytes::from(bytes), 0, limits) {
            // Whatever was accepted can be read.
            read(&columns);
        }
    });
}

fn plain(value: &str) -> Owned {
    (
        Some(b"key".to_vec()),
        Some(value.as_bytes().to_vec()),
        5,
        Vec::new(),
    )
}

#[test]
fn a_value_written_in_place_gives_the_same_bytes() {
    let mut appended = BatchBuilder::with_capacity(0);
    let mut written = BatchBuilder::with_capacity(0);
    for (index, len) in [0, 1, 63, 64, 8191, 8192, 100_000].into_iter().enumerate() {
        let value = vec![b'x'; len];
        let timestamp = 1_700_000_000_000 - index as i64 * 1000;
        appended.append(timestamp, Some(b"session"), Some(&value), &[]);
        written.append_with(timestamp, Some(b"session"), |out| {
            out.extend_from_slice(&value)
        });
    }
    assert_eq!(appended.size(), written.size());
    let stamp = ProducerStamp {
        id: 9,
        epoch: 1,
        sequence: 3,
    };
    assert_eq!(
        appended.finish(Compression::None, stamp).unwrap(),
        written.finish(Compression::None, stamp).unwrap()
    );
}

#[test]
fn the_codec_crate_reads_what_we_write() {
    // An independent reader of the format; it was built without codecs, so only plain batches can be compared.
    let bytes = build(&[plain("one"), plain("two")], Compression::None, 0);
    let set = kafka_protocol::records::RecordBatchDecoder::decode(&mut bytes.clone()).unwrap();
    let values: Vec<_> = set
        .records
        .iter()
        .map(|record| record.value.clone().unwrap())
        .collect();
    assert_eq!(values, ["one", "two"]);
    assert_eq!(set.records[1].offset, 1);
    assert_eq!(set.records[1].timestamp, 5);
}

#[test]
fn a_wrong_checksum_is_an_error_that_says_so() {
    let mut bytes = Vec::from(build(&[plain("value")], Compression::None, 42));
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    let error = decode_batches(&Bytes::from(bytes), 0, BatchLimits::default()).unwrap_err();
    let Error::Corrupt { offset, reason } = error else {
        panic!("{error}")
    };
    assert_eq!(offset, 42);
    assert!(reason.starts_with("checksum"), "{reason}");
}

#[test]
fn a_small_batch_cannot_decompress_to_a_large_one() {
    let zeros = (None, Some(vec![0; 1 << 20]), 0, Vec::new());
    for codec in &CODECS[1..] {
        let bytes = build(std::slice::from_ref(&zeros), *codec, 0);
        assert!(bytes.len() < 1 << 17, "{codec:?}");
        let limits = BatchLimits {
            max_decompressed: 1 << 19,
        };
        let error = decode_batches(&bytes, 0, limits).unwrap_err();
        assert!(
            error.to_string().contains("decompress"),
            "{codec:?}: {error}"
        );
    }
}

#[test]
fn a_batch_cut_off_at_the_end_is_left_for_the_next_fetch() {
    let mut bytes = Vec::from(build(&[plain("whole")], Compression::None, 0));
    let next = build(&[plain("cut")], Compression::None, 1);
    bytes.extend_from_slice(&next[..next.len() - 1]);
    let columns = decode_batches(&Bytes::from(bytes), 0, BatchLimits::default()).unwrap();
    assert_eq!(columns.len(), 1);
    assert_eq!(columns.next_offset, 1);
    let alone = next.slice(..next.len() - 1);
    assert!(decode_batches(&alone, 1, BatchLimits::default()).is_err());
}

/// A transactional batch, or the marker that ends a transaction.
fn transactional(base_offset: i64, producer: i64, kind: Result<&str, u8>) -> Bytes {
    let (record, attributes) = match kind {
        Ok(value) => (plain(value), TRANSACTIONAL),
        Err(marker) => {
            let key = Some(vec![0, 0, 0, marker]);
            (
                (key, Some(vec![0; 6]), 5, Vec::new()),
                TRANSACTIONAL | CONTROL,
            )
        }
    };
    let bytes = build(&[record], Compression::None, base_offset);
    let mut bytes = Vec::from(restamp(
        bytes,
        ProducerStamp {
            id: producer,
            epoch: 0,
            sequence: 0,
        },
    ));
    bytes[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
    bytes[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

#[test]
fn records_of_aborted_transactions_are_not_seen() {
    let log: Vec<Bytes> = vec![
        transactional(0, 1, Ok("aborted")),
        transactional(1, 2, Ok("committed beside it")),
        build(&[plain("without transaction")], Compression::None, 2),
        transactional(3, 1, Err(0)),
        transactional(4, 1, Ok("the next one commits")),
        transactional(5, 1, Err(1)),
        transactional(6, 2, Err(1)),
    ];
    let bytes = Bytes::from(log.concat());
    let aborted = [Aborted {
        producer_id: 1,
        first_offset: 0,
    }];
    let columns = decode_committed(&bytes, 0, &aborted, BatchLimits::default()).unwrap();
    let values: Vec<_> = (0..columns.len())
        .map(|index| columns.value(index).unwrap())
        .collect();
    assert_eq!(
        values,
        [
            &b"committed beside it"[..],
            b"without transaction",
            b"the next one commits"
        ]
    );
    assert_eq!(columns.offsets, [1, 2, 4]);
    assert_eq!(columns.next_offset, 7);
}
