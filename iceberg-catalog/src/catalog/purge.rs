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
                    None => self.shared.purge_wanted.notified().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = again => {}
            }
        }
    }

    async fn purge_all(&self) -> Result<(), Error> {
        loop {
            let locations = self.shared.database.purges().await.map_err(unreadable)?;
            if locations.is_empty() {
                return Ok(());
            }
            for location in locations {
                self.purge(&location).await?;
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
