//! Incremental fetch sessions (KIP-227): a consumer of many partitions names them once and then only changes.
//!
//! A pure table; which partitions have news is decided by the caller. Bounded: the session unused for longest gives way.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

/// Partitions kept by all sessions together, unless a single one may have more.
const MAX_KEPT: usize = 100_000;

/// The partition a fetch asks for and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: Uuid,
    pub(crate) partition: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) offset: i64,
    pub(crate) max_bytes: i32,
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
    line: BTreeMap<u64, Kept>,
    /// Where a partition stands in the line, by topic.
    places: HashMap<Arc<str>, HashMap<(Uuid, i32), u64>>,
    next_place: u64,
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
    /// Partitions that one session may keep.
    max_partitions: usize,
    uses: u64,
    next_id: i32,
}

impl Sessions {
    pub(crate) fn new(max: usize, max_partitions: usize) -> Self {
        Self {
            by_id: HashMap::new(),
            max,
            max_partitions,
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
        for gone in forgotten {
            session.forget(gone);
        }
        let n_before = session.line.len();
        for wanted in added {
            session.keep(wanted);
        }
        if session.line.len() > self.max_partitions {
            self.by_id.remove(&session_id);
            return Err(SessionError::NotFound);
        }
        let wanted = session.line.values().map(|kept| kept.wanted.clone());
        let wanted = wanted.collect();
        if session.line.len() > n_before {
            self.make_room();
        }
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
        let Some(place) = session.place(wanted) else {
            return true;
        };
        let Some(kept) = session.line.get_mut(&place) else {
            return true;
        };
        let is_news = has_records || kept.told != Some(position);
        kept.told = Some(position);
        if has_records {
            session.send_to_back(place);
        }
        is_news
    }

    fn open(&mut self, added: &[Wanted]) -> i32 {
        if self.max == 0 || added.len() > self.max_partitions {
            return 0;
        }
        if self.by_id.len() >= self.max {
            self.drop_oldest();
        }
        let id = self.next_id;
        self.next_id = if id == i32::MAX { 1 } else { id + 1 };
        self.uses += 1;
        let mut session = Session {
            epoch: 1,
            used: self.uses,
            line: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
        };
        for wanted in added {
            session.keep(wanted.clone());
        }
        self.by_id.insert(id, session);
        self.make_room();
        id
    }

    /// Lets old sessions go until all are within the bound; the one just used is the last to go, and fits alone.
    fn make_room(&mut self) {
        let bound = MAX_KEPT.max(self.max_partitions);
        while self
            .by_id
            .values()
            .map(|kept| kept.line.len())
            .sum::<usize>()
            > bound
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.by_id.iter().min_by_key(|(_, session)| session.used);
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.by_id.remove(&id);
        }
    }
}

impl Session {
    fn place(&self, wanted: &Wanted) -> Option<u64> {
        let topic = self.places.get(&wanted.topic)?;
        topic.get(&(wanted.topic_id, wanted.partition)).copied()
    }

    /// Takes `wanted` in, at the end of the line if it is new.
    fn keep(&mut self, wanted: Wanted) {
        let known = self.place(&wanted);
        if let Some(kept) = known.and_then(|place| self.line.get_mut(&place)) {
            kept.wanted = wanted;
            return;
        }
        let topic = self.places.entry(Arc::clone(&wanted.topic)).or_default();
        topic.insert((wanted.topic_id, wanted.partition), self.next_place);
        let kept = Kept { wanted, told: None };
        self.line.insert(self.next_place, kept);
        self.next_place += 1;
    }

    fn forget(&mut self, gone: &Wanted) {
        let Some(topic) = self.places.get_mut(&gone.topic) else {
            return;
        };
        if let Some(place) = topic.remove(&(gone.topic_id, gone.partition)) {
            self.line.remove(&place);
        }
        if topic.is_empty() {
            self.places.remove(&gone.topic);
        }
    }

    fn send_to_back(&mut self, place: u64) {
        if let Some(kept) = self.line.remove(&place)
            && let Some(topic) = self.places.get_mut(&kept.wanted.topic)
        {
            let wanted = &kept.wanted;
            topic.insert((wanted.topic_id, wanted.partition), self.next_place);
            self.line.insert(self.next_place, kept);
            self.next_place += 1;
        }
    }
}

#[cfg(test)]
mod tests;
