//! Operations on uploads in parts.

use futures::StreamExt as _;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumType,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListPartsInput, ListPartsOutput, MultipartUpload, StorageClass, UploadPartCopyInput,
    UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, dto};

use super::convert::{
    algorithm, algorithm_name, checksum_fields, checksum_type, copy_source, encoded, etag, millis,
    now, owner, page_size, part_number, signed, small, tag, timestamp, upload_id, with_checksum,
};
use super::error::{invalid, refuse, refused};
use super::listing::{common_prefix, wants_url};
use super::object::{check_key, own_encoding, user_metadata, write_condition};
use super::tagging;
use super::upload::Announced;
use crate::metrics::Metrics;
use crate::store::{
    Algorithm, Attributes, ChecksumKind, Complete, Expected, GivenPart, ReadCondition, Store,
    Upload, UploadEntry, UploadQuery,
};

pub(super) async fn create(
    store: &Store,
    input: CreateMultipartUploadInput,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    check_key(&input.key)?;
    let asked = asked_checksum(&input)?;
    let attributes = Attributes {
        content_type: input.content_type,
        content_encoding: own_encoding(input.content_encoding.as_deref()),
        content_language: input.content_language,
        content_disposition: input.content_disposition,
        cache_control: input.cache_control,
        expires: input.expires.as_ref().map(millis),
        metadata: user_metadata(input.metadata)?,
        tags: tagging::from_header(input.tagging.as_deref())?,
    };
    let upload = Upload::new(now(), attributes, asked);
    let id = store
        .create_upload(&input.bucket, &input.key, upload)
        .await
        .map_err(refuse)?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id.to_string()),
        checksum_algorithm: asked.map(|(algorithm, _)| algorithm_name(algorithm)),
        checksum_type: asked.map(|(_, kind)| checksum_type(kind)),
        ..Default::default()
    }))
}

fn asked_checksum(
    input: &CreateMultipartUploadInput,
) -> S3Result<Option<(Algorithm, ChecksumKind)>> {
    let kind = match input.checksum_type.as_ref().map(ChecksumType::as_str) {
        None => None,
        Some(ChecksumType::FULL_OBJECT) => Some(ChecksumKind::FullObject),
        Some(ChecksumType::COMPOSITE) => Some(ChecksumKind::Composite),
        Some(other) => return Err(invalid(format!("no checksum type `{other}`"))),
    };
    let Some(name) = &input.checksum_algorithm else {
        return match kind {
            None => Ok(None),
            Some(_) => Err(invalid("a checksum type needs a checksum algorithm")),
        };
    };
    let algorithm = algorithm(name.as_str())?;
    let default = match algorithm {
        Algorithm::Crc64Nvme => ChecksumKind::FullObject,
        _ => ChecksumKind::Composite,
    };
    let kind = kind.unwrap_or(default);
    let possible = match kind {
        ChecksumKind::FullObject => algorithm.combines(),
        ChecksumKind::Composite => algorithm != Algorithm::Crc64Nvme,
    };
    if !possible {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidRequest,
            format!("{} has no checksum of this type", algorithm.name()),
        ));
    }
    Ok(Some((algorithm, kind)))
}

pub(super) async fn upload_part(
    store: &Store,
    metrics: &Metrics,
    request: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let S3Request {
        mut input,
        headers,
        trailing_headers,
        ..
    } = request;
    let number = part_number(input.part_number)?;
    let id = upload_id(&input.upload_id)?;
    let upload = store
        .upload(&input.bucket, &input.key, id)
        .await
        .map_err(refuse)?;
    let announced = Announced::read(
        &headers,
        checksum_fields!(input).single()?,
        Some(upload.algorithm.name()),
        input.content_md5.take(),
    )?;
    check_algorithm(&upload, announced.algorithm)?;
    let body = input.body.take();
    let arrived = announced
        .receive(store, metrics, &input.bucket, body, trailing_headers)
        .await?;
    let target = (input.bucket.as_str(), input.key.as_str(), id);
    let part = store
        .put_part(target, number, arrived, now())
        .await
        .map_err(refuse)?;
    Ok(S3Response::new(
        with_checksum!(UploadPartOutput, part.checksum.as_ref(), {
            e_tag: Some(etag(&part.etag)),
        }),
    ))
}

/// Parts must come with the checksum the upload was created for; where it named none, any will do.
fn check_algorithm(upload: &Upload, given: Option<Algorithm>) -> S3Result<()> {
    match given {
        Some(given) if upload.asked && given != upload.algorithm => Err(S3Error::with_message(
            S3ErrorCode::InvalidRequest,
            format!(
                "the upload was created for {}, the part has {}",
                upload.algorithm.name(),
                given.name()
            ),
        )),
        _ => Ok(()),
    }
}

pub(super) async fn copy_part(
    store: &Store,
    input: UploadPartCopyInput,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let number = part_number(input.part_number)?;
    let id = upload_id(&input.upload_id)?;
    let upload = store
        .upload(&input.bucket, &input.key, id)
        .await
        .map_err(refuse)?;
    let (from_bucket, from_key) = copy_source(&input.copy_source)?;
    let found = store.find(&from_bucket, &from_key).await.map_err(refuse)?;
    let condition = ReadCondition {
        matches: input.copy_source_if_match.as_ref().map(tag),
        none_match: input.copy_source_if_none_match.as_ref().map(tag),
        modified_since: input.copy_source_if_modified_since.as_ref().map(millis),
        unmodified_since: input.copy_source_if_unmodified_since.as_ref().map(millis),
    };
    condition
        .check(&found.object)
        .map_err(|_| refused(&crate::store::Error::PreconditionFailed))?;
    let size = found.object.size;
    let range = match &input.copy_source_range {
        None => 0..size,
        Some(text) => copy_range(text, size)?,
    };
    let len = range.end - range.start;
    let mut incoming = store
        .receive(&input.bucket, Some(upload.algorithm), Some(len))
        .map_err(refuse)?;
    let mut download = store.download(found, range);
    while let Some(chunk) = download.next().await {
        incoming
            .write(&chunk.map_err(refuse)?)
            .await
            .map_err(refuse)?;
    }
    let expected = Expected {
        len: Some(len),
        ..Expected::default()
    };
    let arrived = incoming.finish(&expected).await.map_err(refuse)?;
    let target = (input.bucket.as_str(), input.key.as_str(), id);
    let part = store
        .put_part(target, number, arrived, now())
        .await
        .map_err(refuse)?;
    let result = with_checksum!(CopyPartResult, part.checksum.as_ref(), {
        e_tag: Some(etag(&part.etag)),
        last_modified: Some(timestamp(part.modified)),
    });
    let output = UploadPartCopyOutput {
        copy_part_result: Some(result),
        ..Default::default()
    };
    Ok(S3Response::new(output))
}

/// `bytes=first-last`, both given and both inside the source.
fn copy_range(text: &str, size: u64) -> S3Result<std::ops::Range<u64>> {
    match dto::Range::parse(text) {
        Ok(dto::Range::Int {
            first,
            last: Some(last),
        }) if last < size => Ok(first..last + 1),
        Ok(dto::Range::Int { last: Some(_), .. }) => Err(S3Error::with_message(
            S3ErrorCode::InvalidRange,
            format!("the range is outside the source's {size} bytes"),
        )),
        _ => Err(invalid("a copied range is written `bytes=first-last`")),
    }
}

pub(super) async fn complete(
    store: &Store,
    mut input: CompleteMultipartUploadInput,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let upload = upload_id(&input.upload_id)?;
    let listed = input
        .multipart_upload
        .take()
        .and_then(|given| given.parts)
        .unwrap_or_default();
    if listed.is_empty() || listed.len() > 10_000 {
        return Err(S3Error::with_message(
            S3ErrorCode::MalformedXML,
            "an upload is completed with 1 to 10000 parts",
        ));
    }
    let mut parts = Vec::with_capacity(listed.len());
    for mut part in listed {
        let number = part_number(part.part_number.unwrap_or(0))?;
        let Some(etag) = part.e_tag.take() else {
            return Err(S3Error::new(S3ErrorCode::MalformedXML));
        };
        let checksum = checksum_fields!(part).single()?;
        parts.push(GivenPart {
            number,
            etag: etag.into_value(),
            checksum,
        });
    }
    let size = match input.mpu_object_size {
        None => None,
        Some(size) => {
            let size = u64::try_from(size);
            Some(size.map_err(|_| invalid("an object's size must not be negative"))?)
        }
    };
    let complete = Complete {
        upload,
        parts,
        condition: write_condition(input.if_match.as_ref(), input.if_none_match.as_ref()),
        size,
        checksum: checksum_fields!(input).single()?,
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        now: now(),
    };
    let object = store.complete(complete).await.map_err(refuse)?;
    let checksum = object.checksum.as_ref();
    Ok(S3Response::new(
        with_checksum!(CompleteMultipartUploadOutput, checksum, {
            checksum_type: checksum.map(|sum| checksum_type(sum.kind)),
            location: Some(format!("/{}/{}", input.bucket, encoded(&input.key, true))),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(etag(&object.etag)),
        }),
    ))
}

pub(super) async fn abort(
    store: &Store,
    input: AbortMultipartUploadInput,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let id = upload_id(&input.upload_id)?;
    store
        .abort(&input.bucket, &input.key, id)
        .await
        .map_err(refuse)?;
    let output = AbortMultipartUploadOutput::default();
    Ok(S3Response::with_status(
        output,
        http::StatusCode::NO_CONTENT,
    ))
}

pub(super) async fn list_parts(
    store: &Store,
    input: ListPartsInput,
) -> S3Result<S3Response<ListPartsOutput>> {
    let id = upload_id(&input.upload_id)?;
    let max = page_size(input.max_parts, "max-parts")?;
    let marker = input.part_number_marker.unwrap_or(0);
    let after = u16::try_from(marker).map_err(|_| invalid("no such part-number-marker"))?;
    let target = (input.bucket.as_str(), input.key.as_str(), id);
    let page = store.list_parts(target, after, max).await.map_err(refuse)?;
    let next = page
        .parts
        .last()
        .filter(|_| page.more)
        .map(|part| i32::from(part.number));
    let asked = page.upload.asked;
    let parts = page
        .parts
        .iter()
        .map(|part| {
            with_checksum!(Part, part.checksum.as_ref().filter(|_| asked), {
                e_tag: Some(etag(&part.etag)),
                last_modified: Some(timestamp(part.modified)),
                part_number: Some(i32::from(part.number)),
                size: Some(signed(part.size)),
            })
        })
        .collect();
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        checksum_algorithm: asked.then(|| algorithm_name(page.upload.algorithm)),
        checksum_type: asked.then(|| checksum_type(page.upload.kind)),
        is_truncated: Some(page.more),
        max_parts: Some(small(max)),
        next_part_number_marker: next,
        part_number_marker: Some(marker),
        parts: Some(parts),
        owner: Some(owner()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..Default::default()
    }))
}

pub(super) async fn list_uploads(
    store: &Store,
    input: ListMultipartUploadsInput,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let max = page_size(input.max_uploads, "max-uploads")?;
    let url = wants_url(input.encoding_type.as_ref())?;
    let marker = input
        .upload_id_marker
        .as_deref()
        .filter(|marker| !marker.is_empty());
    let marker = marker.map(upload_id).transpose()?;
    let key_marker = input.key_marker.clone().filter(|key| !key.is_empty());
    let query = UploadQuery {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input
            .delimiter
            .clone()
            .filter(|delimiter| !delimiter.is_empty()),
        after: key_marker.map(|key| (key, marker)),
        max,
    };
    let page = store.list_uploads(query).await.map_err(refuse)?;
    let (next_key, next_upload) = match page.entries.last().filter(|_| page.more) {
        None => (None, None),
        Some(UploadEntry::Prefix(prefix)) => (Some(encoded(prefix, url)), None),
        Some(UploadEntry::Upload(key, id, _)) => (Some(encoded(key, url)), Some(id.to_string())),
    };
    let truncated = page.more;
    let mut uploads = Vec::new();
    let mut common_prefixes = Vec::new();
    for entry in page.entries {
        match entry {
            UploadEntry::Prefix(prefix) => common_prefixes.push(common_prefix(&prefix, url)),
            UploadEntry::Upload(key, id, upload) => uploads.push(MultipartUpload {
                checksum_algorithm: upload.asked.then(|| algorithm_name(upload.algorithm)),
                checksum_type: upload.asked.then(|| checksum_type(upload.kind)),
                initiated: Some(timestamp(upload.initiated)),
                key: Some(encoded(&key, url)),
                owner: Some(owner()),
                storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
                upload_id: Some(id.to_string()),
                initiator: None,
            }),
        }
    }
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        common_prefixes: Some(common_prefixes),
        delimiter: input.delimiter.map(|delimiter| encoded(&delimiter, url)),
        encoding_type: input.encoding_type,
        is_truncated: Some(truncated),
        key_marker: input.key_marker,
        max_uploads: Some(small(max)),
        next_key_marker: next_key,
        next_upload_id_marker: next_upload,
        prefix: input.prefix,
        upload_id_marker: input.upload_id_marker,
        uploads: Some(uploads),
        request_charged: None,
    }))
}
