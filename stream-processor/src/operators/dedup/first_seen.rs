//! The first row of a key by processing time: nothing is kept but a fingerprint of the key.
//!
//! Keys are forgotten after `table.exec.state.ttl`, in eighths of it. Only the youngest eighth grows; an older one is
//! packed once. What a checkpoint has got is kept here as fingerprints only: their key groups are with the checkpoint.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, RecordBatch, UInt16Array,
};
use arrow::buffer::Buffer;

use super::Dedup;
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::operator::{CheckpointId, Operator, Output, StateRows, StateTable};
use crate::operators::calc::keep_rows;
use crate::operators::fingerprint::{Packed, Print, Prints, WIDTH, print};
use crate::operators::keys::{AHEAD, Encoder, column, damaged, failed};

/// How many generations a time to live is cut into.
const GENERATIONS: i64 = 8;

/// Fewest rows of a block that is not written again to join it with the next one. Tests have few rows.
const FEWEST_ROWS: usize = if cfg!(test) { 100 } else { 1 << 16 };

/// Keys first seen in one eighth of the time to live, the youngest.
#[derive(Default)]
struct Growing {
    since: i64,
    prints: Prints,
    /// What was seen since the last checkpoint.
    fresh: Block,
    /// What the last checkpoint got and is still small; it is written again with what came after.
    small: Option<StateRows>,
    /// What checkpoints have, unchanged from one to the next.
    sealed: Vec<StateRows>,
}

/// Fingerprints and the key groups of their keys, to be written.
#[derive(Default)]
struct Block {
    groups: Vec<u16>,
    prints: Vec<u8>,
}

/// Keys first seen in an older eighth.
struct Frozen {
    since: i64,
    prints: Packed,
    /// What checkpoints have of them.
    saved: Vec<StateRows>,
}

/// First by processing time.
pub(super) struct FirstSeen {
    plan: Dedup,
    keys: Encoder,
    now: Option<i64>,
    /// Oldest first.
    older: Vec<Frozen>,
    youngest: Growing,
}

// === impl Block ===

impl Block {
    fn push(&mut self, group: u16, print: &[u8]) {
        self.groups.push(group);
        self.prints.extend_from_slice(print);
    }

    fn into_batch(self) -> Result<RecordBatch, Error> {
        let groups: ArrayRef = Arc::new(UInt16Array::from(self.groups));
        let prints = Buffer::from_vec(self.prints);
        let prints = FixedSizeBinaryArray::try_new(WIDTH as i32, prints, None).map_err(failed)?;
        let prints: ArrayRef = Arc::new(prints);
        RecordBatch::try_from_iter([("__key_group", groups), ("print", prints)]).map_err(failed)
    }
}

/// The fingerprints of saved blocks.
fn saved_prints(blocks: &[StateRows]) -> Result<Prints, Error> {
    let mut all = Prints::default();
    for block in blocks {
        let block = block.batch().ok_or_else(damaged)?;
        let prints = column(block, "print")?.as_fixed_size_binary_opt();
        let prints = prints.filter(|prints| prints.value_length() == WIDTH as i32);
        let prints = prints.ok_or_else(damaged)?.iter().flatten();
        all.insert_all(prints.map(|bytes| std::array::from_fn(|at| bytes[at])));
    }
    Ok(all)
}

// === impl Growing ===

impl Growing {
    fn new(since: i64) -> Self {
        Growing {
            since,
            ..Growing::default()
        }
    }

    /// Whether `print` is new here; it is no longer then.
    fn insert(&mut self, print: Print, group: u16) -> bool {
        let new = self.prints.insert(print);
        if new {
            self.fresh.push(group, &print);
        }
        new
    }

    /// Hands what is new to the checkpoint.
    fn seal(&mut self) -> Result<(), Error> {
        if !self.fresh.groups.is_empty() {
            let fresh = std::mem::take(&mut self.fresh).into_batch()?;
            let small = self.small.take().and_then(StateRows::into_batch);
            let both = small.iter().chain([&fresh]);
            let folded = arrow::compute::concat_batches(&fresh.schema(), both).map_err(failed)?;
            self.small = Some(folded.into());
        }
        // Blocks grow with what is there, so that a checkpoint has few files. Beside restored blocks, which may go into
        // the same file, none is left to be written again.
        let restored = self.sealed.iter().any(|block| block.batch().is_some());
        let fewest = match restored {
            true => 0,
            false => FEWEST_ROWS.max(self.prints.len() / 8),
        };
        if let Some(block) = self.small.take_if(|block| block.n_rows() >= fewest) {
            self.sealed.push(block);
        }
        Ok(())
    }

    fn freeze(mut self) -> Result<Frozen, Error> {
        self.seal()?;
        self.sealed.extend(self.small);
        Ok(Frozen::new(self.since, self.prints, self.sealed))
    }
}

// === impl Frozen ===

impl Frozen {
    fn new(since: i64, prints: Prints, saved: Vec<StateRows>) -> Self {
        Frozen {
            since,
            prints: prints.into_packed(),
            saved,
        }
    }
}

// === impl FirstSeen ===

impl FirstSeen {
    pub(super) fn new(plan: Dedup, keys: Encoder) -> Self {
        FirstSeen {
            plan,
            keys,
            now: None,
            older: Vec::new(),
            youngest: Growing::default(),
        }
    }

    fn prints(&self, rows: &RecordBatch) -> Result<Vec<Print>, Error> {
        Ok(self.keys.encode(rows)?.iter().map(print).collect())
    }
}

impl Operator for FirstSeen {
    fn on_batch(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let prints = self.prints(&batch.rows)?;
        let keys: Vec<ArrayRef> = self
            .plan
            .keys
            .iter()
            .map(|key| batch.rows.column(*key).clone())
            .collect();
        let groups = crate::key_group::key_groups(&keys, batch.num_rows())?;
        let mut known = vec![false; prints.len()];
        for frozen in &self.older {
            frozen.prints.mark(&prints, &mut known);
        }
        let mut keep = Vec::with_capacity(prints.len());
        for (row, (print, group)) in prints.iter().zip(groups).enumerate() {
            if row % AHEAD == 0 {
                let next = prints[row..].iter().take(AHEAD);
                next.for_each(|print| self.youngest.prints.fetch(print));
            }
            keep.push(!known[row] && self.youngest.insert(*print, group));
        }
        let kept = keep_rows(batch, &BooleanArray::from(keep))?;
        if kept.num_rows() == 0 {
            return Ok(());
        }
        output.emit(kept)
    }

    fn on_processing_time(&mut self, now: i64, _: &mut dyn Output) -> Result<(), Error> {
        let Some(ttl) = self.plan.ttl else {
            return Ok(());
        };
        if self.now.is_none() && self.youngest.since == 0 {
            self.youngest.since = now;
        }
        self.now = Some(now);
        if now - self.youngest.since >= (ttl / GENERATIONS).max(1) {
            let before = std::mem::replace(&mut self.youngest, Growing::new(now));
            self.older.push(before.freeze()?);
        }
        // The youngest key of a generation is as old as the next one's beginning.
        let next = self.older.iter().skip(1).map(|frozen| frozen.since);
        let gone = next
            .chain([self.youngest.since])
            .take_while(|since| now - since >= ttl)
            .count();
        self.older.drain(..gone.min(self.older.len()));
        Ok(())
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Vec<StateTable>, Error> {
        self.youngest.seal()?;
        let table = |since: i64, rows: Vec<StateRows>| StateTable {
            name: format!("seen-{since}"),
            rows,
        };
        let older = self.older.iter();
        let youngest = self.youngest.sealed.iter().chain(&self.youngest.small);
        let tables = older
            .map(|frozen| table(frozen.since, frozen.saved.clone()))
            .chain([table(self.youngest.since, youngest.cloned().collect())])
            .collect();
        let older = self.older.iter_mut().flat_map(|frozen| &mut frozen.saved);
        for given in older.chain(&mut self.youngest.sealed) {
            *given = given.stub();
        }
        Ok(tables)
    }

    fn restore(&mut self, tables: Vec<StateTable>) -> Result<(), Error> {
        let mut generations: Vec<(i64, Vec<StateRows>)> = Vec::new();
        for table in tables {
            let since = table.name.strip_prefix("seen-");
            let since = since.and_then(|since| since.parse().ok());
            generations.push((since.ok_or_else(damaged)?, table.rows));
        }
        generations.sort_by_key(|(since, _)| *since);
        let youngest = generations.pop();
        for (since, blocks) in generations {
            // One without keys, too: the keys before it are no younger than its beginning.
            let prints = saved_prints(&blocks)?;
            self.older.push(Frozen::new(since, prints, blocks));
        }
        if let Some((since, blocks)) = youngest {
            self.youngest = Growing {
                prints: saved_prints(&blocks)?,
                sealed: blocks,
                ..Growing::new(since)
            };
        }
        Ok(())
    }

    fn state_size(&self) -> usize {
        let older = self.older.iter().map(|frozen| frozen.prints.size());
        let small = self.youngest.small.as_ref().map_or(0, StateRows::n_rows);
        let unwritten = small + self.youngest.fresh.groups.len();
        older.sum::<usize>() + self.youngest.prints.size() + unwritten * (WIDTH + size_of::<u16>())
    }
}

#[cfg(test)]
mod tests;
