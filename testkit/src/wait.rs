//! Waiting for something to become true, with a name for what did not.

use std::time::{Duration, Instant};

/// Asks `probe` again and again until it answers `Some`, or panics after `limit` saying that `what` did not happen.
///
/// The pause between questions is the only sleep in the test suite; it grows from 1 ms to 50 ms.
///
/// # Panics
/// If `limit` passes first.
pub async fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(
            start.elapsed() < limit,
            "waited {limit:?} in vain for {what}"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
