//! Takes possession of the data directory: one process at a time, one version of the layout.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::log::replace_file;

const VERSION: &str = "streamforge-streaming-server 1";

/// A data directory held by this process until dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates or opens the directory and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| Error::Storage { path, source }
        };
        fs::create_dir_all(path).map_err(fail(path))?;
        let lock_path = path.join("LOCK");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(fail(&lock_path))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Error::InUse {
                    path: path.to_owned(),
                });
            }
            outcome => outcome.map_err(io::Error::from).map_err(fail(&lock_path))?,
        }
        let version_path = path.join("VERSION");
        match fs::read_to_string(&version_path) {
            Ok(found) if found.trim_end() == VERSION => {}
            Ok(found) => {
                let found = format!("of version `{}`", found.trim_end().escape_debug());
                return Err(Error::Version {
                    path: path.to_owned(),
                    found,
                    expected: VERSION,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if holds_others(path).map_err(fail(path))? {
                    let found = "not empty and without a version".to_owned();
                    return Err(Error::Version {
                        path: path.to_owned(),
                        found,
                        expected: VERSION,
                    });
                }
                replace_file(&version_path, VERSION.as_bytes()).map_err(fail(&version_path))?;
            }
            Err(error) => return Err(fail(&version_path)(error)),
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where the list of topics is kept.
    pub(crate) fn catalog_file(&self) -> PathBuf {
        self.path.join("catalog.json")
    }

    /// Where the partitions of a topic are kept.
    pub(crate) fn topic_directory(&self, id: uuid::Uuid) -> PathBuf {
        self.path.join("logs").join(id.to_string())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether there is more than the lock and what a first start that was killed leaves of its version.
fn holds_others(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if name != "LOCK" && name != "VERSION.tmp" {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_was_killed_before_its_version_stood_is_begun_again() {
        let dir = testkit::temp_dir();
        fs::write(dir.path().join("VERSION.tmp"), b"str").unwrap();
        drop(DataDir::open(dir.path()).unwrap());
        assert_eq!(
            fs::read_to_string(dir.path().join("VERSION")).unwrap(),
            VERSION
        );
    }

    #[test]
    fn a_directory_of_something_else_is_refused() {
        let dir = testkit::temp_dir();
        fs::write(dir.path().join("photos.zip"), b"").unwrap();
        let refused = DataDir::open(dir.path()).map(|_| ()).unwrap_err();
        assert!(matches!(refused, Error::Version { .. }), "{refused}");
    }
}
