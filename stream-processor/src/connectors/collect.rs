//! The `collect` sink: rows of a query wait here, within a byte bound, until the gateway's client takes them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::operator::CheckpointId;
use crate::runtime::channel::batch_bytes;
use crate::runtime::ends::{Prepared, SinkWriter};
use crate::runtime::pool::Waker;

/// The results of all queries that run.
pub(crate) struct Collects {
    budget: usize,
    by_job: Mutex<HashMap<String, Arc<CollectQueue>>>,
}

/// The rows of one query.
pub(crate) struct CollectQueue {
    state: Mutex<State>,
    budget: usize,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    batches: VecDeque<ChangeBatch>,
    bytes: usize,
    writers: Vec<Waker>,
}

struct Collect {
    queue: Arc<CollectQueue>,
}

impl Collects {
    pub(crate) fn new(budget: usize) -> Self {
        Collects {
            budget,
            by_job: Mutex::default(),
        }
    }

    /// Makes a place for the rows of `job`, which is about to start.
    pub(crate) fn expect(&self, job: &str) -> Arc<CollectQueue> {
        let queue = Arc::new(CollectQueue {
            state: Mutex::default(),
            budget: self.budget,
            arrived: Notify::new(),
        });
        self.by_job.lock().insert(job.to_owned(), queue.clone());
        queue
    }

    /// Nobody will read the rows of `job` any more.
    pub(crate) fn forget(&self, job: &str) {
        self.by_job.lock().remove(job);
    }

    /// Opens an instance of the sink.
    pub(crate) fn open(&self, job: &str, waker: Waker) -> Result<Box<dyn SinkWriter>, Error> {
        let queue = self.by_job.lock().get(job).cloned();
        let queue = queue.ok_or_else(|| {
            Error::invalid("connector 'collect' is only for the rows of a SELECT")
        })?;
        queue.state.lock().writers.push(waker);
        Ok(Box::new(Collect { queue }))
    }
}

impl CollectQueue {
    /// Takes what has arrived.
    pub(crate) fn take(&self) -> Vec<ChangeBatch> {
        let (batches, writers) = {
            let mut state = self.state.lock();
            state.bytes = 0;
            (std::mem::take(&mut state.batches), state.writers.clone())
        };
        writers.iter().for_each(Waker::wake);
        batches.into()
    }

    /// Waits until something has arrived.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

impl SinkWriter for Collect {
    fn write(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        {
            let mut state = self.queue.state.lock();
            state.bytes += batch_bytes(&batch);
            state.batches.push_back(batch);
        }
        self.queue.arrived.notify_one();
        Ok(())
    }

    fn is_ready(&mut self) -> bool {
        self.queue.state.lock().bytes < self.queue.budget
    }

    fn prepare(&mut self, _checkpoint: CheckpointId) -> Prepared {
        async { Ok(Vec::new()) }.boxed()
    }
}
