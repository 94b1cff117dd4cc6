//! Object tags: their header form, their XML form and S3's limits on both.

use std::collections::BTreeMap;

use s3s::dto::{
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, GetObjectTaggingInput,
    GetObjectTaggingOutput, PutObjectTaggingInput, PutObjectTaggingOutput, Tag, Tagging,
};
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::convert::only_version;
use super::error::{custom, refuse};
use crate::store::Store;

type Tags = BTreeMap<String, String>;

pub(super) async fn get(
    store: &Store,
    input: GetObjectTaggingInput,
) -> S3Result<GetObjectTaggingOutput> {
    only_version(input.version_id.as_deref())?;
    let object = store
        .head(&input.bucket, &input.key)
        .await
        .map_err(refuse)?;
    let tag_set = object
        .attributes
        .tags
        .into_iter()
        .map(|(key, value)| Tag {
            key: Some(key),
            value: Some(value),
        })
        .collect();
    Ok(GetObjectTaggingOutput {
        tag_set,
        version_id: None,
    })
}

pub(super) async fn put(
    store: &Store,
    input: PutObjectTaggingInput,
) -> S3Result<PutObjectTaggingOutput> {
    only_version(input.version_id.as_deref())?;
    let tags = from_xml(input.tagging)?;
    store
        .tag(&input.bucket, &input.key, tags)
        .await
        .map_err(refuse)?;
    Ok(PutObjectTaggingOutput::default())
}

pub(super) async fn delete(
    store: &Store,
    input: DeleteObjectTaggingInput,
) -> S3Result<DeleteObjectTaggingOutput> {
    only_version(input.version_id.as_deref())?;
    store
        .tag(&input.bucket, &input.key, Tags::new())
        .await
        .map_err(refuse)?;
    Ok(DeleteObjectTaggingOutput::default())
}

/// The tags of an `x-amz-tagging` header, written like a query string.
pub(super) fn from_header(header: Option<&str>) -> S3Result<Tags> {
    let mut tags = Tags::new();
    for (key, value) in url::form_urlencoded::parse(header.unwrap_or_default().as_bytes()) {
        insert(&mut tags, key.into_owned(), value.into_owned())?;
    }
    Ok(tags)
}

fn from_xml(tagging: Tagging) -> S3Result<Tags> {
    let mut tags = Tags::new();
    for tag in tagging.tag_set {
        let key = tag.key.ok_or_else(|| invalid("a tag needs a key"))?;
        insert(&mut tags, key, tag.value.unwrap_or_default())?;
    }
    Ok(tags)
}

fn insert(tags: &mut Tags, key: String, value: String) -> S3Result<()> {
    if key.is_empty() || key.chars().count() > 128 {
        return Err(invalid("a tag's key must have 1 to 128 characters"));
    }
    if value.chars().count() > 256 {
        return Err(invalid("a tag's value must have at most 256 characters"));
    }
    if tags.insert(key, value).is_some() {
        return Err(invalid("a tag's key must not be given twice"));
    }
    if tags.len() > 10 {
        let message = "an object may have at most 10 tags";
        return Err(custom("BadRequest", http::StatusCode::BAD_REQUEST, message));
    }
    Ok(())
}

fn invalid(message: &'static str) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidTag, message)
}
