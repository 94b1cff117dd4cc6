//! The `filesystem` connector: bounded reading of local files, and files that appear when a checkpoint completes.

pub(crate) mod sink;
pub(crate) mod source;

use std::path::PathBuf;

use crate::error::Error;
use crate::formats::options;
use crate::table::TableDefinition;

/// The local path of option `path`.
fn local_path(table: &TableDefinition) -> Result<PathBuf, Error> {
    let path = options::need(table, "path")?;
    let local = match path.split_once(":/") {
        None => path,
        Some(("file", rest)) => rest.trim_start_matches('/'),
        Some(_) => {
            return Err(Error::invalid(format!(
                "option 'path' of table {} is '{path}'; only file:// is supported",
                table.path
            )));
        }
    };
    let rooted = path.starts_with("file:");
    Ok(if rooted {
        PathBuf::from("/").join(local)
    } else {
        PathBuf::from(local)
    })
}
