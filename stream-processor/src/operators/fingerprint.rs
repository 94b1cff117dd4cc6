//! Fingerprints of values, where only it matters whether a value has been there: XXH3-128, cut to 80 bits.
//!
//! A value that comes to a billion others shares one with a probability of 10⁻¹⁵. They are as evenly spread as any
//! hash, so tables of them need no hashing of their own.

use std::hint::black_box;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use twox_hash::XxHash3_128;

use super::keys::AHEAD;

/// Bytes of a fingerprint.
pub(crate) const WIDTH: usize = 10;

/// A fingerprint.
pub(crate) type Print = [u8; WIDTH];

/// A set of fingerprints: those that are packed, and a table of those that came since they were.
///
/// A table doubles when it is full, and is half empty then; packed, a fingerprint takes half as much. Each is packed
/// about five times while the set grows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prints {
    packed: Packed,
    recent: HashTable<Print>,
}

/// Fewest fingerprints in the table that are packed, and the share of the packed ones that they must be. Tests have few.
const FEWEST_RECENT: usize = if cfg!(test) { 32 } else { 1 << 15 };
const RECENT_SHARE: usize = 4;

/// The fingerprint of `bytes`.
pub(crate) fn print(bytes: &[u8]) -> Print {
    let hash = XxHash3_128::oneshot(bytes).to_le_bytes();
    std::array::from_fn(|at| hash[at])
}

/// The first eight bytes.
fn hash_of(print: &Print) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|at| print[at]))
}

/// Fingerprints that change no more, packed and ordered by bucket: a bucket's number is the low end of their first four
/// bytes, of which whole bytes that it gives away are not kept.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    prints: Vec<u8>,
    /// Bytes kept of each.
    width: usize,
    /// Where each bucket begins, counted in fingerprints, and where the last one ends; nothing at all before the first
    /// fingerprint.
    buckets: Vec<u32>,
}

/// Bytes of a fingerprint that may name its bucket; those behind them are always kept.
const NAMING: usize = 4;

impl Default for Packed {
    fn default() -> Self {
        Packed {
            prints: Vec::new(),
            width: WIDTH,
            buckets: Vec::new(),
        }
    }
}

impl Packed {
    /// Packs `prints`: a counting sort, as fingerprints are evenly spread. A set hands them out by the same bits, so that
    /// it passes over the buckets in their order a few times, and does not jump between them.
    fn new(n_prints: usize, prints: impl Iterator<Item = Print> + Clone) -> Self {
        // Four to eight to a bucket.
        let n_buckets = (n_prints / 8).next_power_of_two();
        let mut ends = vec![0u32; n_buckets + 1];
        for print in prints.clone() {
            ends[bucket_of(&print, n_buckets) + 1] += 1;
        }
        for at in 1..ends.len() {
            ends[at] += ends[at - 1];
        }
        let buckets = ends.clone();
        let width = WIDTH - dropped(n_buckets);
        let mut packed = vec![0u8; n_prints * width];
        for print in prints {
            let next = &mut ends[bucket_of(&print, n_buckets)];
            let place = &mut packed[*next as usize * width..][..width];
            *next += 1;
            place.copy_from_slice(&print[WIDTH - width..]);
        }
        Packed {
            prints: packed,
            width,
            buckets,
        }
    }

    /// Marks those of `prints` that are here, and leaves the marks of the others.
    ///
    /// Step by step for many of them: the processor has the memory of all under way, as none waits for another.
    pub(crate) fn mark(&self, prints: &[Print], here: &mut [bool]) {
        let mut spans = [(0, 0); AHEAD];
        for (prints, here) in prints.chunks(AHEAD).zip(here.chunks_mut(AHEAD)) {
            for (print, span) in prints.iter().zip(&mut spans) {
                *span = self.span(print);
            }
            for ((print, here), span) in prints.iter().zip(here).zip(spans) {
                *here |= self.has(print, span);
            }
        }
    }

    fn contains(&self, print: &Print) -> bool {
        self.has(print, self.span(print))
    }

    /// Where the bucket of `print` begins and ends.
    fn span(&self, print: &Print) -> (u32, u32) {
        let Some(n_buckets) = self.buckets.len().checked_sub(1) else {
            return (0, 0);
        };
        let bucket = bucket_of(print, n_buckets);
        (self.buckets[bucket], self.buckets[bucket + 1])
    }

    /// Whether `print` is among those from `begin` to `end`.
    fn has(&self, print: &Print, (begin, end): (u32, u32)) -> bool {
        let back = print[NAMING..].last_chunk::<{ WIDTH - NAMING }>();
        let front = &print[WIDTH - self.width..NAMING];
        self.prints[begin as usize * self.width..end as usize * self.width]
            .chunks_exact(self.width)
            .any(|known| known.last_chunk() == back && known.starts_with(front))
    }

    fn len(&self) -> usize {
        self.prints.len() / self.width
    }

    /// All, by bucket.
    fn iter(&self) -> impl Iterator<Item = Print> + Clone {
        let spans = self.buckets.windows(2).zip(0u32..);
        spans.flat_map(|(span, bucket)| {
            let span = span[0] as usize * self.width..span[1] as usize * self.width;
            self.prints[span].chunks_exact(self.width).map(move |kept| {
                let mut print = [0; WIDTH];
                let (given, rest) = print.split_at_mut(WIDTH - kept.len());
                given.copy_from_slice(&bucket.to_le_bytes()[..given.len()]);
                rest.copy_from_slice(kept);
                print
            })
        })
    }

    /// Bytes held.
    pub(crate) fn size(&self) -> usize {
        self.prints.len() + self.buckets.len() * size_of::<u32>()
    }
}

/// The bucket of `print` among `n_buckets`, a power of two up to 2³².
fn bucket_of(print: &Print, n_buckets: usize) -> usize {
    let first: [u8; NAMING] = std::array::from_fn(|at| print[at]);
    u32::from_le_bytes(first) as usize & (n_buckets - 1)
}

/// How many bytes of a fingerprint its bucket among `n_buckets` gives away.
fn dropped(n_buckets: usize) -> usize {
    (n_buckets.trailing_zeros() / u8::BITS) as usize
}

impl Prints {
    /// Whether `print` is new; it is no longer then.
    pub(crate) fn insert(&mut self, print: Print) -> bool {
        if self.packed.contains(&print) {
            return false;
        }
        let same = |known: &Print| *known == print;
        let Entry::Vacant(place) = self.recent.entry(hash_of(&print), same, hash_of) else {
            return false;
        };
        place.insert(print);
        if self.recent.len() >= FEWEST_RECENT.max(self.packed.len() / RECENT_SHARE) {
            self.packed = Packed::new(self.len(), self.iter());
            self.recent.clear();
        }
        true
    }

    /// Takes in many.
    pub(crate) fn insert_all(&mut self, prints: impl Iterator<Item = Print>) {
        let prints: Vec<Print> = prints.collect();
        for prints in prints.chunks(AHEAD) {
            prints.iter().for_each(|print| self.fetch(print));
            for print in prints {
                self.insert(*print);
            }
        }
    }

    /// All of them packed.
    pub(crate) fn into_packed(self) -> Packed {
        Packed::new(self.len(), self.iter())
    }

    /// Has the memory that `print` leads to brought near, and does not wait for it.
    pub(crate) fn fetch(&self, print: &Print) {
        let (begin, _) = self.packed.span(print);
        black_box(self.packed.prints.get(begin as usize * self.packed.width));
        let near = self.recent.find(hash_of(print), |_| true);
        black_box(near.map(|print| print[0]));
    }

    fn contains(&self, print: &Print) -> bool {
        let same = |known: &Print| known == print;
        self.packed.contains(print) || self.recent.find(hash_of(print), same).is_some()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.packed.len() + self.recent.len()
    }

    /// Bytes held.
    pub(crate) fn size(&self) -> usize {
        self.packed.size() + self.recent.allocation_size()
    }

    /// All, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Print> + Clone {
        self.packed.iter().chain(self.recent.iter().copied())
    }
}

impl PartialEq for Prints {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|print| other.contains(&print))
    }
}

impl FromIterator<Print> for Prints {
    fn from_iter<I: IntoIterator<Item = Print>>(prints: I) -> Self {
        let mut all = Prints::default();
        all.insert_all(prints.into_iter());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::{Packed, Print, Prints, print};

    fn contains(packed: &Packed, print: Print) -> bool {
        let mut here = [false];
        packed.mark(&[print], &mut here);
        here[0]
    }

    #[test]
    fn packed_are_those_that_were_there() {
        // At 2^8 and 2^16 buckets a byte more is left out.
        for n_prints in [0u32, 1, 1000, 3000, 100_000, 800_000] {
            let prints: Prints = (0..n_prints).map(|n| print(&n.to_le_bytes())).collect();
            let packed = prints.into_packed();
            for n in 0..n_prints {
                assert!(
                    contains(&packed, print(&n.to_le_bytes())),
                    "{n} of {n_prints}"
                );
            }
            for n in n_prints..n_prints + 1000 {
                assert!(
                    !contains(&packed, print(&n.to_le_bytes())),
                    "{n} of {n_prints}"
                );
            }
            // Many at once, every third of which is there.
            let asked: Vec<Print> = (0..1000u32)
                .map(|n| match n % 3 {
                    0 => print(&(n % n_prints.max(1)).to_le_bytes()),
                    _ => print(&(n_prints + n).to_le_bytes()),
                })
                .collect();
            let mut here = vec![false; asked.len()];
            here[1] = true;
            packed.mark(&asked, &mut here);
            for (n, here) in here.into_iter().enumerate() {
                let expected = n == 1 || (n % 3 == 0 && n_prints > 0);
                assert_eq!(here, expected, "{n} of {n_prints}");
            }
        }
    }

    #[test]
    fn a_set_is_never_much_larger_than_what_is_in_it() {
        let mut prints = Prints::default();
        for n in 0..1_000_000u32 {
            assert!(prints.insert(print(&n.to_le_bytes())));
            if n > 100_000 && n % 1000 == 0 {
                // Of a single table it is up to 25 bytes.
                assert!(
                    prints.size() < n as usize * 16,
                    "{} bytes of {n}",
                    prints.size()
                );
            }
        }
        assert!(!prints.insert(print(&999_999u32.to_le_bytes())));
        assert_eq!(
            (prints.len(), prints.iter().count()),
            (1_000_000, 1_000_000)
        );
    }

    #[test]
    fn each_byte_of_a_fingerprint_counts() {
        let known = print(b"known");
        let mut prints: Prints = (0u32..300_000).map(|n| print(&n.to_le_bytes())).collect();
        prints.insert(known);
        let packed = prints.into_packed();
        for at in 0..known.len() {
            let mut other = known;
            other[at] ^= 1;
            assert!(!contains(&packed, other), "byte {at}");
        }
        assert!(contains(&packed, known));
    }
}
