//! Fingerprints of values, where only it matters whether a value has been there: XXH3-128, cut to 96 bits.
//!
//! Two of a billion values share one with a probability of 10⁻¹¹. They are as evenly spread as any hash, so tables of
//! them need no hashing of their own.

use std::hint::black_box;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use twox_hash::XxHash3_128;

use super::keys::AHEAD;

/// Bytes of a fingerprint.
pub(crate) const WIDTH: usize = 12;

/// A fingerprint.
pub(crate) type Print = [u8; WIDTH];

/// A set of fingerprints: one table, or [`N_PARTS`] when it is large.
///
/// A table doubles when it is full, is half empty then, and while it does there are both. The parts differ in size, so
/// that they double one after the other and all of them together are never much more than what is in them.
#[derive(Debug, Clone)]
pub(crate) struct Prints(Vec<HashTable<Print>>);

/// Tables of a large set.
const N_PARTS: usize = 16;

/// Most fingerprints of a set of one table.
const MOST_IN_ONE: usize = 1 << 15;

/// The part of each last byte. Each part's share is larger than the one before by the same factor, and the last one's
/// nearly twice the first one's: that one doubles next.
const PART_OF: [u8; 256] = {
    // 256 * (2^(part / 16) - 1), rounded.
    const ENDS: [usize; N_PARTS] = [
        11, 23, 36, 48, 62, 76, 91, 106, 122, 139, 156, 175, 194, 214, 234, 256,
    ];
    let mut part_of = [0; 256];
    let (mut byte, mut part) = (0, 0);
    while byte < part_of.len() {
        if byte == ENDS[part] {
            part += 1;
        }
        part_of[byte] = part as u8;
        byte += 1;
    }
    part_of
};

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
pub(crate) struct Packed {
    prints: Vec<u8>,
    /// Bytes kept of each.
    width: usize,
    /// Where each bucket begins, counted in fingerprints, and where the last one ends.
    buckets: Vec<u32>,
}

/// Bytes of a fingerprint that may name its bucket; those behind them are always kept.
const NAMING: usize = 4;

impl Packed {
    /// Packs `prints`: a counting sort, as fingerprints are evenly spread. A set hands them out by the same bits, so that
    /// it passes over the buckets in their order a few times, and does not jump between them.
    pub(crate) fn new(prints: &Prints) -> Self {
        // Two to four to a bucket.
        let n_buckets = (prints.len() / 4).next_power_of_two();
        let mut ends = vec![0u32; n_buckets + 1];
        for print in prints.iter() {
            ends[bucket_of(print, n_buckets) + 1] += 1;
        }
        for at in 1..ends.len() {
            ends[at] += ends[at - 1];
        }
        let buckets = ends.clone();
        let width = WIDTH - dropped(n_buckets);
        let mut packed = vec![0u8; prints.len() * width];
        for print in prints.iter() {
            let next = &mut ends[bucket_of(print, n_buckets)];
            let place = &mut packed[*next as usize * width..][..width];
            *next += 1;
            let (front, back) = place.split_at_mut(width - (WIDTH - NAMING));
            back.copy_from_slice(&print[NAMING..]);
            front.copy_from_slice(&print[WIDTH - width..NAMING]);
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
                let bucket = bucket_of(print, self.buckets.len() - 1);
                *span = (self.buckets[bucket], self.buckets[bucket + 1]);
            }
            for ((print, here), span) in prints.iter().zip(here).zip(spans) {
                *here |= self.has(print, span);
            }
        }
    }

    /// Whether `print` is among those from `begin` to `end`.
    fn has(&self, print: &Print, (begin, end): (u32, u32)) -> bool {
        let back = print[NAMING..].last_chunk::<{ WIDTH - NAMING }>();
        let front = &print[WIDTH - self.width..NAMING];
        self.prints[begin as usize * self.width..end as usize * self.width]
            .chunks_exact(self.width)
            .any(|known| known.last_chunk() == back && known.starts_with(front))
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

impl Default for Prints {
    fn default() -> Self {
        Prints(vec![HashTable::new()])
    }
}

impl Prints {
    /// An empty set with room for as many as are in `other`.
    pub(crate) fn with_room_of(other: &Prints) -> Self {
        let room = |table: &HashTable<Print>| HashTable::with_capacity(table.len());
        Prints(other.0.iter().map(room).collect())
    }

    /// Whether `print` is new; it is no longer then.
    pub(crate) fn insert(&mut self, print: Print) -> bool {
        if let [all] = &mut self.0[..]
            && all.len() >= MOST_IN_ONE
        {
            let all = std::mem::take(all);
            self.0.resize_with(N_PARTS, HashTable::new);
            for print in all {
                self.insert(print);
            }
        }
        let part = self.part_of(&print);
        let same = |known: &Print| *known == print;
        match self.0[part].entry(hash_of(&print), same, hash_of) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(print);
                true
            }
        }
    }

    /// Has the memory that `print` leads to brought near, and does not wait for it.
    pub(crate) fn fetch(&self, print: &Print) {
        let near = self.0[self.part_of(print)].find(hash_of(print), |_| true);
        black_box(near.map(|print| print[0]));
    }

    /// By a byte that tables do not look at.
    fn part_of(&self, print: &Print) -> usize {
        match self.0.len() {
            1 => 0,
            _ => usize::from(PART_OF[usize::from(print[WIDTH - 1])]),
        }
    }

    fn contains(&self, print: &Print) -> bool {
        let same = |known: &Print| known == print;
        self.0[self.part_of(print)]
            .find(hash_of(print), same)
            .is_some()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(HashTable::len).sum()
    }

    /// Bytes held.
    pub(crate) fn size(&self) -> usize {
        self.0.iter().map(HashTable::allocation_size).sum()
    }

    /// All, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Print> {
        self.0.iter().flatten()
    }
}

impl PartialEq for Prints {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|print| other.contains(print))
    }
}

impl FromIterator<Print> for Prints {
    fn from_iter<I: IntoIterator<Item = Print>>(prints: I) -> Self {
        let mut all = Prints::default();
        for print in prints {
            all.insert(print);
        }
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
        for n_prints in [0u32, 1, 1000, 3000, 100_000, 400_000] {
            let prints: Prints = (0..n_prints).map(|n| print(&n.to_le_bytes())).collect();
            let packed = Packed::new(&prints);
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
                // Of a single table it is up to 30 bytes.
                assert!(
                    prints.size() < n as usize * 24,
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
        let packed = Packed::new(&prints);
        for at in 0..known.len() {
            let mut other = known;
            other[at] ^= 1;
            assert!(!contains(&packed, other), "byte {at}");
        }
        assert!(contains(&packed, known));
    }
}
