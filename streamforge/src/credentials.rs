//! The secrets of this installation: made at the first start, kept in one file that a shell can source.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::SeedableRng;

/// What the file holds.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) admin_password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Stands for secrets that will be made, while it is checked whether the configuration could work with them.
    pub(crate) fn placeholder() -> Self {
        let some = || "placeholder".to_owned();
        Credentials {
            access_key_id: some(),
            secret_access_key: some(),
            admin_password: some(),
        }
    }
}

/// Where they are kept.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("credentials.env")
}

/// Reads the file, or makes it with new secrets. The environment's `AWS_…` pair goes before the file's.
pub(crate) fn load_or_create(data_dir: &Path) -> anyhow::Result<Credentials> {
    let path = path(data_dir);
    let credentials = match read(&path)? {
        Some(credentials) => credentials,
        None => create(&path)?,
    };
    Ok(with_environment(credentials))
}

/// The secrets for a client: from the environment, else from the file, else none (for services that ask for none).
pub(crate) fn find(data_dir: &Path) -> anyhow::Result<Credentials> {
    let nothing = || Credentials {
        access_key_id: String::new(),
        secret_access_key: String::new(),
        admin_password: String::new(),
    };
    Ok(with_environment(
        read(&path(data_dir))?.unwrap_or_else(nothing),
    ))
}

fn with_environment(mut credentials: Credentials) -> Credentials {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let (Some(id), Some(secret)) = (
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY"),
    ) {
        credentials.access_key_id = id;
        credentials.secret_access_key = secret;
    }
    credentials
}

fn read(path: &Path) -> anyhow::Result<Option<Credentials>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("could not read {}", path.display()));
        }
    };
    let value = |name: &str| {
        let found = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        match found.map(|value| value.trim().trim_matches(['\'', '"'])) {
            Some(value) if !value.is_empty() => Ok(value.to_owned()),
            _ => bail!(
                "{} has no `{name}`; restore it, or remove the file to have new secrets made",
                path.display()
            ),
        }
    };
    Ok(Some(Credentials {
        access_key_id: value("AWS_ACCESS_KEY_ID")?,
        secret_access_key: value("AWS_SECRET_ACCESS_KEY")?,
        admin_password: value("STREAMFORGE_ADMIN_PASSWORD")?,
    }))
}

fn create(path: &Path) -> anyhow::Result<Credentials> {
    let id: String = secret::<15>().to_uppercase().replace(['-', '_'], "A");
    let credentials = Credentials {
        access_key_id: format!("SF{id}"),
        secret_access_key: secret::<30>(),
        admin_password: secret::<18>(),
    };
    let text = format!(
        "AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}\nSTREAMFORGE_ADMIN_PASSWORD={}\n",
        credentials.access_key_id, credentials.secret_access_key, credentials.admin_password
    );
    let write = || -> io::Result<()> {
        let half = path.with_extension(format!("env.{}", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&half)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // A link never replaces: of two processes that start together, both use what the first wrote.
        let linked = fs::hard_link(&half, path);
        fs::remove_file(&half)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    };
    write().with_context(|| format!("could not write {}", path.display()))?;
    read(path)?.with_context(|| format!("{} vanished while it was written", path.display()))
}

fn secret<const BYTES: usize>() -> String {
    let mut bytes = [0_u8; BYTES];
    rand::RngCore::fill_bytes(&mut rand::rngs::StdRng::from_os_rng(), &mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_made_once_and_only_the_owner_can_read_them() {
        let directory = testkit::temp_dir();
        let first = create(&path(directory.path())).unwrap();
        let mode = fs::metadata(path(directory.path()))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read(&path(directory.path())).unwrap(), Some(first));
    }

    #[test]
    fn a_file_without_a_secret_is_refused_by_name() {
        let directory = testkit::temp_dir();
        fs::write(path(directory.path()), "AWS_ACCESS_KEY_ID=a\n").unwrap();
        let refused = read(&path(directory.path())).unwrap_err().to_string();
        assert!(
            refused.contains("has no `AWS_SECRET_ACCESS_KEY`"),
            "{refused}"
        );
    }
}
