//! Objects and arrays as text for a `STRING` column: as Jackson prints the tree that it has made of them.
//!
//! Of equal names the first one's place and the last one's value stay. A number with a fraction or an exponent has
//! become a `double` (`1.50` gives `1.5`), or a `BigDecimal` in a table with a DECIMAL column, where Flink turns
//! `USE_BIG_DECIMAL_FOR_FLOATS` on.

use std::borrow::Cow;
use std::ops::Range;

use hashbrown::HashMap;

use super::convert::{plain, quote};
use super::scan::{Kind, Malformed, Scanner};
use crate::formats::text;

/// Appends the container that `text` is.
pub(crate) fn write_tree(
    text: &[u8],
    decimals: bool,
    output: &mut Vec<u8>,
) -> Result<(), Malformed> {
    write_value(&mut Scanner::of_record(text), decimals, output)
}

/// Scanners refuse text that is nested too deeply for this.
fn write_value(
    scanner: &mut Scanner<'_>,
    decimals: bool,
    output: &mut Vec<u8>,
) -> Result<(), Malformed> {
    scanner.space();
    match scanner.peek() {
        b'{' => write_object(scanner, decimals, output),
        b'[' => {
            output.push(b'[');
            let begin = output.len();
            scanner.items(|scanner| {
                separate(begin, output);
                write_value(scanner, decimals, output)
            })?;
            output.push(b']');
            Ok(())
        }
        _ => {
            match scanner.value()? {
                (content, Kind::Text { escaped }) => quote(&plain(content, escaped), output),
                (number, Kind::Number) => {
                    let number = std::str::from_utf8(number).ok();
                    number
                        .and_then(|number| write_number(number, decimals, output))
                        .ok_or(Malformed(scanner.at))?;
                }
                (word, _) => output.extend_from_slice(word),
            }
            Ok(())
        }
    }
}

fn write_object(
    scanner: &mut Scanner<'_>,
    decimals: bool,
    output: &mut Vec<u8>,
) -> Result<(), Malformed> {
    output.push(b'{');
    let begin = output.len();
    let mut places: HashMap<Cow<'_, [u8]>, usize, ahash::RandomState> = HashMap::default();
    let mut values: Vec<Range<usize>> = Vec::new();
    scanner.members(|scanner, name, escaped| {
        let name = plain(name, escaped);
        let known = places.get(&name).copied();
        if known.is_none() {
            separate(begin, output);
            quote(&name, output);
            output.push(b':');
            places.insert(name, values.len());
        }
        let start = output.len();
        write_value(scanner, decimals, output)?;
        match known {
            None => values.push(start..output.len()),
            Some(member) => {
                let value = output.split_off(start);
                replace(output, &mut values[member..], &value);
            }
        }
        Ok(())
    })?;
    output.push(b'}');
    Ok(())
}

/// Puts `value` where the first of `values` is, and moves the others along.
fn replace(output: &mut Vec<u8>, values: &mut [Range<usize>], value: &[u8]) {
    let Some((first, later)) = values.split_first_mut() else {
        return;
    };
    output.splice(first.clone(), value.iter().copied());
    let moved = |at: usize| at + value.len() - first.len();
    for range in later {
        *range = moved(range.start)..moved(range.end);
    }
    first.end = first.start + value.len();
}

/// A comma unless nothing stands behind `begin`.
fn separate(begin: usize, output: &mut Vec<u8>) {
    if output.len() > begin {
        output.push(b',');
    }
}

/// Appends a number of the grammar of JSON.
fn write_number(number: &str, decimals: bool, output: &mut Vec<u8>) -> Option<()> {
    let is_integer = !number.contains(['.', 'e', 'E']);
    match number.parse() {
        _ if number == "-0" => output.push(b'0'),
        _ if is_integer => output.extend_from_slice(number.as_bytes()),
        _ if decimals => write_big_decimal(number, output)?,
        Ok(f64::INFINITY) => output.extend_from_slice(b"\"Infinity\""),
        Ok(f64::NEG_INFINITY) => output.extend_from_slice(b"\"-Infinity\""),
        value => text::write_double(value.ok()?, output),
    }
    Some(())
}

/// Appends the number as a `BigDecimal` without zeros at its end; `None` if its exponent is none of Java's.
fn write_big_decimal(number: &str, output: &mut Vec<u8>) -> Option<()> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, i64::from(exponent.parse::<i32>().ok()?)),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{}{fraction}", whole.trim_start_matches('-'));
    let digits = all.trim_end_matches('0');
    let n_trailing = all.len() - digits.len();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        output.push(b'0');
        return Some(());
    }
    let scale = fraction.len() as i64 - n_trailing as i64 - exponent;
    text::write_unscaled(whole.starts_with('-'), digits, scale, false, output);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::write_tree;

    fn written(text: &str, decimals: bool) -> String {
        let mut output = b"before ".to_vec();
        write_tree(text.as_bytes(), decimals, &mut output).unwrap();
        String::from_utf8(output.split_off(7)).unwrap()
    }

    /// Text, and what `readValueAsTree().toString()` of Jackson 2.18.2 made of it, without and with
    /// `USE_BIG_DECIMAL_FOR_FLOATS`.
    const NUMBERS: [(&str, &str, &str); 16] = [
        ("1.50", "1.5", "1.5"),
        ("100.0", "100.0", "1E+2"),
        ("1e7", "1.0E7", "1E+7"),
        ("0.0", "0.0", "0"),
        ("-0.0", "-0.0", "0"),
        ("-0", "0", "0"),
        ("10", "10", "10"),
        ("0.000001", "1.0E-6", "0.000001"),
        ("0.0000001", "1.0E-7", "1E-7"),
        ("1.5e-9", "1.5E-9", "1.5E-9"),
        ("12345678.5", "1.23456785E7", "12345678.5"),
        ("1E+3", "1000.0", "1E+3"),
        ("-2.500e2", "-250.0", "-2.5E+2"),
        ("0e5", "0.0", "0"),
        ("1.0E400", "\"Infinity\"", "1E+400"),
        (
            "123456789012345678901234567890.10",
            "1.2345678901234568E29",
            "123456789012345678901234567890.1",
        ),
    ];

    #[test]
    fn numbers_are_printed_as_jackson_does() {
        for (text, double, decimal) in NUMBERS {
            let text = format!("[{text}]");
            assert_eq!(written(&text, false), format!("[{double}]"), "{text}");
            assert_eq!(written(&text, true), format!("[{decimal}]"), "{text}");
        }
        let mut output = Vec::new();
        assert!(write_tree(b"[1e99999999999]", true, &mut output).is_err());
    }

    #[test]
    fn of_equal_names_the_last_value_stands_where_the_first_did() {
        let text = r#"{"a":1, "b" : [ 2 ],"a":{"c":3,"d":"x","c":44} , "b":0,"\u0061":"end"}"#;
        assert_eq!(written(text, false), r#"{"a":"end","b":0}"#);
        let inner = r#"[{"a":1,"b":2,"a":{"c":3,"d":"x","c":44}},{},[]]"#;
        assert_eq!(
            written(inner, false),
            r#"[{"a":{"c":44,"d":"x"},"b":2},{},[]]"#
        );
    }

    #[test]
    fn strings_have_jacksons_escapes() {
        let text = "{\"\\u0041\\n\":\"x\u{7f}\\u00e9/\\/\\u0001\", \"t\": [true , null]}";
        assert_eq!(
            written(text, false),
            "{\"A\\n\":\"x\u{7f}é//\\u0001\",\"t\":[true,null]}"
        );
    }
}
