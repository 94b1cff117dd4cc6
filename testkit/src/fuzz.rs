//! Inputs that nobody meant: random changes of good ones, for a second in the suite and for longer on demand.

use std::time::{Duration, Instant};

use crate::{notice, seed};

/// Calls `target` with inputs made from `corpus` by random changes, until the time is over.
///
/// It takes `STREAMFORGE_FUZZ_SECONDS`, or one second; `STREAMFORGE_SEED` gives other inputs. When the target panics the
/// input is written out in hexadecimal digits.
///
/// # Panics
/// If the corpus is empty or the variable is no number; and whenever the target does.
pub fn fuzz(corpus: &[Vec<u8>], mut target: impl FnMut(&[u8])) {
    let seconds = std::env::var("STREAMFORGE_FUZZ_SECONDS").map_or(1, |seconds| {
        seconds
            .parse()
            .expect("STREAMFORGE_FUZZ_SECONDS is a number")
    });
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut random = Random(seed() | 1);
    while Instant::now() < end {
        // The clock is not looked at for each of them.
        for _ in 0..64 {
            let input = Input(random.changed(corpus));
            target(&input.0);
        }
    }
}

/// Says what it was when the target panicked.
struct Input(Vec<u8>);

impl Drop for Input {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
            notice(&format!("seed {}, input {digits}", seed()));
        }
    }
}

/// Xorshift: fast, and good enough to surprise a decoder.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }

    fn changed(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(6) {
            let at = self.below(input.len());
            match self.below(8) {
                0 => input.truncate(at),
                1 => input.insert(at, self.next() as u8),
                2 => {
                    // A piece of another input.
                    let other = &corpus[self.below(corpus.len())];
                    let from = self.below(other.len());
                    let to = from + self.below(other.len() - from + 1);
                    input.splice(at..at, other[from..to].iter().copied());
                }
                3 => {
                    let to = at + self.below(input.len() - at + 1);
                    input.drain(at..to);
                }
                4 => self.write(
                    &mut input,
                    at,
                    &[[0, 0, 0, 0], [0xff; 4], [0x7f, 0xff, 0xff, 0xff]],
                ),
                5 => self.write(
                    &mut input,
                    at,
                    &[[0x80, 0, 0, 0], [0, 0, 0, 1], [0xff, 0xff, 0xff, 0x0f]],
                ),
                6 => {
                    if let Some(byte) = input.get_mut(at) {
                        *byte ^= 1 << (self.next() % 8);
                    }
                }
                _ => {
                    let value = self.next() as u8;
                    if let Some(byte) = input.get_mut(at) {
                        *byte = value;
                    }
                }
            }
        }
        input
    }

    /// Puts the first one to four bytes of one of `words` at `at`.
    fn write(&mut self, input: &mut [u8], at: usize, words: &[[u8; 4]; 3]) {
        let word = words[self.below(3)];
        let len = 1 + self.below(4);
        for (byte, new) in input.iter_mut().skip(at).zip(&word[..len]) {
            *byte = *new;
        }
    }
}
