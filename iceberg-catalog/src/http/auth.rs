//! The bearer token, where one is configured.

use http::{HeaderMap, header};

use super::Failure;

/// Refuses a request that does not carry `token`; an empty token admits everyone.
pub(crate) fn check(token: &str, headers: &HeaderMap) -> Result<(), Failure> {
    if token.is_empty() {
        return Ok(());
    }
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match given {
        Some(given) if same(given.as_bytes(), token.as_bytes()) => Ok(()),
        Some(_) => Err(Failure::NotAuthorized("the bearer token is not valid")),
        None => Err(Failure::NotAuthorized("a bearer token is needed")),
    }
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
