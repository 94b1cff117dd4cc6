//! Judges a request by its headers before s3s looks at it, more strictly than s3s does.
//!
//! s3s 0.14 verifies a signature over the headers that the signature names and then also acts on `x-amz-*` headers
//! it does not name, accepts Signature Version 2 and any region, and ignores options it has no code for. Whatever
//! passes here has one Version 4 signature, scoped to this region and S3, over every header that changes what the
//! request means, and asks for nothing that would silently not happen. The signature itself is then s3s's to verify.

use http::header::{AUTHORIZATION, RANGE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use s3s::dto::Range;
use s3s::{S3Error, S3ErrorCode};

/// What a request must fit.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) region: String,
    /// `None` takes unsigned requests only.
    pub(crate) access_key: Option<String>,
    pub(crate) max_body: u64,
    pub(crate) max_xml: u64,
}

/// Signed or not, these change nothing about what a request does.
const NEED_NO_SIGNATURE: [&str; 6] = [
    "x-amz-content-sha256",
    "x-amz-decoded-content-length",
    "x-amz-trailer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-checksum-mode",
    "x-amz-user-agent",
];

/// Options that would be read and not done.
const NOT_SERVED: [&str; 7] = [
    "x-amz-server-side-encryption",
    "x-amz-copy-source-server-side-encryption",
    "x-amz-grant-",
    "x-amz-object-lock-",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
    "x-amz-if-match-",
];

/// The account id that stands for the one owner.
const ACCOUNT: &str = "000000000000";

/// A week, the longest a presigned request may be good for.
const MAX_PRESIGNED: u32 = 7 * 24 * 3600;

impl Gate {
    /// Says why a request is refused, or nothing.
    pub(crate) fn check(&self, request: &Parts) -> Result<(), S3Error> {
        check_singles(&request.headers)?;
        if let Some(time) = request.headers.get("x-amz-date") {
            check_time(time.to_str().unwrap_or_default())?;
        }
        self.check_signature(request)?;
        check_options(&request.headers)?;
        self.check_body(request)
    }

    fn check_signature(&self, request: &Parts) -> Result<(), S3Error> {
        let query = Query::read(request.uri.query().unwrap_or_default())?;
        let header = request.headers.get(AUTHORIZATION);
        if query.v2 {
            return Err(only_v4());
        }
        match (header, &query.v4) {
            (Some(_), Some(_)) => Err(invalid(
                "only one of header and query may carry a signature",
            )),
            (None, None) if self.access_key.is_some() => Err(S3Error::with_message(
                S3ErrorCode::AccessDenied,
                "the request is not signed",
            )),
            (None, None) => Ok(()),
            (Some(_), None) | (None, Some(_)) if self.access_key.is_none() => {
                Err(S3Error::with_message(
                    S3ErrorCode::InvalidAccessKeyId,
                    "no access key is configured, so no signature can be verified",
                ))
            }
            (Some(header), None) => {
                let text = header.to_str().map_err(|_| malformed("it is not text"))?;
                let signature = Signature::parse(text)?;
                self.check_scope(signature.credential)?;
                check_names(&request.headers, signature.signed_headers)
            }
            (None, Some(presigned)) => {
                self.check_scope(&presigned.credential)?;
                check_expiry(&presigned.expires)?;
                check_names(&request.headers, &presigned.signed_headers)
            }
        }
    }

    fn check_scope(&self, credential: &str) -> Result<(), S3Error> {
        // The access key may contain slashes, the scope after it cannot.
        let mut scope = credential.rsplitn(5, '/');
        let (terminal, service, region) = (scope.next(), scope.next(), scope.next());
        if terminal != Some("aws4_request") {
            return Err(malformed("the credential must end in `aws4_request`"));
        }
        if service != Some("s3") {
            return Err(malformed(
                "the credential must be scoped to the service `s3`",
            ));
        }
        if region != Some(self.region.as_str()) {
            let given = region.unwrap_or_default();
            return Err(malformed(&format!(
                "the region `{given}` is wrong; expecting `{}`",
                self.region
            )));
        }
        match (scope.next(), scope.next()) {
            (Some(date), _) if date.len() != 8 || !is_digits(date) => {
                Err(malformed("the credential needs a date like 20260101"))
            }
            (Some(_date), key) if key == self.access_key.as_deref() => Ok(()),
            (Some(_date), Some(_)) => Err(S3Error::with_message(
                S3ErrorCode::InvalidAccessKeyId,
                "the access key is not known here",
            )),
            _ => Err(malformed("the credential needs an access key and a date")),
        }
    }

    fn check_body(&self, request: &Parts) -> Result<(), S3Error> {
        let headers = &request.headers;
        if request.method == Method::POST && is_form(headers) {
            return Err(not_served("uploads by HTML form are not served"));
        }
        let Some(len) = headers.get(http::header::CONTENT_LENGTH) else {
            return Ok(());
        };
        let Some(len) = len.to_str().ok().and_then(|text| text.parse::<u64>().ok()) else {
            return Err(invalid("the content length is no number"));
        };
        let (max, code) = match request.method {
            Method::PUT if !is_subresource(request.uri.query()) => {
                (self.max_body, S3ErrorCode::EntityTooLarge)
            }
            _ => (self.max_xml, S3ErrorCode::MaxMessageLengthExceeded),
        };
        if len > max {
            let message = format!("the body has {len} bytes where at most {max} are taken");
            return Err(S3Error::with_message(code, message));
        }
        Ok(())
    }
}

/// Takes out a `Range` of several ranges, or of none that makes sense: S3 then answers with the whole object, where
/// s3s refuses. One that is signed stays, since without it the signature would not hold.
pub(crate) fn drop_odd_range(request: &mut Parts) {
    let Some(range) = request.headers.get(RANGE) else {
        return;
    };
    let is_odd = range
        .to_str()
        .map_or(true, |range| Range::parse(range).is_err());
    if is_odd && !is_signed(request, RANGE.as_str()) {
        request.headers.remove(RANGE);
    }
}

/// Whether the signature of a request that passed covers the header `name`.
fn is_signed(request: &Parts, name: &str) -> bool {
    let names = |signed: &str| signed.split(';').any(|signed| signed == name);
    let header = request.headers.get(AUTHORIZATION);
    if let Some(header) = header.and_then(|header| header.to_str().ok()) {
        return Signature::parse(header).is_ok_and(|parsed| names(parsed.signed_headers));
    }
    Query::read(request.uri.query().unwrap_or_default())
        .is_ok_and(|query| query.v4.is_some_and(|v4| names(&v4.signed_headers)))
}

/// Which query parameters make a PUT carry XML instead of an object.
fn is_subresource(query: Option<&str>) -> bool {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .any(|(name, value)| value.is_empty() && name != "partNumber" && name != "x-id")
}

fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .trim_start()
                .to_ascii_lowercase()
                .starts_with("multipart/")
        })
}

/// The parts of an `Authorization` header that matter before the signature is computed.
struct Signature<'a> {
    credential: &'a str,
    signed_headers: &'a str,
}

impl<'a> Signature<'a> {
    fn parse(text: &'a str) -> Result<Self, S3Error> {
        let Some(fields) = text.strip_prefix("AWS4-HMAC-SHA256") else {
            return Err(only_v4());
        };
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let Some((name, value)) = field.trim().split_once('=') else {
                return Err(malformed("its fields must be `Name=value`"));
            };
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(malformed("it has an unknown field")),
            };
            if slot.replace(value).is_some() {
                return Err(malformed("it has a field twice"));
            }
        }
        match (credential, signed_headers, signature) {
            (Some(credential), Some(signed_headers), Some(_)) => Ok(Self {
                credential,
                signed_headers,
            }),
            _ => Err(malformed(
                "it needs Credential, SignedHeaders and Signature",
            )),
        }
    }
}

/// What the query says about signatures.
#[derive(Default)]
struct Query {
    v2: bool,
    v4: Option<Presigned>,
}

#[derive(Default)]
struct Presigned {
    credential: String,
    signed_headers: String,
    expires: String,
}

impl Query {
    fn read(query: &str) -> Result<Self, S3Error> {
        let mut found = Self::default();
        if !query.contains("Amz-") && !query.contains("Signature") {
            return Ok(found);
        }
        let mut seen = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let slot = match name.as_ref() {
                "Signature" | "AWSAccessKeyId" => {
                    found.v2 = true;
                    continue;
                }
                "X-Amz-Date" => {
                    check_time(&value)?;
                    None
                }
                "X-Amz-Signature" | "X-Amz-Algorithm" => None,
                "X-Amz-Credential" => Some(0),
                "X-Amz-SignedHeaders" => Some(1),
                "X-Amz-Expires" => Some(2),
                _ => continue,
            };
            if seen.contains(&name) {
                return Err(malformed("a field of the signature is given twice"));
            }
            let presigned = found.v4.get_or_insert_with(Presigned::default);
            match slot {
                Some(0) => presigned.credential = value.into_owned(),
                Some(1) => presigned.signed_headers = value.into_owned(),
                Some(_) => presigned.expires = value.into_owned(),
                None => {}
            }
            seen.push(name);
        }
        Ok(found)
    }
}

/// A time as signatures have it; s3s takes for granted that digits are digits.
fn check_time(time: &str) -> Result<(), S3Error> {
    let form = time
        .strip_suffix('Z')
        .and_then(|time| time.split_once('T'))
        .filter(|(day, hour)| day.len() == 8 && hour.len() == 6);
    match form {
        Some((day, hour)) if is_digits(day) && is_digits(hour) => Ok(()),
        _ => Err(malformed("the date needs the form 20260101T000000Z")),
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn check_expiry(expires: &str) -> Result<(), S3Error> {
    match expires.parse::<u32>() {
        Ok(seconds) if (1..=MAX_PRESIGNED).contains(&seconds) => Ok(()),
        _ => Err(S3Error::with_message(
            S3ErrorCode::AuthorizationQueryParametersError,
            "X-Amz-Expires must be between 1 and 604800 seconds",
        )),
    }
}

/// Every header that changes the request's meaning must be signed, and what is signed must be there.
fn check_names(headers: &HeaderMap, signed: &str) -> Result<(), S3Error> {
    let signed: Vec<&str> = signed.split(';').collect();
    if !signed.contains(&"host") {
        return Err(malformed("the header `host` must be signed"));
    }
    for name in &signed {
        let there = HeaderName::from_lowercase(name.as_bytes())
            .is_ok_and(|name| headers.contains_key(name));
        if !there {
            return Err(malformed(&format!(
                "the signed header `{name}` is not in the request"
            )));
        }
    }
    let unsigned = headers.keys().map(HeaderName::as_str).find(|name| {
        name.starts_with("x-amz-") && !NEED_NO_SIGNATURE.contains(name) && !signed.contains(name)
    });
    match unsigned {
        None => Ok(()),
        Some(name) => Err(S3Error::with_message(
            S3ErrorCode::AccessDenied,
            format!("the header `{name}` is not signed"),
        )),
    }
}

/// Of headers that say who asks and how much follows, a second one is an attack or a mistake.
fn check_singles(headers: &HeaderMap) -> Result<(), S3Error> {
    for name in headers.keys() {
        let single = matches!(name.as_str(), "authorization" | "host" | "content-length")
            || (name.as_str().starts_with("x-amz-") && name != "x-amz-object-attributes");
        if single && headers.get_all(name).iter().count() > 1 {
            return Err(invalid(&format!("the header `{name}` is given twice")));
        }
    }
    Ok(())
}

/// Refuses what would otherwise be read and silently not done.
fn check_options(headers: &HeaderMap) -> Result<(), S3Error> {
    for (name, value) in headers {
        let (name, value) = (name.as_str(), value.to_str().unwrap_or_default());
        if !name.starts_with("x-amz-") {
            continue;
        }
        if NOT_SERVED.iter().any(|prefix| name.starts_with(prefix)) {
            return Err(not_served(&format!("the option `{name}` is not served")));
        }
        match name {
            "x-amz-acl" if !matches!(value, "private" | "bucket-owner-full-control") => {
                return Err(S3Error::with_message(
                    S3ErrorCode::AccessControlListNotSupported,
                    "objects here are private to the owner of the key",
                ));
            }
            "x-amz-storage-class" if value != "STANDARD" => {
                return Err(S3Error::with_message(
                    S3ErrorCode::InvalidStorageClass,
                    "the only storage class is STANDARD",
                ));
            }
            "x-amz-bucket-object-lock-enabled" if value.eq_ignore_ascii_case("true") => {
                return Err(not_served("object lock is not served"));
            }
            "x-amz-expected-bucket-owner" | "x-amz-source-expected-bucket-owner"
                if value != ACCOUNT =>
            {
                return Err(S3Error::with_message(
                    S3ErrorCode::AccessDenied,
                    format!("the bucket's owner is `{ACCOUNT}`"),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn only_v4() -> S3Error {
    S3Error::with_message(
        S3ErrorCode::InvalidRequest,
        "only signatures of the form AWS4-HMAC-SHA256 are accepted",
    )
}

fn malformed(why: &str) -> S3Error {
    let message = format!("the authorization is malformed; {why}");
    S3Error::with_message(S3ErrorCode::AuthorizationHeaderMalformed, message)
}

fn invalid(why: &str) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidRequest, why.to_owned())
}

fn not_served(why: &str) -> S3Error {
    S3Error::with_message(S3ErrorCode::NotImplemented, why.to_owned())
}

#[cfg(test)]
mod tests;
