//! A Kafka client that sends exactly what a test tells it to.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::broker::Broker;

/// A connection that sends what it is told.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) correlation_id: i32,
}

impl Client {
    pub(crate) fn connect(broker: &Broker) -> Self {
        let stream = TcpStream::connect(broker.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self {
            stream,
            correlation_id: 0,
        }
    }

    pub(crate) fn frame<R: Request>(&mut self, request: &R, version: i16) -> Vec<u8> {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id);
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header
            .encode(&mut frame, R::header_version(version))
            .unwrap();
        request.encode(&mut frame, version).unwrap();
        let len = i32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&len.to_be_bytes());
        frame.to_vec()
    }

    pub(crate) fn send<R: Request>(&mut self, request: &R, version: i16) {
        let frame = self.frame(request, version);
        self.stream.write_all(&frame).unwrap();
    }

    pub(crate) fn read_frame(&mut self) -> std::io::Result<Bytes> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len)?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(len)).unwrap()];
        self.stream.read_exact(&mut frame)?;
        Ok(Bytes::from(frame))
    }

    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let mut frame = self.read_frame().unwrap();
        let header =
            ResponseHeader::decode(&mut frame, R::Response::header_version(version)).unwrap();
        let response = R::Response::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty(), "bytes after the response");
        (header.correlation_id, response)
    }

    pub(crate) fn ask<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.send(request, version);
        let (correlation_id, response) = self.receive::<R>(version);
        assert_eq!(correlation_id, self.correlation_id);
        response
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(n_bytes) => n_bytes == 0,
            Err(error) => matches!(
                error.kind(),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            ),
        }
    }

    /// Takes what has been answered so far, without waiting; true when the broker has closed.
    pub(crate) fn drain(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let closed = loop {
            match self.stream.read(&mut [0; 4096]) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break error.kind() != ErrorKind::WouldBlock,
            }
        };
        self.stream.set_nonblocking(false).unwrap();
        closed
    }

    pub(crate) fn create(&mut self, topic: &'static str) {
        let topic = create_topics_request::CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(1)
            .with_replication_factor(1);
        let response = self.ask(
            &CreateTopicsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(5000),
            7,
        );
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
    }
}

pub(crate) fn name(name: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(name))
}

/// A batch whose records are opaque unless `attributes` say that they are not compressed.
pub(crate) fn batch(attributes: i16, count: i32, body: &[u8]) -> Bytes {
    let mut batch = BytesMut::new();
    batch.put_i64(0);
    batch.put_i32(i32::try_from(49 + body.len()).unwrap());
    batch.put_i32(-1);
    batch.put_i8(2);
    batch.put_u32(0);
    batch.put_i16(attributes);
    batch.put_i32(count - 1);
    let now = 4_000_000_000_000;
    batch.put_i64(now);
    batch.put_i64(now);
    batch.put_i64(-1);
    batch.put_i16(-1);
    batch.put_i32(-1);
    batch.put_i32(count);
    batch.put_slice(body);
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

pub(crate) fn produce(topic: &'static str, acks: i16, records: Bytes) -> ProduceRequest {
    let partition = produce_request::PartitionProduceData::default().with_records(Some(records));
    let topic = produce_request::TopicProduceData::default()
        .with_name(name(topic))
        .with_partition_data(vec![partition]);
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic])
}

pub(crate) fn fetch(topic: &'static str, offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition = fetch_request::FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic = fetch_request::FetchTopic::default()
        .with_topic(name(topic))
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// Commits offset 5 of the first partition of `t` for group `g`; gives the error code.
pub(crate) fn commit_offset(client: &mut Client) -> i16 {
    let partition =
        offset_commit_request::OffsetCommitRequestPartition::default().with_committed_offset(5);
    let topic = offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(name("t"))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("g")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    client.ask(&request, 8).topics[0].partitions[0].error_code
}

pub(crate) fn produced(response: &ProduceResponse) -> (i16, i64) {
    let partition = &response.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

/// The body of a batch of `count` records with values of their own.
pub(crate) fn records(count: u8) -> Vec<u8> {
    let mut body = Vec::new();
    for index in 0..count {
        let value = vec![b'a' + index % 26; 60];
        // Attributes, time and offset after the batch's, no key, the value, no headers; numbers are zigzag varints.
        let mut record = vec![0, 0, index * 2, 1, 120];
        record.extend_from_slice(&value);
        record.push(0);
        // 66 needs two bytes.
        body.extend_from_slice(&[0x84, 0x01]);
        body.extend_from_slice(&record);
    }
    body
}

/// Waits until `probe` answers.
pub(crate) fn wait_until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(testkit::wait_until(
            what,
            Duration::from_secs(120),
            async || probe(),
        ))
}
