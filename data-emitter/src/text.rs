//! Writes numbers, identifiers and times as text without allocating.

const HEX: &[u8; 16] = b"0123456789abcdef";
const DAY_MS: i64 = 86_400_000;
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Appends a whole number.
#[inline]
pub(crate) fn integer(out: &mut Vec<u8>, value: i64) {
    let mut buffer = itoa::Buffer::new();
    out.extend_from_slice(buffer.format(value).as_bytes());
}

/// Appends `value` divided by ten to the power of `DIGITS`.
#[inline]
pub(crate) fn fixed<const DIGITS: usize>(out: &mut Vec<u8>, value: i64) {
    let scale = 10_i64.pow(DIGITS as u32);
    if value < 0 {
        out.push(b'-');
    }
    let value = value.abs();
    integer(out, value / scale);
    out.push(b'.');
    let mut fraction = [b'0'; DIGITS];
    let mut rest = value % scale;
    for digit in fraction.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&fraction);
}

/// Writes the lower-case hexadecimal form of `bytes` over `out`.
pub(crate) fn hex(out: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
}

/// The text of a random (version 4) UUID made of 128 random bits.
#[inline]
pub(crate) fn uuid(high: u64, low: u64) -> [u8; 36] {
    let high = (high & !0xf000) | 0x4000;
    let low = (low & !(3 << 62)) | (2 << 62);
    let mut plain = [0; 32];
    hex(&mut plain[..16], &high.to_be_bytes());
    hex(&mut plain[16..], &low.to_be_bytes());
    let mut text = [b'-'; 36];
    text[..8].copy_from_slice(&plain[..8]);
    text[9..13].copy_from_slice(&plain[8..12]);
    text[14..18].copy_from_slice(&plain[12..16]);
    text[19..23].copy_from_slice(&plain[16..20]);
    text[24..].copy_from_slice(&plain[20..]);
    text
}

/// Appends `2026-01-31T09:05:00.123Z`.
pub(crate) fn iso_time(out: &mut Vec<u8>, millis: i64) {
    let mut text = *b"0000-00-00T00:00:00.000Z";
    fill(&mut text, millis);
    out.extend_from_slice(&text);
}

/// Appends `2026-01-31 09:05:00.123`, the form of SQL.
pub(crate) fn sql_time(out: &mut Vec<u8>, millis: i64) {
    let mut text = *b"0000-00-00 00:00:00.000";
    fill(&mut text, millis);
    out.extend_from_slice(&text);
}

/// Appends `31/Jan/2026:09:05:00 +0000`, the form of web server logs.
pub(crate) fn log_time(out: &mut Vec<u8>, millis: i64) {
    let mut text = *b"0000-00-00T00:00:00.000Z";
    fill(&mut text, millis);
    let (_, month, _) = date(millis.div_euclid(DAY_MS));
    out.extend_from_slice(&text[8..10]);
    out.push(b'/');
    out.extend_from_slice(MONTHS[month as usize - 1].as_bytes());
    out.push(b'/');
    out.extend_from_slice(&text[..4]);
    out.push(b':');
    out.extend_from_slice(&text[11..19]);
    out.extend_from_slice(b" +0000");
}

/// Fills the digits of `yyyy-MM-dd HH:mm:ss.SSS`; the separators are there.
fn fill(text: &mut [u8], millis: i64) {
    let (year, month, day) = date(millis.div_euclid(DAY_MS));
    let of_day = millis.rem_euclid(DAY_MS);
    let second = of_day / 1000;
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], second / 3600);
    digits(&mut text[14..16], second / 60 % 60);
    digits(&mut text[17..19], second % 60);
    digits(&mut text[20..23], of_day % 1000);
}

#[inline]
fn digits(text: &mut [u8], mut value: i64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_equal_those_of_chrono() {
        for millis in [
            0,
            951_782_399_999,
            951_782_400_000,
            1_709_164_800_001,
            1_795_000_000_123,
        ] {
            let time = chrono::DateTime::from_timestamp_millis(millis).unwrap();
            let expected = time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
            assert_eq!(written(|out| iso_time(out, millis)), expected);
            let expected = time.format("%Y-%m-%d %H:%M:%S%.3f").to_string();
            assert_eq!(written(|out| sql_time(out, millis)), expected);
            let expected = time.format("%d/%b/%Y:%H:%M:%S +0000").to_string();
            assert_eq!(written(|out| log_time(out, millis)), expected);
        }
    }

    #[test]
    fn numbers_and_identifiers_read_as_usual() {
        assert_eq!(written(|out| fixed::<2>(out, 5)), "0.05");
        assert_eq!(written(|out| fixed::<4>(out, -1_234_567)), "-123.4567");
        let text = String::from_utf8(uuid(u64::MAX, 0).to_vec()).unwrap();
        assert_eq!(text, "ffffffff-ffff-4fff-8000-000000000000");
        assert_eq!(uuid::Uuid::parse_str(&text).unwrap().get_version_num(), 4);
    }
}
