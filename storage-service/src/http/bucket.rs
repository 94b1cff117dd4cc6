//! Operations on buckets.

use s3s::dto::{
    Bucket, BucketLocationConstraint, CreateBucketInput, CreateBucketOutput, DeleteBucketInput,
    DeleteBucketOutput, GetBucketLocationInput, GetBucketLocationOutput, GetBucketVersioningInput,
    GetBucketVersioningOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput,
    ListBucketsOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::convert::{now, owner, page_size, timestamp};
use super::error::refuse;
use crate::store::Store;

pub(super) async fn create(
    store: &Store,
    region: &str,
    input: CreateBucketInput,
) -> S3Result<CreateBucketOutput> {
    let wanted = input
        .create_bucket_configuration
        .and_then(|given| given.location_constraint);
    if let Some(wanted) = wanted
        && !matches!(wanted.as_str(), "" | "us-east-1")
        && wanted.as_str() != region
    {
        return Err(S3Error::with_message(
            S3ErrorCode::IllegalLocationConstraintException,
            format!("buckets here are in region `{region}`"),
        ));
    }
    store
        .create_bucket(&input.bucket, now())
        .await
        .map_err(refuse)?;
    Ok(CreateBucketOutput {
        location: Some(format!("/{}", input.bucket)),
    })
}

pub(super) async fn delete(
    store: &Store,
    input: DeleteBucketInput,
) -> S3Result<DeleteBucketOutput> {
    store.delete_bucket(&input.bucket).await.map_err(refuse)?;
    Ok(DeleteBucketOutput::default())
}

pub(super) async fn head(
    store: &Store,
    region: &str,
    input: HeadBucketInput,
) -> S3Result<HeadBucketOutput> {
    store.bucket(&input.bucket).await.map_err(refuse)?;
    Ok(HeadBucketOutput {
        bucket_region: Some(region.to_owned()),
        ..Default::default()
    })
}

pub(super) async fn list(
    store: &Store,
    region: &str,
    input: ListBucketsInput,
) -> S3Result<ListBucketsOutput> {
    let max = page_size(input.max_buckets, "max-buckets")?;
    if input
        .bucket_region
        .as_deref()
        .is_some_and(|wanted| wanted != region)
    {
        return Ok(ListBucketsOutput {
            owner: Some(owner()),
            ..Default::default()
        });
    }
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let after = input.continuation_token.unwrap_or_default();
    let all = store.buckets().await.map_err(refuse)?;
    let mut fitting = all
        .into_iter()
        .filter(|(name, _)| name.starts_with(prefix) && *name > after);
    let page: Vec<_> = fitting.by_ref().take(max).collect();
    let more = fitting.next().is_some();
    let continuation_token = page.last().filter(|_| more).map(|(name, _)| name.clone());
    let buckets = page
        .into_iter()
        .map(|(name, bucket)| Bucket {
            bucket_region: Some(region.to_owned()),
            creation_date: Some(timestamp(bucket.created)),
            name: Some(name),
        })
        .collect();
    Ok(ListBucketsOutput {
        buckets: Some(buckets),
        continuation_token,
        owner: Some(owner()),
        prefix: input.prefix,
    })
}

pub(super) async fn location(
    store: &Store,
    region: &str,
    input: GetBucketLocationInput,
) -> S3Result<GetBucketLocationOutput> {
    store.bucket(&input.bucket).await.map_err(refuse)?;
    // S3 says nothing for its first region.
    let location_constraint =
        (region != "us-east-1").then(|| BucketLocationConstraint::from(region.to_owned()));
    Ok(GetBucketLocationOutput {
        location_constraint,
    })
}

/// Versioning was never enabled, which is what an empty answer says.
pub(super) async fn versioning(
    store: &Store,
    input: GetBucketVersioningInput,
) -> S3Result<GetBucketVersioningOutput> {
    store.bucket(&input.bucket).await.map_err(refuse)?;
    Ok(GetBucketVersioningOutput::default())
}
