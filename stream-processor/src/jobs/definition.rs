//! What is kept of a job so that another process can plan it again.

use std::borrow::Borrow;
use std::fmt;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::runtime::job::stats::JobState;
use crate::runtime::supervisor::CheckpointPlace;

/// The directory of definitions beside those of the jobs.
const DIRECTORY: &str = "definitions";

/// 32 hexadecimal digits, as Flink's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct JobId(String);

/// A job as text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Definition {
    pub(crate) id: JobId,
    pub(crate) name: String,
    /// Milliseconds since the epoch.
    pub(crate) created_at: i64,
    /// Every statement of the session up to the one that started the job, which is the last.
    pub(crate) statements: Vec<String>,
    /// Set when nothing will happen any more.
    pub(crate) end: Option<JobState>,
}

impl Definition {
    pub(super) fn new(name: String, statements: Vec<String>, created_at: i64) -> Self {
        let id = JobId(uuid::Uuid::new_v4().simple().to_string());
        Definition {
            id,
            name,
            created_at,
            statements,
            end: None,
        }
    }

    pub(super) fn ended(self, end: JobState) -> Self {
        Definition {
            end: Some(end),
            ..self
        }
    }

    pub(super) async fn save(&self, place: &CheckpointPlace) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::caused("could not write a job's definition", error))?;
        let path = place
            .base
            .clone()
            .join(DIRECTORY)
            .join(format!("{}.json", self.id));
        place
            .store
            .put(&path, PutPayload::from(text))
            .await
            .map_err(|error| {
                Error::caused(
                    format!("could not store the job's definition {path}"),
                    error,
                )
            })?;
        Ok(())
    }

    /// Every definition in storage.
    pub(super) async fn all(place: &CheckpointPlace) -> Result<Vec<Definition>, Error> {
        let directory = place.base.clone().join(DIRECTORY);
        let listed = |error| Error::caused(format!("could not list {directory}"), error);
        let paths: Vec<Path> = place
            .store
            .list(Some(&directory))
            .map_ok(|object| object.location)
            .try_collect()
            .await
            .map_err(listed)?;
        let mut all = Vec::new();
        for path in paths {
            let read = |error| Error::caused(format!("could not read {path}"), error);
            let bytes = place
                .store
                .get(&path)
                .await
                .map_err(read)?
                .bytes()
                .await
                .map_err(read)?;
            let definition = serde_json::from_slice(&bytes).map_err(|error| {
                Error::caused(format!("{path} is no definition of a job"), error)
            })?;
            all.push(definition);
        }
        Ok(all)
    }
}

impl JobId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Borrow<str> for JobId {
    fn borrow(&self) -> &str {
        &self.0
    }
}
