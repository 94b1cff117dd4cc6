//! The first row of a key by processing time: nothing is kept but a fingerprint of the key.
//!
//! Keys are forgotten after `table.exec.state.ttl`, in quarters of it. Only the youngest
//! quarter grows; an older one is laid out once, packed, in the arrays that checkpoints keep.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, RecordBatch, UInt16Array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::UInt16Type;

use super::Dedup;
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::operator::{CheckpointId, Operator, Output, StateTable};
use crate::operators::calc::keep_rows;
use crate::operators::fingerprint::{Print, Prints, WIDTH, bucket_of, print};
use crate::operators::keys::{Encoder, column, damaged, failed};

/// How many generations a time to live is cut into.
const GENERATIONS: i64 = 4;

/// Keys first seen in one quarter of the time to live, the youngest.
#[derive(Default)]
struct Growing {
    since: i64,
    prints: Prints,
    /// What was seen since the last checkpoint.
    fresh: Block,
    /// What checkpoints have already written, unchanged from one to the next.
    sealed: Vec<RecordBatch>,
}

/// Fingerprints and the key groups of their keys, to be written.
#[derive(Default)]
struct Block {
    groups: Vec<u16>,
    prints: Vec<u8>,
}

/// Keys first seen in an older quarter.
struct Frozen {
    since: i64,
    /// By the bucket of the fingerprint.
    prints: Buffer,
    /// Where each bucket begins, counted in fingerprints, and where the last one ends.
    buckets: Vec<u32>,
    /// The same arrays each time, so that they are written once.
    saved: RecordBatch,
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

/// The key group and fingerprint of each row of a saved block.
fn saved_prints(block: &RecordBatch) -> Result<impl Iterator<Item = (u16, Print)>, Error> {
    let groups = column(block, "__key_group")?.as_primitive_opt::<UInt16Type>();
    let prints = column(block, "print")?.as_fixed_size_binary_opt();
    let (Some(groups), Some(prints)) = (groups, prints) else {
        return Err(damaged());
    };
    if prints.value_length() != WIDTH as i32 {
        return Err(damaged());
    }
    let rows = groups.values().iter().copied().zip(0..prints.len());
    Ok(rows.map(|(group, row)| {
        let bytes = prints.value(row);
        (group, std::array::from_fn(|at| bytes[at]))
    }))
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
            let block = std::mem::take(&mut self.fresh).into_batch()?;
            self.sealed.push(block);
        }
        // Small blocks are folded together, so that a checkpoint has few files.
        while let [.., a, b] = &self.sealed[..]
            && (a.num_rows() <= b.num_rows() * 2)
        {
            let folded = arrow::compute::concat_batches(&a.schema(), [a, b]).map_err(failed)?;
            self.sealed.truncate(self.sealed.len() - 2);
            self.sealed.push(folded);
        }
        Ok(())
    }

    fn freeze(mut self) -> Result<Frozen, Error> {
        self.seal()?;
        Frozen::new(self.since, &self.sealed)
    }
}

// === impl Frozen ===

impl Frozen {
    /// Packs the blocks, ordered by bucket: a counting sort, as fingerprints are evenly spread.
    fn new(since: i64, blocks: &[RecordBatch]) -> Result<Self, Error> {
        let n_prints: usize = blocks.iter().map(RecordBatch::num_rows).sum();
        // About four to a bucket.
        let n_buckets = (n_prints / 4).next_power_of_two();
        let mut ends = vec![0u32; n_buckets + 1];
        for block in blocks {
            for (_, print) in saved_prints(block)? {
                ends[bucket_of(&print, n_buckets) + 1] += 1;
            }
        }
        for at in 1..ends.len() {
            ends[at] += ends[at - 1];
        }
        let buckets = ends.clone();
        let mut groups = vec![0u16; n_prints];
        let mut prints = vec![0u8; n_prints * WIDTH];
        for block in blocks {
            for (group, print) in saved_prints(block)? {
                let next = &mut ends[bucket_of(&print, n_buckets)];
                let at = *next as usize;
                *next += 1;
                groups[at] = group;
                prints[at * WIDTH..][..WIDTH].copy_from_slice(&print);
            }
        }
        let saved = Block { groups, prints }.into_batch()?;
        let prints = saved.column(1).to_data().buffers()[0].clone();
        Ok(Frozen {
            since,
            prints,
            buckets,
            saved,
        })
    }

    fn contains(&self, print: &Print) -> bool {
        let bucket = bucket_of(print, self.buckets.len() - 1);
        let (begin, end) = (self.buckets[bucket], self.buckets[bucket + 1]);
        self.prints[begin as usize * WIDTH..end as usize * WIDTH]
            .chunks_exact(WIDTH)
            .any(|known| known == print)
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
        // One text column, the usual case, needs no encoding.
        if let [key] = self.plan.keys[..]
            && let Some(texts) = rows.column(key).as_string_opt::<i32>()
            && texts.null_count() == 0
        {
            return Ok(texts
                .iter()
                .flatten()
                .map(|text| print(text.as_bytes()))
                .collect());
        }
        let encoded = self.keys.encode(rows)?;
        Ok(encoded.iter().map(|row| print(row.as_ref())).collect())
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
        let mut keep = Vec::with_capacity(prints.len());
        for (print, group) in prints.into_iter().zip(groups) {
            let old = self.older.iter().any(|frozen| frozen.contains(&print));
            keep.push(!old && self.youngest.insert(print, group));
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
        let table = |since: i64, rows: Vec<RecordBatch>| StateTable {
            name: format!("seen-{since}"),
            rows,
        };
        let older = self.older.iter();
        Ok(older
            .map(|frozen| table(frozen.since, vec![frozen.saved.clone()]))
            .chain([table(self.youngest.since, self.youngest.sealed.clone())])
            .collect())
    }

    fn restore(&mut self, tables: Vec<StateTable>) -> Result<(), Error> {
        let mut generations: Vec<(i64, Vec<RecordBatch>)> = Vec::new();
        for table in tables {
            let since = table.name.strip_prefix("seen-");
            let since = since.and_then(|since| since.parse().ok());
            generations.push((since.ok_or_else(damaged)?, table.rows));
        }
        generations.sort_by_key(|(since, _)| *since);
        if let Some((since, blocks)) = generations.pop() {
            self.youngest = Growing::new(since);
            for block in &blocks {
                for (_, print) in saved_prints(block)? {
                    self.youngest.prints.insert(print);
                }
            }
            self.youngest.sealed = blocks;
        }
        for (since, blocks) in generations {
            if !blocks.is_empty() {
                self.older.push(Frozen::new(since, &blocks)?);
            }
        }
        Ok(())
    }

    fn state_size(&self) -> usize {
        let older = self.older.iter().map(|frozen| {
            frozen.saved.num_rows() * (WIDTH + size_of::<u16>()) + frozen.buckets.len() * 4
        });
        let sealed = self.youngest.sealed.iter().map(RecordBatch::num_rows);
        let written = sealed.sum::<usize>() + self.youngest.fresh.groups.len();
        older.sum::<usize>() + self.youngest.prints.size() + written * (WIDTH + size_of::<u16>())
    }
}

#[cfg(test)]
mod tests;
