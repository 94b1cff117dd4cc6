//! Prints a configuration as a file that could be read back, with the origin of each changed value and no secrets.

use anyhow::Context;
use toml::{Table, Value};

use super::Loaded;
use super::layers::Origins;

/// Parts of key names whose values are not shown.
const SECRET: [&str; 5] = ["secret", "password", "token", "users", "private_key"];

pub(super) fn render(loaded: &Loaded) -> anyhow::Result<String> {
    let table = Table::try_from(&loaded.config).context("the configuration can be written")?;
    let mut text = String::new();
    section(&[], &table, &loaded.origins, &mut text);
    Ok(text.trim_start().to_owned())
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
