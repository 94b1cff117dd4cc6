//! Requests that nobody meant: an S3 error, nothing half-stored, and the store lives.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::harness::{Running, Signed, start_with};

/// What stands in for words of a request.
const WORDS: [&str; 46] = [
    "0",
    "-1",
    "1",
    "10001",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "1e9",
    "",
    "null",
    "true",
    "/",
    "..",
    "//",
    "%2e%2e",
    "%00",
    "%",
    "%zz",
    "%ff",
    "?",
    "&",
    "=",
    "<",
    ">",
    "&lt;",
    "&#0;",
    "&undefined;",
    "<!--",
    "<![CDATA[",
    "]]>",
    "<?xml version=\"1.1\"?>",
    "<!DOCTYPE a [<!ENTITY b 'c'>]>",
    "Key",
    "Part",
    "ETag",
    "Quiet",
    "uploads",
    "uploadId",
    "partNumber",
    "tagging",
    "bytes=-0",
    "bytes=9-1",
    "*",
    "\"",
    "UNSIGNED-PAYLOAD",
    "chunked",
];

/// Sends it as it is, and gives the status and the whole answer; 0 is a connection that was closed.
fn exchange(address: SocketAddr, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // It may have been refused before all was read.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("no answer in 20 s to {}", String::from_utf8_lossy(request))
        }
        _ => {}
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), answer)
}

/// `METHOD PATH` and headers up to an empty line, then the body, as a request that ends its connection.
fn unsigned(input: &str) -> Vec<u8> {
    let (head, body) = input.split_once("\n\n").unwrap_or((input, ""));
    let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
    let headers: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
    format!(
        "{line} HTTP/1.1\r\nhost: store\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn requests() -> Vec<String> {
    let mut requests: Vec<String> = [
        "GET /",
        "GET /lakehouse?location",
        "GET /lakehouse?versioning",
        "GET /lakehouse?versions&prefix=a&delimiter=/&max-keys=2",
        "GET /lakehouse?list-type=2&prefix=a/&delimiter=/&max-keys=1&start-after=a&encoding-type=url",
        "GET /lakehouse?prefix=a&marker=b&max-keys=3",
        "GET /lakehouse?uploads&prefix=a&max-uploads=1",
        "GET /lakehouse/a/b?partNumber=1&response-content-type=text/plain",
        "GET /lakehouse/a/b?attributes\nx-amz-object-attributes: ETag,Checksum,ObjectParts",
        "GET /lakehouse/a/b?tagging",
        "GET /lakehouse/a/b\nrange: bytes=1-2\nif-match: \"x\"\nif-modified-since: Thu, 26 Nov 2026 20:00:00 GMT",
        "HEAD /lakehouse/a/b",
        "PUT /lakehouse/a/b\ncontent-type: text/plain\nx-amz-meta-k: v\nx-amz-tagging: a=b&c=d\nif-none-match: *\n\nvalue",
        "PUT /lakehouse/a/b\nx-amz-checksum-crc32c: 4waSgw==\ncontent-md5: JfnnlDI7RTiF9RgfG2JNCw==\n\n123456789",
        "PUT /lakehouse/a/c\nx-amz-copy-source: /lakehouse/a/b\nx-amz-metadata-directive: REPLACE\nx-amz-copy-source-if-match: \"x\"",
        "PUT /lakehouse/a/b\nx-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\nx-amz-decoded-content-length: 4\nx-amz-trailer: x-amz-checksum-crc32\n\n4\r\nabcd\r\n0\r\nx-amz-checksum-crc32:7YLNEQ==\r\n\r\n",
        "PUT /lakehouse/a/b?partNumber=1&uploadId=01JDXXXXXXXXXXXXXXXXXXXXXX\n\nvalue",
        "DELETE /lakehouse/a/b?uploadId=01JDXXXXXXXXXXXXXXXXXXXXXX",
        "DELETE /lakehouse/a/b\nif-match: \"x\"",
        "POST /lakehouse/a/b?uploads",
    ]
    .map(str::to_owned)
    .to_vec();
    let xml = [
        (
            "POST /lakehouse?delete",
            "<Delete><Object><Key>a/b</Key></Object><Object><Key>a/c</Key><ETag>\"x\"</ETag></Object><Quiet>true</Quiet></Delete>",
        ),
        (
            "PUT /other",
            "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>us-east-1</LocationConstraint></CreateBucketConfiguration>",
        ),
        (
            "PUT /lakehouse/a/b?tagging",
            "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag><Tag><Key>c</Key><Value>d</Value></Tag></TagSet></Tagging>",
        ),
        (
            "POST /lakehouse/a/b?uploadId=01JDXXXXXXXXXXXXXXXXXXXXXX",
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"x\"</ETag><ChecksumCRC32C>4waSgw==</ChecksumCRC32C></Part><Part><PartNumber>2</PartNumber><ETag>y</ETag></Part></CompleteMultipartUpload>",
        ),
        (
            "PUT /lakehouse?versioning",
            "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
        ),
    ];
    requests
        .extend(xml.map(|(line, body)| format!("{line}\ncontent-type: application/xml\n\n{body}")));
    requests
}

/// A store that soon gives up on a body that does not come.
async fn impatient(signed: bool) -> Running {
    start_with(|config| {
        config.header_timeout = Duration::from_millis(200);
        config.stall_timeout = Duration::from_millis(200);
        if !signed {
            config.access_key = String::new();
            config.secret_key = String::new();
        }
    })
    .await
}

#[test]
fn no_request_brings_the_store_down() {
    let panics = testkit::Panics::count();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(impatient(false));
    let corpus = requests();
    let mut statuses = BTreeMap::<u16, u64>::new();
    testkit::fuzz_text(&corpus, &WORDS, |input| {
        let (status, answer) = exchange(store.address, &unsigned(input));
        *statuses.entry(status).or_default() += 1;
        assert!(
            matches!(status, 200..=499 | 501),
            "{status} to\n{input}\n{answer}"
        );
    });
    let (status, answer) = exchange(store.address, &unsigned("PUT /lakehouse/last\n\nvalue"));
    assert_eq!(status, 200, "{answer}");
    assert!(
        [200, 400, 404]
            .iter()
            .all(|status| statuses.contains_key(status)),
        "{statuses:?}"
    );
    assert_eq!(panics.so_far(), 0);
    runtime.block_on(store.stop());
}

#[test]
fn no_signed_request_that_was_changed_stores_anything_else() {
    let panics = testkit::Panics::count();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(impatient(true));
    let whole = |request: &Signed| {
        [
            request.head(store.address, request.body.len()),
            request.body.clone(),
        ]
        .concat()
    };
    let put =
        |path: &str, body: &[u8]| Signed::new("PUT", path, body).header("connection", "close");
    let plain = put("/lakehouse/plain", b"plain");
    let mut streamed = put("/lakehouse/streamed", b"").header("x-amz-decoded-content-length", "8");
    streamed.payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".into();
    let mut before = streamed.seed(store.address);
    for piece in [&b"streamed"[..], b""] {
        before = streamed.sign(&streamed.chunk_text(&before, piece));
        streamed
            .body
            .extend(format!("{:x};chunk-signature={before}\r\n", piece.len()).bytes());
        streamed.body.extend(piece);
        streamed.body.extend(b"\r\n");
    }
    let corpus = [
        whole(&plain),
        whole(&streamed),
        whole(&put("/lakehouse/meta", b"meta").header("x-amz-meta-a", "b")),
        whole(&Signed::new("GET", "/lakehouse/plain", b"").header("connection", "close")),
        whole(&Signed::new("DELETE", "/lakehouse/none", b"").header("connection", "close")),
    ];
    for request in &corpus {
        let (status, answer) = exchange(store.address, request);
        assert!(matches!(status, 200 | 204), "{answer}");
    }
    let mut statuses = BTreeMap::<u16, u64>::new();
    testkit::fuzz(&corpus, |request| {
        let (status, answer) = exchange(store.address, request);
        *statuses.entry(status).or_default() += 1;
        assert!(matches!(status, 0 | 200..=499 | 501), "{status}: {answer}");
    });
    assert!(statuses.contains_key(&403), "{statuses:?}");
    let mut list = Signed::new("GET", "/lakehouse", b"");
    list.query = "list-type=2".into();
    let list = runtime.block_on(list.send(store.address)).text();
    assert_eq!(list.matches("<Key>").count(), 3, "{list}");
    for body in ["plain", "streamed", "meta"] {
        let get = Signed::new("GET", &format!("/lakehouse/{body}"), b"");
        let get = runtime.block_on(get.send(store.address));
        assert_eq!(get.text(), body);
    }
    assert_eq!(panics.so_far(), 0);
    runtime.block_on(store.stop());
}
