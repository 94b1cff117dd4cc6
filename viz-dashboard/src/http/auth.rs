//! Who may look: basic authentication where a password is set, and never a request forged by a foreign page.

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, StatusCode, header};

use crate::Config;

/// `Err` is the answer that refuses.
#[expect(clippy::result_large_err, reason = "the error is the response itself")]
pub(crate) fn check(config: &Config, method: &Method, headers: &HeaderMap) -> Result<(), Response> {
    if foreign(config, method, headers) {
        let why = "requests from other sites are refused";
        return Err((StatusCode::FORBIDDEN, why).into_response());
    }
    if config.password.is_empty() {
        return Ok(());
    }
    let wanted = format!("{}:{}", config.user, config.password);
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Basic "))
        .and_then(|value| STANDARD.decode(value).ok());
    match given {
        Some(given) if same(&given, wanted.as_bytes()) => Ok(()),
        _ => {
            let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"StreamForge\"")];
            Err((StatusCode::UNAUTHORIZED, ask, "a password is needed").into_response())
        }
    }
}

/// A page elsewhere can make a browser ask, and can rebind its name to this address; neither may run SQL.
fn foreign(config: &Config, method: &Method, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    if config.listen.ip().is_loopback() && config.password.is_empty() {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        if !["127.0.0.1", "localhost", "[::1]"].contains(&name) {
            return true;
        }
    }
    let changes = method != Method::GET && method != Method::HEAD;
    changes
        && text(header::ORIGIN).is_some_and(|origin| {
            origin
                .split_once("://")
                .is_none_or(|(_, from)| from != host)
        })
}

/// Compares in a time that tells nothing about where the two differ.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    given.len() == wanted.len()
        && given
            .iter()
            .zip(wanted)
            .fold(0, |differing, (a, b)| differing | (a ^ b))
            == 0
}
