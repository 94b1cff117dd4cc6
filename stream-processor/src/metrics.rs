//! Every metric of the processor, read from the jobs when they are asked for.

use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::jobs::{Entry, Jobs};
use crate::runtime::metrics::NodeMetrics;

/// The registry behind `/metrics`.
pub(crate) fn registry(jobs: Jobs) -> telemetry::Registry {
    let mut registry = telemetry::Registry::default();
    registry.register_collector(Box::new(JobCollector(jobs)));
    registry
}

struct JobCollector(Jobs);

impl std::fmt::Debug for JobCollector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("JobCollector")
    }
}

/// A figure of one node, summed over its instances.
struct Figure {
    name: &'static str,
    help: &'static str,
    of: fn(&NodeMetrics) -> u64,
}

const FIGURES: [Figure; 7] = [
    Figure {
        name: "records_in",
        help: "Records an operator took",
        of: |node| node.records_in.load(Ordering::Relaxed),
    },
    Figure {
        name: "records_out",
        help: "Records an operator gave",
        of: |node| node.records_out.load(Ordering::Relaxed),
    },
    Figure {
        name: "late_records",
        help: "Rows after their window had closed",
        of: |node| node.late.load(Ordering::Relaxed),
    },
    Figure {
        name: "state_bytes",
        help: "State held by an operator",
        of: |node| node.state_bytes.load(Ordering::Relaxed),
    },
    Figure {
        name: "busy_milliseconds",
        help: "Time an operator's task worked",
        of: |node| node.task.busy.load(Ordering::Relaxed) / 1_000_000,
    },
    Figure {
        name: "backpressured_milliseconds",
        help: "Time it waited for its receivers",
        of: |node| node.task.back_pressured.load(Ordering::Relaxed) / 1_000_000,
    },
    Figure {
        name: "idle_milliseconds",
        help: "Time it waited for input",
        of: |node| node.task.idle.load(Ordering::Relaxed) / 1_000_000,
    },
];

impl Collector for JobCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let jobs: Vec<_> = self
            .0
            .list()
            .into_iter()
            .filter(|job| !job.state().is_final())
            .collect();
        for figure in &FIGURES {
            let name = format!("streamforge_stream_processor_{}", figure.name);
            let mut family =
                encoder.encode_descriptor(&name, figure.help, None, MetricType::Gauge)?;
            for job in &jobs {
                for (vertex, value) in by_vertex(job, figure.of) {
                    let labels = [("job", job.name.as_str()), ("operator", vertex.as_str())];
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        let counts: [Count; 3] = [
            ("checkpoints", "Checkpoints completed", |job| {
                job.view().completed_checkpoints
            }),
            ("restarts", "Attempts after the first", |job| {
                job.view().restarts
            }),
            ("pending_commits", "Commits that wait", |job| {
                job.view().pending_commits as u64
            }),
        ];
        for (name, help, of) in counts {
            let name = format!("streamforge_stream_processor_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for job in &jobs {
                ConstGauge::new(gauge(of(job)))
                    .encode(family.encode_family(&[("job", job.name.as_str())])?)?;
            }
        }
        Ok(())
    }
}

/// Name, help and value of a figure of a whole job.
type Count = (&'static str, &'static str, fn(&Entry) -> u64);

fn by_vertex(job: &Entry, of: fn(&NodeMetrics) -> u64) -> Vec<(String, i64)> {
    let view = job.view();
    let sums = view
        .nodes
        .iter()
        .map(|instances| instances.iter().map(|node| of(node)).sum::<u64>());
    job.vertices()
        .into_iter()
        .zip(sums)
        .map(|(vertex, sum)| (vertex.uid, gauge(sum)))
        .collect()
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
