//! Java's date patterns: reading and writing by them.

use chrono::Datelike;

use super::{DAY, Moment, clamped, date, days_of};

/// One piece of a Java date pattern.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    Text(String),
    /// A letter and how often it stands.
    Field(char, usize),
}

/// The pieces of a Java date pattern, or the letter that is not known.
pub(crate) fn java_pattern(pattern: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(next) = rest.next() {
        if next == '\'' {
            let mut text = String::new();
            if rest.peek() == Some(&'\'') {
                rest.next();
                text.push('\'');
            } else {
                while let Some(inner) = rest.next() {
                    if inner == '\'' {
                        if rest.peek() != Some(&'\'') {
                            break;
                        }
                        rest.next();
                    }
                    text.push(inner);
                }
            }
            pieces.push(Piece::Text(text));
        } else if next.is_ascii_alphabetic() {
            let mut count = 1;
            while rest.peek() == Some(&next) {
                rest.next();
                count += 1;
            }
            if !"yuMdHhmsSaEDXx".contains(next) {
                return Err(format!("`{next}` in the pattern '{pattern}'"));
            }
            pieces.push(Piece::Field(next, count));
        } else {
            pieces.push(Piece::Text(next.to_string()));
        }
    }
    Ok(pieces)
}

/// A wall clock by a pattern.
pub(crate) fn format_pieces(pieces: &[Piece], moment: Moment, out: &mut String) {
    let day = date(moment.millis.div_euclid(DAY) as i32);
    let of_day = moment.nanos_of_day();
    let (hour, minute, second) = (
        of_day / 3_600_000_000_000,
        of_day / 60_000_000_000 % 60,
        of_day / 1_000_000_000 % 60,
    );
    for piece in pieces {
        let (letter, count) = match piece {
            Piece::Text(text) => {
                out.push_str(text);
                continue;
            }
            Piece::Field(letter, count) => (*letter, *count),
        };
        let number = match letter {
            'y' | 'u' if count == 2 => i64::from(day.year().rem_euclid(100)),
            'y' | 'u' => i64::from(day.year()),
            'M' if count >= 3 => {
                let format = if count == 3 { "%b" } else { "%B" };
                out.push_str(&day.format(format).to_string());
                continue;
            }
            'M' => i64::from(day.month()),
            'd' => i64::from(day.day()),
            'D' => i64::from(day.ordinal()),
            'H' => hour,
            'h' => (hour + 11) % 12 + 1,
            'm' => minute,
            's' => second,
            'S' => {
                let digits = format!("{:09}", of_day % 1_000_000_000);
                out.push_str(&digits[..count.min(9)]);
                continue;
            }
            'a' => {
                out.push_str(if hour < 12 { "AM" } else { "PM" });
                continue;
            }
            'E' => {
                let format = if count <= 3 { "%a" } else { "%A" };
                out.push_str(&day.format(format).to_string());
                continue;
            }
            _ => {
                out.push('Z');
                continue;
            }
        };
        out.push_str(&format!("{number:0count$}"));
    }
}

/// Reads an offset from Greenwich as so many `X` say: `Z`, or hours, hours and minutes, the same with a colon. Gives
/// milliseconds and what follows.
pub(super) fn read_offset(text: &str, count: usize) -> Option<(i64, &str)> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some((0, rest));
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, rest) = two_digits(rest)?;
    let (minutes, rest) = match count {
        1 => (0, rest),
        2 => two_digits(rest)?,
        _ => two_digits(rest.strip_prefix(':')?)?,
    };
    let valid = hours <= 23 && minutes <= 59;
    valid.then_some((sign * (hours * 60 + minutes) * 60_000, rest))
}

fn two_digits(text: &str) -> Option<(i64, &str)> {
    let (digits, rest) = text.split_at_checked(2)?;
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    Some((digits.parse().ok().filter(|_| all)?, rest))
}

/// Reads a text by a pattern into a wall clock; days beyond the month's end become its last.
pub(crate) fn parse_pieces(pieces: &[Piece], text: &str) -> Option<Moment> {
    let (mut year, mut month, mut day) = (1970, 1, 1);
    let (mut hour, mut minute, mut second, mut fraction) = (0_i64, 0, 0, 0);
    let mut afternoon = None;
    let mut rest = text;
    for (index, piece) in pieces.iter().enumerate() {
        let (letter, count) = match piece {
            Piece::Text(literal) => {
                rest = match literal.as_bytes() {
                    // Spares the call of a comparison.
                    [byte] if rest.as_bytes().first() == Some(byte) => &rest[1..],
                    _ => rest.strip_prefix(literal.as_str())?,
                };
                continue;
            }
            Piece::Field('X', count) => {
                // Read over: the wall clock is what stands before it.
                let (_, after) = read_offset(rest, *count)?;
                let minutes = two_digits(after)
                    .filter(|(minutes, _)| *count == 1 && *minutes <= 59 && !rest.starts_with('Z'));
                rest = minutes.map_or(after, |(_, after)| after);
                continue;
            }
            Piece::Field('a', _) => {
                afternoon = Some(rest.get(..2)?.eq_ignore_ascii_case("PM"));
                rest = rest.get(2..)?;
                continue;
            }
            Piece::Field(letter, count) => (*letter, *count),
        };
        let adjacent = matches!(pieces.get(index + 1), Some(Piece::Field(..)));
        let available = rest.bytes().take_while(u8::is_ascii_digit).count();
        let exact = letter == 'S' || count >= 2 || adjacent;
        let length = if exact { count } else { available.min(9) };
        if available < length
            || length == 0
            || (!adjacent && letter != 'S' && available > length && exact)
        {
            return None;
        }
        let (digits, after) = rest.split_at(length);
        rest = after;
        let number = match length {
            ..=18 => digits
                .bytes()
                .fold(0, |number, digit| number * 10 + i64::from(digit - b'0')),
            _ => digits.parse().ok()?,
        };
        match letter {
            'y' | 'u' => year = if count == 2 { 2000 + number } else { number },
            'M' => month = number,
            'd' => day = number,
            'H' | 'h' => hour = number,
            'm' => minute = number,
            's' => second = number,
            'S' => fraction = number * 10_i64.pow(9 - u32::try_from(length.min(9)).unwrap_or(9)),
            _ => return None,
        }
    }
    if let Some(afternoon) = afternoon {
        hour = hour % 12 + if afternoon { 12 } else { 0 };
    }
    if !rest.is_empty() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let date = clamped(
        year as i32,
        u32::try_from(month).ok()?,
        u32::try_from(day).ok()?,
    )?;
    let seconds = hour * 3600 + minute * 60 + second;
    let of_day = seconds * 1_000_000_000 + fraction;
    Some(Moment::of(days_of(date), of_day))
}
