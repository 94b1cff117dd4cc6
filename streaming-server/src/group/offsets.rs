//! Committed offsets: who may commit, what is kept, what is forgotten.
//!
//! A commit is judged here, written by the caller, and taken into the table only once it is durable, so nobody reads an
//! offset that a crash could take back.

use std::collections::BTreeMap;
use std::time::Instant;

use kafka_protocol::ResponseError;

use super::records::offset_tombstone;
use super::{Caller, Coordinator, Group, Phase};
use crate::log::records::OwnRecord;

/// A partition whose offset is committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct OffsetKey {
    pub(crate) topic: String,
    pub(crate) partition: i32,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    pub(crate) commit_ms: i64,
    /// Where its record is in `__consumer_offsets`: a later record wins, whichever is reported first.
    pub(crate) log_offset: i64,
}

impl Coordinator {
    /// Judges a commit. On success the caller writes it and then calls [`Coordinator::committed`], in any case
    /// [`Coordinator::commit_ended`].
    pub(crate) fn begin_commit(
        &mut self,
        now: Instant,
        caller: &Caller,
    ) -> Result<(), ResponseError> {
        if caller.group.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        let is_simple = caller.generation < 0 && caller.member.is_empty();
        let Some(group) = self.groups.get_mut(&caller.group) else {
            if !is_simple {
                return Err(ResponseError::IllegalGeneration);
            }
            if self.groups.len() >= self.limits.max_groups {
                return Err(ResponseError::GroupMaxSizeReached);
            }
            let group = self
                .groups
                .entry(caller.group.clone())
                .or_insert_with(|| Group::new(&caller.group));
            group.n_committing += 1;
            return Ok(());
        };
        if !(is_simple && group.members.is_empty()) {
            group.check_member(caller)?;
            if caller.generation != group.generation {
                return Err(ResponseError::IllegalGeneration);
            }
            if matches!(group.phase, Phase::Completing { .. }) {
                return Err(ResponseError::RebalanceInProgress);
            }
            group.touch(&caller.member, now);
        }
        group.n_committing += 1;
        Ok(())
    }

    /// Takes in offsets that are durable.
    pub(crate) fn committed(&mut self, group: &str, offsets: Vec<(OffsetKey, Committed)>) {
        let Some(group) = self.groups.get_mut(group) else {
            return;
        };
        for (key, committed) in offsets {
            let is_newer = group
                .offsets
                .get(&key)
                .is_none_or(|known| known.log_offset <= committed.log_offset);
            if is_newer {
                group.empty_since_ms = group.empty_since_ms.max(committed.commit_ms);
                group.offsets.insert(key, committed);
            }
        }
    }

    /// A begun commit was written or failed.
    pub(crate) fn commit_ended(&mut self, group: &str) {
        if let Some(group) = self.groups.get_mut(group) {
            group.n_committing = group.n_committing.saturating_sub(1);
        }
    }

    /// Whether the group may be deleted now.
    pub(crate) fn check_delete(&self, group: &str) -> Result<&Group, ResponseError> {
        let group = self
            .groups
            .get(group)
            .ok_or(ResponseError::GroupIdNotFound)?;
        let is_idle =
            group.members.is_empty() && group.promised.is_empty() && group.n_committing == 0;
        if is_idle {
            Ok(group)
        } else {
            Err(ResponseError::NonEmptyGroup)
        }
    }

    /// Forgets the offsets of groups that have been empty since before `before_ms`; gives the records that say so.
    pub(crate) fn expire_offsets(&mut self, before_ms: i64) -> BTreeMap<String, Vec<OwnRecord>> {
        let mut tombstones = BTreeMap::new();
        for group in self.groups.values_mut() {
            let is_idle = group.members.is_empty() && group.n_committing == 0;
            if !is_idle || group.offsets.is_empty() || group.empty_since_ms >= before_ms {
                continue;
            }
            let is_old = |committed: &Committed| committed.commit_ms < before_ms;
            let old: Vec<OffsetKey> = group
                .offsets
                .iter()
                .filter(|(_, offset)| is_old(offset))
                .map(|(key, _)| key.clone())
                .collect();
            let records = old
                .iter()
                .map(|key| offset_tombstone(&group.id, key))
                .collect();
            group.offsets.retain(|_, committed| !is_old(committed));
            tombstones.insert(group.id.clone(), records);
        }
        tombstones
    }
}
