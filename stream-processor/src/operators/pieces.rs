//! A vector that grows by pieces of one size: what it holds is never copied to grow, and at most one piece is unused.
//!
//! State of millions of keys would otherwise be copied whole each time a vector doubles, with both copies in memory,
//! and leave up to half of the larger one empty.

use std::ops::{Index, IndexMut};

/// Bytes of a piece, nearly: a round number, as the allocator would make one of it.
const PIECE_BYTES: usize = 1 << 18;

/// Items by index.
#[derive(Debug, Clone)]
pub(crate) struct Pieces<T>(Vec<Vec<T>>);

impl<T> Default for Pieces<T> {
    fn default() -> Self {
        Pieces(Vec::new())
    }
}

impl<T> Pieces<T> {
    /// Items of a piece.
    const PIECE: usize = PIECE_BYTES / size_of::<T>();

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0
            .last()
            .map_or(0, |last| (self.0.len() - 1) * Self::PIECE + last.len())
    }

    /// Adds one at the end.
    pub(crate) fn push(&mut self, item: T) {
        match self.0.last_mut() {
            Some(last) if last.len() < Self::PIECE => last.push(item),
            _ => {
                let mut piece = Vec::with_capacity(Self::PIECE);
                piece.push(item);
                self.0.push(piece);
            }
        }
    }

    /// All in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }
}

impl<T> Index<usize> for Pieces<T> {
    type Output = T;

    #[inline]
    fn index(&self, at: usize) -> &T {
        &self.0[at / Self::PIECE][at % Self::PIECE]
    }
}

impl<T> IndexMut<usize> for Pieces<T> {
    #[inline]
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.0[at / Self::PIECE][at % Self::PIECE]
    }
}

#[cfg(test)]
mod tests {
    use super::Pieces;

    #[test]
    fn it_is_a_vector() {
        const PIECE: usize = Pieces::<usize>::PIECE;
        let mut pieces = Pieces::default();
        assert_eq!(pieces.len(), 0);
        let n_items = 2 * PIECE + 3;
        for item in 0..n_items {
            pieces.push(item);
            assert_eq!(pieces.len(), item + 1);
        }
        (0..n_items).for_each(|at| pieces[at] *= 2);
        pieces[PIECE] += 1;
        assert_eq!(
            (pieces[PIECE - 1], pieces[PIECE]),
            (2 * PIECE - 2, 2 * PIECE + 1)
        );
        assert_eq!(pieces.iter().sum::<usize>(), n_items * (n_items - 1) + 1);
    }
}
