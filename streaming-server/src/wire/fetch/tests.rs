//! The hand-written fetch response against the codec's reader.

use bytes::Buf;
use kafka_protocol::messages::{FetchResponse, ResponseHeader};
use kafka_protocol::protocol::Decodable;

use super::*;

#[test]
fn the_codec_reads_every_version_as_it_was_meant() {
    for version in 4..=17 {
        let id = Uuid::from_u128(77);
        let records = vec![Bytes::from_static(b"one"), Bytes::from_static(b"twothree")];
        let full = PartitionReply {
            index: 3,
            error_code: 0,
            high_watermark: 50,
            log_start: 7,
            records,
        };
        let topic = TopicReply {
            name: "topic".into(),
            id,
            partitions: vec![full, PartitionReply::failed(4, 9)],
        };
        let reply = FetchReply {
            error_code: 0,
            session_id: 12,
            topics: vec![topic],
            permits: Vec::new(),
        };
        let mut chunks = reply.encode(version, 1234);
        let mut bytes = chunks.copy_to_bytes(chunks.remaining());
        assert_eq!(usize::try_from(bytes.get_i32()).unwrap(), bytes.len());
        let header = ResponseHeader::decode(&mut bytes, i16::from(version >= 12)).unwrap();
        assert_eq!(header.correlation_id, 1234);
        let read = FetchResponse::decode(&mut bytes, version).unwrap();
        assert!(bytes.is_empty(), "version {version}");
        assert_eq!(read.session_id, if version >= 7 { 12 } else { 0 });
        let topic = &read.responses[0];
        if version >= 13 {
            assert_eq!(topic.topic_id, id);
        } else {
            assert_eq!(&*topic.topic.0, "topic");
        }
        let [full, failed] = topic.partitions.as_slice() else {
            panic!("two partitions")
        };
        assert_eq!(
            (
                full.partition_index,
                full.high_watermark,
                full.last_stable_offset
            ),
            (3, 50, 50)
        );
        assert_eq!(full.log_start_offset, if version >= 5 { 7 } else { -1 });
        assert_eq!(full.records.as_deref(), Some(&b"onetwothree"[..]));
        assert_eq!(
            (
                failed.partition_index,
                failed.error_code,
                failed.high_watermark
            ),
            (4, 9, -1)
        );
        assert_eq!(failed.records.as_deref(), Some(&b""[..]));
    }
}
