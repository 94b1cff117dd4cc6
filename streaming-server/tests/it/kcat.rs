//! kcat, unmodified, where it is installed.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::broker::Broker;

/// Runs kcat with `input` and gives what it printed; it must succeed.
fn kcat(broker: &Broker, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("kcat")
        .args(["-b", &broker.address.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn kcat_lists_produces_and_consumes() {
    if Command::new("kcat").arg("-V").output().is_err() {
        testkit::notice("KCAT TEST OFF: install kcat to run it against the broker");
        return;
    }
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let run = |arguments: &[&str], input: &[u8]| kcat(&broker, arguments, input);
    let print = "%p %o %k=%s [%h]\n";
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("kcat-{codec}");
        let produce = ["-P", "-t", &topic, "-p", "0", "-K", ":", "-z", codec];
        let more = ["-H", "from=kcat", "-X", "enable.idempotence=true"];
        run(
            &[&produce[..], &more[..]].concat(),
            b"a:one\nb:two\nc:three\n",
        );
        let consume = ["-C", "-t", &topic, "-p", "0", "-o", "1", "-e", "-q"];
        let read = run(&[&consume[..], &["-f", print]].concat(), b"");
        assert_eq!(
            read, "0 1 b=two [from=kcat]\n0 2 c=three [from=kcat]\n",
            "{codec}"
        );
    }
    // A group reads on where it stopped.
    let group = |count: &str| {
        let reset = "auto.offset.reset=earliest";
        let more = ["-q", "-c", count, "-f", "%s\n", "kcat-zstd"];
        run(&[&["-G", "readers", "-X", reset][..], &more].concat(), b"")
    };
    assert_eq!(group("2"), "one\ntwo\n");
    assert_eq!(group("1"), "three\n");
    let listed = run(&["-L"], b"");
    assert!(
        listed.contains("topic \"kcat-gzip\" with 4 partitions"),
        "{listed}"
    );
    let by_time = run(&["-Q", "-t", "kcat-lz4:0:-1"], b"");
    assert_eq!(by_time, "kcat-lz4 [0] offset 3\n");
}
