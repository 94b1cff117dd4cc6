//! Inputs that nobody meant: random changes of good ones, for a second in the suite and for longer on demand.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::{notice, seed};

/// The longest that a server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls `target` with inputs made from `corpus` by random changes, until the time is over.
///
/// It takes `STREAMFORGE_FUZZ_SECONDS`, or one second; `STREAMFORGE_SEED` gives other inputs. When the target panics the
/// input is written out in hexadecimal digits.
///
/// # Panics
/// If the corpus is empty or the variable is no number; and whenever the target does.
pub fn fuzz(corpus: &[Vec<u8>], mut target: impl FnMut(&[u8])) {
    repeat(|random| {
        let input = Input(random.changed(corpus));
        target(&input.0);
    });
}

/// The same for a language of words and signs, such as JSON, XML or SQL: what changes are whole words, some for one of
/// `words`, so that more of the inputs get past the parser.
///
/// # Panics
/// As [`fuzz`].
pub fn fuzz_text(corpus: &[String], words: &[&str], mut target: impl FnMut(&str)) {
    repeat(|random| {
        let text = random.reworded(corpus, words);
        let input = Input(text.clone().into_bytes());
        target(&text);
        drop(input);
    });
}

/// Sends requests made from `corpus` by random changes to the HTTP server at `address`, each on a connection of its own.
///
/// `answered` gets the status and the bytes of each answer; `alive` is called after every hundredth request.
///
/// # Panics
/// As [`fuzz`], when the server neither answers nor hangs up, and when it answers none.
pub fn fuzz_http(
    address: &str,
    corpus: &[Vec<u8>],
    mut answered: impl FnMut(&str, &[u8]),
    mut alive: impl FnMut(),
) {
    let (mut n_requests, mut n_answers) = (0_u64, 0_u64);
    fuzz(corpus, |request| {
        n_requests += 1;
        let answer = exchange(address, request);
        if let Some(rest) = answer.strip_prefix(b"HTTP/1.1 ") {
            n_answers += 1;
            let status = String::from_utf8_lossy(&rest[..rest.len().min(3)]);
            answered(&status, &answer);
        }
        if n_requests % 100 == 0 {
            alive();
        }
    });
    assert!(n_answers > 0, "none of {n_requests} was answered");
}

/// All that the server says to `request`.
fn exchange(address: &str, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket takes a time-out");
    // The server may have heard enough before all is written.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_ne!(error.kind(), ErrorKind::WouldBlock, "no answer and no end");
    }
    answer
}

fn repeat(mut once: impl FnMut(&mut Random)) {
    let seconds = std::env::var("STREAMFORGE_FUZZ_SECONDS").map_or(1, |seconds| {
        seconds
            .parse()
            .expect("STREAMFORGE_FUZZ_SECONDS is a number")
    });
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut random = Random(seed() | 1);
    while Instant::now() < end {
        // The clock is not looked at for each of them.
        for _ in 0..16 {
            once(&mut random);
        }
    }
}

/// Words and single signs; together they are the text.
fn tokens(text: &str) -> Vec<&str> {
    let is_word = |letter: char| letter.is_alphanumeric() || "_-.".contains(letter);
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = if is_word(first) {
            rest.find(|letter| !is_word(letter)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, behind) = rest.split_at(len);
        tokens.push(token);
        rest = behind;
    }
    tokens
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

    fn reworded(&mut self, corpus: &[String], words: &[&str]) -> String {
        let mut input = tokens(&corpus[self.below(corpus.len())]);
        for _ in 0..=self.below(3) {
            let at = self.below(input.len());
            let word = words[self.below(words.len())];
            match self.below(8) {
                0 if !input.is_empty() => {
                    input.remove(at);
                }
                1 => input.insert(at, word),
                2 => {
                    let other = tokens(&corpus[self.below(corpus.len())]);
                    let from = self.below(other.len());
                    let to = from + self.below((other.len() - from).min(40) + 1);
                    input.splice(at..at, other[from..to].iter().copied());
                }
                3 => {
                    let to = at + self.below((input.len() - at).min(40) + 1);
                    input.drain(at..to);
                }
                4 if self.below(8) == 0 => {
                    // Deep nesting, or a long list of the same.
                    let token = input.get(at).copied().unwrap_or(word);
                    input.splice(at..at, std::iter::repeat_n(token, 1 << self.below(15)));
                }
                5 => {
                    let other = self.below(input.len());
                    if !input.is_empty() {
                        input.swap(at, other);
                    }
                }
                _ => {
                    if let Some(token) = input.get_mut(at) {
                        *token = word;
                    }
                }
            }
        }
        input.concat()
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
