//! Prints a configuration as a file that could be read back, with the origin of each changed value and no secrets.

use anyhow::Context;
use bytesize::ByteSize;
use toml::{Table, Value};

use super::Loaded;
use super::layers::Origins;

/// Parts of key names whose values are not shown.
const SECRET: [&str; 5] = ["secret", "password", "token", "users", "private_key"];

pub(super) fn render(loaded: &Loaded) -> anyhow::Result<String> {
    let table = Table::try_from(&loaded.config).context("the configuration can be written")?;
    let mut text = String::new();
    let table = exact(table, &loaded.written);
    section(&[], &table, &loaded.origins, &mut text);
    Ok(text.trim_start().to_owned())
}

/// `shown` with every rounded size replaced by the exact one that was written.
fn exact(shown: Table, written: &Table) -> Table {
    shown
        .into_iter()
        .map(|(name, value)| {
            let value = match (value, written.get(&name)) {
                (Value::Table(inner), Some(Value::Table(written))) => {
                    Value::Table(exact(inner, written))
                }
                (Value::String(text), Some(written)) => {
                    Value::String(exact_size(&text, written).unwrap_or(text))
                }
                (value, _) => value,
            };
            (name, value)
        })
        .collect()
}

/// The size that was written, if `shown` is what a size of so many bytes looks like when it is rounded.
fn exact_size(shown: &str, written: &Value) -> Option<String> {
    let size = match written {
        Value::String(text) => text.parse::<ByteSize>().ok()?,
        Value::Integer(bytes) => ByteSize(u64::try_from(*bytes).ok()?),
        _ => return None,
    };
    (size.to_string() == shown).then(|| in_whole_units(size.as_u64()))
}

/// The size in the largest unit that divides it.
fn in_whole_units(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units
        .iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match whole {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} B"),
    }
}

/// A table's own values, then the tables in it.
fn section(path: &[String], table: &Table, origins: &Origins, text: &mut String) {
    let inner = |name: &String| [path, std::slice::from_ref(name)].concat();
    let mut begun = false;
    for (name, value) in table.iter().filter(|(_, value)| !value.is_table()) {
        if !begun && !path.is_empty() {
            let names: Vec<_> = path.iter().map(|part| quoted(part)).collect();
            text.push_str(&format!("\n[{}]\n", names.join(".")));
            begun = true;
        }
        let shown =
            if (is_secret(name) || path.iter().any(|part| is_secret(part))) && !is_empty(value) {
                "\"********\"".to_owned()
            } else {
                value.to_string()
            };
        let origin = origins.get(&inner(name).join("."));
        let origin = origin.map_or(String::new(), |origin| format!(" # {origin}"));
        text.push_str(&format!("{} = {shown}{origin}\n", quoted(name)));
    }
    for (name, value) in table {
        if let Value::Table(of) = value {
            section(&inner(name), of, origins, text);
        }
    }
}

/// A key as TOML wants it.
fn quoted(name: &str) -> String {
    let is_bare = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    if !name.is_empty() && name.chars().all(is_bare) {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}

fn is_secret(name: &str) -> bool {
    SECRET.iter().any(|part| name.contains(part))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
