//! The session in request headers, its changes in response headers.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::session::{Changes, Session};

/// A header of the protocol, under its present or its old name.
fn value<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    ["x-trino-", "x-presto-"]
        .iter()
        .find_map(|prefix| headers.get(format!("{prefix}{name}")))
        .and_then(|value| value.to_str().ok())
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

/// All `key=value` pairs of a header that may come several times or as a list.
fn pairs(headers: &HeaderMap, name: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    for prefix in ["x-trino-", "x-presto-"] {
        for header in headers.get_all(format!("{prefix}{name}")) {
            let text = header
                .to_str()
                .map_err(|_| format!("Invalid {prefix}{name} header"))?;
            for pair in text
                .split(',')
                .map(str::trim)
                .filter(|pair| !pair.is_empty())
            {
                let (key, value) = pair
                    .split_once('=')
                    .ok_or_else(|| format!("Invalid {prefix}{name} header"))?;
                let value =
                    decoded(value).ok_or_else(|| format!("Invalid {prefix}{name} header"))?;
                pairs.push((
                    decoded(key.trim()).ok_or_else(|| format!("Invalid {prefix}{name} header"))?,
                    value,
                ));
            }
        }
    }
    Ok(pairs)
}

/// Undoes URL encoding as `java.net.URLDecoder` does.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Reads the session, or says which header is wrong.
pub(super) fn session(headers: &HeaderMap) -> Result<Session, String> {
    let user = value(headers, "user").ok_or("User must be set")?;
    let mut session = Session::new(user.to_owned());
    session.source = value(headers, "source").map(str::to_owned);
    session.catalog = value(headers, "catalog").map(str::to_lowercase);
    session.schema = value(headers, "schema").map(str::to_lowercase);
    if session.schema.is_some() && session.catalog.is_none() {
        return Err("Schema is set but catalog is not".to_owned());
    }
    session.properties = pairs(headers, "session")?.into_iter().collect();
    session.prepared = pairs(headers, "prepared-statement")?.into_iter().collect();
    if session
        .prepared
        .values()
        .any(|sql| sql.starts_with("$zstd:"))
    {
        return Err("compressed prepared statements are not supported".to_owned());
    }
    session.transaction = value(headers, "transaction-id")
        .filter(|id| !id.eq_ignore_ascii_case("none"))
        .map(str::to_owned);
    let zone = session
        .properties
        .get("time_zone_id")
        .cloned()
        .or_else(|| value(headers, "time-zone").map(str::to_owned));
    if let Some(zone) = zone
        && !session.set_zone(&zone)
    {
        return Err(format!("Invalid time zone: {zone}"));
    }
    let capabilities = value(headers, "client-capabilities").unwrap_or_default();
    session.parametric_datetime = capabilities
        .split(',')
        .any(|capability| capability.trim() == "PARAMETRIC_DATETIME");
    Ok(session)
}

/// Tells the client what has changed.
pub(super) fn changes(changes: &Changes, headers: &mut HeaderMap) {
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.append(HeaderName::from_static(name), value);
        }
    };
    let pair = |(key, value): &(String, String)| format!("{}={}", encoded(key), encoded(value));
    if let Some(catalog) = &changes.catalog {
        put("x-trino-set-catalog", encoded(catalog));
    }
    if let Some(schema) = &changes.schema {
        put("x-trino-set-schema", encoded(schema));
    }
    if let Some((key, value)) = &changes.set {
        put("x-trino-set-session", format!("{key}={}", encoded(value)));
    }
    if let Some(name) = &changes.clear {
        put("x-trino-clear-session", name.clone());
    }
    if let Some((catalog, role)) = &changes.role {
        put("x-trino-set-role", format!("{catalog}={role}"));
    }
    if let Some(prepared) = &changes.prepared {
        put("x-trino-added-prepare", pair(prepared));
    }
    if let Some(name) = &changes.deallocated {
        put("x-trino-deallocated-prepare", encoded(name));
    }
    if let Some(id) = &changes.started_transaction {
        put("x-trino-started-transaction-id", id.clone());
    }
    if changes.cleared_transaction {
        put("x-trino-clear-transaction-id", "true".to_owned());
    }
}
