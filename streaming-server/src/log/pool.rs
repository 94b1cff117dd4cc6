//! Dedicated threads for file I/O, so that a slow disk never stalls a network task.
//!
//! Jobs are closures; whoever submits one arranges how its outcome comes back. Dropping the pool finishes queued jobs.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

type Job = Box<dyn FnOnce() + Send>;

/// A fixed set of threads that run jobs in order of arrival.
pub(crate) struct Pool {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Pool {
    pub(crate) fn start(name: &str, n_threads: usize) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let threads = (0..n_threads.max(1))
            .map(|_| {
                let queue = Arc::clone(&queue);
                std::thread::Builder::new()
                    .name(name.to_owned())
                    .spawn(move || work(&queue))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { queue, threads })
    }

    pub(crate) fn submit(&self, job: impl FnOnce() + Send + 'static) {
        self.queue.state.lock().jobs.push_back(Box::new(job));
        self.queue.wake.notify_one();
    }

    /// Runs `job` on the pool and waits for its value.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.submit(move || {
            // The asker may have gone away; then nobody wants the value.
            let _ = sender.send(job());
        });
        receiver.await.ok()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.state.lock().closed = true;
        self.queue.wake.notify_all();
        for thread in self.threads.drain(..) {
            // The last owner may be one of the pool's own jobs; a thread cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("an I/O thread panicked");
            }
        }
    }
}

fn work(queue: &Queue) {
    loop {
        let mut state = queue.state.lock();
        let job = loop {
            if let Some(job) = state.jobs.pop_front() {
                break job;
            }
            if state.closed {
                return;
            }
            queue.wake.wait(&mut state);
        };
        drop(state);
        // One broken job must not take the thread, and with it every other partition, down.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("an I/O job panicked");
        }
    }
}
