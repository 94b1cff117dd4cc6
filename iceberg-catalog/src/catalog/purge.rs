//! Deletes files that no one needs any more, beside the requests that made them so.
//!
//! The files of purged tables go after the drop is durable, and again after a restart until all are gone. Metadata
//! files that fell out of a table's log go as soon as the commit stands; one that stays behind harms no one.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Catalog, Error, failed, unreadable};
use crate::database::writer::Change;
use crate::files::Files;

/// How long to wait before files that could not be deleted are tried again.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(30);

impl Catalog {
    /// Works off the purges until `shutdown`.
    pub(crate) async fn purge_until(self, shutdown: CancellationToken) {
        loop {
            let pause = match self.purge_all().await {
                Ok(()) => None,
                Err(error) => {
                    warn!(error = %telemetry::chain(&error), "purge put off");
                    Some(PAUSE)
                }
            };
            let again = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.shared.purge_wanted.notified() => {}
                () = again => {}
            }
        }
    }

    /// One that fails keeps none of the others waiting; the last failure is returned.
    async fn purge_all(&self) -> Result<(), Error> {
        let mut outcome = Ok(());
        let mut after = String::new();
        loop {
            let purges = self.shared.database.purges(&after).await;
            let locations = purges.map_err(unreadable)?;
            let Some(last) = locations.last() else {
                return outcome;
            };
            after.clone_from(last);
            for location in locations {
                match self.purge(&location).await {
                    Ok(()) => {}
                    Err(Error::Invalid(why)) => {
                        warn!(
                            location,
                            why, "purged table's files kept: they are not ours to delete"
                        );
                    }
                    Err(error) => {
                        outcome = Err(error);
                        continue;
                    }
                }
                let change = Change::Purged { location };
                self.shared.writer.make(change).await.map_err(failed)?;
            }
        }
    }

    /// Files that another table may use stay.
    async fn purge(&self, location: &str) -> Result<(), Error> {
        if self
            .shared
            .database
            .shares_location(location)
            .await
            .map_err(unreadable)?
        {
            warn!(
                location,
                "purged table's files kept: another table shares them"
            );
            return Ok(());
        }
        let n_files = self.shared.files.delete_all(location).await?;
        self.shared.metrics.purged_files.inc_by(n_files);
        info!(location, n_files, "purged table's files deleted");
        Ok(())
    }
}

/// Deletes metadata files that left their tables' logs, until the catalog is gone and none is left.
pub(crate) async fn delete_expired(files: Files, mut expired: mpsc::Receiver<String>) {
    while let Some(metadata_location) = expired.recv().await {
        if let Err(error) = files.delete(&metadata_location).await {
            warn!(
                metadata_location,
                error = %telemetry::chain(&error),
                "expired metadata file left behind"
            );
        }
    }
}
