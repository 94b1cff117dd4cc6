//! Authentication by password: PLAIN (RFC 4616) and SCRAM (RFC 5802).
//!
//! The SCRAM exchange is a pure value, [`Scram`], so it is tested with the RFC's own example; only [`authenticate`]
//! talks to a broker.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use sha2::{Digest, Sha256, Sha512};

use crate::config::{Sasl, SaslMechanism};
use crate::connection::Connection;
use crate::error::Error;

/// Rounds above this are taken for an attempt to keep the client busy.
const MAX_ITERATIONS: u32 = 1_000_000;

/// Proves the password to the broker behind `connection`, and with SCRAM lets it prove that it knows it, too.
pub(crate) async fn authenticate(connection: &Connection, sasl: &Sasl) -> Result<(), Error> {
    let denied = |reason: String| Error::Authentication {
        address: connection.address().to_owned(),
        reason,
    };
    let mechanism = sasl.mechanism.name();
    let handshake =
        SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
    let (response, _) = connection.call(&handshake, 1).await?;
    if response.error_code != 0 {
        let offered: Vec<&str> = response
            .mechanisms
            .iter()
            .map(|name| name.as_str())
            .collect();
        return Err(denied(format!("`{mechanism}` is not among {offered:?}")));
    }
    if sasl.mechanism == SaslMechanism::Plain {
        let token = format!("\0{}\0{}", sasl.username, sasl.password);
        exchange(connection, token).await?;
        return Ok(());
    }
    let nonce = STANDARD.encode(rand::random::<[u8; 24]>());
    let scram = Scram::new(sasl.mechanism, &sasl.username, &sasl.password, nonce);
    let server_first = exchange(connection, scram.client_first()).await?;
    let (client_final, expected) = scram.client_final(&server_first).map_err(denied)?;
    let server_final = exchange(connection, client_final).await?;
    if server_final.trim_end() == expected {
        Ok(())
    } else {
        Err(denied(
            "the broker does not know the password either".to_owned(),
        ))
    }
}

async fn exchange(connection: &Connection, token: String) -> Result<String, Error> {
    let request =
        SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(token.into_bytes()));
    let (response, _) = connection.call(&request, 2).await?;
    let denied = |reason: String| Error::Authentication {
        address: connection.address().to_owned(),
        reason,
    };
    if response.error_code != 0 {
        let reason = match &response.error_message {
            Some(message) => message.as_str().to_owned(),
            None => format!("code {}", response.error_code),
        };
        return Err(denied(reason));
    }
    String::from_utf8(response.auth_bytes.to_vec())
        .map_err(|_| denied("the answer is not UTF-8".to_owned()))
}

/// One SCRAM exchange from the client's side.
pub(crate) struct Scram<'a> {
    mechanism: SaslMechanism,
    password: &'a str,
    nonce: String,
    first_bare: String,
}

impl<'a> Scram<'a> {
    pub(crate) fn new(
        mechanism: SaslMechanism,
        username: &str,
        password: &'a str,
        nonce: String,
    ) -> Scram<'a> {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={username},r={nonce}");
        Scram {
            mechanism,
            password,
            nonce,
            first_bare,
        }
    }

    pub(crate) fn client_first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// The client's proof, and the message by which the broker must prove itself.
    pub(crate) fn client_final(&self, server_first: &str) -> Result<(String, String), String> {
        let field = |name: &str| {
            server_first
                .split(',')
                .find_map(|part| part.strip_prefix(name))
                .ok_or_else(|| format!("`{name}` is missing in `{server_first}`"))
        };
        let nonce = field("r=")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the broker changed the nonce".to_owned());
        }
        let salt = STANDARD
            .decode(field("s=")?)
            .map_err(|error| format!("salt: {error}"))?;
        let iterations: u32 = field("i=")?
            .parse()
            .map_err(|error| format!("rounds: {error}"))?;
        if !(1..=MAX_ITERATIONS).contains(&iterations) {
            return Err(format!(
                "{iterations} rounds, at most {MAX_ITERATIONS} are accepted"
            ));
        }
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{server_first},{without_proof}", self.first_bare);
        let (proof, signature) = match self.mechanism {
            SaslMechanism::ScramSha512 => {
                let mut salted = [0; 64];
                let password = self.password.as_bytes();
                pbkdf2::pbkdf2::<Hmac<Sha512>>(password, &salt, iterations, &mut salted)
                    .map_err(|error| error.to_string())?;
                let client_key = hmac_sha512(&salted, b"Client Key");
                let stored = Sha512::digest(client_key);
                let proof = xor(&client_key, &hmac_sha512(&stored, message.as_bytes()));
                let server_key = hmac_sha512(&salted, b"Server Key");
                (proof, hmac_sha512(&server_key, message.as_bytes()).to_vec())
            }
            SaslMechanism::ScramSha256 | SaslMechanism::Plain => {
                let mut salted = [0; 32];
                let password = self.password.as_bytes();
                pbkdf2::pbkdf2::<Hmac<Sha256>>(password, &salt, iterations, &mut salted)
                    .map_err(|error| error.to_string())?;
                let client_key = hmac_sha256(&salted, b"Client Key");
                let stored = Sha256::digest(client_key);
                let proof = xor(&client_key, &hmac_sha256(&stored, message.as_bytes()));
                let server_key = hmac_sha256(&salted, b"Server Key");
                (proof, hmac_sha256(&server_key, message.as_bytes()).to_vec())
            }
        };
        let client_final = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok((client_final, format!("v={}", STANDARD.encode(signature))))
    }
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn hmac_sha512(key: &[u8], message: &[u8]) -> [u8; 64] {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter()
        .zip(right)
        .map(|(left, right)| left ^ right)
        .collect()
}

#[cfg(test)]
mod tests;
