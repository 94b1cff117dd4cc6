//! Frames of every served version, proofs of who one is, and greetings of TLS, changed at random and sent to a running
//! broker: it answers or closes, and lives.

use std::io::Write;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};

use crate::broker::Broker;
use crate::client::{Client, batch, fetch, produce, produced, records};
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

#[test]
fn no_frame_brings_the_broker_down() {
    let panics = testkit::Panics::count();
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
    assert_eq!(panics.so_far(), 0);
    broker.stop().unwrap();
}

/// One message of an exchange, behind a handshake that was meant; `R` in it stands for the nonce.
fn prove(broker: &Broker, mechanism: &'static str, message: &[u8]) -> Client {
    let mut client = Client::connect(broker);
    let handshake =
        SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
    assert_eq!(client.ask(&handshake, 1).error_code, 0);
    let say = |bytes: Vec<u8>| SaslAuthenticateRequest::default().with_auth_bytes(bytes.into());
    let mut message = message.to_vec();
    if mechanism != "PLAIN" && message.starts_with(b"c=") {
        let first = client.ask(&say(b"n,,n=alice,r=ours".to_vec()), 2);
        assert_eq!(first.error_code, 0);
        let first = String::from_utf8(first.auth_bytes.to_vec()).unwrap();
        let nonce = first.split(',').next().unwrap().trim_start_matches("r=");
        if let Some(at) = message.iter().position(|byte| *byte == b'R') {
            message.splice(at..=at, nonce.bytes());
        }
    }
    client.send(&say(message), 2);
    client
}

#[test]
fn no_message_but_the_right_one_lets_anyone_in() {
    let panics = testkit::Panics::count();
    let directory = testkit::temp_dir();
    let broker = Broker::start_with(directory.path(), |config| {
        config.users.insert("alice".to_owned(), "secret".to_owned());
    });
    let mut right = prove(&broker, "PLAIN", b"\0alice\0secret");
    assert_eq!(right.receive::<SaslAuthenticateRequest>(2).1.error_code, 0);
    right.create("t");
    let corpus = [
        &b"\0alice\0guess"[..],
        b"alice\0alice\0",
        b"n,,n=alice,r=fyko+d2lbbFgONRv9qkxdawL",
        b"y,a=alice,n=alice,r=x,ext=y",
        b"c=biws,r=R,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"c=eSws,r=R,p=",
    ]
    .map(<[u8]>::to_vec);
    let mut turn = 0_usize;
    testkit::fuzz(&corpus, |message| {
        turn += 1;
        let mechanism = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"][turn % 3];
        let mut client = prove(&broker, mechanism, message);
        let (_, answer) = client.receive::<SaslAuthenticateRequest>(2);
        if answer.error_code == 0 {
            assert_ne!(mechanism, "PLAIN", "{message:?}");
        }
        client.send(&MetadataRequest::default(), 4);
        assert!(client.is_closed(), "{mechanism} let {message:?} in");
    });
    assert_eq!(panics.so_far(), 0);
    broker.stop().unwrap();
}

#[test]
fn who_has_not_proved_anything_may_not_take_memory() {
    let directory = testkit::temp_dir();
    let broker = Broker::start_with(directory.path(), |config| {
        config.users.insert("alice".to_owned(), "secret".to_owned());
        config.transfer_timeout = Duration::from_secs(60);
    });
    let mut stranger = Client::connect(&broker);
    stranger.stream.write_all(&[0, 2, 0, 0]).unwrap();
    assert!(stranger.is_closed(), "a frame of 128 KiB was waited for");
    let mut alice = prove(&broker, "PLAIN", b"\0alice\0secret");
    assert_eq!(alice.receive::<SaslAuthenticateRequest>(2).1.error_code, 0);
    alice.create("t");
    let records = batch(3, 1, &vec![0; 900_000]);
    let response = alice.ask(&produce("t", 1, records), 9);
    assert_eq!(produced(&response).0, 0);
    broker.stop().unwrap();
}

#[test]
fn no_greeting_brings_the_encrypted_listener_down() {
    let panics = testkit::Panics::count();
    let directory = testkit::temp_dir();
    let files = testkit::tls();
    let broker = Broker::start_with(directory.path(), |config| {
        config.tls = Some(streaming_server::Tls {
            certificate: files.certificate,
            key: files.key,
        });
        config.transfer_timeout = Duration::from_millis(200);
        config.max_connections = 32;
    });
    // The beginning of a ClientHello of TLS 1.2 with two ciphers, an alert, and a frame that is not encrypted at all.
    let mut hello = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03".to_vec();
    hello.extend([7; 32]);
    hello.extend(b"\x00\x00\x04\xc0\x2f\x00\x2f\x01\x00");
    let corpus = [
        hello,
        b"\x15\x03\x03\x00\x02\x01\x00".to_vec(),
        b"\0\0\0\x0e\0\x12\0\0\0\0\0\x01\0\x04test".to_vec(),
    ];
    testkit::fuzz(&corpus, |greeting| {
        let mut client = Client::connect(&broker);
        // The broker may have closed already; one that waits for more gives up in time.
        let _ = client.stream.write_all(greeting);
        client.drain();
    });
    assert!(broker.get("/readyz").ends_with("ready\n"));
    assert_eq!(panics.so_far(), 0);
    broker.stop().unwrap();
}
