//! A checkpoint is published and its rows cannot be committed, because the catalog is gone; then the job dies. The next
//! one commits them, once.

use crate::growing_topic::{send, settles, submit};
use crate::platform::{Process, Site};

const SERVICES: [&str; 5] = [
    "storage-service",
    "streaming-server",
    "iceberg-catalog",
    "stream-processor",
    "query-engine",
];
const CATALOG: usize = 2;
const PROCESSOR: usize = 3;

/// Waits until a published checkpoint holds rows that are in no table.
const WAIT_FOR_PENDING: &str = r#"
import time, requests
deadline, found = time.monotonic() + 90, None
while not found:
    assert time.monotonic() < deadline
    for job in requests.get(f"{JOBS}/jobs/overview", timeout=30).json()["jobs"]:
        if job["name"] == "grown" and job["state"] == "RUNNING":
            found = requests.get(f"{JOBS}/jobs/{job['jid']}", timeout=30).json()["pending-commits"]
print("pending")
"#;

#[test]
fn a_commit_that_was_cut_off_is_made_once_by_the_next_job() {
    let site = Site::new();
    let start = |service: &str| site.start(&["run", service]);
    let mut services: Vec<Process> = SERVICES.into_iter().map(start).collect();
    let without = SERVICES.iter().flat_map(|name| ["--without", name]);
    let up: Vec<&str> = ["up", "--no-demo"].into_iter().chain(without).collect();
    let up = site.start(&up);
    send(&site, 2, 100);
    submit(&site);
    assert_eq!(settles(&site, 200), 2);

    services.remove(CATALOG).kill();
    send(&site, 2, 100);
    let jobs = format!(
        "JOBS = \"http://{}\"\n",
        site.address("stream_processor.job_listen")
    );
    assert_eq!(site.python(&(jobs + WAIT_FOR_PENDING)), "pending\n");
    services.remove(PROCESSOR - 1).kill();

    services.insert(CATALOG, start(SERVICES[CATALOG]));
    services.insert(PROCESSOR, start(SERVICES[PROCESSOR]));
    assert_eq!(settles(&site, 400), 2);
    assert!(up.stop().success());
    for service in services.into_iter().rev() {
        assert!(service.stop().success());
    }
}
