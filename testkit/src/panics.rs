//! Panics that no test would notice: those of a server's own threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often threads that are not tests have panicked since it was made.
#[derive(Debug, Clone)]
pub struct Panics(Arc<AtomicU64>);

impl Panics {
    /// Counts from now on, in this whole process.
    pub fn count() -> Self {
        let count = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&count);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            // The harness names threads after their test, with its module.
            if thread.name().is_none_or(|name| !name.contains("::")) {
                counter.fetch_add(1, Ordering::SeqCst);
            }
            before(info);
        }));
        Panics(count)
    }

    /// How many there were.
    pub fn so_far(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
