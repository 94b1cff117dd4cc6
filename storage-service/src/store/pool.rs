//! A fixed set of threads for blocking work: file reads and writes, index reads, hashing.
//!
//! Its own threads, because the reactor must not block and tokio's blocking pool is shared with the other services
//! of the process. Work comes from [`crate::store`]'s async methods and results go back through a oneshot channel.
//! The queue is bounded by its users: one request has at most two jobs in it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::Error;

type Job = Box<dyn FnOnce() + Send>;

/// Handle to the threads; the last handle dropped lets them finish what is queued and end.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    _owner: Arc<Owner>,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

struct Owner {
    shared: Arc<Shared>,
}

impl Pool {
    pub(crate) fn start(n_threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            ready: Condvar::new(),
        });
        for number in 0..n_threads {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("store-io-{number}"))
                .spawn(move || shared.work())?;
        }
        Ok(Self {
            _owner: Arc::new(Owner {
                shared: Arc::clone(&shared),
            }),
            shared,
        })
    }

    /// Starts `work` and returns where its result will be.
    pub(crate) fn start_job<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        self.detach(move || {
            // A request that went away no longer wants its result.
            let _ = sender.send(work());
        });
        receiver
    }

    /// Runs `work` and waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.start_job(work).await.map_err(|_| Error::Stopped)?
    }

    /// Runs `work` some time, with nobody waiting.
    pub(crate) fn detach(&self, work: impl FnOnce() + Send + 'static) {
        self.shared.queue.lock().jobs.push_back(Box::new(work));
        self.shared.ready.notify_one();
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let job = {
                let mut queue = self.queue.lock();
                loop {
                    if let Some(job) = queue.jobs.pop_front() {
                        break job;
                    }
                    if queue.closed {
                        return;
                    }
                    self.ready.wait(&mut queue);
                }
            };
            job();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.ready.notify_all();
    }
}
