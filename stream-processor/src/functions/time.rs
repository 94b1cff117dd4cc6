//! Dates, times and time zones.

use chrono_tz::Tz;

/// The zone called `name`: an IANA name or an offset of whole hours as `GMT+08:00`.
pub(crate) fn zone_named(name: &str) -> Option<Tz> {
    if let Ok(zone) = name.parse() {
        return Some(zone);
    }
    let offset = name
        .strip_prefix("GMT")
        .or_else(|| name.strip_prefix("UTC"))
        .unwrap_or(name);
    let (sign, rest) = match offset.as_bytes().first()? {
        b'+' => ('-', &offset[1..]),
        b'-' => ('+', &offset[1..]),
        _ => return None,
    };
    let hours: u8 = rest.strip_suffix(":00").unwrap_or(rest).parse().ok()?;
    // POSIX names have the sign turned round.
    format!("Etc/GMT{sign}{hours}").parse().ok()
}
