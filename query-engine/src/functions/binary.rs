//! Bytes: digests and encodings.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use datafusion::arrow::array::{
    ArrayRef, BinaryArray, FixedSizeBinaryArray, Int64Array, StringArray,
};
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};

use super::Table;
use super::kernel::{Args, Kernel, OnFailure, done};
use crate::failure::{Code, Failure, Result};
use crate::sql::analyze::Typed;
use crate::types::Type;

fn bytes(args: &Args, make: impl Fn(&[u8]) -> Vec<u8>) -> Result<ArrayRef> {
    let rows: Vec<Option<Vec<u8>>> = (0..args.rows)
        .map(|row| args.bytes(0, row).map(&make))
        .collect();
    done(rows.iter().map(Option::as_deref).collect::<BinaryArray>())
}

fn text(args: &Args, make: impl Fn(&[u8]) -> String) -> Result<ArrayRef> {
    done(
        (0..args.rows)
            .map(|row| args.bytes(0, row).map(&make))
            .collect::<StringArray>(),
    )
}

fn decoded(args: &Args, make: impl Fn(&str) -> Option<Vec<u8>>, what: &str) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        args.str(0, row)
            .map(|text| {
                make(text).ok_or_else(|| {
                    Failure::new(
                        Code::InvalidFunctionArgument,
                        format!("Invalid {what} input"),
                    )
                })
            })
            .transpose()
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    done(rows.iter().map(Option::as_deref).collect::<BinaryArray>())
}

/// `a || b` on bytes.
pub(crate) fn concat(left: Expr, right: Expr) -> Typed {
    let run = |args: &Args| {
        let rows: Vec<Option<Vec<u8>>> = (0..args.rows)
            .map(|row| Some([args.bytes(0, row)?, args.bytes(1, row)?].concat()))
            .collect();
        done(rows.iter().map(Option::as_deref).collect::<BinaryArray>())
    };
    let expr = Kernel::call(
        "concat",
        "varbinary".into(),
        DataType::Binary,
        OnFailure::Raise,
        vec![left, right],
        Arc::new(run),
    );
    Typed::new(expr, Type::Varbinary)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

pub(super) fn register(table: &mut Table) {
    table.run("length(varbinary) bigint", "Number of bytes", |args| {
        done(
            (0..args.rows)
                .map(|row| {
                    args.bytes(0, row)
                        .and_then(|bytes| i64::try_from(bytes.len()).ok())
                })
                .collect::<Int64Array>(),
        )
    });
    table.run("to_utf8(varchar) varbinary", "Bytes of a text", |args| {
        decoded(args, |text| Some(text.as_bytes().to_vec()), "text")
    });
    table.run("from_utf8(varbinary) varchar", "Text of bytes", |args| {
        text(args, |bytes| String::from_utf8_lossy(bytes).into_owned())
    });
    table.run("md5(varbinary) varbinary", "MD5 digest", |args| {
        bytes(args, |bytes| Md5::digest(bytes).to_vec())
    });
    table.run("sha256(varbinary) varbinary", "SHA-256 digest", |args| {
        bytes(args, |bytes| Sha256::digest(bytes).to_vec())
    });
    table.run("sha512(varbinary) varbinary", "SHA-512 digest", |args| {
        bytes(args, |bytes| Sha512::digest(bytes).to_vec())
    });
    table.run("to_hex(varbinary) varchar", "Hexadecimal digits", |args| {
        text(args, hex)
    });
    table.run(
        "from_hex(varchar) varbinary",
        "Bytes of hexadecimal digits",
        |args| decoded(args, from_hex, "hex"),
    );
    table.run("to_base64(varbinary) varchar", "Base64", |args| {
        text(args, |bytes| STANDARD.encode(bytes))
    });
    table.run(
        "from_base64(varchar) varbinary",
        "Bytes of base64",
        |args| decoded(args, |text| STANDARD.decode(text).ok(), "base64"),
    );
    table.run(
        "to_base64url(varbinary) varchar",
        "Base64 for URLs",
        |args| text(args, |bytes| URL_SAFE.encode(bytes)),
    );
    table.run("uuid() uuid", "A random UUID", |args| {
        let rows: Vec<[u8; 16]> = (0..args.rows)
            .map(|_| uuid::Uuid::new_v4().into_bytes())
            .collect();
        if rows.is_empty() {
            return done(FixedSizeBinaryArray::new_null(16, 0));
        }
        done(FixedSizeBinaryArray::try_from_iter(rows.into_iter())?)
    });
    table.random();
}
