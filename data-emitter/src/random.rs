//! Random numbers that stay the same for a seed, on every machine and in every version.
//!
//! Library generators reserve the right to change their streams; ours is xoshiro256++, seeded by splitmix64.

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: [u64; 4],
}

/// Draws an index by weight in constant time (Vose's alias method).
#[derive(Debug, Clone)]
pub(crate) struct Weighted {
    /// For each column: how much of it belongs to itself, in 2⁻³², and who owns the rest.
    columns: Vec<(u32, u32)>,
}

/// One step of splitmix64.
pub(crate) fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Random {
    /// The stream number `stream` of `seed`.
    pub(crate) fn new(seed: u64, stream: u64) -> Random {
        let mut state = seed;
        let mut other = stream ^ 0xd1b5_4a32_d192_ed03;
        let state = [
            mix(&mut state),
            mix(&mut other),
            mix(&mut state),
            mix(&mut other),
        ];
        Random { state }
    }

    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number from 0 to below `limit`.
    #[inline]
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// A number in 0 to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether an event of this share (see [`threshold`]) happens.
    #[inline]
    pub(crate) fn happens(&mut self, threshold: u64) -> bool {
        threshold > 0 && self.next() >> 1 < threshold
    }

    /// A number of the standard normal distribution (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// A share between 0 and 1 for [`Random::happens`].
pub(crate) fn threshold(share: f64) -> u64 {
    (share * (1_u64 << 63) as f64) as u64
}

impl Weighted {
    pub(crate) fn new(weights: &[f64]) -> Weighted {
        let total: f64 = weights.iter().sum();
        let scale = weights.len() as f64 / total;
        let mut scaled: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|index| scaled[*index] < 1.0);
        let mut columns: Vec<(u32, u32)> = (0..weights.len())
            .map(|index| (u32::MAX, index as u32))
            .collect();
        while let (Some(poor), Some(rich)) = (small.pop(), large.pop()) {
            columns[poor] = ((scaled[poor] * f64::from(u32::MAX)) as u32, rich as u32);
            scaled[rich] -= 1.0 - scaled[poor];
            if scaled[rich] < 1.0 {
                small.push(rich);
            } else {
                large.push(rich);
            }
        }
        Weighted { columns }
    }

    /// Popularity by rank: the weight of rank `n` is `1 / n^exponent`.
    pub(crate) fn zipf(count: usize, exponent: f64) -> Weighted {
        let weights: Vec<f64> = (1..=count)
            .map(|rank| (rank as f64).powf(-exponent))
            .collect();
        Weighted::new(&weights)
    }

    #[inline]
    pub(crate) fn draw(&self, random: &mut Random) -> usize {
        let drawn = random.next();
        let column = (((drawn >> 32) * self.columns.len() as u64) >> 32) as usize;
        let (own, other) = self.columns[column];
        if drawn as u32 <= own {
            column
        } else {
            other as usize
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Random, Weighted, threshold};

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        let mut random = Random::new(42, 0);
        let drawn: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(drawn, GOLDEN);
    }

    const GOLDEN: [u64; 3] = [
        10_022_720_111_137_594_597,
        4_093_390_935_478_703_925,
        3_029_706_783_938_998_292,
    ];

    #[test]
    fn draws_follow_their_weights() {
        let weighted = Weighted::new(&[5.0, 0.0, 3.0, 2.0]);
        let mut random = Random::new(1, 1);
        let mut counts = [0_u32; 4];
        for _ in 0..100_000 {
            counts[weighted.draw(&mut random)] += 1;
        }
        assert_eq!(counts[1], 0);
        for (count, expected) in counts.iter().zip([50_000_u32, 0, 30_000, 20_000]) {
            assert!(count.abs_diff(expected) < 700, "{counts:?}");
        }
        let share = (0..100_000)
            .filter(|_| random.happens(threshold(0.25)))
            .count();
        assert!(share.abs_diff(25_000) < 700, "{share}");
    }
}
