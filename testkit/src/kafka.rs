//! Apache Kafka 4 from Maven Central, in KRaft mode, on a directory and ports of its own.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::{Ports, jars, temp_dir, tls};

const VERSION: &str = "4.1.0";
const START: Duration = Duration::from_secs(120);

/// A running Apache Kafka; killed when dropped.
#[derive(Debug)]
pub struct ApacheKafka {
    /// Listener without encryption or password, as `host:port`.
    pub address: String,
    /// Listener with TLS that asks for a certificate of the authority of [`tls()`].
    pub mutual_tls: String,
    /// Listener with TLS and SASL PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512, for `alice` with the password `secret`.
    pub sasl_ssl: String,
    server: Child,
    _directory: tempfile::TempDir,
    _ports: Ports,
}

/// The jars of the server and of the Java client.
pub fn kafka_libraries() -> PathBuf {
    jars(
        &format!("kafka-{VERSION}"),
        &[
            &format!("org.apache.kafka:kafka_2.13:{VERSION}"),
            "org.slf4j:slf4j-simple:1.7.36",
        ],
    )
}

impl ApacheKafka {
    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// If Java or Maven is missing, or it does not come up.
    pub fn start() -> Self {
        let libraries = kafka_libraries();
        let directory = temp_dir();
        let ports = Ports::new();
        let [plain, mutual_tls, sasl_ssl, controller] = [0, 1, 2, 3].map(|at| ports.address(at));
        let properties = directory.path().join("server.properties");
        let text = properties_of(
            directory.path(),
            [&plain, &mutual_tls, &sasl_ssl, &controller],
        );
        fs::write(&properties, text).expect("the properties can be written");
        format_storage(&libraries, &properties);
        let mut run = java(&libraries, "kafka.Kafka");
        run.arg(&properties)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut server = run.spawn().expect("java starts");
        await_start(&mut server);
        ApacheKafka {
            address: plain,
            mutual_tls,
            sasl_ssl,
            server,
            _directory: directory,
            _ports: ports,
        }
    }
}

impl Drop for ApacheKafka {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what is wanted.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn properties_of(directory: &Path, addresses: [&str; 4]) -> String {
    let [plain, mutual, sasl, controller] = addresses;
    let files = tls();
    let read = |path: &Path| fs::read_to_string(path).expect("the certificates can be read");
    let keystore = directory.join("keystore.pem");
    let chain = format!("{}{}", read(&files.key), read(&files.certificate));
    fs::write(&keystore, chain).expect("the keystore can be written");
    let clients = format!("PLAIN://{plain},MUTUAL://{mutual},PASSWORD://{sasl}");
    let module = "org.apache.kafka.common.security";
    format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@{controller}\n\
         listeners={clients},CONTROLLER://{controller}\nadvertised.listeners={clients}\n\
         controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAIN\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT,MUTUAL:SSL,PASSWORD:SASL_SSL\n\
         ssl.keystore.type=PEM\nssl.keystore.location={}\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
         listener.name.mutual.ssl.client.auth=required\n\
         listener.name.password.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
         listener.name.password.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_alice=\"secret\";\n\
         listener.name.password.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
         listener.name.password.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
         log.dirs={}\noffsets.topic.replication.factor=1\ngroup.initial.rebalance.delay.ms=0\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n",
        keystore.display(),
        files.authority.display(),
        directory.join("logs").display()
    )
}

fn java(libraries: &Path, main: &str) -> Command {
    let mut command = Command::new("java");
    command
        .args(["-Xmx512m", "-cp"])
        .arg(libraries.join("*"))
        .arg(main);
    command
}

fn format_storage(libraries: &Path, properties: &Path) {
    let mut format = java(libraries, "kafka.tools.StorageTool");
    format
        .args(["format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"])
        .arg(properties);
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let user = format!("{mechanism}=[name=alice,password=secret]");
        format.args(["--add-scram", &user]);
    }
    let formatted = format.output().expect("java starts");
    assert!(
        formatted.status.success(),
        "{}",
        String::from_utf8_lossy(&formatted.stderr)
    );
}

/// Reads its log until it says that it serves, and goes on reading, so that it never waits for a reader.
fn await_start(server: &mut Child) {
    let log = BufReader::new(server.stderr.take().expect("stderr is piped"));
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            // After the start nobody listens any more.
            let _ = sender.send(line);
        }
    });
    let deadline = Instant::now() + START;
    let mut last = VecDeque::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) if line.contains("Kafka Server started") => return,
            Ok(line) => {
                last.push_back(line);
                if last.len() > 40 {
                    last.pop_front();
                }
            }
            Err(_) => {
                // The test ends here: without this the process would outlive it.
                let _ = server.kill();
                let _ = server.wait();
                panic!("Apache Kafka did not start; its log ended with\n{last:#?}")
            }
        }
    }
}
