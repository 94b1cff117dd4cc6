//! The Java client, unmodified, from Maven Central; `STREAMFORGE_PEERS=kafka` turns it on.

use crate::broker::Broker;

const PROGRAM: &str = include_str!("Peer.java");

#[test]
fn the_java_client_produces_consumes_shares_and_administers() {
    if !testkit::peer("kafka") {
        return;
    }
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let address = broker.address.to_string();
    let printed = testkit::java(&testkit::kafka_libraries(), PROGRAM, &[&address, "plain"]);
    let expected = "\
none 1000 {0=334, 1=333, 2=333}
gzip 1000 {0=334, 1=333, 2=333}
snappy 1000 {0=334, 1=333, 2=333}
lz4 1000 {0=334, 1=333, 2=333}
zstd 1000 {0=334, 1=333, 2=333}
shared by 2 Stable cooperative-sticky
static 1 worker-1
retention 7200000 DYNAMIC_TOPIC_CONFIG
partitions 5
EarliestSpec 0 -1
LatestSpec 333 -1
MaxTimestampSpec 332 1700000000997
TimestampSpec 133 1700000000400
low watermark 100
brokers 1
bytes of log true
groups [cooperative, g-gzip, g-lz4, g-none, g-snappy]
topics [java-gzip, java-lz4, java-snappy, java-zstd]
transactions: TransactionalIdAuthorizationException
";
    assert_eq!(printed, expected);
}

#[test]
fn the_java_client_proves_its_password_over_tls() {
    if !testkit::peer("kafka") {
        return;
    }
    let files = testkit::tls();
    let directory = testkit::temp_dir();
    let broker = Broker::start_with(directory.path(), |config| {
        config.users.insert("alice".to_owned(), "secret".to_owned());
        config.tls = Some(streaming_server::Tls {
            certificate: files.certificate,
            key: files.key,
        });
    });
    let address = broker.address.to_string();
    let authority = files.authority.display().to_string();
    let arguments = [address.as_str(), "secure", authority.as_str()];
    let printed = testkit::java(&testkit::kafka_libraries(), PROGRAM, &arguments);
    let denied = "SaslAuthenticationException";
    let expected = format!(
        "PLAIN wrote 0\nPLAIN {denied}\nSCRAM-SHA-256 wrote 1\nSCRAM-SHA-256 {denied}\n\
         SCRAM-SHA-512 wrote 2\nSCRAM-SHA-512 {denied}\n"
    );
    assert_eq!(printed, expected);
}
