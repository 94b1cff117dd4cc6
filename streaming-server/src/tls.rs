//! Encryption of the listener by rustls, from a certificate and a key in PEM files.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

use crate::Error;

/// Where the broker's certificate is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file of the certificate and those that vouch for it.
    pub certificate: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
}

/// Reads both files; nothing is read later.
pub(crate) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Error> {
    let refuse = |why: String| Error::Config { key: "tls", why };
    let unreadable = |path: &PathBuf, error: rustls::pki_types::pem::Error| {
        refuse(format!("could not use `{}`: {error}", path.display()))
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(&tls.certificate, error))?;
    let key =
        PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| unreadable(&tls.key, error))?;
    // The provider is named, so a process with two of them linked does not panic over the choice.
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| refuse(error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
