//! Why the store can refuse or fail, in the store's own words; `http::error` turns these into S3 codes.

use std::io;
use std::sync::Arc;

/// Why one request to the store was refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    #[error("no bucket named `{bucket}`")]
    NoSuchBucket { bucket: String },
    #[error("bucket `{bucket}` is already yours")]
    BucketExists { bucket: String },
    #[error("bucket `{bucket}` still holds objects or uploads")]
    BucketNotEmpty { bucket: String },
    #[error("no object with key `{key}`")]
    NoSuchKey { key: String },
    #[error("no upload with this id for key `{key}`")]
    NoSuchUpload { key: String },
    #[error("the object does not meet the condition of the request")]
    PreconditionFailed,
    #[error("the object is unchanged")]
    NotModified,
    #[error("a copy onto itself must change metadata or storage class")]
    CopyOntoItself,
    #[error("part {part} was not uploaded, or its entity tag differs")]
    InvalidPart { part: u16 },
    #[error("parts must be listed once each, in ascending order")]
    InvalidPartOrder,
    #[error("part {part} has {len} bytes; every part but the last needs at least {min}")]
    PartTooSmall { part: u16, len: u64, min: u64 },
    #[error("`{given}` is not the {algorithm} of the data received")]
    BadDigest {
        algorithm: &'static str,
        given: String,
    },
    #[error("the body has {got} bytes where {wanted} were announced")]
    IncompleteBody { got: u64, wanted: u64 },
    #[error("the upload has {got} bytes where {wanted} were announced")]
    WrongObjectSize { got: u64, wanted: u64 },
    #[error("the body has more than {max} bytes")]
    TooLarge { max: u64 },
    #[error("the disk has less free space than the configured reserve")]
    DiskFull,
    #[error("could not {what}")]
    Io {
        what: &'static str,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("could not use the index")]
    Index(#[source] Arc<redb::Error>),
    #[error("{what} is damaged on disk")]
    Corrupt { what: String },
    #[error("the store is stopping")]
    Stopped,
}

impl Error {
    /// Turns an IO error into ours, telling a full disk from the rest.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            if is_full(&source) {
                return Self::DiskFull;
            }
            Self::Io {
                what,
                source: Arc::new(source),
            }
        }
    }
}

impl Error {
    /// Whether the index's file failed in a way after which nothing read from it can be trusted.
    pub(crate) fn is_lost_write(&self) -> bool {
        match self {
            Self::Index(source) => {
                matches!(**source, redb::Error::Io(_) | redb::Error::PreviousIo)
            }
            _ => false,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl From<redb::Error> for Error {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(source) if is_full(&source) => Self::DiskFull,
            other => Self::Index(Arc::new(other)),
        }
    }
}

impl From<redb::StorageError> for Error {
    fn from(error: redb::StorageError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<redb::TableError> for Error {
    fn from(error: redb::TableError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<redb::TransactionError> for Error {
    fn from(error: redb::TransactionError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<redb::CommitError> for Error {
    fn from(error: redb::CommitError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<redb::DatabaseError> for Error {
    fn from(error: redb::DatabaseError) -> Self {
        redb::Error::from(error).into()
    }
}
