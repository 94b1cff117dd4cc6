//! Takes up the jobs that an earlier process left: their statements are executed and planned again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::replay::Unchanged;
use super::{Definition, Entry, Jobs, vertices};
use crate::error::Error;
use crate::graph::StreamGraph;
use crate::runtime::job::Command;
use crate::runtime::job::stats::JobState;
use crate::sql::{CatalogConnector, Session, StatementResult};

impl Jobs {
    /// Finds the jobs in storage and takes up those that have not ended; the storage may come up later than we do, so
    /// whoever calls repeats it after an error.
    pub(crate) async fn resume(&self) -> Result<(), Error> {
        for definition in Definition::all(&self.0.place).await? {
            if self.get(definition.id.as_str()).is_some() {
                continue;
            }
            let (entry, commands) = self.enter(&definition);
            match definition.end {
                Some(end) => entry.stats.set(end),
                None => self.take_up(entry, definition, commands),
            }
        }
        Ok(())
    }

    fn take_up(
        &self,
        entry: Arc<Entry>,
        definition: Definition,
        mut commands: mpsc::Receiver<Command>,
    ) {
        let jobs = self.clone();
        self.spawn(async move {
            let mut delay = jobs.0.config.restart_delay;
            loop {
                match jobs.plan(&definition.statements).await {
                    Ok(graph) => {
                        *entry.vertices.lock() = vertices(&graph);
                        info!(job = %entry.id, name = entry.name, "job is taken up again");
                        jobs.run(entry, definition, graph, commands, true);
                        return;
                    }
                    Err(error) => {
                        let error = telemetry::chain(&error).to_string();
                        warn!(job = %entry.id, error, "could not plan a job again");
                        entry.stats.failed_attempt(error);
                        entry.stats.set(JobState::Restarting);
                    }
                }
                if told_to_stop(&entry, &mut commands, delay).await {
                    jobs.note_end(&entry, definition).await;
                    return;
                }
                delay = (delay * 2).min(jobs.0.config.restart_delay_max);
            }
        });
    }

    /// The graph of the last statement after all before it.
    async fn plan(&self, statements: &[String]) -> Result<StreamGraph, Error> {
        let Some((last, before)) = statements.split_last() else {
            return Err(Error::failed("the job's definition has no statements"));
        };
        let mut options = self.0.sessions.clone();
        options.catalogs = options
            .catalogs
            .map(|catalogs| Arc::new(Unchanged(catalogs)) as Arc<dyn CatalogConnector>);
        let mut session = Session::new(options);
        for statement in before {
            // A CREATE in a catalog that outlives the session says that the table is there. Whether anything is missing
            // shows when the last statement is planned.
            if let Err(error) = session.execute(statement).await {
                info!(statement, error = %telemetry::chain(&error), "not repeated");
            }
        }
        match session.execute(last).await? {
            StatementResult::Job(graph) => Ok(graph),
            _ => Err(Error::failed(
                "the last statement of the job's definition starts no job",
            )),
        }
    }
}

/// Waits for `delay`; true if the job is not to be tried again by this process.
async fn told_to_stop(
    entry: &Entry,
    commands: &mut mpsc::Receiver<Command>,
    delay: Duration,
) -> bool {
    let pause = tokio::time::sleep(delay);
    tokio::pin!(pause);
    loop {
        tokio::select! {
            () = &mut pause => return false,
            command = commands.recv() => match command {
                Some(Command::Savepoint { reply, .. }) => {
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(Err(Error::failed("the job is restarting")));
                }
                Some(Command::Drain) => {
                    entry.stats.set(JobState::Suspended);
                    return true;
                }
                Some(Command::Cancel) | None => {
                    entry.stats.set(JobState::Canceled);
                    return true;
                }
            },
        }
    }
}
