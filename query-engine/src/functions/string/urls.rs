//! Parts of URLs as Java's `URI` takes them apart, which is RFC 2396: nothing is resolved, folded or repaired, parts are
//! decoded one by one, and what is no such URI has no parts.

use datafusion::arrow::array::ArrayRef;

use super::texts;
use crate::failure::Result;
use crate::functions::Table;
use crate::functions::kernel::Args;

/// A URI's parts as written.
#[derive(Debug, Default, PartialEq)]
struct Uri<'t> {
    scheme: Option<&'t str>,
    host: Option<&'t str>,
    path: Option<&'t str>,
    query: Option<&'t str>,
    fragment: Option<&'t str>,
}

impl<'t> Uri<'t> {
    fn parse(text: &'t str) -> Option<Uri<'t>> {
        let mut uri = Uri::default();
        let (mut rest, fragment) = cut(text, '#');
        uri.fragment = fragment;
        let end = rest
            .find(['/', '?', ':'])
            .filter(|at| rest[*at..].starts_with(':'));
        if let Some(end) = end {
            let scheme = &rest[..end];
            let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
            rest = &rest[end + 1..];
            if !named || rest.is_empty() {
                return None;
            }
            uri.scheme = Some(scheme);
        }
        if !legal(fragment.unwrap_or_default(), URIC) {
            return None;
        }
        if uri.scheme.is_some() && !rest.starts_with('/') {
            // `mailto:a@b` has nothing but a scheme.
            return legal(rest, URIC).then_some(uri);
        }
        let (mut rest, query) = cut(rest, '?');
        if let Some(after) = rest.strip_prefix("//") {
            let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
            if authority.is_empty() && path.is_empty() && query.is_none() && fragment.is_none() {
                return None;
            }
            uri.host = host(authority)?;
            rest = path;
        }
        uri.path = Some(rest);
        uri.query = query;
        (legal(rest, PATH) && legal(query.unwrap_or_default(), URIC)).then_some(uri)
    }
}

const PATH: &str = "-_.!~*'():@&=+$,;/";
const URIC: &str = "-_.!~*'():@&=+$,;/?[]";
const REGISTERED: &str = "-_.!~*'():@&=+$,;";
const USER: &str = "-_.!~*'():&=+$,;";

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Letters, digits, the given marks, whole escapes, and what is not ASCII but can be seen.
fn legal(text: &str, marks: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let right = match c {
            '%' => (0..2).all(|_| chars.next().is_some_and(|c| c.is_ascii_hexdigit())),
            c if c.is_ascii() => c.is_ascii_alphanumeric() || marks.contains(c),
            c => !c.is_control() && !c.is_whitespace(),
        };
        if !right {
            return false;
        }
    }
    true
}

/// The host of an authority, if it names one; `None` is an authority that cannot be.
fn host(authority: &str) -> Option<Option<&str>> {
    let (user, server) = match authority.split_once('@') {
        Some((user, server)) => (user, server),
        None => ("", authority),
    };
    let end = match server.strip_prefix('[') {
        Some(inside) => inside.find(']')? + 2,
        None => server.find(':').unwrap_or(server.len()),
    };
    let (name, port) = server.split_at(end);
    let port = port.strip_prefix(':').unwrap_or(port);
    let numbered = port.is_empty()
        || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<i32>().is_ok());
    let known = match name.strip_prefix('[') {
        Some(inside) => is_ipv6(inside.trim_end_matches(']')),
        None => is_hostname(name),
    };
    if known && numbered && legal(user, USER) {
        return Some(Some(name));
    }
    // Any other authority is a name that some registry may know.
    legal(authority, REGISTERED).then_some(None)
}

fn is_ipv6(text: &str) -> bool {
    let (address, _) = cut(text, '%');
    address.parse::<std::net::Ipv6Addr>().is_ok()
}

fn is_hostname(name: &str) -> bool {
    if name.parse::<std::net::Ipv4Addr>().is_ok() {
        return true;
    }
    let labels: Vec<&str> = name.strip_suffix('.').unwrap_or(name).split('.').collect();
    let right = |label: &&str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let top = labels.last().copied().unwrap_or_default();
    labels.iter().all(right)
        && (labels.len() == 1 || top.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// Escapes as the bytes that they stand for.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = text
            .get(text.len() - after.len()..text.len() - after.len() + 2)
            .filter(|_| *first == b'%')
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn parameter(url: &str, name: &str) -> Option<String> {
    let query = Uri::parse(url)?.query?;
    let (_, value) = query
        .split('&')
        .map(|pair| cut(pair, '='))
        .find(|(key, _)| *key == name)?;
    Some(decoded(&value.unwrap_or_default().replace('+', " ")))
}

fn part(args: &Args, part: fn(Uri<'_>) -> Option<&str>) -> Result<ArrayRef> {
    texts(args, |row| {
        let uri = Uri::parse(args.str(0, row)?)?;
        Some(decoded(part(uri).unwrap_or_default()))
    })
}

fn url_encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => {
                out.push(char::from(byte))
            }
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

pub(super) fn register(table: &mut Table) {
    table.run(
        "url_extract_host(varchar) varchar",
        "Host of a URL",
        |args| part(args, |uri| uri.host),
    );
    table.run(
        "url_extract_path(varchar) varchar",
        "Path of a URL",
        |args| part(args, |uri| uri.path),
    );
    table.run(
        "url_extract_protocol(varchar) varchar",
        "Protocol of a URL",
        |args| part(args, |uri| uri.scheme),
    );
    table.run(
        "url_extract_query(varchar) varchar",
        "Query of a URL",
        |args| part(args, |uri| uri.query),
    );
    table.run(
        "url_extract_fragment(varchar) varchar",
        "Fragment of a URL",
        |args| part(args, |uri| uri.fragment),
    );
    table.run(
        "url_extract_parameter(varchar, varchar) varchar",
        "A parameter of a URL",
        |args| texts(args, |row| parameter(args.str(0, row)?, args.str(1, row)?)),
    );
    table.lenient();
    table.run("url_encode(varchar) varchar", "Escapes for a URL", |args| {
        texts(args, |row| args.str(0, row).map(url_encode))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_uri_has_no_parts() {
        for bad in [
            "http://h/a b",
            "http:",
            "http://",
            ":a",
            "1a:b",
            "http://h/%4",
            "http://[::g]/",
        ] {
            assert_eq!(Uri::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn hosts_are_as_written_or_unknown() {
        let host = |text| Uri::parse(text).and_then(|uri| uri.host);
        assert_eq!(host("http://user:pw@EXAMPLE.com:80/"), Some("EXAMPLE.com"));
        assert_eq!(host("http://[::1]:80/"), Some("[::1]"));
        assert_eq!(host("http://1.2.3.4"), Some("1.2.3.4"));
        assert_eq!(host("http://a_b/"), None);
        assert_eq!(host("http://1.2.3.4.5/"), None);
        assert_eq!(host("file:///a"), None);
        assert_eq!(host("mailto:a@b"), None);
    }

    #[test]
    fn escapes_are_decoded_part_by_part() {
        assert_eq!(decoded("a%20%C3%A4%zz%"), "a ä%zz%");
        assert_eq!(
            parameter("http://h?a%26=1&b=x+%2B&c", "b"),
            Some("x +".into())
        );
        assert_eq!(parameter("http://h?a=1&c", "c"), Some(String::new()));
        assert_eq!(parameter("http://h?a=1&c", "d"), None);
    }
}
