//! A disk that can be full or read-only: a file system in memory, mounted for one test.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{notice, temp_dir};

/// A mounted file system of a few megabytes; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one of `mib` megabytes. Only root may: for others it says loudly that the test is off.
    pub fn new(mib: usize) -> Option<Self> {
        let directory = temp_dir();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={mib}m"))
            .arg("streamforge-test")
            .arg(directory.path())
            .output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk { directory });
        }
        notice("DISK TEST OFF: only root can mount the small file system that it fills");
        None
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Takes all space that is left, until what this returns is dropped.
    ///
    /// # Panics
    /// If the file cannot be made.
    pub fn fill(&self) -> Ballast {
        self.take(usize::MAX)
    }

    /// Takes up to `mib` megabytes, until what this returns is dropped.
    ///
    /// # Panics
    /// If the file cannot be made.
    pub fn take(&self, mib: usize) -> Ballast {
        let path = (0..)
            .map(|number| self.path().join(format!("ballast-{number}")))
            .find(|path| !path.try_exists().unwrap_or(false))
            .expect("there is always another number");
        let mut file = File::create(&path).expect("the ballast can be made");
        let (mut taken, mut piece) = (0, 1 << 20);
        while taken < mib.saturating_mul(1 << 20) && piece >= 1 {
            match file.write(&vec![1; piece]) {
                Ok(written) if written > 0 => taken += written,
                // What no longer fits is tried in smaller pieces.
                _ => piece /= 2,
            }
        }
        Ballast(path)
    }

    /// Mounts it again so that it can only be read; nothing on it may be open for writing.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn make_read_only(&self) {
        self.remount("remount,ro");
    }

    /// Takes that back.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn make_writable(&self) {
        self.remount("remount,rw");
    }

    fn remount(&self, how: &str) {
        let status = Command::new("mount")
            .args(["-o", how])
            .arg(self.path())
            .status()
            .expect("mount starts");
        assert!(status.success(), "{how}: {status}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, in case a failed test has left something open; it fails only when it is gone already.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Space taken; given back when dropped.
#[derive(Debug)]
pub struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        // The file system may be gone with its test.
        let _ = std::fs::remove_file(&self.0);
    }
}
