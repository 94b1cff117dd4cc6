//! What a run has done so far, as numbers and as one line of text.

use std::fmt;
use std::time::Duration;

use crate::generator::Tally;

/// What a run has done so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Time since the start.
    pub elapsed: Duration,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records acknowledged per second since the last report.
    pub rate: f64,
    /// Records sent and not yet acknowledged.
    pub in_flight: u64,
    /// Records that could not be delivered.
    pub failed: u64,
    /// 99th percentile of the time from closing a batch to its acknowledgement, since the last report.
    pub ack_p99: Duration,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// What was made.
    pub tally: Tally,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records that could not be delivered.
    pub failed: u64,
    /// Why the last of them could not.
    pub last_error: Option<String>,
    /// Bytes of the batches acknowledged.
    pub bytes: u64,
    /// Time from start to the last acknowledgement.
    pub elapsed: Duration,
    /// Median time from closing a batch to its acknowledgement.
    pub ack_p50: Duration,
    /// 99th percentile of it.
    pub ack_p99: Duration,
}

/// Counts durations in buckets of 6 % width.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    buckets: Vec<u64>,
}

/// Buckets of each doubling.
const STEPS: u32 = 16;

impl Latencies {
    pub(crate) fn new() -> Latencies {
        Latencies {
            buckets: vec![0; 40 * STEPS as usize],
        }
    }

    pub(crate) fn add(&mut self, latency: Duration, weight: u64) {
        let micros = (latency.as_micros().min(u128::from(u32::MAX)) as u64).max(u64::from(STEPS));
        let doubling = micros.ilog2() - STEPS.ilog2();
        let step = (micros >> doubling) as u32 - STEPS;
        self.buckets[(doubling * STEPS + step) as usize] += weight;
    }

    /// The duration that this share of all stays under.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let total: u64 = self.buckets.iter().sum();
        let mut left = (total as f64 * share).ceil() as u64;
        for (index, count) in self.buckets.iter().enumerate() {
            if *count > 0 && *count >= left {
                let (doubling, step) = (index as u32 / STEPS, index as u32 % STEPS);
                return Duration::from_micros(u64::from(STEPS + step + 1) << doubling);
            }
            left = left.saturating_sub(*count);
        }
        Duration::ZERO
    }

    pub(crate) fn absorb(&mut self, other: &mut Latencies) {
        for (all, new) in self.buckets.iter_mut().zip(&mut other.buckets) {
            *all += std::mem::take(new);
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:>5.0} s  {:>10} sent  {:>9.0}/s  {:>7} in flight  {} failed  ack p99 {:.1} ms",
            self.elapsed.as_secs_f64(),
            self.acknowledged,
            self.rate,
            self.in_flight,
            self.failed,
            self.ack_p99.as_secs_f64() * 1000.0,
        )
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            valid,
            late,
            out_of_order,
            duplicates,
            malformed,
            ..
        } = self.tally;
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        writeln!(
            formatter,
            "{} records in {seconds:.1} s: {:.0}/s, {:.1} MB/s, ack p50 {:.1} ms, p99 {:.1} ms, {} failed",
            self.acknowledged,
            self.acknowledged as f64 / seconds,
            self.bytes as f64 / 1e6 / seconds,
            self.ack_p50.as_secs_f64() * 1000.0,
            self.ack_p99.as_secs_f64() * 1000.0,
            self.failed,
        )?;
        write!(
            formatter,
            "{valid} valid events ({late} late, {out_of_order} out of order), {duplicates} duplicates, {malformed} malformed"
        )?;
        match &self.last_error {
            Some(error) => write!(formatter, "\nlast error: {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Latencies;

    #[test]
    fn quantiles_are_right_to_a_bucket() {
        let mut latencies = Latencies::new();
        for millis in 1..=1000 {
            latencies.add(Duration::from_millis(millis), 1);
        }
        let p99 = latencies.quantile(0.99).as_secs_f64();
        assert!((0.99..1.06).contains(&p99), "{p99}");
        let p50 = latencies.quantile(0.5).as_secs_f64();
        assert!((0.5..0.54).contains(&p50), "{p50}");
        latencies.add(Duration::MAX, 1);
        assert!(latencies.quantile(1.0) > Duration::from_secs(3600));
    }
}
