//! Raw frames against the broker: every version it advertises, and what no well-behaved client sends.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::broker::Broker;
use crate::client::{Client, batch, commit_offset, fetch, produce, produced, records, wait_until};

/// The simplest request of every API the broker may advertise.
pub(crate) fn plain_request(key: ApiKey, version: i16) -> RequestKind {
    match key {
        ApiKey::Produce => ProduceRequest::default().with_acks(1).into(),
        ApiKey::Fetch => FetchRequest::default().with_session_epoch(-1).into(),
        ApiKey::ListOffsets => ListOffsetsRequest::default().into(),
        ApiKey::Metadata => MetadataRequest::default()
            .with_topics(Some(Vec::new()))
            .into(),
        ApiKey::OffsetCommit => OffsetCommitRequest::default().into(),
        ApiKey::OffsetFetch if version < 8 => OffsetFetchRequest::default()
            .with_topics(Some(Vec::new()))
            .into(),
        ApiKey::OffsetFetch => OffsetFetchRequest::default().into(),
        ApiKey::FindCoordinator => FindCoordinatorRequest::default().into(),
        ApiKey::JoinGroup => JoinGroupRequest::default().into(),
        ApiKey::Heartbeat => HeartbeatRequest::default().into(),
        ApiKey::LeaveGroup => LeaveGroupRequest::default().into(),
        ApiKey::SyncGroup => SyncGroupRequest::default().into(),
        ApiKey::DescribeGroups => DescribeGroupsRequest::default()
            .with_groups(vec![GroupId(StrBytes::from_static_str("g"))])
            .into(),
        ApiKey::ListGroups => ListGroupsRequest::default().into(),
        ApiKey::ApiVersions => ApiVersionsRequest::default().into(),
        ApiKey::CreateTopics => CreateTopicsRequest::default().into(),
        ApiKey::DeleteTopics => DeleteTopicsRequest::default().into(),
        ApiKey::DeleteRecords => DeleteRecordsRequest::default().into(),
        ApiKey::InitProducerId => InitProducerIdRequest::default().into(),
        ApiKey::DescribeConfigs => DescribeConfigsRequest::default().into(),
        ApiKey::AlterConfigs => AlterConfigsRequest::default().into(),
        ApiKey::IncrementalAlterConfigs => IncrementalAlterConfigsRequest::default().into(),
        ApiKey::DescribeLogDirs => DescribeLogDirsRequest::default().into(),
        ApiKey::CreatePartitions => CreatePartitionsRequest::default().into(),
        ApiKey::DeleteGroups => DeleteGroupsRequest::default().into(),
        ApiKey::OffsetDelete => OffsetDeleteRequest::default().into(),
        ApiKey::DescribeCluster => DescribeClusterRequest::default().into(),
        ApiKey::SaslHandshake => SaslHandshakeRequest::default().into(),
        ApiKey::SaslAuthenticate => SaslAuthenticateRequest::default().into(),
        other => panic!("{other:?} is advertised: give a request of it"),
    }
}

#[test]
fn every_advertised_version_is_answered_in_that_version() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let mut client = Client::connect(&broker);
    let versions = client.ask(&ApiVersionsRequest::default(), 0);
    assert_eq!(versions.error_code, 0);
    let mut n_asked = 0;
    for api in versions.api_keys {
        let key = ApiKey::try_from(api.api_key).unwrap();
        // Produce 0 to 2 are advertised for the sake of librdkafka and, as in Kafka 4, not served.
        let min = if key == ApiKey::Produce {
            3
        } else {
            api.min_version
        };
        for version in min..=api.max_version {
            let mut frame = BytesMut::new();
            frame.put_i32(0);
            let header = RequestHeader::default()
                .with_request_api_key(api.api_key)
                .with_request_api_version(version)
                .with_correlation_id(n_asked);
            header
                .encode(&mut frame, key.request_header_version(version))
                .unwrap();
            plain_request(key, version)
                .encode(&mut frame, version)
                .unwrap();
            let len = i32::try_from(frame.len() - 4).unwrap();
            frame[..4].copy_from_slice(&len.to_be_bytes());
            client.stream.write_all(&frame).unwrap();
            let mut frame = client
                .read_frame()
                .unwrap_or_else(|error| panic!("{key:?} {version}: {error}"));
            let header =
                ResponseHeader::decode(&mut frame, key.response_header_version(version)).unwrap();
            assert_eq!(header.correlation_id, n_asked);
            ResponseKind::decode(key, &mut frame, version)
                .unwrap_or_else(|error| panic!("{key:?} {version}: {error}"));
            assert!(frame.is_empty(), "{key:?} {version}");
            n_asked += 1;
        }
    }
    assert!(n_asked > 100, "{n_asked}");
}

#[test]
fn an_unknown_api_versions_version_is_answered_with_what_is_known() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let mut client = Client::connect(&broker);
    client
        .stream
        .write_all(&[0, 0, 0, 14, 0, 18, 0, 99, 0, 0, 0, 5, 0, 1, b'c', 0, 1, 1])
        .unwrap();
    let (correlation_id, response) = client.receive::<ApiVersionsRequest>(0);
    assert_eq!((correlation_id, response.error_code), (5, 35));
    let fetch = response
        .api_keys
        .iter()
        .find(|api| api.api_key == 1)
        .unwrap();
    assert_eq!((fetch.min_version, fetch.max_version), (4, 17));
    let produce = response
        .api_keys
        .iter()
        .find(|api| api.api_key == 0)
        .unwrap();
    assert_eq!((produce.min_version, produce.max_version), (0, 13));
    let transactions = [24, 25, 26, 28];
    assert!(
        response
            .api_keys
            .iter()
            .all(|api| !transactions.contains(&api.api_key))
    );
    assert_eq!(
        client.ask(&ApiVersionsRequest::default(), 3).error_code,
        0,
        "the connection lives on"
    );
}

#[test]
fn frames_of_nonsense_end_their_connection_and_nothing_else() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let nonsense: [&[u8]; 10] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[0xff, 0xff, 0xff, 0xff, 0, 0],
        &[0, 0, 0, 0],
        &[0, 0, 0, 3, 1, 2, 3],
        &[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 1, 0, 0, 0, 1],
        // API key 999; Produce version 2, advertised and not served; Metadata version 99.
        &[0, 0, 0, 10, 3, 231, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
        &[0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff],
        &[0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff],
        // Metadata that claims two thousand million topics.
        &[
            0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff,
        ],
    ];
    for bytes in nonsense {
        let mut client = Client::connect(&broker);
        client.stream.write_all(bytes).unwrap();
        assert!(client.is_closed(), "{bytes:?}");
    }
    assert_eq!(
        Client::connect(&broker)
            .ask(&ApiVersionsRequest::default(), 3)
            .error_code,
        0
    );
}

#[test]
fn a_client_that_stalls_in_a_frame_is_dropped() {
    let directory = testkit::temp_dir();
    let broker = Broker::start_with(directory.path(), |config| {
        config.transfer_timeout = Duration::from_millis(200)
    });
    let mut small = Client::connect(&broker);
    let mut large = Client::connect(&broker);
    small.stream.write_all(&[0, 0, 0, 50, 0, 3]).unwrap();
    large.stream.write_all(&[0, 0x10, 0, 0, 0, 0]).unwrap();
    let started = Instant::now();
    assert!(small.is_closed());
    assert!(large.is_closed());
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn announced_frames_take_no_memory_before_they_arrive() {
    let directory = testkit::temp_dir();
    let broker = Broker::start_with(directory.path(), |config| {
        config.max_message_size = bytesize::ByteSize::mib(3);
        config.max_request_size = bytesize::ByteSize::mib(4);
        config.request_memory = bytesize::ByteSize::mib(8);
        config.transfer_timeout = Duration::from_mins(2);
    });
    // The third finds that those who wait for more hold all that they may.
    let stalled = [(); 3].map(|()| {
        let mut client = Client::connect(&broker);
        client.stream.write_all(&[0, 0x40, 0, 0]).unwrap();
        client.stream.write_all(&vec![0; 100_000]).unwrap();
        client
    });
    let mut client = Client::connect(&broker);
    client.create("t");
    let sent = batch(4, 1, &vec![7; 5 << 19]);
    assert_eq!(
        produced(&client.ask(&produce("t", 1, sent.clone()), 9)),
        (0, 0)
    );
    let mut all = fetch("t", 0, 0);
    (
        all.max_bytes,
        all.topics[0].partitions[0].partition_max_bytes,
    ) = (3 << 20, 3 << 20);
    let response = client.ask(&all, 12);
    let stored = response.responses[0].partitions[0].records.clone().unwrap();
    assert!(stored[16..] == sent[16..], "it came in pieces");
    drop(stalled);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let mut client = Client::connect(&broker);
    client.create("t");
    let first = client.correlation_id + 1;
    let mut frames = Vec::new();
    for i in 0..50 {
        if i % 5 == 4 {
            frames.extend(client.frame(&ListOffsetsRequest::default(), 1));
        } else {
            frames.extend(client.frame(&produce("t", -1, batch(4, 1, b"x")), 9));
        }
    }
    client.stream.write_all(&frames).unwrap();
    let mut next_offset = 0;
    for i in 0..50 {
        let correlation_id = if i % 5 == 4 {
            client.receive::<ListOffsetsRequest>(1).0
        } else {
            let (correlation_id, response) = client.receive::<ProduceRequest>(9);
            assert_eq!(produced(&response), (0, next_offset));
            next_offset += 1;
            correlation_id
        };
        assert_eq!(correlation_id, first + i);
    }
}

/// The records of a batch, as the codec of `attributes` compresses them.
fn compressed(attributes: i16, body: &[u8]) -> Vec<u8> {
    match attributes {
        1 => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            gzip.write_all(body).unwrap();
            gzip.finish().unwrap()
        }
        2 => snap::raw::Encoder::new().compress_vec(body).unwrap(),
        3 => {
            let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
            lz4.write_all(body).unwrap();
            lz4.finish().unwrap()
        }
        4 => zstd::encode_all(body, 19).unwrap(),
        _ => body.to_vec(),
    }
}

#[test]
fn compression_stays_as_it_was_sent() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let mut client = Client::connect(&broker);
    client.create("t");
    let sent: Vec<_> = (0..=4_i16)
        .map(|attributes| batch(attributes, 20, &compressed(attributes, &records(20))))
        .collect();
    assert!(
        sent[1..]
            .iter()
            .all(|batch| batch.len() < sent[0].len() / 2)
    );
    let offsets = || (0_i64..).step_by(20).zip(&sent);
    for (offset, batch) in offsets() {
        let response = client.ask(&produce("t", 1, batch.clone()), 8);
        assert_eq!(produced(&response), (0, offset));
    }
    let fetched_as_sent = |client: &mut Client| {
        for (offset, sent) in offsets() {
            let request = fetch("t", offset, 0);
            let response = client.ask(&request, 11);
            let stored = response.responses[0].partitions[0].records.clone().unwrap();
            assert_eq!(stored[..8], offset.to_be_bytes());
            // Base offset and leader epoch lie outside the checksum and are the broker's; the rest is as it came.
            assert_eq!(stored[8..12], sent[8..12]);
            assert_eq!(stored[16..sent.len()], sent[16..], "from {offset}");
        }
    };
    fetched_as_sent(&mut client);
    broker.stop().unwrap();
    let broker = Broker::start(directory.path());
    fetched_as_sent(&mut Client::connect(&broker));
}

#[test]
fn produce_refusals_have_the_right_code() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let mut client = Client::connect(&broker);
    client.create("t");
    let good = || batch(4, 1, b"x");
    let mut flipped = good().to_vec();
    flipped[65 - 4] ^= 1;
    let mut old = good().to_vec();
    old[16] = 1;
    let cases: [(&str, ProduceRequest, i16, i16); 8] = [
        ("unknown topic", produce("u", 1, good()), 9, 3),
        (
            "the coordinator's topic",
            produce("__consumer_offsets", 1, good()),
            9,
            17,
        ),
        ("acks", produce("t", 2, good()), 9, 21),
        ("checksum", produce("t", 1, flipped.into()), 9, 2),
        ("old format", produce("t", 1, old.into()), 9, 43),
        ("zstd before version 7", produce("t", 1, good()), 6, 76),
        (
            "too large",
            produce("t", 1, batch(4, 1, &vec![0; 2 << 20])),
            9,
            10,
        ),
        (
            "transactional",
            produce("t", 1, batch(0x14, 1, b"x")),
            9,
            87,
        ),
    ];
    for (what, request, version, code) in cases {
        assert_eq!(produced(&client.ask(&request, version)).0, code, "{what}");
    }
    let transactional = produce("t", 1, good())
        .with_transactional_id(Some(TransactionalId(StrBytes::from_static_str("x"))));
    assert_eq!(produced(&client.ask(&transactional, 9)).0, 53);
    let init = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(StrBytes::from_static_str("x"))));
    assert_eq!(client.ask(&init, 4).error_code, 53);
    assert_eq!(
        produced(&client.ask(&produce("t", 1, good()), 9)),
        (0, 0),
        "nothing of that was stored"
    );
}

#[test]
fn without_acknowledgement_a_failure_ends_the_connection() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let mut client = Client::connect(&broker);
    client.create("t");
    client.send(&produce("t", 0, batch(4, 1, b"x")), 9);
    assert_eq!(
        produced(&client.ask(&produce("t", 1, batch(4, 1, b"x")), 9)),
        (0, 1),
        "no answer to the first"
    );
    client.send(&produce("u", 0, batch(4, 1, b"x")), 9);
    assert!(client.is_closed());
}

#[test]
fn a_long_poll_ends_when_records_come() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let (mut reader, mut writer) = (Client::connect(&broker), Client::connect(&broker));
    writer.create("t");
    let started = Instant::now();
    let empty = reader.ask(&fetch("t", 0, 100), 12);
    assert!(
        started.elapsed() >= Duration::from_millis(100),
        "nothing there: it waits its time"
    );
    assert_eq!(empty.responses[0].partitions[0].high_watermark, 0);
    let started = Instant::now();
    reader.send(&fetch("t", 0, 15_000), 12);
    assert_eq!(
        produced(&writer.ask(&produce("t", -1, batch(4, 2, b"x")), 9)),
        (0, 0)
    );
    let (_, response) = reader.receive::<FetchRequest>(12);
    assert_eq!(response.responses[0].partitions[0].high_watermark, 2);
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "it does not wait for its time"
    );
    let beyond = reader.ask(&fetch("t", 3, 15_000), 12);
    assert_eq!(
        beyond.responses[0].partitions[0].error_code, 1,
        "an error does not wait either"
    );
}

#[test]
fn a_client_that_has_closed_is_answered_but_not_waited_for() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let mut client = Client::connect(&broker);
    client.create("t");
    let close_writing = |client: &Client| client.stream.shutdown(std::net::Shutdown::Write);
    let mut endless = fetch("t", 0, i32::MAX);
    endless.min_bytes = i32::MAX;
    client.send(&endless, 12);
    close_writing(&client).unwrap();
    let mut brief = Client::connect(&broker);
    brief.send(&fetch("t", 0, 100), 12);
    close_writing(&brief).unwrap();
    assert_eq!(brief.receive::<FetchRequest>(12).1.error_code, 0);
    assert!(client.is_closed());
    wait_until("the connections to end", || {
        (broker.metric("connections") == Some(0)).then_some(())
    });
}

#[test]
fn an_answer_that_waits_for_another_holds_no_memory() {
    let directory = testkit::temp_dir();
    let broker = Broker::start_with(directory.path(), |config| {
        config.recent_memory = bytesize::ByteSize::b(0);
        config.max_fetch_size = bytesize::ByteSize::mib(1);
        config.fetch_memory = config.max_fetch_size;
    });
    let (mut first, mut second) = (Client::connect(&broker), Client::connect(&broker));
    first.create("t");
    first.ask(&produce("t", 1, batch(4, 1, b"x")), 9);
    let mut frames = first.frame(&fetch("t", 1, 60_000), 12);
    frames.extend(first.frame(&fetch("t", 0, 0), 12));
    first.stream.write_all(&frames).unwrap();
    let begun = "requests_total{api=\"Fetch\"} 2";
    wait_until("both to be begun", || {
        broker.get("/metrics").contains(begun).then_some(())
    });
    let records = |response: &FetchResponse| response.responses[0].partitions[0].records.clone();
    let read = second.ask(&fetch("t", 0, 0), 12);
    assert!(records(&read).is_some_and(|records| !records.is_empty()));
    second.ask(&produce("t", 1, batch(4, 1, b"y")), 9);
    for _ in 0..2 {
        let (_, response) = first.receive::<FetchRequest>(12);
        assert!(records(&response).is_some_and(|records| !records.is_empty()));
    }
}

#[test]
fn a_client_that_takes_no_encrypted_answers_is_dropped() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let mut client = Client::connect(&broker);
    client.create("t");
    client.ask(&produce("t", 1, batch(4, 1, &[7; 50_000])), 9);
    broker.stop().unwrap();
    let files = testkit::tls();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(files.authority).unwrap())
        .unwrap();
    let broker = Broker::start_with(directory.path(), |config| {
        config.tls = Some(streaming_server::Tls {
            certificate: files.certificate,
            key: files.key,
        });
        config.transfer_timeout = Duration::from_secs(2);
    });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut client = Client::connect(&broker);
    // 50 MB of answers: more than the system keeps for a client that reads none.
    let frames: Vec<u8> = (0..1000)
        .flat_map(|_| client.frame(&fetch("t", 0, 0), 12))
        .collect();
    let mut encrypted = rustls::StreamOwned::new(session, client.stream);
    encrypted.write_all(&frames).unwrap();
    encrypted.flush().unwrap();
    wait_until("the connection to end", || {
        (broker.metric("connections") == Some(0)).then_some(())
    });
}

/// The offset that group `g` has committed for the first partition of `t`.
fn committed_offset(client: &mut Client) -> i64 {
    let topic = offset_fetch_request::OffsetFetchRequestTopic::default()
        .with_name(crate::client::name("t"))
        .with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("g")))
        .with_topics(Some(vec![topic]));
    client.ask(&request, 5).topics[0].partitions[0].committed_offset
}

#[test]
fn a_deleted_topic_takes_its_committed_offsets_along() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let mut client = Client::connect(&broker);
    client.create("t");
    assert_eq!(commit_offset(&mut client), 0);
    assert_eq!(committed_offset(&mut client), 5);
    let delete = DeleteTopicsRequest::default()
        .with_topic_names(vec![crate::client::name("t")])
        .with_timeout_ms(5000);
    assert_eq!(client.ask(&delete, 4).responses[0].error_code, 0);
    client.create("t");
    assert_eq!(committed_offset(&mut client), -1);
    broker.stop().unwrap();
    let broker = Broker::start(directory.path());
    let mut client = Client::connect(&broker);
    assert_eq!(committed_offset(&mut client), -1, "nor after a restart");
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn offsets_of_a_topic_that_is_gone_are_forgotten_at_the_start() {
    let (directory, before) = (testkit::temp_dir(), testkit::temp_dir());
    let logs = directory.path().join("logs");
    let broker = Broker::start(directory.path());
    let mut client = Client::connect(&broker);
    client.create("t");
    assert_eq!(commit_offset(&mut client), 0);
    broker.stop().unwrap();
    copy_all(&logs, before.path());
    let broker = Broker::start(directory.path());
    let delete = DeleteTopicsRequest::default()
        .with_topic_names(vec![crate::client::name("t")])
        .with_timeout_ms(5000);
    let deleted = Client::connect(&broker).ask(&delete, 4);
    assert_eq!(deleted.responses[0].error_code, 0);
    broker.stop().unwrap();
    // As if it had died before the offsets went: their log is what it was.
    let mut n_restored = 0;
    for topic in std::fs::read_dir(before.path()).unwrap() {
        let topic = topic.unwrap();
        let now = logs.join(topic.file_name());
        if now.try_exists().unwrap() {
            std::fs::remove_dir_all(&now).unwrap();
            copy_all(&topic.path(), &now);
            n_restored += 1;
        }
    }
    assert_eq!(n_restored, 1);
    for start in 1..=2 {
        let broker = Broker::start(directory.path());
        let mut client = Client::connect(&broker);
        if start == 1 {
            client.create("t");
        }
        assert_eq!(committed_offset(&mut client), -1, "start {start}");
        broker.stop().unwrap();
    }
}

#[test]
fn an_incremental_session_tells_only_news() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let mut client = Client::connect(&broker);
    client.create("t");
    client.create("u");
    let mut first = fetch("t", 0, 0).with_session_epoch(0);
    first.topics.extend(fetch("u", 0, 0).topics);
    let opened = client.ask(&first, 12);
    assert!(opened.session_id > 0);
    assert_eq!(opened.responses.len(), 2);
    client.ask(&produce("u", 1, batch(4, 1, b"x")), 9);
    let next = |epoch| {
        FetchRequest::default()
            .with_session_id(opened.session_id)
            .with_session_epoch(epoch)
            .with_max_bytes(1 << 20)
    };
    let news = client.ask(&next(1), 12);
    assert_eq!(
        news.responses
            .iter()
            .map(|topic| topic.topic.to_string())
            .collect::<Vec<_>>(),
        ["u"]
    );
    assert_eq!(client.ask(&next(7), 12).error_code, 71);
    assert_eq!(client.ask(&next(1).with_session_id(999), 12).error_code, 70);
}

#[test]
fn a_full_disk_is_a_storage_error_to_the_producer() {
    let directory = testkit::temp_dir();
    let broker = Broker::start_with(directory.path(), |config| {
        config.min_free_space = bytesize::ByteSize::pib(1)
    });
    let mut client = Client::connect(&broker);
    client.create("t");
    assert_eq!(
        produced(&client.ask(&produce("t", -1, batch(4, 1, b"x")), 9)).0,
        56
    );
    assert_eq!(
        client.ask(&fetch("t", 0, 0), 12).responses[0].partitions[0].error_code,
        0,
        "reads go on"
    );
}

#[test]
fn records_survive_a_restart_and_the_cluster_stays_the_same() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let mut client = Client::connect(&broker);
    client.create("t");
    let sent = batch(4, 2, b"x");
    client.ask(&produce("t", -1, sent.clone()), 9);
    let before = client.ask(&MetadataRequest::default().with_topics(None), 12);
    broker.stop().unwrap();
    let broker = Broker::start(directory.path());
    let mut client = Client::connect(&broker);
    let after = client.ask(&MetadataRequest::default().with_topics(None), 12);
    assert_eq!(after.cluster_id, before.cluster_id);
    assert_eq!(after.topics.len(), 2);
    for (old, new) in before.topics.iter().zip(&after.topics) {
        assert_eq!((&old.name, old.topic_id), (&new.name, new.topic_id));
        assert_eq!(
            new.partitions[0].leader_epoch,
            old.partitions[0].leader_epoch + 1
        );
    }
    let by_id = fetch_request::FetchTopic::default()
        .with_topic_id(after.topics[1].topic_id)
        .with_partitions(fetch("t", 1, 0).topics[0].partitions.clone());
    let response = client.ask(&fetch("t", 0, 0).with_topics(vec![by_id]), 17);
    let stored = response.responses[0].partitions[0].records.clone().unwrap();
    assert_eq!(
        stored[16..],
        sent[16..],
        "the whole batch, though its second record was asked for"
    );
}

#[test]
fn health_and_metrics_are_served_beside_the_protocol() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    Client::connect(&broker).ask(&ApiVersionsRequest::default(), 0);
    assert!(broker.get("/healthz").starts_with("HTTP/1.1 200"));
    assert!(broker.get("/readyz").contains("ready"));
    let metrics = broker.get("/metrics");
    let wanted = "streamforge_streaming_server_requests_total{api=\"ApiVersions\"} 1";
    assert!(metrics.contains(wanted), "{metrics}");
}

#[test]
fn a_directory_in_use_and_an_open_address_are_refused_before_anything_is_written() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    Client::connect(&broker).ask(&ApiVersionsRequest::default(), 0);
    let second = Broker::start(directory.path());
    let error = second.stop().unwrap_err();
    assert!(
        error.to_string().contains("in use by another broker"),
        "{error}"
    );
    let fresh = testkit::temp_dir();
    let open = Broker::start_with(fresh.path(), |config| {
        config.listen = "0.0.0.0:9092".parse().unwrap()
    });
    let error = open.stop().unwrap_err();
    assert!(error.to_string().contains("set `users`"), "{error}");
    assert_eq!(std::fs::read_dir(fresh.path()).unwrap().count(), 0);
}
