//! Every form a body can have, each spoiled at every place: nothing but the whole and right one is stored.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Answer, Running, Signed, start, start_with};

/// CRC32C of [`BODY`], as S3 writes it.
const SUM: &str = "4waSgw==";
const BODY: &[u8] = b"123456789";

fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

async fn nothing_stored(store: &Running, path: &str) {
    let get = Signed::new("GET", path, b"").send(store.address).await;
    assert_eq!(get.error(), code(404, "NoSuchKey"), "{path}");
}

/// A body in signed chunks with a signed checksum after it.
fn signed_trailer(address: std::net::SocketAddr, sum: &str) -> Signed {
    let mut put = Signed::new("PUT", "/lakehouse/trailer", b"")
        .header("content-encoding", "aws-chunked")
        .header("x-amz-decoded-content-length", &BODY.len().to_string())
        .header("x-amz-trailer", "x-amz-checksum-crc32c");
    put.payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER".into();
    let mut before = put.seed(address);
    for piece in [&BODY[..4], &BODY[4..], b""] {
        before = put.sign(&put.chunk_text(&before, piece));
        let head = format!("{:x};chunk-signature={before}\r\n", piece.len());
        put.body.extend(head.bytes());
        put.body.extend(piece);
        if !piece.is_empty() {
            put.body.extend(b"\r\n");
        }
    }
    let trailer = format!("x-amz-checksum-crc32c:{sum}\n");
    let signature = put.sign(&put.trailer_text(&before, &trailer));
    put.body.extend(
        format!("x-amz-checksum-crc32c:{sum}\r\nx-amz-trailer-signature:{signature}\r\n\r\n")
            .bytes(),
    );
    put
}

#[tokio::test]
async fn signed_chunks_with_a_signed_checksum_are_stored_only_whole() {
    let store = start().await;
    let whole = signed_trailer(store.address, SUM);
    let length = whole.body.len();
    let put = whole.send(store.address).await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(put.headers["x-amz-checksum-crc32c"], SUM);
    let path = "/lakehouse/trailer";
    let get = Signed::new("GET", path, b"").send(store.address).await;
    assert_eq!(get.body, BODY);
    let gone = Signed::new("DELETE", path, b"").send(store.address).await;
    assert_eq!(gone.status, 204);

    let wrong_sum = signed_trailer(store.address, "AAAAAA==");
    assert_eq!(
        wrong_sum.send(store.address).await.error(),
        code(400, "BadDigest")
    );
    // One bit at every place: sizes, signatures, data, line ends, checksum, its signature.
    for at in 0..length {
        let mut spoiled = signed_trailer(store.address, SUM);
        spoiled.body[at] ^= 1;
        let answer = spoiled.send(store.address).await;
        assert!(
            matches!(answer.status, 400 | 403),
            "byte {at}: {} {}",
            answer.status,
            answer.text()
        );
    }
    // All but the line ends behind the last signature.
    for len in (0..length - 4).step_by(5) {
        let mut short = signed_trailer(store.address, SUM);
        short.body.truncate(len);
        let answer = short.send(store.address).await;
        assert!(
            matches!(answer.status, 400 | 403),
            "{len} bytes: {} {}",
            answer.status,
            answer.text()
        );
    }
    nothing_stored(&store, path).await;
    store.stop().await;
}

#[tokio::test]
async fn an_unsigned_stream_is_stored_only_whole() {
    let store = start().await;
    let path = "/lakehouse/unsigned";
    let stream = |body: &[u8], length: &str| {
        let mut put = Signed::new("PUT", path, b"")
            .header("x-amz-decoded-content-length", length)
            .header("x-amz-trailer", "x-amz-checksum-crc32c");
        put.payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER".into();
        put.body = body.to_vec();
        put.send(store.address)
    };
    let whole = format!("4\r\n1234\r\n5\r\n56789\r\n0\r\nx-amz-checksum-crc32c:{SUM}\r\n\r\n");
    for (body, length) in [
        // Other data, sizes that lie, a checksum that is missing, named otherwise or twice, and what follows the end.
        (whole.replace("1234", "1235"), "9"),
        (whole.clone(), "8"),
        (whole.clone(), "10"),
        (whole.clone(), "-9"),
        (whole.replace("4\r\n", "5\r\n"), "9"),
        (whole.replace("5\r\n5", "ffffffffffffffff\r\n5"), "9"),
        (whole.replace("5\r\n5", "10000000000000005\r\n5"), "9"),
        (
            whole.replace("x-amz-checksum-crc32c", "x-amz-checksum-sha1"),
            "9",
        ),
        (
            whole.replace(&format!("x-amz-checksum-crc32c:{SUM}\r\n"), ""),
            "9",
        ),
        (whole.replace("\r\n", "\n"), "9"),
        (String::new(), "9"),
    ] {
        let answer = stream(body.as_bytes(), length).await;
        assert!(
            matches!(answer.status, 400 | 403),
            "{body:?}: {} {}",
            answer.status,
            answer.text()
        );
    }
    nothing_stored(&store, path).await;
    for len in 0..whole.len() - 4 {
        let answer = stream(&whole.as_bytes()[..len], "9").await;
        assert!(
            matches!(answer.status, 400 | 403),
            "{len} bytes: {} {}",
            answer.status,
            answer.text()
        );
    }
    nothing_stored(&store, path).await;
    let answer = stream(whole.as_bytes(), "9").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    store.stop().await;
}

#[tokio::test]
async fn a_link_is_good_for_what_was_signed_and_no_longer() {
    let store = start().await;
    let client = reqwest::Client::new();
    let send = async |method: &str, link: &str, body: &'static [u8]| {
        let request = client
            .request(method.parse().unwrap(), store.url(link))
            .body(body);
        Answer::of(request.send().await.unwrap()).await
    };
    let put = Signed::new("PUT", "/lakehouse/link", b"");
    let link = put.presigned(store.address, 60);
    let stored = send("PUT", &link, BODY).await;
    assert_eq!(stored.status, 200, "{}", stored.text());
    let get = Signed::new("GET", "/lakehouse/link", b"").presigned(store.address, 60);
    assert_eq!(send("GET", &get, b"").await.body, BODY);

    let refused = code(403, "SignatureDoesNotMatch");
    let other_key = link.replace("/lakehouse/link", "/lakehouse/other");
    assert_eq!(send("PUT", &other_key, BODY).await.error(), refused);
    assert_eq!(send("DELETE", &link, b"").await.error(), refused);
    let longer = link.replace("X-Amz-Expires=60", "X-Amz-Expires=6000");
    assert_eq!(send("PUT", &longer, BODY).await.error(), refused);
    let more = format!("{link}&uploads=");
    assert_eq!(send("POST", &more, b"").await.error(), refused);
    let last = link.chars().last().unwrap();
    let flipped = if last == '0' { '1' } else { '0' };
    let spoiled = format!("{}{flipped}", &link[..link.len() - 1]);
    assert_eq!(send("PUT", &spoiled, BODY).await.error(), refused);
    let ended = Signed {
        date: (chrono::Utc::now() - Duration::from_secs(120))
            .format("%Y%m%dT%H%M%SZ")
            .to_string(),
        ..put.clone()
    };
    let ended = ended.presigned(store.address, 60);
    assert_eq!(
        send("PUT", &ended, BODY).await.error(),
        code(403, "AccessDenied")
    );
    let for_ever = put.presigned(store.address, 700_000);
    let for_ever = send("PUT", &for_ever, BODY).await;
    assert!(matches!(for_ever.status, 400 | 403), "{}", for_ever.text());
    nothing_stored(&store, "/lakehouse/other").await;
    store.stop().await;
}

#[tokio::test]
async fn an_unsigned_body_is_as_long_as_it_says() {
    let store = start_with(|config| {
        config.stall_timeout = Duration::from_millis(300);
        config.max_put_size = bytesize::ByteSize::kib(64);
    })
    .await;
    let path = "/lakehouse/k";
    let mut put = Signed::new("PUT", path, b"");
    put.payload = "UNSIGNED-PAYLOAD".into();
    let large = Signed {
        body: vec![0; 70_000],
        ..put.clone()
    };
    assert_eq!(
        large.send(store.address).await.error(),
        code(400, "EntityTooLarge")
    );
    // Each form of body stops in the middle: the client is told, or at least let go, and nothing is stored.
    let signed_chunks = signed_trailer(store.address, SUM);
    for (half, sent) in [
        (put.clone(), 5),
        (Signed::new("PUT", path, &[7; 40]), 5),
        (signed_chunks.clone(), 3),
        (signed_chunks.clone(), 90),
        (signed_chunks.clone(), signed_chunks.body.len() - 3),
    ] {
        let length = half.body.len().max(40);
        let body = [half.body.clone(), vec![1; 40]].concat();
        let mut stalled = tokio::net::TcpStream::connect(store.address).await.unwrap();
        stalled
            .write_all(&half.head(store.address, length))
            .await
            .unwrap();
        stalled.write_all(&body[..sent]).await.unwrap();
        let mut answer = Vec::new();
        stalled.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("<Code>RequestTimeout</Code>"), "{answer}");
        nothing_stored(&store, &half.path).await;
    }
    store.stop().await;
}
