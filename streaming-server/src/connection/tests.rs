//! Connections served one at a time, beside a disk that stands still or fails.

use std::io::{Read, Write};
use std::net::TcpStream;

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, RequestHeader, TopicName};
use kafka_protocol::protocol::Encodable;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::Config;
use crate::log::records::{OwnRecord, encode_batch};
use crate::metrics::Metrics;
use crate::server;

const MEMORY_KIB: u32 = 1024;
/// A frame too short for any request.
const NONSENSE: [u8; 7] = [0, 0, 0, 3, 1, 2, 3];

/// What connections to a broker with the topic `t` share.
fn shared(directory: &std::path::Path) -> Shared {
    let config = Config {
        data_dir: directory.to_owned(),
        min_free_space: bytesize::ByteSize::b(0),
        max_request_size: bytesize::ByteSize::kib(MEMORY_KIB.into()),
        request_memory: bytesize::ByteSize::kib(MEMORY_KIB.into()),
        ..Config::default()
    };
    let stopping = CancellationToken::new();
    let metrics = Metrics::register(&mut telemetry::Registry::default());
    let opened = server::open(&config, metrics, stopping.clone()).unwrap();
    opened.1.create("t", 1, [].into(), 0).unwrap();
    let broker = server::broker(config.clone(), config.listen, opened, stopping).unwrap();
    Shared::new(Arc::new(broker))
}

/// A request to append 100 KB to `t`.
fn produce(acks: i16, timeout_ms: i32) -> Vec<u8> {
    let record = OwnRecord {
        key: Vec::new(),
        value: Some(vec![7; 100_000]),
    };
    let partition =
        PartitionProduceData::default().with_records(Some(encode_batch(&[record], 1_000)));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str("t")))
        .with_partition_data(vec![partition]);
    let request = ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(timeout_ms)
        .with_topic_data(vec![topic]);
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    let header = RequestHeader::default().with_request_api_version(7);
    header.encode(&mut frame, 1).unwrap();
    request.encode(&mut frame, 7).unwrap();
    let len = i32::try_from(frame.len() - 4).unwrap();
    frame[..4].copy_from_slice(&len.to_be_bytes());
    frame.to_vec()
}

/// Serves one connection on which `client` does what it does; gives how both ended.
fn serve_one<T: Send>(
    runtime: &tokio::runtime::Runtime,
    shared: &Shared,
    client: impl FnOnce(TcpStream) -> T + Send,
) -> (Result<(), Ended>, T) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let client = scope.spawn(move || {
            let stream = TcpStream::connect(address).unwrap();
            let limit = Some(Duration::from_secs(20));
            stream.set_read_timeout(limit).unwrap();
            client(stream)
        });
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let served = runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            serve(shared, stream, "client").await
        });
        (served, client.join().unwrap())
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn batches_keep_their_memory_until_they_are_on_disk() {
    let directory = testkit::temp_dir();
    let runtime = runtime();
    let shared = shared(directory.path());
    let total = usize::try_from(MEMORY_KIB).unwrap();
    for acks in [0, 1] {
        let gate = shared.broker.env.disk.faults.gate.lock();
        let (served, answer) = serve_one(&runtime, &shared, |mut client| {
            client.write_all(&produce(acks, 0)).unwrap();
            let mut answer = [0; 4];
            if acks == 1 {
                client.read_exact(&mut answer).unwrap();
            }
            client.write_all(&NONSENSE).unwrap();
            // The broker closes, perhaps before it has read everything.
            let _ = client.read(&mut [0; 100]);
            i32::from_be_bytes(answer)
        });
        assert!(matches!(served, Err(Ended::Refused(_))), "{served:?}");
        assert_eq!(answer > 0, acks == 1, "the time-out is answered");
        let left = shared.memory.available_permits();
        assert!(left < total - 90, "acks={acks}: {left} of {total} KiB left");
        drop(gate);
        let all = runtime.block_on(shared.memory.acquire_many(MEMORY_KIB));
        assert_eq!(all.unwrap().num_permits(), total);
    }
}

#[test]
fn without_acknowledgement_a_failing_disk_ends_the_connection() {
    let directory = testkit::temp_dir();
    let runtime = runtime();
    let shared = shared(directory.path());
    let broken = rustix::io::Errno::IO.raw_os_error();
    let faults = &shared.broker.env.disk.faults;
    faults
        .sync
        .store(broken, std::sync::atomic::Ordering::SeqCst);
    let (served, n_bytes) = serve_one(&runtime, &shared, |mut client| {
        client.write_all(&produce(0, 0)).unwrap();
        client.read(&mut [0; 1]).unwrap()
    });
    assert!(served.is_ok(), "{served:?}");
    assert_eq!(n_bytes, 0);
}
