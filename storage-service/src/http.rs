//! The wire side: S3 requests to calls of [`crate::store`] and back.
//!
//! [`gate`] judges a request before s3s computes its signature; [`service`] is what s3s calls for each operation.

mod attributes;
mod bucket;
mod convert;
mod deletion;
mod error;
pub(crate) mod framing;
pub(crate) mod gate;
mod listing;
mod multipart;
mod object;
pub(crate) mod service;
mod tagging;
mod upload;

pub(crate) use convert::now as convert_now;
