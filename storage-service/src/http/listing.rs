//! ListObjects in both versions, and the listing of versions that a bucket without versioning has.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use s3s::dto::{
    CommonPrefix, EncodingType, ListObjectVersionsInput, ListObjectVersionsOutput,
    ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output,
    ObjectStorageClass, ObjectVersion, ObjectVersionStorageClass,
};
use s3s::{S3Result, dto};

use super::convert::{
    algorithm_name, checksum_type, encoded, etag, owner, page_size, signed, small, timestamp,
};
use super::error::{invalid, refuse};
use crate::store::{Entry, ListQuery, Object, Page, Store};

pub(super) async fn v2(store: &Store, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
    let max = page_size(input.max_keys, "max-keys")?;
    let url = wants_url(input.encoding_type.as_ref())?;
    let after = match &input.continuation_token {
        Some(token) => Some(read_token(token)?),
        None => input.start_after.clone(),
    };
    let query = query(&input.bucket, &input.prefix, &input.delimiter, after, max);
    let page = store.list(query).await.map_err(refuse)?;
    let next = page
        .entries
        .last()
        .filter(|_| page.more)
        .map(|last| make_token(last.name()));
    let with_owner = input.fetch_owner.unwrap_or(false);
    let key_count = Some(small(page.entries.len()));
    let truncated = page.more;
    let (contents, common_prefixes) = split(page, url, with_owner);
    Ok(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(encoded(input.prefix.as_deref().unwrap_or_default(), url)),
        max_keys: Some(small(max)),
        key_count,
        continuation_token: input.continuation_token,
        is_truncated: Some(truncated),
        next_continuation_token: next,
        contents: Some(contents),
        common_prefixes: Some(common_prefixes),
        delimiter: input.delimiter.map(|delimiter| encoded(&delimiter, url)),
        encoding_type: input.encoding_type,
        start_after: input.start_after.map(|after| encoded(&after, url)),
        request_charged: None,
    })
}

pub(super) async fn v1(store: &Store, input: ListObjectsInput) -> S3Result<ListObjectsOutput> {
    let max = page_size(input.max_keys, "max-keys")?;
    let url = wants_url(input.encoding_type.as_ref())?;
    let after = input.marker.clone().filter(|marker| !marker.is_empty());
    let query = query(&input.bucket, &input.prefix, &input.delimiter, after, max);
    let page = store.list(query).await.map_err(refuse)?;
    let truncated = page.more;
    // Also without delimiter, where S3 leaves it out and clients take the last key instead.
    let next_marker = page
        .entries
        .last()
        .filter(|_| truncated)
        .map(|last| encoded(last.name(), url));
    let (contents, common_prefixes) = split(page, url, true);
    Ok(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(encoded(input.prefix.as_deref().unwrap_or_default(), url)),
        marker: Some(encoded(input.marker.as_deref().unwrap_or_default(), url)),
        max_keys: Some(small(max)),
        is_truncated: Some(truncated),
        contents: Some(contents),
        common_prefixes: Some(common_prefixes),
        delimiter: input.delimiter.map(|delimiter| encoded(&delimiter, url)),
        next_marker,
        encoding_type: input.encoding_type,
        request_charged: None,
    })
}

/// Every object is its one version, `null`.
pub(super) async fn versions(
    store: &Store,
    input: ListObjectVersionsInput,
) -> S3Result<ListObjectVersionsOutput> {
    let max = page_size(input.max_keys, "max-keys")?;
    let url = wants_url(input.encoding_type.as_ref())?;
    let after = input.key_marker.clone().filter(|marker| !marker.is_empty());
    let query = query(&input.bucket, &input.prefix, &input.delimiter, after, max);
    let page = store.list(query).await.map_err(refuse)?;
    let truncated = page.more;
    let last = page.entries.last().filter(|_| truncated);
    let next_key_marker = last.map(|last| encoded(last.name(), url));
    let next_version_id_marker = last.map(|_| String::from("null"));
    let mut versions = Vec::new();
    let mut common_prefixes = Vec::new();
    for entry in page.entries {
        match entry {
            Entry::Prefix(prefix) => common_prefixes.push(common_prefix(&prefix, url)),
            Entry::Object(key, object) => versions.push(version(&key, &object, url)),
        }
    }
    Ok(ListObjectVersionsOutput {
        common_prefixes: Some(common_prefixes),
        delimiter: input.delimiter.map(|delimiter| encoded(&delimiter, url)),
        encoding_type: input.encoding_type,
        is_truncated: Some(truncated),
        key_marker: Some(encoded(
            input.key_marker.as_deref().unwrap_or_default(),
            url,
        )),
        max_keys: Some(small(max)),
        name: Some(input.bucket),
        next_key_marker,
        next_version_id_marker,
        prefix: Some(encoded(input.prefix.as_deref().unwrap_or_default(), url)),
        version_id_marker: input.version_id_marker,
        versions: Some(versions),
        ..Default::default()
    })
}

fn query(
    bucket: &str,
    prefix: &Option<String>,
    delimiter: &Option<String>,
    after: Option<String>,
    max: usize,
) -> ListQuery {
    ListQuery {
        bucket: bucket.to_owned(),
        prefix: prefix.clone().unwrap_or_default(),
        delimiter: delimiter.clone().filter(|delimiter| !delimiter.is_empty()),
        after,
        max,
    }
}

/// Whether names are to be percent-encoded.
pub(super) fn wants_url(encoding: Option<&EncodingType>) -> S3Result<bool> {
    match encoding.map(EncodingType::as_str) {
        None => Ok(false),
        Some("url") => Ok(true),
        Some(other) => Err(invalid(format!("no encoding `{other}` of names"))),
    }
}

/// Tokens say where the next page starts, in a form nobody is tempted to read.
fn make_token(name: &str) -> String {
    BASE64.encode(name)
}

fn read_token(token: &str) -> S3Result<String> {
    let name = BASE64
        .decode(token)
        .ok()
        .and_then(|raw| String::from_utf8(raw).ok());
    name.ok_or_else(|| invalid("the continuation token is not one of ours"))
}

fn split(page: Page, url: bool, with_owner: bool) -> (Vec<dto::Object>, Vec<CommonPrefix>) {
    let mut contents = Vec::new();
    let mut prefixes = Vec::new();
    for entry in page.entries {
        match entry {
            Entry::Prefix(prefix) => prefixes.push(common_prefix(&prefix, url)),
            Entry::Object(key, object) => contents.push(content(&key, &object, url, with_owner)),
        }
    }
    (contents, prefixes)
}

pub(super) fn common_prefix(prefix: &str, url: bool) -> CommonPrefix {
    CommonPrefix {
        prefix: Some(encoded(prefix, url)),
    }
}

fn content(key: &str, object: &Object, url: bool, with_owner: bool) -> dto::Object {
    let checksum = object.checksum.as_ref();
    dto::Object {
        checksum_algorithm: checksum.map(|sum| vec![algorithm_name(sum.algorithm)]),
        checksum_type: checksum.map(|sum| checksum_type(sum.kind)),
        e_tag: Some(etag(&object.etag)),
        key: Some(encoded(key, url)),
        last_modified: Some(timestamp(object.modified)),
        owner: with_owner.then(owner),
        restore_status: None,
        size: Some(signed(object.size)),
        storage_class: Some(ObjectStorageClass::from_static(
            ObjectStorageClass::STANDARD,
        )),
    }
}

fn version(key: &str, object: &Object, url: bool) -> ObjectVersion {
    ObjectVersion {
        e_tag: Some(etag(&object.etag)),
        is_latest: Some(true),
        key: Some(encoded(key, url)),
        last_modified: Some(timestamp(object.modified)),
        owner: Some(owner()),
        size: Some(signed(object.size)),
        storage_class: Some(ObjectVersionStorageClass::from_static(
            ObjectVersionStorageClass::STANDARD,
        )),
        version_id: Some(String::from("null")),
        ..Default::default()
    }
}
