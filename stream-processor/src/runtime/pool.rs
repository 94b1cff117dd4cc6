//! The threads that run tasks: a fixed number, each taking the next task that has something to do.
//!
//! It is apart from tokio so that operators, which compute for milliseconds, never delay the network. A task is woken
//! by [`Waker::wake`], runs one [`Step::step`] at a time on one thread, and is gone once a step says
//! [`Next::Done`] or panics. A wake during a step is not lost: the task runs again.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::error::Error;

/// What a step asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// There is more to do; others may go first.
    Again,
    /// Nothing to do until woken.
    Wait,
    /// Finished; the step is dropped.
    Done,
}

/// A cooperative task.
pub(crate) trait Step: Send {
    /// Does a few milliseconds of work.
    fn step(&mut self) -> Next;
    /// A step panicked with `message`; the task is dropped afterwards.
    fn panicked(&mut self, message: String);
}

/// The threads; dropping it stops them after their current steps.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Wakes one task; clones wake the same one.
#[derive(Clone)]
pub(crate) struct Waker(Arc<Slot>);

struct Shared {
    ready: Mutex<Ready>,
    work: Condvar,
}

#[derive(Default)]
struct Ready {
    queue: VecDeque<Arc<Slot>>,
    stopped: bool,
}

struct Slot {
    state: AtomicU8,
    step: Mutex<Option<Box<dyn Step>>>,
    shared: Arc<Shared>,
}

const WAITING: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const WOKEN: u8 = 3;

// === impl Pool ===

impl Pool {
    /// Starts `threads` threads (at least one).
    pub(crate) fn start(threads: usize) -> Result<Pool, Error> {
        let shared = Arc::new(Shared {
            ready: Mutex::default(),
            work: Condvar::new(),
        });
        let threads = (0..threads.max(1))
            .map(|index| {
                let shared = shared.clone();
                std::thread::Builder::new()
                    .name(format!("stream-{index}"))
                    .spawn(move || shared.run())
                    .map_err(|error| Error::caused("could not start a stream thread", error))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(Pool { shared, threads })
    }

    /// A place for a task, whose wakers may be handed out before the task exists; wakes before
    /// [`Waker::install`] are ignored.
    pub(crate) fn slot(&self) -> Waker {
        Waker(Arc::new(Slot {
            state: AtomicU8::new(WAITING),
            step: Mutex::new(None),
            shared: self.shared.clone(),
        }))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let mut ready = self.shared.ready.lock();
            ready.stopped = true;
            ready.queue.clear();
        }
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A panic of a step has been caught and reported; the thread itself has nothing to say.
            let _ = thread.join();
        }
    }
}

// === impl Waker ===

impl Waker {
    /// Puts the task in its place and lets it run for the first time.
    pub(crate) fn install(&self, step: Box<dyn Step>) {
        *self.0.step.lock() = Some(step);
        self.wake();
    }

    /// Lets the task run (again) soon.
    pub(crate) fn wake(&self) {
        let slot = &self.0;
        loop {
            let state = slot.state.load(Ordering::Acquire);
            let next = match state {
                WAITING => QUEUED,
                RUNNING => WOKEN,
                _ => return,
            };
            let swapped =
                slot.state
                    .compare_exchange(state, next, Ordering::AcqRel, Ordering::Acquire);
            if swapped.is_ok() {
                if next == QUEUED {
                    slot.shared.push(slot.clone());
                }
                return;
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    fn push(&self, slot: Arc<Slot>) {
        let mut ready = self.ready.lock();
        if !ready.stopped {
            ready.queue.push_back(slot);
            drop(ready);
            self.work.notify_one();
        }
    }

    fn run(&self) {
        while let Some(slot) = self.next() {
            slot.run();
        }
    }

    fn next(&self) -> Option<Arc<Slot>> {
        let mut ready = self.ready.lock();
        loop {
            if ready.stopped {
                return None;
            }
            if let Some(slot) = ready.queue.pop_front() {
                return Some(slot);
            }
            self.work.wait(&mut ready);
        }
    }
}

// === impl Slot ===

impl Slot {
    fn run(self: Arc<Self>) {
        self.state.store(RUNNING, Ordering::Release);
        let mut held = self.step.lock();
        let Some(step) = held.as_mut() else {
            drop(held);
            self.state.store(WAITING, Ordering::Release);
            return;
        };
        let next = catch_unwind(AssertUnwindSafe(|| step.step())).unwrap_or_else(|payload| {
            step.panicked(panic_text(&*payload));
            Next::Done
        });
        if next == Next::Done {
            *held = None;
        }
        drop(held);
        let woken = self
            .state
            .compare_exchange(RUNNING, WAITING, Ordering::AcqRel, Ordering::Acquire)
            .is_err();
        if woken || next == Next::Again {
            self.state.store(QUEUED, Ordering::Release);
            self.shared.clone().push(self);
        }
    }
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
