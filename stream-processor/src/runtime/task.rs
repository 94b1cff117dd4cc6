//! The state machine of one task instance: takes messages from its channels or rows from its source, one step at a
//! time, aligns barriers, and says what happened.
//!
//! Alignment: a channel whose barrier has arrived is not read until the barrier has arrived on each channel that has
//! not ended. Then the whole chain is snapshot at once and the barrier goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::error::Error;
use crate::operator::CheckpointId;
use crate::runtime::chain::{Chain, NodeSnapshot};
use crate::runtime::channel::{Channel, Message};
use crate::runtime::metrics::{TimeKeeper, Waiting};
use crate::runtime::pool::{Next, Step};
use crate::runtime::source::{Progress, SourceRunner};

/// How long a step may go on before others get their turn.
const SLICE: Duration = Duration::from_millis(5);

/// Which instance of which task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TaskId {
    /// Index in the plan.
    pub(crate) task: usize,
    /// Instance.
    pub(crate) subtask: usize,
}

/// What a task tells the coordinator.
pub(crate) enum TaskEvent {
    /// Its share of a checkpoint.
    Snapshot {
        /// Who.
        task: TaskId,
        /// Which checkpoint.
        checkpoint: CheckpointId,
        /// One for each node of the chain.
        nodes: Vec<NodeSnapshot>,
    },
    /// It has read all its input and passed everything on.
    Ended,
    /// It cannot go on.
    Failed(Error),
}

/// How the coordinator steers a task from outside.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// The newest checkpoint asked for.
    pub(crate) checkpoint: AtomicU64,
    /// Some time has passed.
    pub(crate) tick: AtomicBool,
    /// Stop at the next step.
    pub(crate) cancelled: AtomicBool,
}

/// A channel into the task.
pub(crate) struct Inlet {
    /// The channel.
    pub(crate) channel: Arc<Channel>,
    /// Node in the chain, its port, and which input of the port.
    pub(crate) place: (usize, usize, usize),
    /// Its barrier has arrived.
    pub(crate) aligned: bool,
    /// Its end has arrived.
    pub(crate) ended: bool,
}

/// One task instance.
pub(crate) struct Task {
    pub(crate) id: TaskId,
    pub(crate) chain: Chain,
    pub(crate) source: Option<SourceRunner>,
    pub(crate) inlets: Vec<Inlet>,
    pub(crate) control: Arc<Control>,
    pub(crate) events: UnboundedSender<TaskEvent>,
    pub(crate) time: TimeKeeper,
    /// The last checkpoint this task has taken part in.
    pub(crate) taken: u64,
    /// The checkpoint whose barriers are being aligned.
    pub(crate) aligning: Option<CheckpointId>,
    pub(crate) next_inlet: usize,
    pub(crate) told_end: bool,
}

impl Step for Task {
    fn step(&mut self) -> Next {
        self.time.run(Instant::now());
        let outcome = self.advance();
        let next = outcome.unwrap_or_else(|error| {
            let error = match self.chain.failed_node() {
                Some(node) => Error::caused(format!("`{node}` failed"), error),
                None => error,
            };
            self.send(TaskEvent::Failed(error));
            None
        });
        self.time
            .wait(Instant::now(), next.unwrap_or(Waiting::Input));
        match next {
            Some(Waiting::Turn) => Next::Again,
            Some(Waiting::Input | Waiting::Output) => Next::Wait,
            None => Next::Done,
        }
    }

    fn panicked(&mut self, message: String) {
        let node = self.chain.failed_node().unwrap_or("a task").to_owned();
        self.send(TaskEvent::Failed(Error::failed(format!(
            "{node} panicked: {message}"
        ))));
    }
}

impl Task {
    /// Works for a slice of time; `None` when the task is over.
    fn advance(&mut self) -> Result<Option<Waiting>, Error> {
        if self.control.cancelled.load(Ordering::Acquire) {
            return Ok(None);
        }
        let now = super::clock();
        if self.control.tick.swap(false, Ordering::AcqRel) {
            self.chain.tick(now)?;
            if let Some(source) = &mut self.source {
                source.tick(&mut self.chain, now)?;
            }
        }
        self.join_checkpoint(now)?;
        let begun = Instant::now();
        while begun.elapsed() < SLICE {
            if !self.chain.has_credit() {
                return Ok(Some(Waiting::Output));
            }
            let progressed = match &mut self.source {
                Some(source) => source.step(&mut self.chain, now)? == Progress::Rows,
                None => self.receive(now)?,
            };
            self.tell_end();
            if !progressed {
                self.join_checkpoint(now)?;
                return Ok(Some(Waiting::Input));
            }
            if self.control.cancelled.load(Ordering::Acquire) {
                return Ok(None);
            }
        }
        Ok(Some(Waiting::Turn))
    }

    /// Takes part in a checkpoint that has been asked for, if no barrier will come to say so.
    fn join_checkpoint(&mut self, now: i64) -> Result<(), Error> {
        let asked = self.control.checkpoint.load(Ordering::Acquire);
        if asked > self.taken && self.inlets.iter().all(|inlet| inlet.ended) {
            self.take_part(CheckpointId(asked), now)?;
        }
        Ok(())
    }

    fn take_part(&mut self, checkpoint: CheckpointId, now: i64) -> Result<(), Error> {
        self.taken = checkpoint.0;
        let mut nodes = self.chain.barrier(checkpoint, now)?;
        if let Some(source) = &self.source {
            let (heads, positions) = source.positions();
            for head in heads {
                nodes[head].positions = Some(positions.clone());
            }
        }
        self.send(TaskEvent::Snapshot {
            task: self.id,
            checkpoint,
            nodes,
        });
        Ok(())
    }

    /// Takes one message from the next channel that has one.
    fn receive(&mut self, now: i64) -> Result<bool, Error> {
        for _ in 0..self.inlets.len() {
            let index = self.next_inlet;
            self.next_inlet = (self.next_inlet + 1) % self.inlets.len();
            let inlet = &mut self.inlets[index];
            if inlet.ended || inlet.aligned {
                continue;
            }
            let Some(message) = inlet.channel.receive() else {
                continue;
            };
            let place = inlet.place;
            match message {
                Message::Batch(batch) => self.chain.push(place.0, place.1, batch)?,
                Message::Watermark(watermark) => self.chain.advance(place, watermark)?,
                Message::Idle(idle) => self.chain.set_idle(place, idle)?,
                Message::Barrier(checkpoint) => {
                    inlet.aligned = true;
                    self.aligning = Some(checkpoint);
                    self.align(now)?;
                }
                Message::End => {
                    inlet.ended = true;
                    self.chain.end(place)?;
                    self.align(now)?;
                }
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn align(&mut self, now: i64) -> Result<(), Error> {
        let Some(checkpoint) = self.aligning else {
            return Ok(());
        };
        if self.inlets.iter().all(|inlet| inlet.aligned || inlet.ended) {
            self.aligning = None;
            for inlet in &mut self.inlets {
                inlet.aligned = false;
            }
            self.take_part(checkpoint, now)?;
        }
        Ok(())
    }

    fn tell_end(&mut self) {
        let ended = match &self.source {
            Some(source) => source.ended(),
            None => self.chain.ended(),
        };
        if ended && !self.told_end {
            self.told_end = true;
            self.send(TaskEvent::Ended);
        }
    }

    fn send(&self, event: TaskEvent) {
        // Without a coordinator the attempt is over, and so is this task.
        if self.events.send(event).is_err() {
            self.control.cancelled.store(true, Ordering::Release);
        }
    }
}
