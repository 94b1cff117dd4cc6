//! What JSON_ARRAYAGG and JSON_OBJECTAGG gather: values that are JSON texts already.

use chrono_tz::Tz;

use super::Nulls;
use crate::error::{Error, Position};
use crate::functions::{self, Invocation, failed};
use crate::operators::aggregate::collect::MEMBER;
use crate::plan::typed::{Kernel, Typed};
use crate::table::SqlType;

fn json(value: Typed, zone: Tz, at: Position) -> Result<Typed, Error> {
    functions::resolve(Invocation {
        name: "JSON_STRING",
        args: vec![value],
        unit: None,
        clauses: &[],
        defaults: Vec::new(),
        zone,
        at,
    })
}

/// Makes the argument of JSON_ARRAYAGG a JSON text.
pub(super) fn item(args: &mut [Typed], zone: Tz, at: Position) -> Result<(), Error> {
    for arg in args {
        *arg = json(arg.clone(), zone, at)?;
    }
    Ok(())
}

/// Makes one text of the key and the value of JSON_OBJECTAGG; NULL where the member is left out.
pub(super) fn member(
    args: &mut Vec<Typed>,
    nulls: Nulls,
    zone: Tz,
    at: Position,
) -> Result<(), Error> {
    let [key, value] = &args[..] else {
        return Err(Error::validation(
            "JSON_OBJECTAGG needs a key and a value",
            at,
        ));
    };
    if !crate::plan::coerce::is_text(&key.ty.root) {
        return Err(Error::validation(
            format!("JSON_OBJECTAGG: the key must be a string, not {}", key.ty),
            at,
        ));
    }
    let pair = vec![json(key.clone(), zone, at)?, json(value.clone(), zone, at)?];
    let kernel = Kernel::new(format!("JSON_MEMBER[{nulls:?}]"), move |args, n_rows| {
        let texts = |at: usize| arrow::array::AsArray::as_string::<i32>(&args[at]).iter();
        let mut members = arrow::array::StringBuilder::with_capacity(n_rows, n_rows * 16);
        for (key, value) in texts(0).zip(texts(1)) {
            let Some(key) = key else {
                return Err(failed("JSON_OBJECTAGG: a key is NULL"));
            };
            match (value, nulls) {
                (None, Nulls::Skipped) => members.append_null(),
                (value, _) => {
                    members.append_value(format!("{key}{MEMBER}{}", value.unwrap_or("null")));
                }
            }
        }
        Ok(std::sync::Arc::new(members.finish()))
    });
    *args = vec![Typed::call(kernel, pair, SqlType::string())];
    Ok(())
}
