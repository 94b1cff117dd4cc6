//! Names of namespaces and tables, checked once where they come in.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Error;

/// Stands between the levels of a namespace in URLs and in the database; no level may contain it.
const SEPARATOR: char = '\u{1f}';

/// Longest name of a level or a table, in bytes.
const MAX_NAME: usize = 255;

/// Most levels of a namespace.
const MAX_LEVELS: usize = 16;

/// A namespace of one or more levels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub(crate) struct Namespace(Vec<String>);

/// A table's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct TableIdent {
    pub(crate) namespace: Namespace,
    pub(crate) name: String,
}

// === impl Namespace ===

impl Namespace {
    /// From its levels.
    pub(crate) fn new(levels: Vec<String>) -> Result<Self, Error> {
        if levels.is_empty() || levels.len() > MAX_LEVELS {
            return Err(Error::invalid(format!(
                "a namespace has 1 to {MAX_LEVELS} levels, not {}",
                levels.len()
            )));
        }
        for level in &levels {
            check_name("namespace level", level)?;
        }
        Ok(Namespace(levels))
    }

    /// From the form in URLs and in the database.
    pub(crate) fn parse(joined: &str) -> Result<Self, Error> {
        Namespace::new(joined.split(SEPARATOR).map(str::to_owned).collect())
    }

    /// The form in the database.
    pub(crate) fn key(&self) -> String {
        self.0.join("\u{1f}")
    }

    pub(crate) fn parent(&self) -> Option<Namespace> {
        let (_, above) = self.0.split_last()?;
        (!above.is_empty()).then(|| Namespace(above.to_vec()))
    }

    pub(crate) fn levels(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for Namespace {
    type Error = Error;

    fn try_from(levels: Vec<String>) -> Result<Self, Error> {
        Namespace::new(levels)
    }
}

impl From<Namespace> for Vec<String> {
    fn from(namespace: Namespace) -> Self {
        namespace.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

// === impl TableIdent ===

impl TableIdent {
    pub(crate) fn new(namespace: Namespace, name: String) -> Result<Self, Error> {
        check_name("table name", &name)?;
        Ok(TableIdent { namespace, name })
    }

    /// Refuses names that came in through JSON unchecked.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_name("table name", &self.name)
    }
}

impl fmt::Display for TableIdent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

fn check_name(what: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains(['\0', SEPARATOR]) {
        return Err(Error::invalid(format!(
            "a {what} has 1 to {MAX_NAME} bytes and no control separator, unlike `{}`",
            name.escape_debug()
        )));
    }
    Ok(())
}
