//! Deletes of one object and of many.

use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
};
use s3s::{S3Error, S3ErrorCode, S3Response, S3Result};

use super::convert::only_version;
use super::error::{refuse, refused};
use super::object::{check_key, write_condition};
use crate::store::{Store, WriteCondition};

pub(super) async fn one(
    store: &Store,
    input: DeleteObjectInput,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    only_version(input.version_id.as_deref())?;
    check_key(&input.key)?;
    let condition = write_condition(input.if_match.as_ref(), None);
    store
        .delete(&input.bucket, &input.key, condition)
        .await
        .map_err(refuse)?;
    let output = DeleteObjectOutput::default();
    Ok(S3Response::with_status(
        output,
        http::StatusCode::NO_CONTENT,
    ))
}

pub(super) async fn many(
    store: &Store,
    input: DeleteObjectsInput,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let objects = input.delete.objects;
    if objects.is_empty() || objects.len() > 1000 {
        return Err(S3Error::with_message(
            S3ErrorCode::MalformedXML,
            "a multiple delete names 1 to 1000 objects",
        ));
    }
    let mut wanted = Vec::with_capacity(objects.len());
    let mut errors = Vec::new();
    for object in objects {
        let refusal = only_version(object.version_id.as_deref()).and(check_key(&object.key));
        match refusal {
            Err(error) => errors.push(failure(object.key, &error)),
            Ok(()) if object.last_modified_time.is_some() || object.size.is_some() => {
                let error = S3Error::with_message(
                    S3ErrorCode::NotImplemented,
                    "deletes can be conditional on the entity tag only",
                );
                errors.push(failure(object.key, &error));
            }
            Ok(()) => {
                let matches = object
                    .e_tag
                    .map(|etag| crate::store::Tag::Is(etag.into_value()));
                wanted.push((
                    object.key,
                    WriteCondition {
                        matches,
                        none_match: None,
                    },
                ));
            }
        }
    }
    let keys: Vec<String> = wanted.iter().map(|(key, _)| key.clone()).collect();
    let outcomes = store
        .delete_many(&input.bucket, wanted)
        .await
        .map_err(refuse)?;
    let mut deleted = Vec::new();
    for (key, outcome) in keys.into_iter().zip(outcomes) {
        match outcome {
            None => deleted.push(DeletedObject {
                key: Some(key),
                ..Default::default()
            }),
            Some(refusal) => errors.push(failure(key, &refused(&refusal))),
        }
    }
    let quiet = input.delete.quiet.unwrap_or(false);
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: (!quiet).then_some(deleted),
        errors: Some(errors),
        request_charged: None,
    }))
}

fn failure(key: String, error: &S3Error) -> s3s::dto::Error {
    s3s::dto::Error {
        code: Some(error.code().as_str().to_owned()),
        key: Some(key),
        message: error.message().map(str::to_owned),
        version_id: None,
    }
}
