//! Who may ask for what: signatures, their scope, what they must cover, and bodies that are not what was signed.

use crate::harness::{Answer, Signed, hex, start, start_with};
use sha2::{Digest as _, Sha256};

fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_signed_put_can_be_read_back() {
    let store = start().await;
    let put = Signed::new("PUT", "/lakehouse/a/b.txt", b"hello")
        .send(store.address)
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(put.headers["etag"], "\"5d41402abc4b2a76b9719d911017c592\"");
    let get = Signed::new("GET", "/lakehouse/a/b.txt", b"")
        .send(store.address)
        .await;
    assert_eq!((get.status, get.text().as_str()), (200, "hello"));
    store.stop().await;
}

#[tokio::test]
async fn requests_nobody_signed_rightly_are_refused() {
    let store = start().await;
    let put = || Signed::new("PUT", "/lakehouse/k", b"v");
    let wrong = Signed {
        secret: "other".into(),
        ..put()
    };
    assert_eq!(
        wrong.send(store.address).await.error(),
        code(403, "SignatureDoesNotMatch")
    );
    let elsewhere = Signed {
        region: "eu-west-1".into(),
        ..put()
    };
    let refused = elsewhere.send(store.address).await.error();
    assert_eq!(refused, code(400, "AuthorizationHeaderMalformed"));
    let stale = Signed {
        date: "20260101T000000Z".into(),
        ..put()
    };
    assert_eq!(
        stale.send(store.address).await.error(),
        code(403, "RequestTimeTooSkewed")
    );
    let anonymous = reqwest::get(store.url("/lakehouse/k")).await.unwrap();
    assert_eq!(
        Answer::of(anonymous).await.error(),
        code(403, "AccessDenied")
    );
    let get = Signed::new("GET", "/lakehouse/k", b"")
        .send(store.address)
        .await;
    assert_eq!(
        get.error(),
        code(404, "NoSuchKey"),
        "none of them was stored"
    );
    store.stop().await;
}

#[tokio::test]
async fn unsigned_headers_do_nothing() {
    let store = start().await;
    let secret = Signed::new("PUT", "/lakehouse/secret", b"s")
        .send(store.address)
        .await;
    assert_eq!(secret.status, 200);
    for (name, value) in [
        ("x-amz-copy-source", "lakehouse/secret"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-meta-owner", "me"),
        ("x-amz-checksum-crc32", "AAAAAA=="),
    ] {
        let put = Signed::new("PUT", "/lakehouse/k", b"").unsigned(name, value);
        assert_eq!(
            put.send(store.address).await.error(),
            code(403, "AccessDenied"),
            "{name}"
        );
    }
    let signed = Signed::new("PUT", "/lakehouse/k", b"").header("x-amz-meta-owner", "me");
    assert_eq!(signed.send(store.address).await.status, 200);
    let head = Signed::new("HEAD", "/lakehouse/k", b"")
        .send(store.address)
        .await;
    assert_eq!(head.headers["x-amz-meta-owner"], "me");
    store.stop().await;
}

#[tokio::test]
async fn a_body_other_than_the_signed_one_is_not_stored() {
    let store = start().await;
    let mut put = Signed::new("PUT", "/lakehouse/k", b"right");
    put.body = b"wrong".to_vec();
    let refused = put.send(store.address).await.error();
    assert_eq!(refused, code(400, "XAmzContentSHA256Mismatch"));
    let md5 = Signed::new("PUT", "/lakehouse/k", b"right")
        .header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==");
    assert_eq!(
        md5.send(store.address).await.error(),
        code(400, "BadDigest")
    );
    let crc =
        Signed::new("PUT", "/lakehouse/k", b"right").header("x-amz-checksum-crc32c", "AAAAAA==");
    assert_eq!(
        crc.send(store.address).await.error(),
        code(400, "BadDigest")
    );
    let get = Signed::new("GET", "/lakehouse/k", b"")
        .send(store.address)
        .await;
    assert_eq!(get.status, 404);
    store.stop().await;
}

/// A body in signed chunks of the given pieces.
fn chunked(pieces: &[&[u8]], address: std::net::SocketAddr) -> Signed {
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut put = Signed::new("PUT", "/lakehouse/chunked", b"")
        .header("x-amz-decoded-content-length", &total.to_string())
        .header("content-encoding", "aws-chunked");
    put.payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".into();
    let mut before = put.seed(address);
    for piece in pieces.iter().copied().chain([&b""[..]]) {
        before = put.sign(&put.chunk_text(&before, piece));
        put.body
            .extend(format!("{:x};chunk-signature={before}\r\n", piece.len()).bytes());
        put.body.extend(piece);
        put.body.extend(b"\r\n");
    }
    put
}

#[tokio::test]
async fn signed_chunks_are_verified_one_by_one() {
    let store = start().await;
    let (one, two) = (vec![b'a'; 70_000], vec![b'b'; 9_000]);
    let put = chunked(&[&one, &two], store.address)
        .send(store.address)
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    let get = Signed::new("GET", "/lakehouse/chunked", b"")
        .send(store.address)
        .await;
    assert!(get.body == [one.clone(), two.clone()].concat());
    assert!(
        !get.headers.contains_key("content-encoding"),
        "the framing is not the object's"
    );

    let mut spoiled = chunked(&[&one, &two], store.address);
    let at = spoiled.body.len() - 5_000;
    spoiled.body[at] ^= 1;
    let refused = spoiled.send(store.address).await.error();
    assert_eq!(refused, code(403, "SignatureDoesNotMatch"));
    // Cut inside the second chunk, and just before the empty chunk that ends the body.
    for missing in [5_000, 90] {
        let mut short = chunked(&[&one, &two], store.address);
        short.body.truncate(short.body.len() - missing);
        let refused = short.send(store.address).await.error();
        assert_eq!(refused, code(400, "IncompleteBody"), "{missing}");
    }
    let mut garbled = chunked(&[&one, &two], store.address);
    garbled.body.splice(0..2, *b"zz");
    assert_eq!(
        garbled.send(store.address).await.error(),
        code(400, "InvalidRequest")
    );
    store.stop().await;
}

#[tokio::test]
async fn a_chunk_too_large_to_hold_is_refused_before_it_is_read() {
    let store = start_with(|config| config.max_chunk_size = bytesize::ByteSize::kib(64)).await;
    let large = chunked(&[&[b'a'; 70_000]], store.address)
        .send(store.address)
        .await;
    assert_eq!(
        large.error(),
        code(400, "InvalidRequest"),
        "{}",
        large.text()
    );
    let small = chunked(&[&[b'a'; 60_000]], store.address)
        .send(store.address)
        .await;
    assert_eq!(small.status, 200, "{}", small.text());
    store.stop().await;
}

#[tokio::test]
async fn a_checksum_may_follow_the_body() {
    let store = start().await;
    let send = |sum: &'static str| {
        let mut put = Signed::new("PUT", "/lakehouse/trailer", b"")
            .header("x-amz-decoded-content-length", "9")
            .header("x-amz-trailer", "x-amz-checksum-crc32c");
        put.payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER".into();
        let trailer = format!("x-amz-checksum-crc32c:{sum}\r\n\r\n");
        put.body = format!("9\r\n123456789\r\n0\r\n{trailer}").into_bytes();
        put.send(store.address)
    };
    assert_eq!(send("AAAAAA==").await.error(), code(400, "BadDigest"));
    let right = send("4waSgw==").await;
    assert_eq!(right.status, 200, "{}", right.text());
    assert_eq!(right.headers["x-amz-checksum-crc32c"], "4waSgw==");
    store.stop().await;
}

#[tokio::test]
async fn oversized_requests_are_refused() {
    let store = start_with(|config| {
        config.max_put_size = bytesize::ByteSize::kib(100);
        config.max_xml_size = bytesize::ByteSize::kib(10);
    })
    .await;
    let large = Signed::new("PUT", "/lakehouse/k", &vec![0; 120_000])
        .send(store.address)
        .await;
    assert_eq!(large.error(), code(400, "EntityTooLarge"));
    let mut post = Signed::new("POST", "/lakehouse", &vec![b' '; 20_000]);
    post.query = "delete=".into();
    assert_eq!(
        post.send(store.address).await.error(),
        code(400, "MaxMessageLengthExceeded")
    );
    let key = format!("/lakehouse/{}", "k".repeat(1025));
    let long = Signed::new("PUT", &key, b"").send(store.address).await;
    assert_eq!(long.error(), code(400, "KeyTooLongError"));
    store.stop().await;
}

#[tokio::test]
async fn malformed_xml_is_refused_and_the_store_lives() {
    let store = start().await;
    let delete = |body: &str| {
        let mut post = Signed::new("POST", "/lakehouse", body.as_bytes());
        post.query = "delete=".into();
        let md5 = {
            use base64::Engine as _;
            use s3s::crypto::Checksum as _;
            base64::engine::general_purpose::STANDARD
                .encode(s3s::crypto::Md5::checksum(body.as_bytes()))
        };
        post.header("content-md5", &md5).send(store.address)
    };
    let empty = delete("").await;
    assert_eq!(empty.error(), code(400, "MissingRequestBodyError"));
    for body in [
        "<Delete>",
        "<Delete></Delete>",
        "{}",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><Delete/>",
    ] {
        let refused = delete(body).await;
        assert_eq!(refused.error(), code(400, "MalformedXML"), "{body}");
    }
    let gone = delete("<Delete><Object><Key>none</Key></Object></Delete>").await;
    assert!(
        gone.text().contains("<Deleted><Key>none</Key></Deleted>"),
        "{}",
        gone.text()
    );
    store.stop().await;
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let store = start().await;
    let head = Signed::new("HEAD", "/lakehouse/none", b"")
        .send(store.address)
        .await;
    assert_eq!((head.status, head.body.len()), (404, 0));
    assert_eq!(head.headers["x-amz-request-id"].len(), 26);
    let unchanged = Signed::new("PUT", "/lakehouse/k", b"v")
        .send(store.address)
        .await;
    let etag = unchanged.headers["etag"].to_str().unwrap().to_owned();
    let get = Signed::new("GET", "/lakehouse/k", b"").header("if-none-match", &etag);
    let get = get.send(store.address).await;
    assert_eq!((get.status, get.body.len()), (304, 0));
    assert_eq!(get.headers["etag"], etag.as_str());
    store.stop().await;
}

#[tokio::test]
async fn state_is_shown_without_a_signature() {
    let store = start().await;
    Signed::new("PUT", "/lakehouse/k", b"v")
        .send(store.address)
        .await;
    for (path, part) in [
        ("/healthz", "ok"),
        ("/readyz", "ready"),
        (
            "/metrics",
            "streamforge_storage_service_requests_total{method=\"PUT\",status=\"2xx\"} 1",
        ),
    ] {
        let text = reqwest::get(store.url(path))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(text.contains(part), "{path}: {text}");
    }
    store.stop().await;
}

#[test]
fn the_hand_made_signature_hashes_like_everyone() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hex(&Sha256::digest(b"")), empty);
}

#[tokio::test]
async fn a_range_that_s3_does_not_know_means_the_whole_object() {
    let store = start().await;
    let put = Signed::new("PUT", "/lakehouse/k", b"123456789");
    assert_eq!(put.send(store.address).await.status, 200);
    let link = Signed::new("GET", "/lakehouse/k", b"").presigned(store.address, 60);
    for (range, status, body) in [
        ("bytes=1-2", 206, "23"),
        ("bytes=0-1,4-5", 200, "123456789"),
        ("bytes=5-1", 200, "123456789"),
        ("lines=1-2", 200, "123456789"),
    ] {
        let request = reqwest::Client::new().get(store.url(&link));
        let answer = request.header("range", range).send().await.unwrap();
        let answer = Answer::of(answer).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (status, body),
            "{range}"
        );
        let signed = Signed::new("GET", "/lakehouse/k", b"").header("range", range);
        let answer = signed.send(store.address).await;
        // Without the signed header the signature would not hold, so it has to stay, and s3s refuses it.
        let status = if status == 200 { 400 } else { status };
        assert_eq!(answer.status, status, "{range}");
    }
    store.stop().await;
}
