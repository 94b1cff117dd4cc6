//! A visit as a line of a web server's combined log.

use super::sessions::{Action, Platform, Visit};
use crate::text;
use crate::world::World;

pub(super) fn write(world: &World, visit: &Visit, time: i64, out: &mut Vec<u8>) {
    let account = &world.accounts[visit.account as usize];
    for (index, octet) in account.address.iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        text::integer(out, i64::from(*octet));
    }
    out.extend_from_slice(b" - ");
    out.extend_from_slice(&account.id[..8]);
    out.extend_from_slice(b" [");
    text::log_time(out, time);
    out.extend_from_slice(b"] \"");
    let method = if visit.action == Action::PageView {
        "GET "
    } else {
        "POST "
    };
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(world.pages[visit.page as usize].path.as_bytes());
    out.extend_from_slice(b"?s=");
    out.extend_from_slice(&visit.session);
    out.extend_from_slice(b" HTTP/1.1\" ");
    let status = match visit.id.0 % 200 {
        0 => 500,
        1..=3 => 404,
        4..=9 => 304,
        _ => 200,
    };
    text::integer(out, status);
    out.push(b' ');
    let size = if status == 304 {
        0
    } else {
        200 + (visit.id.1 % 40_000) as i64
    };
    text::integer(out, size);
    out.extend_from_slice(b" \"https://shop.example/\" \"");
    out.extend_from_slice(agent(visit.platform).as_bytes());
    out.push(b'"');
}

fn agent(platform: Platform) -> &'static str {
    match platform {
        Platform::Mobile => {
            "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/141.0 Mobile Safari/537.36"
        }
        Platform::Desktop => {
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/141.0 Safari/537.36"
        }
        Platform::Tablet => {
            "Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Version/18.6 Safari/604.1"
        }
    }
}
