//! From the store's words to S3's: the only place that knows which error code stands for which refusal.

use s3s::{S3Error, S3ErrorCode};
use tracing::error;

use crate::store;

/// The S3 error for a refusal or failure of the store. Failures are logged here, once.
pub(super) fn refused(error: &store::Error) -> S3Error {
    let (code, status) = code(error);
    let internal = matches!(code, S3ErrorCode::InternalError);
    if internal {
        error!(error = %telemetry::chain(error), "request failed");
    }
    let message = if internal {
        String::from("the store failed; its log says why")
    } else {
        error.to_string()
    };
    let mut answer = S3Error::with_message(code, message);
    if let Some(status) = status {
        answer.set_status_code(status);
    }
    answer
}

// No `_` arm, so a new variant asks its question here.
fn code(error: &store::Error) -> (S3ErrorCode, Option<http::StatusCode>) {
    use store::Error as E;
    let code = match error {
        E::NoSuchBucket { .. } => S3ErrorCode::NoSuchBucket,
        E::BucketExists { .. } => S3ErrorCode::BucketAlreadyOwnedByYou,
        E::BucketNotEmpty { .. } => S3ErrorCode::BucketNotEmpty,
        E::NoSuchKey { .. } => S3ErrorCode::NoSuchKey,
        E::NoSuchUpload { .. } => S3ErrorCode::NoSuchUpload,
        E::PreconditionFailed => S3ErrorCode::PreconditionFailed,
        E::NotModified => S3ErrorCode::NotModified,
        E::CopyOntoItself => S3ErrorCode::InvalidRequest,
        E::InvalidPart { .. } => S3ErrorCode::InvalidPart,
        E::InvalidPartOrder => S3ErrorCode::InvalidPartOrder,
        E::PartTooSmall { .. } => S3ErrorCode::EntityTooSmall,
        E::BadDigest { .. } => S3ErrorCode::BadDigest,
        E::IncompleteBody { .. } => S3ErrorCode::IncompleteBody,
        E::WrongObjectSize { .. } => S3ErrorCode::InvalidRequest,
        E::TooLarge { .. } => S3ErrorCode::EntityTooLarge,
        // Not a status that clients take for worth repeating at once.
        E::DiskFull => {
            let code = S3ErrorCode::Custom("InsufficientStorage".into());
            return (code, Some(http::StatusCode::INSUFFICIENT_STORAGE));
        }
        E::Stopped => S3ErrorCode::ServiceUnavailable,
        E::Io { .. } | E::Index(_) | E::Corrupt { .. } => S3ErrorCode::InternalError,
    };
    (code, None)
}

/// `.map_err(refuse)?` on the store's results.
#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` wants")]
pub(super) fn refuse(error: store::Error) -> S3Error {
    refused(&error)
}

/// An error whose code s3s has no name for.
pub(super) fn custom(
    code: &'static str,
    status: http::StatusCode,
    message: impl Into<std::borrow::Cow<'static, str>>,
) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(status);
    error
}

/// A request that says something we cannot do.
pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidArgument, message)
}
