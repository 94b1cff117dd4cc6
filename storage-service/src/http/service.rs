//! What s3s calls for each operation: the table of everything the store serves.
//!
//! Each method only forwards; an operation that is missing here is answered with `NotImplemented` by s3s.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use prometheus_client::metrics::counter::Counter;
use s3s::stream::{ByteStream, RemainingLength};
use s3s::{S3, S3Request, S3Response, S3Result, StdError, dto};

use super::{attributes, bucket, deletion, listing, multipart, object, tagging};
use crate::metrics::Metrics;
use crate::store::{Download, Store};

/// The operations, on one store.
pub(crate) struct Service {
    pub(crate) store: Store,
    pub(crate) region: String,
    pub(crate) metrics: Metrics,
}

/// An object's bytes as an answer's body.
pub(super) struct Sending {
    download: Download,
    sent: Counter,
}

impl Sending {
    pub(super) fn new(download: Download, sent: Counter) -> Self {
        Self { download, sent }
    }
}

impl Stream for Sending {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match ready!(Pin::new(&mut self.download).poll_next(cx)) {
            None => None,
            Some(Ok(bytes)) => {
                self.sent.inc_by(bytes.len() as u64);
                Some(Ok(bytes))
            }
            Some(Err(error)) => {
                // The status is sent already: all that is left is to break the connection off.
                tracing::error!(error = %telemetry::chain(&error), "object could not be read");
                Some(Err(Box::new(error).into()))
            }
        };
        Poll::Ready(next)
    }
}

impl ByteStream for Sending {
    fn remaining_length(&self) -> RemainingLength {
        usize::try_from(self.download.remaining())
            .map_or_else(|_| RemainingLength::unknown(), RemainingLength::new_exact)
    }
}

/// Forwards an operation whose function returns the output alone.
macro_rules! answered {
    ($future:expr) => {
        $future.await.map(S3Response::new)
    };
    ($future:expr, $status:ident) => {
        $future
            .await
            .map(|output| S3Response::with_status(output, http::StatusCode::$status))
    };
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn create_bucket(
        &self,
        request: S3Request<dto::CreateBucketInput>,
    ) -> S3Result<S3Response<dto::CreateBucketOutput>> {
        answered!(bucket::create(&self.store, &self.region, request.input))
    }

    async fn delete_bucket(
        &self,
        request: S3Request<dto::DeleteBucketInput>,
    ) -> S3Result<S3Response<dto::DeleteBucketOutput>> {
        answered!(bucket::delete(&self.store, request.input), NO_CONTENT)
    }

    async fn head_bucket(
        &self,
        request: S3Request<dto::HeadBucketInput>,
    ) -> S3Result<S3Response<dto::HeadBucketOutput>> {
        answered!(bucket::head(&self.store, &self.region, request.input))
    }

    async fn list_buckets(
        &self,
        request: S3Request<dto::ListBucketsInput>,
    ) -> S3Result<S3Response<dto::ListBucketsOutput>> {
        answered!(bucket::list(&self.store, &self.region, request.input))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<dto::GetBucketLocationInput>,
    ) -> S3Result<S3Response<dto::GetBucketLocationOutput>> {
        answered!(bucket::location(&self.store, &self.region, request.input))
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<dto::GetBucketVersioningInput>,
    ) -> S3Result<S3Response<dto::GetBucketVersioningOutput>> {
        answered!(bucket::versioning(&self.store, request.input))
    }

    async fn list_objects(
        &self,
        request: S3Request<dto::ListObjectsInput>,
    ) -> S3Result<S3Response<dto::ListObjectsOutput>> {
        answered!(listing::v1(&self.store, request.input))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<dto::ListObjectsV2Input>,
    ) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        answered!(listing::v2(&self.store, request.input))
    }

    async fn list_object_versions(
        &self,
        request: S3Request<dto::ListObjectVersionsInput>,
    ) -> S3Result<S3Response<dto::ListObjectVersionsOutput>> {
        answered!(listing::versions(&self.store, request.input))
    }

    async fn put_object(
        &self,
        request: S3Request<dto::PutObjectInput>,
    ) -> S3Result<S3Response<dto::PutObjectOutput>> {
        object::put(&self.store, &self.metrics, request).await
    }

    async fn get_object(
        &self,
        request: S3Request<dto::GetObjectInput>,
    ) -> S3Result<S3Response<dto::GetObjectOutput>> {
        object::get(&self.store, &self.metrics, request.input).await
    }

    async fn head_object(
        &self,
        request: S3Request<dto::HeadObjectInput>,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        object::head(&self.store, request.input).await
    }

    async fn copy_object(
        &self,
        request: S3Request<dto::CopyObjectInput>,
    ) -> S3Result<S3Response<dto::CopyObjectOutput>> {
        object::copy(&self.store, request).await
    }

    async fn delete_object(
        &self,
        request: S3Request<dto::DeleteObjectInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        deletion::one(&self.store, request.input).await
    }

    async fn delete_objects(
        &self,
        request: S3Request<dto::DeleteObjectsInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        deletion::many(&self.store, request.input).await
    }

    async fn get_object_attributes(
        &self,
        request: S3Request<dto::GetObjectAttributesInput>,
    ) -> S3Result<S3Response<dto::GetObjectAttributesOutput>> {
        attributes::get(&self.store, request.input).await
    }

    async fn get_object_tagging(
        &self,
        request: S3Request<dto::GetObjectTaggingInput>,
    ) -> S3Result<S3Response<dto::GetObjectTaggingOutput>> {
        answered!(tagging::get(&self.store, request.input))
    }

    async fn put_object_tagging(
        &self,
        request: S3Request<dto::PutObjectTaggingInput>,
    ) -> S3Result<S3Response<dto::PutObjectTaggingOutput>> {
        answered!(tagging::put(&self.store, request.input))
    }

    async fn delete_object_tagging(
        &self,
        request: S3Request<dto::DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectTaggingOutput>> {
        answered!(tagging::delete(&self.store, request.input), NO_CONTENT)
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<dto::CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
        multipart::create(&self.store, request.input).await
    }

    async fn upload_part(
        &self,
        request: S3Request<dto::UploadPartInput>,
    ) -> S3Result<S3Response<dto::UploadPartOutput>> {
        multipart::upload_part(&self.store, &self.metrics, request).await
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<dto::UploadPartCopyInput>,
    ) -> S3Result<S3Response<dto::UploadPartCopyOutput>> {
        multipart::copy_part(&self.store, request.input).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        multipart::complete(&self.store, request.input).await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<dto::AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
        multipart::abort(&self.store, request.input).await
    }

    async fn list_parts(
        &self,
        request: S3Request<dto::ListPartsInput>,
    ) -> S3Result<S3Response<dto::ListPartsOutput>> {
        multipart::list_parts(&self.store, request.input).await
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<dto::ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<dto::ListMultipartUploadsOutput>> {
        multipart::list_uploads(&self.store, request.input).await
    }
}
