//! Who a connection belongs to: SASL PLAIN and SCRAM against the users of the configuration.
//!
//! A pure exchange of messages; the connection carries them and lets nothing else through until it has ended well.
//! Passwords are turned into SCRAM keys once at start.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::digest::KeyInit;
use sha2::{Digest, Sha256, Sha512};
use uuid::Uuid;

const ITERATIONS: u32 = 4096;

/// The mechanisms served, strongest first.
pub(crate) const MECHANISMS: [&str; 3] = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"];

/// Why a client does not get in. Says no more than a stranger may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("no such mechanism here")]
    Mechanism,
    #[error("the message is out of turn or malformed")]
    Message,
    #[error("user name or password is wrong")]
    Credentials,
}

/// Everyone who may come in.
#[derive(Debug, Default)]
pub(crate) struct Users {
    by_name: HashMap<String, User>,
}

struct User {
    /// Keys of each hash: PLAIN is checked against the 256-bit ones.
    sha256: Keys,
    sha512: Keys,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User(..)")
    }
}

struct Keys {
    salt: [u8; 16],
    stored: Vec<u8>,
    server: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha512,
}

/// How far the exchange of one connection has come.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Exchange {
    #[default]
    Begin,
    Chosen(&'static str),
    Proving(Box<Proving>),
    Authenticated,
}

/// What a SCRAM client has to prove.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proving {
    hash: Hash,
    user: String,
    nonce: String,
    gs2_header: String,
    /// `client-first-message-bare,server-first-message`.
    so_far: String,
}

// === impl Users ===

impl Users {
    /// Derives the keys of all users.
    pub(crate) fn new(passwords: &BTreeMap<String, String>) -> Self {
        let user = |password: &str| User {
            sha256: Keys::derive(Hash::Sha256, password),
            sha512: Keys::derive(Hash::Sha512, password),
        };
        let by_name = passwords
            .iter()
            .map(|(name, password)| (name.clone(), user(password)));
        Self {
            by_name: by_name.collect(),
        }
    }

    /// Without users everyone may come in.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

// === impl Exchange ===

impl Exchange {
    /// The client chooses a mechanism.
    pub(crate) fn choose(&mut self, mechanism: &str) -> Result<(), Denied> {
        let known = MECHANISMS.iter().find(|known| **known == mechanism);
        *self = Self::Chosen(known.ok_or(Denied::Mechanism)?);
        Ok(())
    }

    /// Answers one message of the client. After an error the exchange is over.
    pub(crate) fn step(&mut self, users: &Users, message: &[u8]) -> Result<Vec<u8>, Denied> {
        let message = std::str::from_utf8(message).map_err(|_| Denied::Message)?;
        match std::mem::take(self) {
            Self::Chosen("PLAIN") => {
                plain(users, message)?;
                *self = Self::Authenticated;
                Ok(Vec::new())
            }
            Self::Chosen(mechanism) => {
                let hash = if mechanism == "SCRAM-SHA-512" {
                    Hash::Sha512
                } else {
                    Hash::Sha256
                };
                let server_nonce =
                    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
                let (proving, answer) = begin_scram(users, hash, message, &server_nonce)?;
                *self = Self::Proving(Box::new(proving));
                Ok(answer.into_bytes())
            }
            Self::Proving(proving) => {
                let answer = end_scram(users, &proving, message)?;
                *self = Self::Authenticated;
                Ok(answer.into_bytes())
            }
            Self::Begin | Self::Authenticated => Err(Denied::Message),
        }
    }
}

/// `[authorization identity] NUL name NUL password`.
fn plain(users: &Users, message: &str) -> Result<(), Denied> {
    let mut fields = message.split('\0');
    let (Some(_identity), Some(name), Some(password), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Denied::Message);
    };
    let user = users.by_name.get(name).ok_or(Denied::Credentials)?;
    let derived = Keys::with_salt(Hash::Sha256, password, user.sha256.salt);
    if same(&derived.stored, &user.sha256.stored) {
        Ok(())
    } else {
        Err(Denied::Credentials)
    }
}

/// `n,,n=name,r=nonce` is answered with nonce, salt and rounds (RFC 5802).
fn begin_scram(
    users: &Users,
    hash: Hash,
    message: &str,
    server_nonce: &str,
) -> Result<(Proving, String), Denied> {
    let second_comma = message
        .match_indices(',')
        .nth(1)
        .map(|(at, _)| at + 1)
        .ok_or(Denied::Message)?;
    let (gs2_header, bare) = message.split_at(second_comma);
    if !(gs2_header.starts_with("n,") || gs2_header.starts_with("y,")) {
        return Err(Denied::Message);
    }
    let mut fields = bare.split(',');
    let name = fields
        .next()
        .and_then(|field| field.strip_prefix("n="))
        .ok_or(Denied::Message)?;
    let client_nonce = fields
        .next()
        .and_then(|field| field.strip_prefix("r="))
        .ok_or(Denied::Message)?;
    if client_nonce.is_empty() {
        return Err(Denied::Message);
    }
    let user = name.replace("=2C", ",").replace("=3D", "=");
    let keys = users
        .by_name
        .get(&user)
        .ok_or(Denied::Credentials)?
        .keys(hash);
    let nonce = format!("{client_nonce}{server_nonce}");
    let answer = format!("r={nonce},s={},i={ITERATIONS}", STANDARD.encode(keys.salt));
    let so_far = format!("{bare},{answer}");
    Ok((
        Proving {
            hash,
            user,
            nonce,
            gs2_header: gs2_header.to_owned(),
            so_far,
        },
        answer,
    ))
}

/// `c=channel,r=nonce,p=proof` is answered with the server's own proof.
fn end_scram(users: &Users, proving: &Proving, message: &str) -> Result<String, Denied> {
    let (without_proof, proof) = message.rsplit_once(",p=").ok_or(Denied::Message)?;
    let expected = format!(
        "c={},r={}",
        STANDARD.encode(&proving.gs2_header),
        proving.nonce
    );
    if without_proof != expected {
        return Err(Denied::Message);
    }
    let proof = STANDARD.decode(proof).map_err(|_| Denied::Message)?;
    let keys = users
        .by_name
        .get(&proving.user)
        .ok_or(Denied::Credentials)?
        .keys(proving.hash);
    let signed = format!("{},{without_proof}", proving.so_far);
    let signature = proving.hash.mac(&keys.stored, signed.as_bytes());
    let client_key: Vec<u8> = proof
        .iter()
        .zip(&signature)
        .map(|(left, right)| left ^ right)
        .collect();
    if proof.len() != signature.len() || !same(&proving.hash.digest(&client_key), &keys.stored) {
        return Err(Denied::Credentials);
    }
    Ok(format!(
        "v={}",
        STANDARD.encode(proving.hash.mac(&keys.server, signed.as_bytes()))
    ))
}

impl User {
    fn keys(&self, hash: Hash) -> &Keys {
        match hash {
            Hash::Sha256 => &self.sha256,
            Hash::Sha512 => &self.sha512,
        }
    }
}

impl Keys {
    fn derive(hash: Hash, password: &str) -> Self {
        Self::with_salt(hash, password, Uuid::new_v4().into_bytes())
    }

    fn with_salt(hash: Hash, password: &str, salt: [u8; 16]) -> Self {
        let salted = hash.salted(password.as_bytes(), &salt);
        let stored = hash.digest(&hash.mac(&salted, b"Client Key"));
        Self {
            salt,
            stored,
            server: hash.mac(&salted, b"Server Key"),
        }
    }
}

impl Hash {
    fn salted(self, password: &[u8], salt: &[u8]) -> Vec<u8> {
        let mut salted = vec![0; if self == Self::Sha256 { 32 } else { 64 }];
        let derived = match self {
            Self::Sha256 => pbkdf2::pbkdf2::<Hmac<Sha256>>(password, salt, ITERATIONS, &mut salted),
            Self::Sha512 => pbkdf2::pbkdf2::<Hmac<Sha512>>(password, salt, ITERATIONS, &mut salted),
        };
        derived.expect("HMAC takes keys of any length");
        salted
    }

    fn mac(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => mac::<Hmac<Sha256>>(key, message),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, message),
        }
    }

    fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha512 => Sha512::digest(message).to_vec(),
        }
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = <M as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// Compares in a time that does not depend on where the difference is.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .fold(0, |differs, (a, b)| differs | (a ^ b))
            == 0
}

#[cfg(test)]
mod tests;
