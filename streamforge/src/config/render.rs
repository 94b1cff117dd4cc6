//! Prints a configuration as a file that could be read back, with the origin of each changed value and no secrets.

use anyhow::Context;
use toml::{Table, Value};

use super::Loaded;
use super::layers::leaves;

/// Parts of key names whose values are not shown.
const SECRET: [&str; 5] = ["secret", "password", "token", "users", "private_key"];

pub(super) fn render(loaded: &Loaded) -> anyhow::Result<String> {
    let table = Table::try_from(&loaded.config).context("the configuration can be written")?;
    let mut text = String::new();
    let mut section = String::new();
    for (key, value) in leaves(String::new(), &Value::Table(table)) {
        let (table, name) = key.rsplit_once('.').unwrap_or(("", key.as_str()));
        if table != section {
            text.push_str(&format!("\n[{table}]\n"));
            section = table.to_owned();
        }
        let shown = if is_secret(name) && !is_empty(&value) {
            "\"********\"".to_owned()
        } else {
            value.to_string()
        };
        match loaded.origins.get(&key) {
            Some(origin) => text.push_str(&format!("{name} = {shown} # {origin}\n")),
            None => text.push_str(&format!("{name} = {shown}\n")),
        }
    }
    Ok(text.trim_start().to_owned())
}

fn is_secret(name: &str) -> bool {
    SECRET.iter().any(|part| name.contains(part))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Table(table) => table.is_empty(),
        _ => false,
    }
}
