//! Hashes and other spellings of bytes: MD5, SHA…, base 64, hexadecimal and binary digits.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::Kind::{Bytes, Int, Text};
use super::{Invocation, by_row, by_row_or_fail, failed};
use crate::error::Error;
use crate::plan::coerce::{is_binary, is_integer};
use crate::plan::expr::whole;
use crate::plan::typed::{Kernel, Typed};
use crate::table::{SqlType, TypeRoot};

pub(super) const NAMES: &[&str] = &[
    "MD5",
    "SHA1",
    "SHA224",
    "SHA256",
    "SHA384",
    "SHA512",
    "SHA2",
    "TO_BASE64",
    "FROM_BASE64",
    "HEX",
    "UNHEX",
    "BIN",
    "UUID",
];

/// `java.util.Base64.getDecoder()`: it does not ask for the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn resolve(call: &mut Invocation<'_>) -> Result<Option<Typed>, Error> {
    let nullable = call.nullable();
    let typed = match call.name {
        "MD5" => hash::<Md5>(call, 32)?,
        "SHA1" => hash::<Sha1>(call, 40)?,
        "SHA224" => hash::<Sha224>(call, 56)?,
        "SHA256" => hash::<Sha256>(call, 64)?,
        "SHA384" => hash::<Sha384>(call, 96)?,
        "SHA512" => hash::<Sha512>(call, 128)?,
        "SHA2" => sha2(call)?,
        "TO_BASE64" => {
            call.arity(1..=1)?;
            if is_binary(&call.args[0].ty.root) {
                by_row(call, &[Bytes], |cells, row| {
                    Some(BASE64.encode(cells[0].bytes(row)))
                })?
            } else {
                by_row(call, &[Text], |cells, row| {
                    Some(BASE64.encode(cells[0].text(row)))
                })?
            }
        }
        "FROM_BASE64" => {
            call.arity(1..=1)?;
            by_row_or_fail(call, &[Text], |cells, row| {
                let text = cells[0].text(row);
                let bytes = BASE64.decode(text);
                let bytes =
                    bytes.map_err(|error| failed(format!("'{text}' is no base 64: {error}")))?;
                Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
            })?
        }
        "HEX" => {
            call.arity(1..=1)?;
            if is_integer(&call.args[0].ty.root) {
                by_row(call, &[Int], |cells, row| {
                    Some(format!("{:X}", cells[0].int(row)))
                })?
            } else {
                by_row(call, &[Text], |cells, row| {
                    let bytes = cells[0].text(row).bytes();
                    Some(bytes.map(|byte| format!("{byte:02X}")).collect::<String>())
                })?
            }
        }
        "UNHEX" => {
            call.arity(1..=1)?;
            let typed = by_row(call, &[Text], |cells, row| unhex(cells[0].text(row)))?;
            return Ok(Some(typed));
        }
        "BIN" => {
            call.arity(1..=1)?;
            if !is_integer(&call.args[0].ty.root) {
                return Err(call.wrong(format!("needs a whole number, not {}", call.args[0].ty)));
            }
            by_row(call, &[Int], |cells, row| {
                Some(format!("{:b}", cells[0].int(row)))
            })?
        }
        "UUID" => return uuid(call).map(Some),
        _ => return Ok(None),
    };
    let ty = typed.ty.with_nullable(nullable);
    Ok(Some(Typed { ty, ..typed }))
}

/// `UUID()`: another random one for each row.
fn uuid(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(0..=0)?;
    let mut kernel = Kernel::new("UUID", |_, n_rows| {
        let random = || uuid::Uuid::new_v4().hyphenated().to_string();
        let uuids = std::iter::repeat_with(random).take(n_rows).map(Some);
        Ok(<String as super::Outcome>::column(uuids.collect()))
    });
    kernel.volatile = true;
    let ty = SqlType::required(TypeRoot::Char(36));
    Ok(Typed::call(kernel, Vec::new(), ty))
}

/// The hash's hexadecimal digits, a CHAR of `length`.
fn hash<D: Digest>(call: &mut Invocation<'_>, length: u32) -> Result<Typed, Error> {
    call.arity(1..=1)?;
    let mut typed = by_row(call, &[Text], |cells, row| {
        Some(digits::<D>(cells[0].text(row)))
    })?;
    typed.ty.root = TypeRoot::Char(length);
    Ok(typed)
}

fn digits<D: Digest>(text: &str) -> String {
    let hash = D::digest(text.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `SHA2(text, bits)`: other numbers of bits fail the job, and if they are literals the plan.
fn sha2(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(2..=2)?;
    if let Some(bits) = whole(&call.args[1])
        && !matches!(bits, 224 | 256 | 384 | 512)
    {
        return Err(call.wrong(format!(
            "no hash has {bits} bits; 224, 256, 384 and 512 are known"
        )));
    }
    let mut typed = by_row_or_fail(call, &[Text, Int], |cells, row| {
        let text = cells[0].text(row);
        Ok(Some(match cells[1].int(row) {
            224 => digits::<Sha224>(text),
            256 => digits::<Sha256>(text),
            384 => digits::<Sha384>(text),
            512 => digits::<Sha512>(text),
            bits => return Err(failed(format!("SHA2: no hash has {bits} bits"))),
        }))
    })?;
    typed.ty.root = TypeRoot::Varchar(128);
    Ok(typed)
}

/// The bytes of hexadecimal digits; the first of an odd number only has to be one.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text
        .bytes()
        .map(|byte| char::from(byte).to_digit(16))
        .collect::<Option<Vec<_>>>()?;
    let (first, pairs) = digits.split_at(digits.len() % 2);
    let bytes = pairs.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8);
    Some(first.iter().map(|_| 0).chain(bytes).collect())
}

#[cfg(test)]
mod tests {
    //! What Flink gives.

    use super::*;

    #[test]
    fn hexadecimal_digits_and_base_64() {
        assert_eq!(unhex("4D79"), Some(b"My".to_vec()));
        assert_eq!(unhex("D"), Some(vec![0]));
        assert_eq!(unhex("DZ"), None);
        assert_eq!(digits::<Md5>("abc"), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(BASE64.decode("SGVsbG8").unwrap(), b"Hello");
        assert!(BASE64.decode("not base64!!").is_err());
    }
}
