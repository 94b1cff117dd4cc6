//! Commits what sinks prepared, after the checkpoint that holds it has been published.
//!
//! Each sink has one committer, and its commits go in order; what queues up while a commit runs is handed to the next
//! one together, so a sink that falls behind catches up.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::Error;
use crate::graph::NodeKind;
use crate::operator::CheckpointId;
use crate::runtime::ends::{Committer, PendingCommit, SinkContext};
use crate::runtime::job::Attempt;

/// The committers of a job, each in its own task.
pub(crate) struct Committers {
    queues: BTreeMap<String, mpsc::UnboundedSender<PendingCommit>>,
    running: JoinSet<Result<(), Error>>,
    done: mpsc::UnboundedReceiver<(String, CheckpointId)>,
    /// What has not been committed yet, by uid of the sink, oldest first.
    pending: BTreeMap<String, Vec<PendingCommit>>,
}

impl Committers {
    /// Opens them and first commits what the restored checkpoint says was prepared.
    pub(crate) async fn open(attempt: &Attempt<'_>) -> Result<Committers, Error> {
        let (tell, done) = mpsc::unbounded_channel();
        let mut this = Committers {
            queues: BTreeMap::new(),
            running: JoinSet::new(),
            done,
            pending: BTreeMap::new(),
        };
        let restored = attempt.restored.as_ref();
        let mut left_over = restored
            .map(|restored| restored.manifest.pending.clone())
            .unwrap_or_default();
        for node in &attempt.graph.nodes {
            let NodeKind::Sink(spec) = &node.kind else {
                continue;
            };
            let context = SinkContext {
                job: attempt.job.to_owned(),
                uid: node.uid.clone(),
            };
            let Some(mut committer) = attempt.ends.committer(spec, &context).await? else {
                continue;
            };
            if let Some(pending) = left_over.remove(&node.uid) {
                committer.commit(&pending).await?;
            }
            let (queue, incoming) = mpsc::unbounded_channel();
            this.queues.insert(node.uid.clone(), queue);
            this.running
                .spawn(serve(committer, node.uid.clone(), incoming, tell.clone()));
        }
        match left_over.keys().next() {
            None => Ok(this),
            Some(uid) => Err(Error::Restore {
                message: format!(
                    "the checkpoint holds rows for the sink `{uid}`, which the job no longer has"
                ),
            }),
        }
    }

    /// What a manifest written now must hold, with `new` added.
    pub(crate) fn pending_with(
        &self,
        new: &BTreeMap<String, PendingCommit>,
    ) -> BTreeMap<String, Vec<PendingCommit>> {
        let mut pending = self.pending.clone();
        for (uid, commit) in new {
            pending.entry(uid.clone()).or_default().push(commit.clone());
        }
        pending.retain(|_, commits| !commits.is_empty());
        pending
    }

    /// Commits `new`, whose checkpoint has been published.
    pub(crate) fn commit(&mut self, new: BTreeMap<String, PendingCommit>) -> Result<(), Error> {
        for (uid, commit) in new {
            let Some(queue) = self.queues.get(&uid) else {
                return Err(Error::failed(format!(
                    "sink `{uid}` prepared rows but has no committer"
                )));
            };
            self.pending.entry(uid).or_default().push(commit.clone());
            // If the committer is gone, its error comes out of `progress`.
            let _ = queue.send(commit);
        }
        Ok(())
    }

    /// The longest queue.
    pub(crate) fn backlog(&self) -> usize {
        self.pending.values().map(Vec::len).max().unwrap_or(0)
    }

    /// Waits until a commit is done, or fails.
    pub(crate) async fn progress(&mut self) -> Result<(), Error> {
        tokio::select! {
            Some((uid, checkpoint)) = self.done.recv() => {
                if let Some(pending) = self.pending.get_mut(&uid) {
                    pending.retain(|commit| commit.checkpoint > checkpoint);
                }
                Ok(())
            }
            Some(ended) = self.running.join_next() => ended
                .map_err(|error| Error::caused("a committer stopped", error))?,
            else => std::future::pending().await,
        }
    }
}

async fn serve(
    mut committer: Box<dyn Committer>,
    uid: String,
    mut incoming: mpsc::UnboundedReceiver<PendingCommit>,
    tell: mpsc::UnboundedSender<(String, CheckpointId)>,
) -> Result<(), Error> {
    while let Some(first) = incoming.recv().await {
        let mut batch = vec![first];
        while let Ok(next) = incoming.try_recv() {
            batch.push(next);
        }
        let newest = batch.last().map(|commit| commit.checkpoint);
        committer.commit(&batch).await?;
        if let Some(newest) = newest {
            // Nobody listens any more once the attempt is over.
            let _ = tell.send((uid.clone(), newest));
        }
    }
    Ok(())
}
