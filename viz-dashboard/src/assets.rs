//! Everything a page needs besides its HTML, embedded in the program: it works offline and cannot lose a file.

use std::sync::OnceLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use rust_embed::{EmbeddedFile, RustEmbed};
use sha2::{Digest, Sha256};

/// The files of `assets/`.
#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/assets"]
pub(crate) struct Assets;

/// The demo's dashboards.
#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../dashboards"]
pub(crate) struct Dashboards;

/// Serves a file; its tag is its content's hash, so that a reload costs an empty answer.
pub(crate) async fn serve(Path(path): Path<String>, headers: HeaderMap) -> Response {
    let Some(file) = Assets::get(&path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let etag = etag(&file);
    let known = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|tag| tag.as_bytes() == etag.as_bytes());
    let caching = if headers.contains_key(header::CACHE_CONTROL) {
        "no-cache"
    } else {
        "max-age=0, must-revalidate"
    };
    let common = [
        (header::ETAG, etag),
        (header::CACHE_CONTROL, caching.to_owned()),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let kind = [(header::CONTENT_TYPE, content_type(&path))];
    (common, kind, file.data).into_response()
}

/// Changes with every release, so that pages never mix files of two.
pub(crate) fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let mut names: Vec<_> = Assets::iter().collect();
        names.sort();
        let mut hasher = Sha256::new();
        for file in names.iter().filter_map(|name| Assets::get(name)) {
            hasher.update(file.metadata.sha256_hash());
        }
        hex(&hasher.finalize()[..6])
    })
}

fn etag(file: &EmbeddedFile) -> String {
    format!("\"{}\"", hex(&file.metadata.sha256_hash()[..12]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests;
