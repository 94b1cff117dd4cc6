//! The data directory: who may use it, and which version of the program wrote it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use rustix::fs::FlockOperation;

use crate::service::Service;

/// Changes when an older program could not read what a newer one writes.
const FORMAT: &str = "1";

/// Holds the directory for this process's services until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    _locks: Vec<File>,
}

/// Claims the directory `root` for `services`, making it if it is missing.
///
/// # Errors
/// If another process runs one of the services on it, or a program of another format wrote it; nothing is written then.
pub(crate) fn claim(root: &Path, services: &[Service]) -> anyhow::Result<Claim> {
    check_format(root)?;
    let locks = root.join("locks");
    fs::create_dir_all(&locks)
        .with_context(|| format!("could not make the data directory {}", root.display()))?;
    let mut held = Vec::new();
    for service in services.iter().filter(|service| service.has_data()) {
        held.push(lock(root, &locks.join(service.name()), *service)?);
    }
    let version = root.join("VERSION");
    if !version.try_exists().unwrap_or(false) {
        write_whole(&version, format!("{FORMAT}\n").as_bytes())
            .with_context(|| format!("could not write {}", version.display()))?;
    }
    Ok(Claim { _locks: held })
}

/// Writes beside and renames, so that a disk that is full leaves no file without its content.
fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, content)
        .and_then(|()| fs::rename(&partial, path))
        .inspect_err(|_| {
            // It may not be there; what matters is the first error.
            let _ = fs::remove_file(&partial);
        })
}

fn check_format(root: &Path) -> anyhow::Result<()> {
    match fs::read_to_string(root.join("VERSION")) {
        Ok(found) if found.trim() == FORMAT => Ok(()),
        Ok(found) => bail!(
            "the data directory {} has format {}, and this program reads and writes format {FORMAT}; choose another \
             with --data-dir, or use the program that wrote it",
            root.display(),
            found.trim()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            Err(error).with_context(|| format!("could not read {}/VERSION", root.display()))
        }
    }
}

fn lock(root: &Path, path: &Path, service: Service) -> anyhow::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("could not open {}", path.display()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => bail!(
            "the data directory {} is in use: another process runs {service} on it; stop that one, or choose another \
             directory with --data-dir",
            root.display()
        ),
        Err(error) => Err(io::Error::from(error))
            .with_context(|| format!("could not lock {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_refused_until_it_is_free() {
        let root = testkit::temp_dir();
        let held = claim(root.path(), &[Service::StorageService]).unwrap();
        let refused = claim(root.path(), &[Service::StorageService])
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("another process runs storage-service"),
            "{refused}"
        );
        claim(root.path(), &[Service::IcebergCatalog]).unwrap();
        drop(held);
        claim(root.path(), &[Service::StorageService]).unwrap();
    }

    #[test]
    fn a_directory_of_another_format_is_refused_and_left_as_it_is() {
        let root = testkit::temp_dir();
        fs::write(root.path().join("VERSION"), "7\n").unwrap();
        let refused = claim(root.path(), &Service::ALL).unwrap_err().to_string();
        assert!(refused.contains("has format 7"), "{refused}");
        assert!(!root.path().join("locks").try_exists().unwrap());
    }
}
