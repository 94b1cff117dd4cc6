//! Conditional requests: what must hold of the object a write or read meets.
//!
//! Pure, so that the rules of RFC 9110 as S3 bends them are one table in a test. Writes are judged inside the index
//! transaction, reads on the record they return.

use super::Error;
use super::record::{Object, UnixMillis};

/// `If-Match` or `If-None-Match` of a write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WriteCondition {
    pub(crate) matches: Option<Tag>,
    pub(crate) none_match: Option<Tag>,
}

/// An entity tag, without quotes, or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tag {
    Any,
    Is(String),
}

/// The four conditions of a read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReadCondition {
    pub(crate) matches: Option<Tag>,
    pub(crate) none_match: Option<Tag>,
    pub(crate) modified_since: Option<UnixMillis>,
    pub(crate) unmodified_since: Option<UnixMillis>,
}

impl Tag {
    fn fits(&self, object: &Object) -> bool {
        match self {
            Self::Any => true,
            Self::Is(etag) => *etag == object.etag,
        }
    }
}

impl WriteCondition {
    /// Judges the object that is there now.
    pub(crate) fn check(&self, key: &str, now_there: Option<&Object>) -> Result<(), Error> {
        match (&self.matches, now_there) {
            (Some(_), None) => {
                return Err(Error::NoSuchKey {
                    key: key.to_owned(),
                });
            }
            (Some(tag), Some(object)) if !tag.fits(object) => {
                return Err(Error::PreconditionFailed);
            }
            _ => {}
        }
        match (&self.none_match, now_there) {
            (Some(tag), Some(object)) if tag.fits(object) => Err(Error::PreconditionFailed),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.matches.is_none() && self.none_match.is_none()
    }
}

impl ReadCondition {
    /// Judges the object to be read. A tag that matches overrides the date beside it, as RFC 9110 §13.2.2 orders.
    pub(crate) fn check(&self, object: &Object) -> Result<(), Error> {
        // HTTP dates have whole seconds.
        let changed_after = |since: UnixMillis| object.modified.0 / 1000 > since.0 / 1000;
        match (&self.matches, self.unmodified_since) {
            (Some(tag), _) if !tag.fits(object) => return Err(Error::PreconditionFailed),
            (None, Some(since)) if changed_after(since) => return Err(Error::PreconditionFailed),
            _ => {}
        }
        match (&self.none_match, self.modified_since) {
            (Some(tag), _) if tag.fits(object) => Err(Error::NotModified),
            (None, Some(since)) if !changed_after(since) => Err(Error::NotModified),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
