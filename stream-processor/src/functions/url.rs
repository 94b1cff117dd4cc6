//! PARSE_URL, with URLs read as `java.net.URL` reads them; URL_ENCODE and URL_DECODE.

use std::net::Ipv6Addr;

use super::Kind::Text;
use super::{Cells, Invocation, by_row};
use crate::error::Error;
use crate::plan::typed::Typed;

pub(super) const NAMES: &[&str] = &["PARSE_URL", "URL_ENCODE", "URL_DECODE"];

pub(super) fn resolve(call: &mut Invocation<'_>) -> Result<Option<Typed>, Error> {
    let typed = match call.name {
        "PARSE_URL" => {
            call.arity(2..=3)?;
            by_row(call, &[Text], part)?
        }
        "URL_ENCODE" => {
            call.arity(1..=1)?;
            by_row(call, &[Text], |cells, row| Some(encode(cells[0].text(row))))?
        }
        "URL_DECODE" => {
            call.arity(1..=1)?;
            by_row(call, &[Text], |cells, row| decode(cells[0].text(row)))?
        }
        _ => return Ok(None),
    };
    Ok(Some(typed))
}

fn part(cells: &[Cells], row: usize) -> Option<String> {
    let url = Url::parse(cells[0].text(row))?;
    let wanted = cells[1].text(row);
    if let Some(key) = cells.get(2) {
        let query = (wanted == "QUERY").then_some(url.query).flatten()?;
        return value_of(query, key.text(row)).map(str::to_owned);
    }
    let file = || match url.query {
        Some(query) => format!("{}?{query}", url.path),
        None => url.path.to_owned(),
    };
    match wanted {
        "HOST" => Some(url.host.to_owned()),
        "PATH" => Some(url.path.to_owned()),
        "QUERY" => url.query.map(str::to_owned),
        "REF" => url.reference.map(str::to_owned),
        "PROTOCOL" => Some(url.protocol),
        "FILE" => Some(file()),
        "AUTHORITY" => url.authority.map(str::to_owned),
        "USERINFO" => url.user.map(str::to_owned),
        _ => None,
    }
}

/// What stands behind `key=` at the query's begin or behind a `&`; the key may have a `&` of its own.
fn value_of<'q>(query: &'q str, key: &str) -> Option<&'q str> {
    let begins = std::iter::once(0).chain(query.match_indices('&').map(|(at, _)| at + 1));
    begins.into_iter().find_map(|begin| {
        let value = query[begin..].strip_prefix(key)?.strip_prefix('=')?;
        value.split('&').next()
    })
}

/// The parts of a URL.
#[derive(Debug, PartialEq)]
struct Url<'a> {
    protocol: String,
    authority: Option<&'a str>,
    user: Option<&'a str>,
    host: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    reference: Option<&'a str>,
}

impl<'a> Url<'a> {
    /// `new URL(text)`; `None` where that throws.
    fn parse(text: &'a str) -> Option<Self> {
        let blank = |next: char| next <= ' ';
        let text = text.trim_matches(blank);
        let text = match text.get(..4) {
            Some(begin) if begin.eq_ignore_ascii_case("url:") => &text[4..],
            _ => text,
        };
        let (protocol, rest) = text.split_once(':')?;
        let protocol = protocol.to_lowercase();
        let known = ["http", "https", "ftp", "file", "jar", "mailto", "jrt"];
        if !known.contains(&protocol.as_str()) {
            return None;
        }
        let (rest, reference) = match rest.split_once('#') {
            Some((rest, reference)) => (rest, Some(reference)),
            None => (rest, None),
        };
        let mut url = Url {
            protocol,
            authority: None,
            user: None,
            host: "",
            path: rest,
            query: None,
            reference,
        };
        match url.protocol.as_str() {
            "jar" => {
                let (inner, _) = rest.split_once("!/")?;
                Url::parse(inner)?;
            }
            "mailto" => {
                if rest.chars().all(char::is_whitespace) {
                    return None;
                }
                url.split_query(rest.rfind('?'));
                (url.authority, url.reference) = (Some(""), None);
            }
            _ => {
                url.split_query(rest.find('?'));
                url.split_authority()?;
            }
        }
        Some(url)
    }

    fn split_query(&mut self, at: Option<usize>) {
        if let Some(at) = at {
            self.query = Some(&self.path[at + 1..]);
            self.path = &self.path[..at];
        }
    }

    /// Takes `//authority` off the path.
    fn split_authority(&mut self) -> Option<()> {
        let rest = match self.path.strip_prefix("//") {
            Some(rest) if !rest.starts_with("//") => rest,
            _ => return Some(()),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        (self.authority, self.path) = (Some(authority), path);
        let host = match authority.split_once('@') {
            // It names no server.
            Some((_, host)) if host.contains('@') => return Some(()),
            Some((user, host)) => {
                self.user = Some(user);
                host
            }
            None => authority,
        };
        let (host, port) = match host.strip_prefix('[') {
            Some(inner) => {
                let (address, port) = inner.split_once(']')?;
                address.split('%').next()?.parse::<Ipv6Addr>().ok()?;
                (&host[..address.len() + 2], port)
            }
            None => host.split_at(host.find(':').unwrap_or(host.len())),
        };
        let port = match port {
            "" | ":" => -1,
            port => port.strip_prefix(':')?.parse::<i32>().ok()?,
        };
        self.host = host;
        (port >= -1).then_some(())
    }
}

/// `URLEncoder.encode`.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'.' | b'-' | b'*' | b'_' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `URLDecoder.decode`; `None` where that throws.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                out.push((high * 16 + low) as u8);
            }
            other => out.push(other),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    //! What `java.net.URL` of Java 17 gives.

    use super::*;

    #[test]
    fn urls_are_read_as_in_java() {
        let all = "https://user@example.com:8080/p/a/t/h?x=1&y=%20#frag";
        let url = Url::parse(all).unwrap();
        assert_eq!(url.authority, Some("user@example.com:8080"));
        assert_eq!((url.user, url.host), (Some("user"), "example.com"));
        assert_eq!((url.path, url.query), ("/p/a/t/h", Some("x=1&y=%20")));
        assert_eq!(url.reference, Some("frag"));
        for (text, host, path, query) in [
            ("http://example.com?", "example.com", "", Some("")),
            (
                "http://example.com/a b?c d#e f",
                "example.com",
                "/a b",
                Some("c d"),
            ),
            ("mailto:bob@x.com", "", "bob@x.com", None),
            ("jar:file:/a!/b", "", "file:/a!/b", None),
            ("file:///etc/x", "", "/etc/x", None),
            ("HTTP://Example.COM/x", "Example.COM", "/x", None),
            ("http://[::1]:80/x", "[::1]", "/x", None),
            ("  url:http://a/x  ", "a", "/x", None),
            ("http://a:/x", "a", "/x", None),
            ("http:/x", "", "/x", None),
            ("http:x", "", "x", None),
            ("http://a/b/../c", "a", "/b/../c", None),
            ("http://a@b@c/x", "", "/x", None),
            ("http://h#b?q", "h", "", None),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(
                (url.host, url.path, url.query),
                (host, path, query),
                "{text}"
            );
        }
        for text in ["gopher://x/y", "http://a:b/x", "", "abc", "http://a:-2/x"] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
    }

    #[test]
    fn keys_begin_where_values_do() {
        assert_eq!(value_of("ax=2&x=3", "x"), Some("3"));
        assert_eq!(value_of("x=&y=1", "x"), Some(""));
        assert_eq!(value_of("a=1&b=2", "1&b"), None);
        assert_eq!(value_of("a&b=2", "a&b"), Some("2"));
    }

    #[test]
    fn texts_are_encoded_as_in_java() {
        let text = "a b&c=é/~*-_.😀";
        let coded = "a+b%26c%3D%C3%A9%2F%7E*-_.%F0%9F%98%80";
        assert_eq!(encode(text), coded);
        assert_eq!(decode(coded).as_deref(), Some(text));
        assert_eq!(decode("%zz"), None);
        assert_eq!(decode("%e"), None);
        assert_eq!(decode("abc%C3").as_deref(), Some("abc\u{fffd}"));
    }
}
