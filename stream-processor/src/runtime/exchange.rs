//! Sends the rows of one node instance to the instances of another task.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::key_group::key_groups;
use crate::operator::KEY_GROUPS;
use crate::runtime::channel::{Channel, Message};

/// How rows are spread over the channels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Spread {
    /// By the key group of these columns.
    Hash(Vec<usize>),
    /// Batch by batch in turn.
    RoundRobin,
    /// To each.
    All,
}

/// The sending end of an edge that crosses tasks.
pub(crate) struct Exchange {
    spread: Spread,
    channels: Vec<Arc<Channel>>,
    next: usize,
}

impl Exchange {
    /// An edge to the instances behind `channels`, by index.
    pub(crate) fn new(spread: Spread, channels: Vec<Arc<Channel>>) -> Self {
        Exchange {
            spread,
            channels,
            next: 0,
        }
    }

    /// Whether each receiver can take more.
    pub(crate) fn has_credit(&self) -> bool {
        self.channels.iter().all(|channel| channel.has_credit())
    }

    /// Sends rows to those they belong to.
    pub(crate) fn send(&mut self, batch: &ChangeBatch) -> Result<(), Error> {
        match &self.spread {
            Spread::All => self.broadcast(&Message::Batch(batch.clone())),
            _ if self.channels.len() == 1 => self.channels[0].send(Message::Batch(batch.clone())),
            Spread::RoundRobin => {
                self.channels[self.next].send(Message::Batch(batch.clone()));
                self.next = (self.next + 1) % self.channels.len();
            }
            Spread::Hash(columns) => {
                let parts = scatter(batch, columns, self.channels.len())?;
                for (channel, part) in self.channels.iter().zip(parts) {
                    if let Some(part) = part {
                        channel.send(Message::Batch(part));
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends `message` to each receiver.
    pub(crate) fn broadcast(&self, message: &Message) {
        for channel in &self.channels {
            channel.send(message.clone());
        }
    }
}

/// Which of `parallelism` instances owns `group`; the inverse of [`crate::operator::Subtask::key_groups`].
pub(crate) fn owner(group: u16, parallelism: usize) -> usize {
    usize::from(group) * parallelism / usize::from(KEY_GROUPS)
}

fn scatter(
    batch: &ChangeBatch,
    columns: &[usize],
    parallelism: usize,
) -> Result<Vec<Option<ChangeBatch>>, Error> {
    let keys: Vec<_> = columns
        .iter()
        .map(|column| batch.rows.column(*column).clone())
        .collect();
    let mut rows_of = vec![Vec::new(); parallelism];
    for (row, group) in key_groups(&keys, batch.num_rows())?.into_iter().enumerate() {
        rows_of[owner(group, parallelism)].push(row as u32);
    }
    rows_of
        .into_iter()
        .map(|rows| match rows.len() {
            0 => Ok(None),
            all if all == batch.num_rows() => Ok(Some(batch.clone())),
            _ => take(batch, rows).map(Some),
        })
        .collect()
}

/// The rows of `batch` at these indices, in this order.
pub(crate) fn take(batch: &ChangeBatch, rows: Vec<u32>) -> Result<ChangeBatch, Error> {
    let kinds: Option<Arc<[RowKind]>> = batch
        .kinds
        .as_ref()
        .map(|kinds| rows.iter().map(|row| kinds[*row as usize]).collect());
    let taken: RecordBatch = take_record_batch(&batch.rows, &UInt32Array::from(rows))
        .map_err(|error| Error::caused("could not pick the rows of an instance", error))?;
    Ok(ChangeBatch { rows: taken, kinds })
}

#[cfg(test)]
mod tests {
    use super::owner;
    use crate::operator::{KEY_GROUPS, Subtask};

    #[test]
    fn each_key_group_goes_to_the_instance_that_owns_it() {
        for parallelism in 1..=9 {
            for index in 0..parallelism {
                for group in (Subtask { index, parallelism }).key_groups() {
                    assert_eq!(owner(group, parallelism), index, "{group} of {parallelism}");
                }
            }
        }
        assert_eq!(owner(KEY_GROUPS - 1, 128), 127);
    }
}
