//! A visit as the JSON object of the demo.
//!
//! Flaws, by number modulo 6: 0 cut in half (by the caller), 1 no JSON at all, 2 without `event_identifier`, 3
//! `account_id` null, 4 an action nobody knows, 5 a time that is none.

use super::sessions::Visit;
use crate::text;
use crate::world::World;

pub(super) fn write(world: &World, visit: &Visit, time: i64, flaw: Option<u8>, out: &mut Vec<u8>) {
    let flaw = flaw.map(|flaw| flaw % 6);
    if flaw == Some(1) {
        out.extend_from_slice(b"collector restarted, buffer lost: ");
        out.extend_from_slice(&visit.session);
        return;
    }
    out.push(b'{');
    if flaw != Some(2) {
        out.extend_from_slice(b"\"event_identifier\":\"");
        out.extend_from_slice(&text::uuid(visit.id.0, visit.id.1));
        out.extend_from_slice(b"\",");
    }
    if flaw == Some(3) {
        out.extend_from_slice(b"\"account_id\":null");
    } else {
        out.extend_from_slice(b"\"account_id\":\"");
        out.extend_from_slice(&world.accounts[visit.account as usize].id);
        out.push(b'"');
    }
    out.extend_from_slice(b",\"action_name\":\"");
    let action = if flaw == Some(4) {
        "teleport"
    } else {
        visit.action.name()
    };
    out.extend_from_slice(action.as_bytes());
    out.extend_from_slice(b"\",\"source_path\":\"");
    out.extend_from_slice(world.pages[visit.page as usize].path.as_bytes());
    out.extend_from_slice(b"\",\"session_token\":\"");
    out.extend_from_slice(&visit.session);
    out.extend_from_slice(b"\",\"platform_type\":\"");
    out.extend_from_slice(visit.platform.name().as_bytes());
    out.extend_from_slice(b"\",\"timestamp_utc\":\"");
    if flaw == Some(5) {
        out.extend_from_slice(b"yesterday");
    } else {
        text::iso_time(out, time);
    }
    out.extend_from_slice(b"\",\"location\":{\"latitude\":");
    text::fixed::<4>(out, i64::from(visit.latitude));
    out.extend_from_slice(b",\"longitude\":");
    text::fixed::<4>(out, i64::from(visit.longitude));
    out.extend_from_slice(b"},\"monetary_value\":");
    match visit.cents {
        Some(cents) => text::fixed::<2>(out, i64::from(cents)),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}
