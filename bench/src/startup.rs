//! How soon and how lightly the lakehouse stands.

use std::path::Path;
use std::time::Duration;

use crate::process::{Site, print};

/// Starts `runs` times on a new directory and once on a used one.
pub(crate) async fn measure(binary: &Path, runs: usize) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for _ in 0..runs {
        let site = Site::new(binary)?;
        let running = site.start(&["up"]).await?;
        times.push(running.ready);
        running.stop().await?;
    }
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return Ok(());
    };
    print(&format!(
        "ready with demo, new directory: min {:.0} ms, median {:.0} ms, max {:.0} ms of {runs}",
        ms(*first),
        ms(times[times.len() / 2]),
        ms(*last)
    ));
    let site = Site::new(binary)?;
    let running = site.start(&["up", "--no-demo"]).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    print(&format!(
        "idle after 10 s without demo: {:.0} MB resident",
        running.memory()?
    ));
    print(&format!("stopped in {:.0} ms", ms(running.stop().await?)));
    Ok(())
}
