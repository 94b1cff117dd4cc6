//! Lays the sources of configuration over each other leaf by leaf, remembering where each leaf came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::Config;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file, and the line in it.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// An option of the command line.
    Option(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path, line) => write!(formatter, "{}:{line}", path.display()),
            Origin::Variable(name) => formatter.write_str(name),
            Origin::Option(option) => formatter.write_str(option),
        }
    }
}

/// The origin of every key that is not a default.
#[derive(Debug, Default)]
pub(crate) struct Origins(BTreeMap<String, Origin>);

impl Origins {
    pub(crate) fn get(&self, key: &str) -> Option<&Origin> {
        self.0.get(key)
    }

    pub(crate) fn is_default(&self, key: &str) -> bool {
        !self.0.contains_key(key)
    }
}

/// The layers so far.
pub(super) struct Layers {
    values: Table,
    origins: Origins,
}

impl Layers {
    /// The first layer, as text: a size that went through `Config` would come back rounded to a tenth of its unit.
    pub(super) fn new(defaults: &str) -> anyhow::Result<Self> {
        let values = defaults.parse().context("the defaults are TOML")?;
        Ok(Layers {
            values,
            origins: Origins::default(),
        })
    }

    /// A file; an error names its line and column.
    pub(super) fn add_file(&mut self, path: &Path, text: &str) -> anyhow::Result<()> {
        toml::from_str::<Config>(text)
            .map_err(|error| anyhow!("{}: {}", path.display(), error.to_string().trim_end()))?;
        let table: Table = text
            .parse()
            .with_context(|| format!("{} is no TOML", path.display()))?;
        let mut lines = BTreeMap::new();
        let spanned =
            DeTable::parse(text).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        lines_of(&[], spanned.get_ref(), text, &mut lines);
        for (key, value) in leaves(&[], &Value::Table(table)) {
            let line = lines.get(&key.join(".")).copied().unwrap_or(1);
            self.put(&key, value, Origin::File(path.to_owned(), line));
        }
        Ok(())
    }

    /// `STREAMFORGE__QUERY_ENGINE__LISTEN` and its value. Other variables are passed over, but not one that only has
    /// too few underscores: who set it would wonder why nothing changes.
    pub(super) fn add_variable(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        if let Some(path) = name.strip_prefix("STREAMFORGE__") {
            let key = path.to_lowercase().replace("__", ".");
            return self.add_text(&key, value, Origin::Variable(name.to_owned()));
        }
        let Some(path) = name.strip_prefix("STREAMFORGE_") else {
            return Ok(());
        };
        let path = path.to_lowercase();
        for section in self.values.keys() {
            if let Some(rest) = path.strip_prefix(section.as_str())
                && let Some(key) = rest.strip_prefix('_')
            {
                let (section, key) = (section.to_uppercase(), key.trim_start_matches('_'));
                bail!(
                    "{name}: two underscores stand between the parts of a key: \
                     STREAMFORGE__{section}__{}",
                    key.to_uppercase()
                );
            }
        }
        Ok(())
    }

    /// `query_engine.listen=127.0.0.1:8080`.
    pub(super) fn add_setting(&mut self, setting: &str) -> anyhow::Result<()> {
        let Some((key, value)) = setting.split_once('=') else {
            bail!("--set {setting}: a setting is written KEY=VALUE");
        };
        self.add_text(
            key.trim(),
            value.trim(),
            Origin::Option(format!("--set {key}")),
        )
    }

    /// A bare number, boolean or list is meant as such where the key takes one, else the text is a string.
    fn add_text(&mut self, key: &str, text: &str, origin: Origin) -> anyhow::Result<()> {
        let typed = format!("value = {text}").parse::<Table>().ok();
        let typed = typed.and_then(|mut table| table.remove("value"));
        if let Some(value) = typed
            && self.add_value(key, value, origin.clone()).is_ok()
        {
            return Ok(());
        }
        self.add_value(key, Value::String(text.to_owned()), origin)
    }

    /// One leaf, checked by itself so that an error can name its origin.
    pub(super) fn add_value(
        &mut self,
        key: &str,
        value: Value,
        origin: Origin,
    ) -> anyhow::Result<()> {
        let mut alone = value.clone();
        for part in key.rsplit('.') {
            alone = Value::Table(Table::from_iter([(part.to_owned(), alone)]));
        }
        Config::deserialize(alone)
            .map_err(|error| anyhow!("{origin}: `{key}`: {}", error.to_string().trim_end()))?;
        let path: Vec<_> = key.split('.').map(str::to_owned).collect();
        self.put(&path, value, origin);
        Ok(())
    }

    fn put(&mut self, key: &[String], value: Value, origin: Origin) {
        let Some((last, parts)) = key.split_last() else {
            return;
        };
        let mut table = &mut self.values;
        for part in parts {
            let next = table
                .entry(part.as_str())
                .or_insert_with(|| Value::Table(Table::new()));
            if !next.is_table() {
                *next = Value::Table(Table::new());
            }
            let Value::Table(inner) = next else { return };
            table = inner;
        }
        table.insert(last.clone(), value);
        self.origins.0.insert(key.join("."), origin);
    }

    /// The configuration, its origins, and its values as they were written.
    pub(super) fn finish(self) -> anyhow::Result<(Config, Origins, Table)> {
        let config = Config::deserialize(Value::Table(self.values.clone()))
            .map_err(|error| anyhow!("the configuration does not fit together: {error}"))?;
        Ok((config, self.origins, self.values))
    }
}

/// The line of every key of `table`, which was parsed from `text`.
fn lines_of(path: &[&str], table: &DeTable<'_>, text: &str, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let path = [path, &[key.get_ref().as_ref()]].concat();
        let before = text.get(..key.span().start).unwrap_or_default();
        lines.insert(path.join("."), 1 + before.matches('\n').count());
        if let DeValue::Table(inner) = value.get_ref() {
            lines_of(&path, inner, text, lines);
        }
    }
}

/// Every leaf of `value` with the path to it; lists are leaves.
fn leaves(path: &[String], value: &Value) -> Vec<(Vec<String>, Value)> {
    let Value::Table(table) = value else {
        return vec![(path.to_vec(), value.clone())];
    };
    table
        .iter()
        .flat_map(|(part, inner)| leaves(&[path, std::slice::from_ref(part)].concat(), inner))
        .collect()
}
