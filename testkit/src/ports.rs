//! Ports that stay a test's own though nothing listens on them yet.
//!
//! Who binds port 0 and lets go has a number that the kernel may give to the next socket before it is used. These lie
//! outside the range from which the kernel gives, so only who asks for the very number could take one.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Ports in a block; the first is the one that is held.
const BLOCK: u16 = 16;
/// Below lie the ports of services that may run on the machine.
const LOWEST: u16 = 10_000;
/// Linux's own choice, where it cannot be asked.
const EPHEMERAL: (u16, u16) = (32_768, 60_999);

/// A block of free ports on 127.0.0.1 that no other holder of [`Ports`] on this machine gets, until it is dropped.
#[derive(Debug)]
pub struct Ports {
    /// Keeps others away: two sockets cannot listen on one port, in whichever process they are.
    held: TcpListener,
}

impl Ports {
    /// How many ports there are.
    pub const COUNT: u16 = BLOCK - 1;

    /// Takes a block of which every port is free.
    ///
    /// # Panics
    /// If there is none left on this machine.
    #[expect(
        clippy::new_without_default,
        reason = "what it gives is never the same"
    )]
    pub fn new() -> Self {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        let range = outside(ephemeral());
        let blocks = usize::from((range.end - range.start) / BLOCK);
        // Each process begins elsewhere and goes on from there, so that a block just let go is not at once used again.
        let begin = std::process::id() as usize * 37 + TAKEN.fetch_add(1, Ordering::Relaxed);
        (0..blocks)
            .map(|step| range.start + ((begin + step) % blocks) as u16 * BLOCK)
            .find_map(take)
            .unwrap_or_else(|| panic!("all ports of {range:?} are taken"))
    }

    /// The port number `index` of the block, counted from 0.
    ///
    /// # Panics
    /// If the block has no such port.
    pub fn get(&self, index: usize) -> u16 {
        assert!(
            index < usize::from(Self::COUNT),
            "a block has {} ports",
            Self::COUNT
        );
        let first = self.held.local_addr().expect("it is bound").port() + 1;
        first + index as u16
    }

    /// The same as `127.0.0.1:PORT`.
    ///
    /// # Panics
    /// If the block has no such port.
    pub fn address(&self, index: usize) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.get(index))
    }
}

fn take(first: u16) -> Option<Ports> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let held = bind(first).ok()?;
    // Somebody outside the tests may listen on one of the rest.
    (first + 1..first + BLOCK)
        .all(|port| bind(port).is_ok())
        .then_some(Ports { held })
}

/// First and last port that the kernel gives to sockets that ask for none.
fn ephemeral() -> (u16, u16) {
    let read = || {
        let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
        let (low, high) = text.trim().split_once(char::is_whitespace)?;
        Some((low.parse().ok()?, high.trim().parse().ok()?))
    };
    read().unwrap_or(EPHEMERAL)
}

/// The larger of the ranges below and above the kernel's.
fn outside((low, high): (u16, u16)) -> Range<u16> {
    let below = LOWEST..low.max(LOWEST);
    let above = high.max(LOWEST)..u16::MAX;
    let larger = if below.len() >= above.len() {
        below
    } else {
        above
    };
    if larger.len() < usize::from(BLOCK) * 64 {
        // The kernel gives from nearly all there is: no worse than letting it choose.
        return LOWEST..EPHEMERAL.0;
    }
    larger
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::TcpListener;

    use super::{Ports, ephemeral, outside};

    #[test]
    fn no_port_is_given_twice_or_is_one_that_the_kernel_gives() {
        let blocks: Vec<_> = (0..50).map(|_| Ports::new()).collect();
        let (low, high) = ephemeral();
        let mut seen = HashSet::new();
        for ports in &blocks {
            for index in 0..usize::from(Ports::COUNT) {
                let port = ports.get(index);
                assert!(seen.insert(port), "{port} was given twice");
                assert!(port < low || port > high, "{port} lies in {low}-{high}");
                TcpListener::bind(ports.address(index)).expect("the port is free");
            }
        }
    }

    #[test]
    fn the_larger_side_of_the_kernels_range_is_used() {
        assert_eq!(outside((32_768, 60_999)), 10_000..32_768);
        assert_eq!(outside((10_000, 40_000)), 40_000..65_535);
        assert_eq!(outside((1_024, 65_535)), 10_000..32_768);
    }
}
