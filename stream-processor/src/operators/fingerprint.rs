//! Fingerprints of values, where only it matters whether a value has been there: XXH3-128, cut to 96 bits.
//!
//! Two of a billion values share one with a probability of 10⁻¹¹. They are as evenly spread as any hash, so tables of
//! them need no hashing of their own.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use twox_hash::XxHash3_128;

/// Bytes of a fingerprint.
pub(crate) const WIDTH: usize = 12;

/// A fingerprint.
pub(crate) type Print = [u8; WIDTH];

/// A set of fingerprints.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prints(HashTable<Print>);

/// The fingerprint of `bytes`.
pub(crate) fn print(bytes: &[u8]) -> Print {
    let hash = XxHash3_128::oneshot(bytes).to_le_bytes();
    std::array::from_fn(|at| hash[at])
}

/// The first eight bytes.
fn hash_of(print: &Print) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|at| print[at]))
}

/// The bucket of `print` among `n_buckets`, a power of two up to 2³²; by bytes that sets do not look at first.
pub(crate) fn bucket_of(print: &Print, n_buckets: usize) -> usize {
    let last = u32::from_le_bytes(std::array::from_fn(|at| print[8 + at]));
    last as usize & (n_buckets - 1)
}

impl Prints {
    /// Whether `print` is new; it is no longer then.
    pub(crate) fn insert(&mut self, print: Print) -> bool {
        let same = |known: &Print| *known == print;
        match self.0.entry(hash_of(&print), same, hash_of) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(print);
                true
            }
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes held.
    pub(crate) fn size(&self) -> usize {
        self.0.capacity() * (WIDTH + 1)
    }

    /// All, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Print> {
        self.0.iter()
    }
}

impl PartialEq for Prints {
    fn eq(&self, other: &Self) -> bool {
        let held = |print: &Print| {
            other
                .0
                .find(hash_of(print), |known| known == print)
                .is_some()
        };
        self.len() == other.len() && self.iter().all(held)
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
