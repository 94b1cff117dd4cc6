//! A bounded queue from one task instance to another, budgeted in bytes.
//!
//! A sender starts a step only while each of its channels has credit, so a channel holds at most its budget and what
//! one step adds. Watermarks, barriers and ends travel in the same queue, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use parking_lot::Mutex;

use crate::batch::ChangeBatch;
use crate::operator::{CheckpointId, EventTime};
use crate::runtime::pool::Waker;

/// What travels on a channel.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    /// Rows.
    Batch(ChangeBatch),
    /// Event time of the sender.
    Watermark(EventTime),
    /// Whether the sender has nothing to say about event time, so that nobody waits for its watermark.
    Idle(bool),
    /// Everything before it belongs to the checkpoint, everything after to the next.
    Barrier(CheckpointId),
    /// Nothing follows.
    End,
}

/// One channel; both ends hold it.
pub(crate) struct Channel {
    queue: Mutex<Queue>,
    budget: usize,
    sender: Waker,
    receiver: Waker,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<(Message, usize)>,
    bytes: usize,
    /// The receiver reads no further than [`Message::End`], but the sender still passes barriers on.
    ended: bool,
}

impl Channel {
    /// An empty channel that holds about `budget` bytes.
    pub(crate) fn new(budget: usize, sender: Waker, receiver: Waker) -> Arc<Channel> {
        Arc::new(Channel {
            queue: Mutex::default(),
            budget: budget.max(1),
            sender,
            receiver,
        })
    }

    /// Whether the sender may go on.
    pub(crate) fn has_credit(&self) -> bool {
        self.queue.lock().bytes < self.budget
    }

    /// Adds a message, also beyond the budget; nothing after [`Message::End`].
    pub(crate) fn send(&self, message: Message) {
        let bytes = match &message {
            Message::Batch(batch) => batch_bytes(batch),
            _ => 0,
        };
        {
            let mut queue = self.queue.lock();
            if queue.ended {
                return;
            }
            queue.ended = matches!(message, Message::End);
            queue.bytes += bytes;
            queue.messages.push_back((message, bytes));
        }
        self.receiver.wake();
    }

    /// Takes the oldest message.
    pub(crate) fn receive(&self) -> Option<Message> {
        let (message, returned_credit) = {
            let mut queue = self.queue.lock();
            let (message, bytes) = queue.messages.pop_front()?;
            let was_full = queue.bytes >= self.budget;
            queue.bytes -= bytes;
            (message, was_full && queue.bytes < self.budget)
        };
        if returned_credit {
            self.sender.wake();
        }
        Some(message)
    }
}

/// The bytes that the rows of `batch` take, also when they are a slice of larger arrays.
pub(crate) fn batch_bytes(batch: &ChangeBatch) -> usize {
    let data: usize = batch.rows.columns().iter().map(column_bytes).sum();
    data + batch.kinds.as_ref().map_or(0, |kinds| kinds.len()) + 64
}

fn column_bytes(column: &ArrayRef) -> usize {
    if let Some(texts) = column.as_string_opt::<i32>() {
        let offsets = texts.value_offsets();
        let text = offsets[offsets.len() - 1] - offsets[0];
        return text as usize + 4 * column.len();
    }
    if let Some(width) = column.data_type().primitive_width() {
        return width * column.len();
    }
    column
        .to_data()
        .get_slice_memory_size()
        .unwrap_or_else(|_| column.get_array_memory_size())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::pool::Pool;

    #[test]
    fn nothing_gathers_behind_the_end() {
        let pool = Pool::start(1).unwrap();
        let channel = Channel::new(1024, pool.slot(), pool.slot());
        channel.send(Message::End);
        channel.send(Message::Barrier(CheckpointId(1)));
        assert!(matches!(channel.receive(), Some(Message::End)));
        assert!(channel.receive().is_none());
    }
}
