//! Certificates for tests of encrypted connections; they are valid until the year 2126 and for this machine only.

use std::path::PathBuf;

/// PEM files of an authority and of `localhost`, which it signed for servers and clients.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate to trust.
    pub authority: PathBuf,
    /// The certificate of `localhost` and 127.0.0.1.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Where the files are.
pub fn tls() -> TlsFiles {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tls"));
    TlsFiles {
        authority: directory.join("authority.pem"),
        certificate: directory.join("certificate.pem"),
        key: directory.join("key.pem"),
    }
}
