//! Facts about which requests pass, and a fuzz target for the parser of authorizations.

use http::Request;
use proptest::prelude::*;

use super::*;

const SCOPE: &str = "key/20260101/us-east-1/s3/aws4_request";

fn gate() -> Gate {
    Gate {
        region: "us-east-1".into(),
        access_key: Some("key".into()),
        max_body: 1000,
        max_xml: 100,
    }
}

fn judge(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<(), String> {
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "here");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let code = |error: S3Error| error.code().as_str().to_owned();
    gate().check(&parts).map_err(code)
}

fn authorization(credential: &str, signed: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature=00")
}

fn signed(credential: &str, names: &str, headers: &[(&str, &str)]) -> Result<(), String> {
    let authorization = authorization(credential, names);
    let mut all = vec![("authorization", authorization.as_str())];
    all.extend(headers);
    judge("PUT", "/b/k", &all)
}

fn err(code: &str) -> Result<(), String> {
    Err(code.to_owned())
}

#[test]
fn headers_that_change_the_meaning_must_be_signed() {
    let names = "host;x-amz-date";
    let date = ("x-amz-date", "20260101T000000Z");
    assert_eq!(signed(SCOPE, names, &[date]), Ok(()));
    for header in [
        "x-amz-copy-source",
        "x-amz-tagging",
        "x-amz-meta-a",
        "x-amz-acl",
    ] {
        assert_eq!(
            signed(SCOPE, names, &[date, (header, "private")]),
            err("AccessDenied")
        );
    }
    assert_eq!(
        signed(SCOPE, names, &[date, ("x-amz-content-sha256", "e3")]),
        Ok(())
    );
    assert_eq!(
        signed(SCOPE, "host;x-amz-date;x-amz-meta-a", &[date]),
        err("AuthorizationHeaderMalformed")
    );
    assert_eq!(
        signed(SCOPE, "x-amz-date", &[date]),
        err("AuthorizationHeaderMalformed")
    );
    let query = format!(
        "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date=20260101T000000Z\
         &X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00",
        SCOPE.replace('/', "%2F")
    );
    assert_eq!(judge("PUT", &query, &[]), Ok(()));
    assert_eq!(
        judge("PUT", &query, &[("x-amz-copy-source", "b/other")]),
        err("AccessDenied")
    );
    let long = query.replace("Expires=60", "Expires=604801");
    assert_eq!(
        judge("PUT", &long, &[]),
        err("AuthorizationQueryParametersError")
    );
}

#[test]
fn signatures_are_of_version_4_for_this_region_and_service() {
    let scope = |scope: &str| signed(scope, "host", &[]);
    assert_eq!(scope(SCOPE), Ok(()));
    let malformed = err("AuthorizationHeaderMalformed");
    assert_eq!(scope("key/20260101/eu-west-1/s3/aws4_request"), malformed);
    assert_eq!(scope("key/20260101/us-east-1/sts/aws4_request"), malformed);
    assert_eq!(scope("key/20260101/us-east-1/s3/aws3_request"), malformed);
    assert_eq!(scope("s3/aws4_request"), malformed);
    assert_eq!(
        scope("other/20260101/us-east-1/s3/aws4_request"),
        err("InvalidAccessKeyId")
    );
    assert_eq!(
        judge("GET", "/b/k", &[("authorization", "AWS key:sig")]),
        err("InvalidRequest")
    );
    let v2 = "/b/k?AWSAccessKeyId=key&Expires=1&Signature=s";
    assert_eq!(judge("GET", v2, &[]), err("InvalidRequest"));
    assert_eq!(judge("GET", "/b/k", &[]), err("AccessDenied"));
}

#[test]
fn dates_are_digits_before_anyone_counts_on_it() {
    let names = "host;x-amz-date";
    let right = ("x-amz-date", "20260101T000000Z");
    let wrong = err("AuthorizationHeaderMalformed");
    for date in [
        "2026010/",
        "2026-1-1",
        "202601",
        "20260101000",
        "",
        "\u{661}\u{661}\u{661}\u{661}",
    ] {
        let scope = format!("key/{date}/us-east-1/s3/aws4_request");
        assert!(signed(&scope, names, &[right]).is_err(), "{date}");
    }
    let scope = "key/2026010./us-east-1/s3/aws4_request";
    assert_eq!(signed(scope, names, &[right]), wrong);
    for time in [
        "2026010.T000000Z",
        "20260101T00000 Z",
        "20260101 000000Z",
        "20260101T000000",
        "",
    ] {
        assert_eq!(
            signed(SCOPE, names, &[("x-amz-date", time)]),
            wrong,
            "{time}"
        );
        let time: String = url::form_urlencoded::byte_serialize(time.as_bytes()).collect();
        let uri = format!(
            "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={SCOPE}&X-Amz-Date={time}\
             &X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
        );
        assert_eq!(judge("GET", &uri, &[]), wrong, "{time}");
    }
}

#[test]
fn options_that_would_silently_not_happen_are_refused() {
    let with = |name: &str, value: &str| signed(SCOPE, &format!("host;{name}"), &[(name, value)]);
    assert_eq!(
        with("x-amz-server-side-encryption", "AES256"),
        err("NotImplemented")
    );
    assert_eq!(
        with("x-amz-object-lock-mode", "GOVERNANCE"),
        err("NotImplemented")
    );
    assert_eq!(
        with("x-amz-acl", "public-read"),
        err("AccessControlListNotSupported")
    );
    assert_eq!(with("x-amz-acl", "private"), Ok(()));
    assert_eq!(
        with("x-amz-storage-class", "GLACIER"),
        err("InvalidStorageClass")
    );
    assert_eq!(
        with("x-amz-expected-bucket-owner", "1"),
        err("AccessDenied")
    );
    let form = [("content-type", "multipart/form-data; boundary=x")];
    let authorization = authorization(SCOPE, "host");
    let form = [form[0], ("authorization", authorization.as_str())];
    assert_eq!(judge("POST", "/b", &form), err("NotImplemented"));
}

#[test]
fn bodies_have_limits_by_kind() {
    let put = |uri: &str, len: &str| {
        let authorization = authorization(SCOPE, "host");
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-length", len),
        ];
        judge("PUT", uri, &headers)
    };
    assert_eq!(put("/b/k", "1000"), Ok(()));
    assert_eq!(put("/b/k?partNumber=1&uploadId=u", "1000"), Ok(()));
    assert_eq!(put("/b/k", "1001"), err("EntityTooLarge"));
    assert_eq!(put("/b/k?tagging", "101"), err("MaxMessageLengthExceeded"));
    assert_eq!(put("/b/k", "many"), err("InvalidRequest"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// Whatever a client sends as its authorization, it is refused or understood, and nothing panics.
    #[test]
    fn any_authorization_is_judged(text in "[ -~]{0,120}", query in "[!-~&&[^#<>`\"{}]]{0,120}") {
        let _ = judge("GET", "/b", &[("authorization", &text)]);
        let _ = judge("GET", &format!("/b?{query}"), &[]);
        let _ = judge("GET", &format!("/b?X-Amz-Signature=1&{query}"), &[]);
        let fields = format!("AWS4-HMAC-SHA256 Credential={text},SignedHeaders={text}");
        let _ = judge("GET", "/b", &[("authorization", &fields)]);
    }
}
