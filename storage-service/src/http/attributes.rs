//! GetObjectAttributes: what is known of an object and its parts, without its bytes.

use s3s::dto::{
    GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectAttributesParts,
    ObjectAttributes, StorageClass,
};
use s3s::{S3Response, S3Result};

use super::convert::{
    checksum_type, etag, only_version, page_size, signed, small, timestamp, with_checksum,
};
use super::error::refuse;
use crate::store::{Found, Store};

pub(super) async fn get(
    store: &Store,
    input: GetObjectAttributesInput,
) -> S3Result<S3Response<GetObjectAttributesOutput>> {
    only_version(input.version_id.as_deref())?;
    let found = store
        .find(&input.bucket, &input.key)
        .await
        .map_err(refuse)?;
    let object = &found.object;
    // Clients send one header with commas, which s3s takes for one name.
    let asked = |name: &str| {
        let mut names = input
            .object_attributes
            .iter()
            .flat_map(|header| header.as_str().split(','));
        names.any(|one| one.trim() == name)
    };
    let checksum = object
        .checksum
        .as_ref()
        .filter(|_| asked(ObjectAttributes::CHECKSUM));
    let checksum = checksum.map(
        |sum| with_checksum!(Checksum, Some(sum), { checksum_type: Some(checksum_type(sum.kind)) }),
    );
    let parts = asked(ObjectAttributes::OBJECT_PARTS) && !found.parts.is_empty();
    let object_parts = match parts {
        true => Some(object_parts(
            &found,
            input.part_number_marker,
            input.max_parts,
        )?),
        false => None,
    };
    let storage_class = asked(ObjectAttributes::STORAGE_CLASS)
        .then(|| StorageClass::from_static(StorageClass::STANDARD));
    Ok(S3Response::new(GetObjectAttributesOutput {
        checksum,
        e_tag: asked(ObjectAttributes::ETAG).then(|| etag(&object.etag)),
        last_modified: Some(timestamp(object.modified)),
        object_parts,
        object_size: asked(ObjectAttributes::OBJECT_SIZE).then(|| signed(object.size)),
        storage_class,
        ..Default::default()
    }))
}

fn object_parts(
    found: &Found,
    marker: Option<i32>,
    max: Option<i32>,
) -> S3Result<GetObjectAttributesParts> {
    let max = page_size(max, "max-parts")?;
    let after = marker.unwrap_or(0);
    let mut rest = found
        .parts
        .iter()
        .filter(|part| i32::from(part.number) > after);
    let page: Vec<_> = rest.by_ref().take(max).collect();
    let more = rest.next().is_some();
    let next = page.last().map(|part| i32::from(part.number));
    let parts = page
        .into_iter()
        .map(|part| {
            with_checksum!(ObjectPart, part.checksum.as_ref(), {
                part_number: Some(i32::from(part.number)),
                size: Some(signed(part.size)),
            })
        })
        .collect();
    Ok(GetObjectAttributesParts {
        is_truncated: Some(more),
        max_parts: Some(small(max)),
        next_part_number_marker: next,
        part_number_marker: Some(after),
        parts: Some(parts),
        total_parts_count: Some(small(found.parts.len())),
    })
}
