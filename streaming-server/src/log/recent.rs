//! The newest batches of a partition, kept in memory so that a consumer at the tail costs no read.
//!
//! Bounded twice: per partition, and by a budget that all partitions share.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Env;

#[derive(Debug)]
struct Cached {
    base_offset: i64,
    last_offset: i64,
    bytes: Bytes,
}

/// A contiguous run of batches that ends at the log's end.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    batches: VecDeque<Cached>,
    used: usize,
}

impl Recent {
    pub(crate) fn push(&mut self, env: &Env, base_offset: i64, last_offset: i64, bytes: Bytes) {
        self.used += bytes.len();
        env.recent_used
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.batches.push_back(Cached {
            base_offset,
            last_offset,
            bytes,
        });
        while self.used > env.recent_per_partition
            || (self.used > 0 && env.recent_used.load(Ordering::Relaxed) > env.recent_total)
        {
            self.drop_oldest(env);
        }
    }

    /// Whole batches from the one that holds `offset` up to `max_bytes` and below `end`; `None` if not held.
    ///
    /// The first batch is given even when it is larger than `max_bytes` if `whole_first`.
    pub(crate) fn read(
        &self,
        offset: i64,
        end: i64,
        max_bytes: usize,
        whole_first: bool,
    ) -> Option<Vec<Bytes>> {
        let first = self
            .batches
            .partition_point(|cached| cached.last_offset < offset);
        if self.batches.get(first)?.base_offset > offset {
            return None;
        }
        let mut found = Vec::new();
        let mut n_bytes = 0;
        for cached in self
            .batches
            .iter()
            .skip(first)
            .take_while(|cached| cached.last_offset < end)
        {
            n_bytes += cached.bytes.len();
            if n_bytes > max_bytes && !(found.is_empty() && whole_first) {
                break;
            }
            found.push(cached.bytes.clone());
        }
        Some(found)
    }

    pub(crate) fn clear(&mut self, env: &Env) {
        while !self.batches.is_empty() {
            self.drop_oldest(env);
        }
    }

    fn drop_oldest(&mut self, env: &Env) {
        if let Some(cached) = self.batches.pop_front() {
            self.used -= cached.bytes.len();
            env.recent_used
                .fetch_sub(cached.bytes.len() as u64, Ordering::Relaxed);
        }
    }
}
