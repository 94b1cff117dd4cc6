//! Operations on single objects: put, get, head, copy.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, ETagCondition, GetObjectInput, GetObjectOutput,
    HeadObjectInput, HeadObjectOutput, MetadataDirective, PutObjectInput, PutObjectOutput,
    StreamingBlob, TaggingDirective,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::convert::{
    checksum_fields, checksum_type, copy_source, etag, millis, now, only_version, signed, small,
    tag, timestamp, with_checksum,
};
use super::error::{custom, invalid, refuse, refused};
use super::service::Sending;
use super::tagging;
use super::upload::Announced;
use crate::metrics::Metrics;
use crate::store::{
    Attributes, Copy, Error, Found, Object, Put, ReadCondition, Store, WriteCondition,
};

/// Most user metadata S3 takes.
const MAX_METADATA: usize = 2048;

pub(super) async fn put(
    store: &Store,
    metrics: &Metrics,
    request: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let S3Request {
        mut input,
        headers,
        trailing_headers,
        ..
    } = request;
    check_key(&input.key)?;
    let attributes = put_attributes(&mut input)?;
    let announced = Announced::read(
        &headers,
        checksum_fields!(input).single()?,
        input
            .checksum_algorithm
            .as_ref()
            .map(|algorithm| algorithm.as_str()),
        input.content_md5.take(),
    )?;
    let body = input.body.take();
    let arrived = announced
        .receive(store, metrics, &input.bucket, body, trailing_headers)
        .await?;
    let put = Put {
        attributes,
        condition: write_condition(input.if_match.as_ref(), input.if_none_match.as_ref()),
        bucket: input.bucket,
        key: input.key,
        now: now(),
    };
    let object = store.put(put, arrived).await.map_err(refuse)?;
    let checksum = object.checksum.as_ref();
    Ok(S3Response::new(with_checksum!(PutObjectOutput, checksum, {
        checksum_type: checksum.map(|sum| checksum_type(sum.kind)),
        e_tag: Some(etag(&object.etag)),
    })))
}

fn put_attributes(input: &mut PutObjectInput) -> S3Result<Attributes> {
    let metadata = input.metadata.take();
    Ok(Attributes {
        content_type: input.content_type.take(),
        content_encoding: own_encoding(input.content_encoding.as_deref()),
        content_language: input.content_language.take(),
        content_disposition: input.content_disposition.take(),
        cache_control: input.cache_control.take(),
        expires: input.expires.as_ref().map(millis),
        metadata: user_metadata(metadata)?,
        tags: tagging::from_header(input.tagging.as_deref())?,
    })
}

/// `aws-chunked` is how the body travelled, not what it is.
pub(super) fn own_encoding(encoding: Option<&str>) -> Option<String> {
    let kept: Vec<&str> = encoding?
        .split(',')
        .map(str::trim)
        .filter(|one| !one.eq_ignore_ascii_case("aws-chunked") && !one.is_empty())
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

pub(super) fn user_metadata(
    metadata: Option<HashMap<String, String>>,
) -> S3Result<BTreeMap<String, String>> {
    let metadata: BTreeMap<_, _> = metadata.unwrap_or_default().into_iter().collect();
    let size: usize = metadata
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if size > MAX_METADATA {
        return Err(S3Error::new(S3ErrorCode::MetadataTooLarge));
    }
    Ok(metadata)
}

/// Zero bytes separate names in the index, and no S3 answer could show one.
pub(super) fn check_key(key: &str) -> S3Result<()> {
    if key.is_empty() || key.contains('\0') {
        return Err(invalid(
            "a key needs characters and must not contain U+0000",
        ));
    }
    Ok(())
}

pub(super) fn write_condition(
    matches: Option<&ETagCondition>,
    none_match: Option<&ETagCondition>,
) -> WriteCondition {
    WriteCondition {
        matches: matches.map(tag),
        none_match: none_match.map(tag),
    }
}

/// The conditions on a copy's target, which s3s does not read.
fn header_condition(headers: &http::HeaderMap) -> S3Result<WriteCondition> {
    let read = |name: http::HeaderName| match headers.get(&name) {
        None => Ok(None),
        Some(value) => match ETagCondition::parse_http_header(value.as_bytes()) {
            Ok(condition) => Ok(Some(condition)),
            Err(_) => Err(invalid(format!("`{name}` must be an entity tag or `*`"))),
        },
    };
    let (matches, none_match) = (
        read(http::header::IF_MATCH)?,
        read(http::header::IF_NONE_MATCH)?,
    );
    Ok(write_condition(matches.as_ref(), none_match.as_ref()))
}

/// An object someone may see, or the refusal with the headers a 304 carries.
fn allowed(object: &Object, condition: &ReadCondition) -> S3Result<()> {
    let Err(refusal) = condition.check(object) else {
        return Ok(());
    };
    let mut error = refused(&refusal);
    if matches!(refusal, Error::NotModified) {
        let mut headers = http::HeaderMap::new();
        if let Ok(value) = format!("\"{}\"", object.etag).parse() {
            headers.insert(http::header::ETAG, value);
        }
        error.set_headers(headers);
    }
    Err(error)
}

/// Which bytes a GET or HEAD is about.
struct Selection {
    bytes: Range<u64>,
    partial: bool,
    parts_count: Option<i32>,
}

fn select(found: &Found, range: Option<s3s::dto::Range>, part: Option<i32>) -> S3Result<Selection> {
    let size = found.object.size;
    let whole = Selection {
        bytes: 0..size,
        partial: false,
        parts_count: None,
    };
    match (range, part) {
        (Some(_), Some(_)) => {
            let message = "a request can ask for a range or for a part, not both";
            Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message))
        }
        (None, None) => Ok(whole),
        (Some(range), None) => match range.check(size) {
            Ok(bytes) => Ok(Selection {
                bytes,
                partial: true,
                parts_count: None,
            }),
            Err(_) => Err(unsatisfiable(size)),
        },
        (None, Some(number)) if found.parts.is_empty() => match number {
            1 => Ok(Selection {
                partial: true,
                ..whole
            }),
            _ => Err(no_such_part()),
        },
        (None, Some(number)) => {
            let mut start = 0;
            for part in &found.parts {
                if i32::from(part.number) == number {
                    let bytes = start..start + part.size;
                    let parts_count = Some(small(found.parts.len()));
                    return Ok(Selection {
                        bytes,
                        partial: true,
                        parts_count,
                    });
                }
                start += part.size;
            }
            Err(no_such_part())
        }
    }
}

fn no_such_part() -> S3Error {
    custom(
        "InvalidPartNumber",
        http::StatusCode::RANGE_NOT_SATISFIABLE,
        "the object has no such part",
    )
}

fn unsatisfiable(size: u64) -> S3Error {
    let mut error = S3Error::with_message(
        S3ErrorCode::InvalidRange,
        format!("the range is outside the object's {size} bytes"),
    );
    let mut headers = http::HeaderMap::new();
    if let Ok(value) = format!("bytes */{size}").parse() {
        headers.insert(http::header::CONTENT_RANGE, value);
    }
    error.set_headers(headers);
    error
}

pub(super) async fn get(
    store: &Store,
    metrics: &Metrics,
    input: GetObjectInput,
) -> S3Result<S3Response<GetObjectOutput>> {
    only_version(input.version_id.as_deref())?;
    let found = store
        .find(&input.bucket, &input.key)
        .await
        .map_err(refuse)?;
    let condition = ReadCondition {
        matches: input.if_match.as_ref().map(tag),
        none_match: input.if_none_match.as_ref().map(tag),
        modified_since: input.if_modified_since.as_ref().map(millis),
        unmodified_since: input.if_unmodified_since.as_ref().map(millis),
    };
    allowed(&found.object, &condition)?;
    let Selection {
        bytes,
        partial,
        parts_count,
    } = select(&found, input.range, input.part_number)?;
    let object = found.object.clone();
    let len = bytes.end - bytes.start;
    let content_range = content_range(&bytes, object.size, partial);
    let body = Sending::new(store.download(found, bytes), metrics.sent.clone());
    let shown = shown_checksum(&object, input.checksum_mode.is_some(), len);
    let attributes = object.attributes.clone();
    let output = with_checksum!(GetObjectOutput, shown, {
        checksum_type: shown.map(|sum| checksum_type(sum.kind)),
        accept_ranges: Some("bytes".to_owned()),
        body: Some(StreamingBlob::new(body)),
        cache_control: attributes.cache_control,
        content_disposition: attributes.content_disposition,
        content_encoding: attributes.content_encoding,
        content_language: attributes.content_language,
        content_length: Some(signed(len)),
        content_type: Some(attributes.content_type.unwrap_or_else(default_type)),
        content_range: content_range,
        e_tag: Some(etag(&object.etag)),
        expires: attributes.expires.map(timestamp),
        last_modified: Some(timestamp(object.modified)),
        metadata: Some(attributes.metadata.into_iter().collect()),
        parts_count: parts_count,
        tag_count: tag_count(attributes.tags.len()),
    });
    let status = if partial {
        http::StatusCode::PARTIAL_CONTENT
    } else {
        http::StatusCode::OK
    };
    Ok(S3Response::with_status(output, status))
}

fn content_range(bytes: &Range<u64>, size: u64, partial: bool) -> Option<String> {
    // An empty part has no first byte to name.
    (partial && bytes.start < bytes.end)
        .then(|| format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1))
}

/// A checksum of the whole says nothing about a part of it.
fn shown_checksum(object: &Object, asked: bool, len: u64) -> Option<&crate::store::StoredChecksum> {
    object
        .checksum
        .as_ref()
        .filter(|_| asked && len == object.size)
}

fn default_type() -> String {
    String::from("binary/octet-stream")
}

fn tag_count(count: usize) -> Option<i32> {
    (count > 0).then(|| small(count))
}

pub(super) async fn head(
    store: &Store,
    input: HeadObjectInput,
) -> S3Result<S3Response<HeadObjectOutput>> {
    only_version(input.version_id.as_deref())?;
    let found = store
        .find(&input.bucket, &input.key)
        .await
        .map_err(refuse)?;
    let condition = ReadCondition {
        matches: input.if_match.as_ref().map(tag),
        none_match: input.if_none_match.as_ref().map(tag),
        modified_since: input.if_modified_since.as_ref().map(millis),
        unmodified_since: input.if_unmodified_since.as_ref().map(millis),
    };
    allowed(&found.object, &condition)?;
    let Selection {
        bytes,
        partial,
        parts_count,
    } = select(&found, input.range, input.part_number)?;
    let object = found.object;
    let len = bytes.end - bytes.start;
    let content_range = content_range(&bytes, object.size, partial);
    let shown = shown_checksum(&object, input.checksum_mode.is_some(), len);
    let attributes = object.attributes.clone();
    let output = with_checksum!(HeadObjectOutput, shown, {
        checksum_type: shown.map(|sum| checksum_type(sum.kind)),
        accept_ranges: Some("bytes".to_owned()),
        cache_control: attributes.cache_control,
        content_disposition: attributes.content_disposition,
        content_encoding: attributes.content_encoding,
        content_language: attributes.content_language,
        content_length: Some(signed(len)),
        content_range: content_range,
        content_type: Some(attributes.content_type.unwrap_or_else(default_type)),
        e_tag: Some(etag(&object.etag)),
        expires: attributes.expires.map(timestamp),
        last_modified: Some(timestamp(object.modified)),
        metadata: Some(attributes.metadata.into_iter().collect()),
        parts_count: parts_count,
    });
    let status = if partial {
        http::StatusCode::PARTIAL_CONTENT
    } else {
        http::StatusCode::OK
    };
    Ok(S3Response::with_status(output, status))
}

pub(super) async fn copy(
    store: &Store,
    request: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let condition = header_condition(&request.headers)?;
    let input = request.input;
    check_key(&input.key)?;
    let (from_bucket, from_key) = copy_source(&input.copy_source)?;
    let from_condition = ReadCondition {
        matches: input.copy_source_if_match.as_ref().map(tag),
        none_match: input.copy_source_if_none_match.as_ref().map(tag),
        modified_since: input.copy_source_if_modified_since.as_ref().map(millis),
        unmodified_since: input.copy_source_if_unmodified_since.as_ref().map(millis),
    };
    let replaced = input
        .metadata_directive
        .as_ref()
        .is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
    let retagged = input
        .tagging_directive
        .as_ref()
        .is_some_and(|directive| directive.as_str() == TaggingDirective::REPLACE);
    let tags = match retagged {
        true => Some(tagging::from_header(input.tagging.as_deref())?),
        false => None,
    };
    let attributes = match replaced {
        true => Some(Attributes {
            content_type: input.content_type,
            content_encoding: own_encoding(input.content_encoding.as_deref()),
            content_language: input.content_language,
            content_disposition: input.content_disposition,
            cache_control: input.cache_control,
            expires: input.expires.as_ref().map(millis),
            metadata: user_metadata(input.metadata)?,
            tags: BTreeMap::new(),
        }),
        false => None,
    };
    let copy = Copy {
        from_bucket,
        from_key,
        from_condition,
        attributes,
        tags,
        to_bucket: input.bucket,
        to_key: input.key,
        condition,
        now: now(),
    };
    let object = store.copy(copy).await.map_err(refuse)?;
    let checksum = object.checksum.as_ref();
    let result = with_checksum!(CopyObjectResult, checksum, {
        checksum_type: checksum.map(|sum| checksum_type(sum.kind)),
        e_tag: Some(etag(&object.etag)),
        last_modified: Some(timestamp(object.modified)),
    });
    let output = CopyObjectOutput {
        copy_object_result: Some(result),
        ..Default::default()
    };
    Ok(S3Response::new(output))
}
