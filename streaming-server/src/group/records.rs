//! The records of `__consumer_offsets` in Kafka's format, which other tools read too.
//!
//! Keys: version 1 is a committed offset (group, topic, partition), version 2 a group. Values are version 3. A key
//! without a value takes the thing back.

use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};

use super::{Committed, Coordinator, Group, Member, OffsetKey, Phase};
use crate::log::records::OwnRecord;

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const VALUE: i16 = 3;

/// The record that commits an offset.
pub(crate) fn offset_record(group: &str, key: &OffsetKey, committed: &Committed) -> OwnRecord {
    let mut value = Vec::new();
    value.put_i16(VALUE);
    value.put_i64(committed.offset);
    value.put_i32(committed.leader_epoch);
    put_string(&mut value, Some(&committed.metadata));
    value.put_i64(committed.commit_ms);
    OwnRecord {
        key: offset_key(group, key),
        value: Some(value),
    }
}

/// The record that takes an offset back.
pub(crate) fn offset_tombstone(group: &str, key: &OffsetKey) -> OwnRecord {
    OwnRecord {
        key: offset_key(group, key),
        value: None,
    }
}

/// The record that takes a group back.
pub(crate) fn group_tombstone(group: &str) -> OwnRecord {
    OwnRecord {
        key: group_key(group),
        value: None,
    }
}

/// The record of a group's generation, members and shares.
pub(crate) fn group_record(group: &Group) -> OwnRecord {
    let mut value = Vec::new();
    value.put_i16(VALUE);
    put_string(
        &mut value,
        Some(group.protocol_type.as_deref().unwrap_or_default()),
    );
    value.put_i32(group.generation);
    put_string(&mut value, group.protocol.as_deref());
    put_string(&mut value, group.leader.as_deref());
    value.put_i64(group.empty_since_ms);
    value.put_i32(i32::try_from(group.members.len()).unwrap_or(i32::MAX));
    let protocol = group.protocol.as_deref().unwrap_or_default();
    for member in group.members.values() {
        put_string(&mut value, Some(&member.id));
        put_string(&mut value, member.instance.as_deref());
        put_string(&mut value, Some(&member.client_id));
        put_string(&mut value, Some(&member.client_host));
        value.put_i32(millis(member.rebalance_timeout));
        value.put_i32(millis(member.session_timeout));
        put_bytes(
            &mut value,
            member.metadata(protocol).map_or(&[], |metadata| metadata),
        );
        put_bytes(&mut value, &member.assignment);
    }
    OwnRecord {
        key: group_key(&group.id),
        value: Some(value),
    }
}

impl Coordinator {
    /// Replays one record found in the log at start. Unknown kinds are passed over, as Kafka does.
    pub(crate) fn replay(
        &mut self,
        now: Instant,
        log_offset: i64,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Option<()> {
        let mut key = key;
        match key.try_get_i16().ok()? {
            0 | OFFSET_KEY => {
                let group = get_string(&mut key)??;
                let topic = get_string(&mut key)??;
                let partition = key.try_get_i32().ok()?;
                let key = OffsetKey { topic, partition };
                let known = self
                    .groups
                    .entry(group.clone())
                    .or_insert_with(|| Group::new(&group));
                match value {
                    None => {
                        known.offsets.remove(&key);
                    }
                    Some(value) => {
                        let committed = decode_offset(value, log_offset)?;
                        known.empty_since_ms = known.empty_since_ms.max(committed.commit_ms);
                        known.offsets.insert(key, committed);
                    }
                }
            }
            GROUP_KEY => {
                let id = get_string(&mut key)??;
                match value {
                    None => {
                        self.groups.remove(&id);
                    }
                    Some(value) => {
                        let mut decoded = decode_group(&id, value, now)?;
                        if let Some(known) = self.groups.remove(&id) {
                            decoded.offsets = known.offsets;
                            decoded.empty_since_ms =
                                decoded.empty_since_ms.max(known.empty_since_ms);
                        }
                        self.groups.insert(id, decoded);
                    }
                }
            }
            _ => {}
        }
        Some(())
    }
}

fn decode_offset(value: &[u8], log_offset: i64) -> Option<Committed> {
    let mut rest = value;
    let version = rest.try_get_i16().ok()?;
    let offset = rest.try_get_i64().ok()?;
    let leader_epoch = if version >= 3 {
        rest.try_get_i32().ok()?
    } else {
        -1
    };
    let metadata = get_string(&mut rest)?.unwrap_or_default();
    let commit_ms = rest.try_get_i64().ok()?;
    Some(Committed {
        offset,
        leader_epoch,
        metadata,
        commit_ms,
        log_offset,
    })
}

fn decode_group(id: &str, value: &[u8], now: Instant) -> Option<Group> {
    let mut rest = value;
    let version = rest.try_get_i16().ok()?;
    let mut group = Group::new(id);
    group.protocol_type = get_string(&mut rest)?.filter(|kind| !kind.is_empty());
    group.generation = rest.try_get_i32().ok()?;
    group.protocol = get_string(&mut rest)?;
    group.leader = get_string(&mut rest)?;
    group.empty_since_ms = if version >= 2 {
        rest.try_get_i64().ok()?
    } else {
        0
    };
    for _ in 0..rest.try_get_i32().ok()? {
        let id = get_string(&mut rest)??;
        let instance = if version >= 3 {
            get_string(&mut rest)?
        } else {
            None
        };
        let client_id = get_string(&mut rest)??;
        let client_host = get_string(&mut rest)??;
        let rebalance_timeout = duration(rest.try_get_i32().ok()?);
        let session_timeout = duration(rest.try_get_i32().ok()?);
        let metadata = get_bytes(&mut rest)?;
        let assignment = get_bytes(&mut rest)?;
        if let Some(instance) = &instance {
            group.instances.insert(instance.clone(), id.clone());
        }
        let protocols = group
            .protocol
            .iter()
            .map(|name| (name.clone(), metadata.clone()))
            .collect();
        let member = Member {
            id: id.clone(),
            instance,
            client_id,
            client_host,
            session_timeout,
            rebalance_timeout,
            protocols,
            assignment,
            expires: now + session_timeout,
            joining: None,
            syncing: None,
        };
        group.members.insert(id, member);
    }
    group.phase = if group.members.is_empty() {
        Phase::Empty
    } else {
        Phase::Stable
    };
    Some(group)
}

fn offset_key(group: &str, key: &OffsetKey) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i16(OFFSET_KEY);
    put_string(&mut out, Some(group));
    put_string(&mut out, Some(&key.topic));
    out.put_i32(key.partition);
    out
}

fn group_key(group: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i16(GROUP_KEY);
    put_string(&mut out, Some(group));
    out
}

fn put_string(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        None => out.put_i16(-1),
        Some(text) => {
            // Every string comes from a field that has a 16-bit length on the wire or is bounded by configuration.
            out.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
            out.put_slice(&text.as_bytes()[..text.len().min(i16::MAX.unsigned_abs().into())]);
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    out.put_slice(bytes);
}

/// `None` when cut short, `Some(None)` when null.
fn get_string(rest: &mut &[u8]) -> Option<Option<String>> {
    let len = rest.try_get_i16().ok()?;
    let Ok(len) = usize::try_from(len) else {
        return Some(None);
    };
    let (text, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(Some(String::from_utf8_lossy(text).into_owned()))
}

fn get_bytes(rest: &mut &[u8]) -> Option<Bytes> {
    let len = usize::try_from(rest.try_get_i32().ok()?).unwrap_or(0);
    let (bytes, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(Bytes::copy_from_slice(bytes))
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn duration(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
