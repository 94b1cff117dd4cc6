//! S3-compatible object store on local disk.
