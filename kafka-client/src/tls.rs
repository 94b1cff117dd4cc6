//! Encryption of connections by rustls, with the authorities of the system or of a file.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::Tls;
use crate::error::Error;

/// Turns TCP connections into encrypted ones.
pub(crate) struct Connector(TlsConnector);

impl Connector {
    /// Loads certificates and keys; nothing is read later.
    pub(crate) fn new(config: &Tls) -> Result<Connector, Error> {
        let roots = match &config.ca_file {
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots
                        .add(certificate)
                        .map_err(|error| refused(path, &error))?;
                }
                roots
            }
            None => system_roots()?,
        };
        // The provider is named, so a process with two of them linked does not panic over the choice.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(error.to_string()))?
            .with_root_certificates(roots);
        let client = match (&config.cert_file, &config.key_file) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let private =
                    PrivateKeyDer::from_pem_file(key).map_err(|error| refused(key, &error))?;
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(|error| refused(cert, &error))?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Connector(TlsConnector::from(Arc::new(client))))
    }

    /// Encrypts `stream`; the peer must prove to be the host of `address`.
    pub(crate) async fn connect(
        &self,
        address: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Error> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| invalid(format!("`{host}` is no server name: {error}")))?;
        self.0
            .connect(name, stream)
            .await
            .map_err(|source| Error::Connect {
                address: address.to_owned(),
                source: Arc::new(source),
            })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| refused(path, &error))?;
    if certificates.is_empty() {
        return Err(invalid(format!("no certificate in `{}`", path.display())));
    }
    Ok(certificates)
}

fn system_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found
            .errors
            .first()
            .map_or("none installed".to_owned(), ToString::to_string);
        return Err(invalid(format!(
            "no authority of the system can be used: {why}"
        )));
    }
    Ok(roots)
}

fn refused(path: &Path, error: &dyn std::fmt::Display) -> Error {
    invalid(format!("`{}`: {error}", path.display()))
}

fn invalid(why: String) -> Error {
    Error::Config { key: "tls", why }
}
