//! Who may use a data directory: one process, of the version that wrote it.
//!
//! Checked before anything is written, so that a wrong directory stays as it was.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;

use crate::Error;

/// What the version file of this program's directories says.
pub(crate) const VERSION: &str = "streamforge storage-service 1";

/// Holds the directory for this process until dropped.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes `dir`, making it if there is none.
    pub(crate) fn take(dir: &Path) -> Result<Self, Error> {
        let failed = |source| Error::DataDir {
            path: dir.to_owned(),
            source,
        };
        check_version(dir)?;
        fs::create_dir_all(dir).map_err(failed)?;
        let path = dir.join("LOCK");
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::InUse {
                    path: dir.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // Another process may have made the directory its own while we waited for nothing.
        check_version(dir)?;
        write_version(dir).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn check_version(dir: &Path) -> Result<(), Error> {
    let refuse = |found: String| {
        let wanted = format!("`{VERSION}`");
        Err(Error::Version {
            path: dir.to_owned(),
            found,
            wanted,
        })
    };
    match fs::read(dir.join("VERSION")) {
        Ok(found) if found.trim_ascii() == VERSION.as_bytes() => Ok(()),
        Ok(found) => refuse(format!("`{}`", String::from_utf8_lossy(found.trim_ascii()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match strange_entry(dir)? {
            Some(entry) => refuse(format!("no version file, but `{entry}`")),
            None => Ok(()),
        },
        Err(source) => Err(Error::DataDir {
            path: dir.join("VERSION"),
            source,
        }),
    }
}

/// Something in a directory without version file that a start cut short does not explain.
fn strange_entry(dir: &Path) -> Result<Option<String>, Error> {
    let failed = |source| Error::DataDir {
        path: dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    for entry in entries {
        let name = entry
            .map_err(failed)?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if !matches!(name.as_str(), "LOCK" | "VERSION.new" | "lost+found") {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn write_version(dir: &Path) -> io::Result<()> {
    if fs::exists(dir.join("VERSION"))? {
        return Ok(());
    }
    let mut file = File::create(dir.join("VERSION.new"))?;
    writeln!(file, "{VERSION}")?;
    file.sync_all()?;
    fs::rename(dir.join("VERSION.new"), dir.join("VERSION"))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
