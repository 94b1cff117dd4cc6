//! Incremental fetch sessions (KIP-227): a consumer of many partitions names them once and then only changes.
//!
//! A pure table; which partitions have news is decided by the caller. Bounded: the session unused for longest gives way.

use std::collections::HashMap;

use uuid::Uuid;

/// The partition a fetch asks for and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) topic: String,
    pub(crate) topic_id: Uuid,
    pub(crate) partition: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) offset: i64,
    pub(crate) max_bytes: i32,
}

impl Wanted {
    fn is_same_partition(&self, other: &Self) -> bool {
        self.partition == other.partition
            && self.topic_id == other.topic_id
            && self.topic == other.topic
    }
}

/// A partition of a session with what its client was last told.
#[derive(Debug, Clone)]
struct Kept {
    wanted: Wanted,
    told: Option<(i64, i64)>,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    used: u64,
    /// In the order they are served; partitions that had data go to the back.
    partitions: Vec<Kept>,
}

/// Why a session cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionError {
    NotFound,
    WrongEpoch,
}

/// What to fetch for one request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Zero when no session is kept.
    pub(crate) session_id: i32,
    pub(crate) wanted: Vec<Wanted>,
    /// Only partitions with news are answered.
    pub(crate) is_incremental: bool,
}

/// All sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    by_id: HashMap<i32, Session>,
    max: usize,
    uses: u64,
    next_id: i32,
}

impl Sessions {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            by_id: HashMap::new(),
            max,
            uses: 0,
            next_id: 1,
        }
    }

    /// Applies the session fields of a request: which session, which epoch, what is added and forgotten.
    pub(crate) fn turn(
        &mut self,
        session_id: i32,
        epoch: i32,
        added: Vec<Wanted>,
        forgotten: &[Wanted],
    ) -> Result<Turn, SessionError> {
        if epoch <= 0 {
            self.by_id.remove(&session_id);
            let session_id = if epoch == 0 { self.open(&added) } else { 0 };
            return Ok(Turn {
                session_id,
                wanted: added,
                is_incremental: false,
            });
        }
        self.uses += 1;
        let session = self
            .by_id
            .get_mut(&session_id)
            .ok_or(SessionError::NotFound)?;
        if session.epoch != epoch {
            return Err(SessionError::WrongEpoch);
        }
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        session.used = self.uses;
        session.partitions.retain(|kept| {
            !forgotten
                .iter()
                .any(|gone| gone.is_same_partition(&kept.wanted))
        });
        for wanted in added {
            match session
                .partitions
                .iter_mut()
                .find(|kept| kept.wanted.is_same_partition(&wanted))
            {
                Some(kept) => kept.wanted = wanted,
                None => session.partitions.push(Kept { wanted, told: None }),
            }
        }
        let wanted = session
            .partitions
            .iter()
            .map(|kept| kept.wanted.clone())
            .collect();
        Ok(Turn {
            session_id,
            wanted,
            is_incremental: true,
        })
    }

    /// Notes what the client is told of the partition at `wanted`; gives whether that is news to it.
    pub(crate) fn tell(
        &mut self,
        session_id: i32,
        wanted: &Wanted,
        position: (i64, i64),
        has_records: bool,
    ) -> bool {
        let Some(session) = self.by_id.get_mut(&session_id) else {
            return true;
        };
        let Some(at) = session
            .partitions
            .iter()
            .position(|kept| kept.wanted.is_same_partition(wanted))
        else {
            return true;
        };
        let is_news = has_records || session.partitions[at].told != Some(position);
        session.partitions[at].told = Some(position);
        if has_records {
            let kept = session.partitions.remove(at);
            session.partitions.push(kept);
        }
        is_news
    }

    fn open(&mut self, added: &[Wanted]) -> i32 {
        if self.max == 0 {
            return 0;
        }
        if self.by_id.len() >= self.max
            && let Some(oldest) = self
                .by_id
                .iter()
                .min_by_key(|(_, session)| session.used)
                .map(|(id, _)| *id)
        {
            self.by_id.remove(&oldest);
        }
        let id = self.next_id;
        self.next_id = if id == i32::MAX { 1 } else { id + 1 };
        self.uses += 1;
        let partitions = added
            .iter()
            .map(|wanted| Kept {
                wanted: wanted.clone(),
                told: None,
            })
            .collect();
        self.by_id.insert(
            id,
            Session {
                epoch: 1,
                used: self.uses,
                partitions,
            },
        );
        id
    }
}

#[cfg(test)]
mod tests;
