//! Frames of every served version, changed at random, sent to a running broker: it answers or closes, and lives.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Encodable;

use crate::broker::Broker;
use crate::client::{Client, batch, fetch, produce, records};
use crate::raw::plain_request;

/// A frame without its length for every version that is served, and some with something in them.
fn corpus(client: &mut Client) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut add = |key: ApiKey, version: i16, request: &RequestKind| {
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version);
        header
            .encode(&mut frame, key.request_header_version(version))
            .unwrap();
        request.encode(&mut frame, version).unwrap();
        frames.push(frame.to_vec());
    };
    let versions = client.ask(&ApiVersionsRequest::default(), 0);
    for api in versions.api_keys {
        let key = ApiKey::try_from(api.api_key).unwrap();
        let min = if key == ApiKey::Produce {
            3
        } else {
            api.min_version
        };
        for version in min..=api.max_version {
            add(key, version, &plain_request(key, version));
        }
    }
    for version in 4..=12 {
        add(ApiKey::Fetch, version, &fetch("t", 0, 0).into());
        let batch = batch(0, 3, &records(3));
        add(ApiKey::Produce, version - 1, &produce("t", 1, batch).into());
    }
    let topic = create_topics_request::CreatableTopic::default()
        .with_name(crate::client::name("u"))
        .with_num_partitions(2)
        .with_replication_factor(1);
    let create = CreateTopicsRequest::default().with_topics(vec![topic]);
    add(ApiKey::CreateTopics, 7, &create.into());
    let join = JoinGroupRequest::default()
        .with_session_timeout_ms(6000)
        .with_rebalance_timeout_ms(100);
    add(ApiKey::JoinGroup, 5, &join.into());
    frames
}

/// Counts panics of threads that are not tests: those are named after their test.
fn count_panics() -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        if thread.name().is_none_or(|name| !name.contains("::")) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        before(info);
    }));
    count
}

#[test]
fn no_frame_brings_the_broker_down() {
    let panics = count_panics();
    let directory = testkit::temp_dir();
    let broker = Broker::start_with(directory.path(), |config| {
        config.max_partitions = 64;
        config.transfer_timeout = Duration::from_secs(60);
        config.group_initial_rebalance_delay = Duration::ZERO;
    });
    let mut honest = Client::connect(&broker);
    honest.create("t");
    let corpus = corpus(&mut honest);
    let (mut n_frames, mut n_closed) = (0_u64, 0_u64);
    let mut connection = Client::connect(&broker);
    testkit::fuzz(&corpus, |frame| {
        n_frames += 1;
        let mut bytes = Vec::with_capacity(frame.len() + 4);
        bytes.put_u32(u32::try_from(frame.len()).unwrap());
        bytes.extend_from_slice(frame);
        // Not every frame has an answer, so nobody waits for it; a closed connection is replaced.
        if connection.stream.write_all(&bytes).is_err() || connection.drain() {
            n_closed += 1;
            connection = Client::connect(&broker);
        }
        if n_frames % 500 == 0 {
            assert_eq!(honest.ask(&ApiVersionsRequest::default(), 3).error_code, 0);
        }
    });
    assert_eq!(honest.ask(&ApiVersionsRequest::default(), 3).error_code, 0);
    assert!(
        n_closed > 0 && n_closed < n_frames,
        "{n_closed} of {n_frames}"
    );
    assert_eq!(panics.load(Ordering::SeqCst), 0);
    broker.stop().unwrap();
}
