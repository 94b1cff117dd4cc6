//! When each event is due: the rate and its shape over time, as a pure function of the number of events so far.

use std::time::Duration;

use crate::config::{Config, Shape};

/// Gives each event its moment, in nanoseconds since the first.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: u64,
    shape: Shape,
    /// Moment of the next event, and the fraction of a nanosecond in `1 / rate`.
    next: u64,
    fraction: u64,
}

/// Events per second of event time when a start time is given but no rate.
const FREE_RATE: u64 = 10_000;
const SECOND: u64 = 1_000_000_000;

impl Pace {
    pub(crate) fn new(config: &Config) -> Pace {
        let rate = if config.rate == 0 {
            FREE_RATE
        } else {
            u64::from(config.rate)
        };
        Pace {
            rate,
            shape: config.shape,
            next: 0,
            fraction: 0,
        }
    }

    /// Moment of the next event.
    pub(crate) fn due(&self) -> Duration {
        Duration::from_nanos(self.next)
    }

    /// Goes on to the event behind it.
    pub(crate) fn advance(&mut self) {
        let rate = self.rate_at(self.next).max(1);
        self.next += SECOND / rate;
        // Whole nanoseconds alone would make a rate of 300000/s three events too many in each second.
        self.fraction += SECOND % rate;
        if self.fraction >= rate {
            self.fraction -= rate;
            self.next += 1;
        }
    }

    fn rate_at(&self, at: u64) -> u64 {
        let nanos = |duration: Duration| duration.as_nanos().max(1) as u64;
        match self.shape {
            Shape::Fixed => self.rate,
            Shape::Burst {
                every,
                length,
                factor,
            } => {
                let burst = at % nanos(every) < nanos(length);
                if burst {
                    self.rate * u64::from(factor)
                } else {
                    self.rate
                }
            }
            Shape::Ramp { from, over } => {
                let over = u128::from(nanos(over));
                let at = u128::from(at).min(over);
                let (from, to) = (u128::from(from), u128::from(self.rate));
                ((from * (over - at) + to * at) / over) as u64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pace;
    use crate::config::{Config, Shape};

    /// Number of events due before each second ends.
    fn per_second(config: &Config, seconds: u64) -> Vec<u64> {
        let mut pace = Pace::new(config);
        (1..=seconds)
            .map(|second| {
                let mut count = 0;
                while pace.due() < Duration::from_secs(second) {
                    pace.advance();
                    count += 1;
                }
                count
            })
            .collect()
    }

    #[test]
    fn a_fixed_rate_is_exact_over_time() {
        for rate in [1, 7, 1000, 299_999] {
            let config = Config {
                rate,
                ..Config::default()
            };
            let counted: u64 = per_second(&config, 20).iter().sum();
            assert_eq!(counted, u64::from(rate) * 20, "{rate}");
        }
    }

    #[test]
    fn bursts_and_ramps_have_their_shape() {
        let second = Duration::from_secs(1);
        let shape = Shape::Burst {
            every: 3 * second,
            length: second,
            factor: 5,
        };
        let burst = Config {
            rate: 100,
            shape,
            ..Config::default()
        };
        assert_eq!(per_second(&burst, 4), [500, 100, 100, 500]);
        let shape = Shape::Ramp {
            from: 100,
            over: 4 * second,
        };
        let ramp = Config {
            rate: 500,
            shape,
            ..Config::default()
        };
        let counted = per_second(&ramp, 6);
        for (count, expected) in counted.iter().zip([150_u64, 250, 350, 450, 500, 500]) {
            assert!(count.abs_diff(expected) <= 1, "{counted:?}");
        }
    }
}
