//! Jobs from Flink's REST: overview, operators with their rates, watermarks and lag, checkpoints.

use serde::Serialize;
use serde_json::{Value, json};

use super::Platform;

/// Most jobs that are asked for in detail.
const MAX_JOBS: usize = 20;

/// Metrics of an operator that are shown where it has them.
const OPERATOR_METRICS: &str = "numRecordsInPerSecond,numRecordsOutPerSecond,currentInputWatermark,currentOutputWatermark,pendingRecords,numLateRecordsDropped";

/// A job as the page draws it.
#[derive(Debug, Serialize)]
pub(crate) struct Job {
    id: String,
    name: String,
    state: String,
    started_ms: i64,
    duration_ms: i64,
    operators: Vec<Operator>,
    /// Pairs of operator ids.
    edges: Vec<(String, String)>,
    checkpoints: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Operator {
    id: String,
    name: String,
    state: String,
    parallelism: u64,
    records_in: u64,
    records_out: u64,
    /// Name and value of each metric the operator has.
    metrics: serde_json::Map<String, Value>,
    watermark_ms: Option<i64>,
}

// === impl Platform ===

impl Platform {
    /// The jobs, newest first.
    pub(crate) async fn jobs(&self) -> Result<Vec<Job>, String> {
        let overview = self.job_json("/jobs/overview").await?;
        let mut jobs: Vec<&Value> = overview["jobs"].as_array().into_iter().flatten().collect();
        jobs.sort_by_key(|job| {
            let running = job["state"] == "RUNNING";
            (!running, -job["start-time"].as_i64().unwrap_or(0))
        });
        let described = jobs.into_iter().take(MAX_JOBS).map(|job| self.job(job));
        Ok(futures::future::join_all(described).await)
    }

    async fn job(&self, overview: &Value) -> Job {
        let id = text(&overview["jid"]);
        let mut job = Job {
            name: text(&overview["name"]),
            state: text(&overview["state"]),
            started_ms: overview["start-time"].as_i64().unwrap_or(0),
            duration_ms: overview["duration"].as_i64().unwrap_or(0),
            operators: Vec::new(),
            edges: Vec::new(),
            checkpoints: Value::Null,
            trouble: None,
            id,
        };
        let detail_path = format!("/jobs/{}", job.id);
        let checkpoints_path = format!("/jobs/{}/checkpoints", job.id);
        let exceptions_path = format!("/jobs/{}/exceptions", job.id);
        let (detail, checkpoints, exceptions) = tokio::join!(
            self.job_json(&detail_path),
            self.job_json(&checkpoints_path),
            self.job_json(&exceptions_path),
        );
        // The newest failure, also of a job that runs again.
        job.trouble = exceptions
            .ok()
            .and_then(|all| Some(all["root-exception"].as_str()?.lines().next()?.to_owned()));
        match checkpoints {
            Ok(checkpoints) => job.checkpoints = brief(&checkpoints),
            Err(why) => job.trouble = Some(why),
        }
        match detail {
            Ok(detail) => {
                let vertices = detail["vertices"].as_array().cloned().unwrap_or_default();
                let operators = vertices.iter().map(|vertex| self.operator(&job.id, vertex));
                job.operators = futures::future::join_all(operators).await;
                job.edges = edges(&detail["plan"]);
            }
            Err(why) => job.trouble = Some(why),
        }
        job
    }

    async fn operator(&self, job: &str, vertex: &Value) -> Operator {
        let mut operator = Operator {
            id: text(&vertex["id"]),
            name: text(&vertex["name"]),
            state: text(&vertex["status"]),
            parallelism: vertex["parallelism"].as_u64().unwrap_or(1),
            records_in: vertex["metrics"]["read-records"].as_u64().unwrap_or(0),
            records_out: vertex["metrics"]["write-records"].as_u64().unwrap_or(0),
            metrics: serde_json::Map::new(),
            watermark_ms: None,
        };
        // Our processor says all of it with the vertex; Flink has endpoints of its own for the rest.
        if let Some(own) = vertex["metrics"].as_object()
            && own.contains_key("watermark")
        {
            operator.watermark_ms = own["watermark"].as_i64().filter(|at| is_time(*at));
            for (theirs, ours) in [
                ("pendingRecords", "lag"),
                ("numLateRecordsDropped", "late-records"),
                ("stateSize", "state-size"),
            ] {
                if let Some(value) = own.get(ours).filter(|value| value.is_number()) {
                    operator.metrics.insert(theirs.to_owned(), value.clone());
                }
            }
            return operator;
        }
        self.ask_flink(job, &mut operator).await;
        operator
    }

    /// An engine without these endpoints is still drawn, with what it has.
    async fn ask_flink(&self, job: &str, operator: &mut Operator) {
        let base = format!("/jobs/{job}/vertices/{}", operator.id);
        let metrics_path = format!("{base}/subtasks/metrics?get={OPERATOR_METRICS}");
        let watermarks_path = format!("{base}/watermarks");
        let (metrics, watermarks) = tokio::join!(
            self.job_json(&metrics_path),
            self.job_json(&watermarks_path),
        );
        let metrics = metrics.unwrap_or_default();
        let watermarks = watermarks.unwrap_or_default();
        operator.metrics = metrics
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|metric| {
                let sum = ["sum", "max", "value"]
                    .iter()
                    .find_map(|key| number(&metric[*key]))?;
                Some((metric["id"].as_str()?.to_owned(), json!(sum)))
            })
            .collect();
        operator.watermark_ms = watermarks
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|watermark| number(&watermark["value"]))
            .map(|value| value as i64)
            .filter(|value| is_time(*value))
            .min();
    }

    async fn job_json(&self, path: &str) -> Result<Value, String> {
        let failed = |error: reqwest::Error| telemetry::chain(&error).to_string();
        let response = self
            .get(&self.config.job_url, path)
            .send()
            .await
            .map_err(failed)?;
        if !response.status().is_success() {
            return Err(format!("{path} answered {}", response.status()));
        }
        response.json().await.map_err(failed)
    }
}

/// Whether a watermark stands for a time: Flink writes its smallest long for "none yet" and its largest for "the input
/// has ended".
fn is_time(watermark: i64) -> bool {
    watermark > 0 && watermark < i64::MAX
}

/// Counts, the newest checkpoints and their times.
fn brief(checkpoints: &Value) -> Value {
    let history: Vec<Value> = checkpoints["history"]
        .as_array()
        .into_iter()
        .flatten()
        .take(30)
        .map(|checkpoint| {
            json!({
                "id": checkpoint["id"],
                "status": checkpoint["status"],
                "at_ms": checkpoint["trigger_timestamp"],
                "took_ms": checkpoint["end_to_end_duration"],
                "bytes": checkpoint["checkpointed_size"].as_u64().or(checkpoint["state_size"].as_u64()),
            })
        })
        .collect();
    json!({"counts": checkpoints["counts"], "history": history})
}

fn edges(plan: &Value) -> Vec<(String, String)> {
    plan["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|node| {
            let to = text(&node["id"]);
            node["inputs"]
                .as_array()
                .into_iter()
                .flatten()
                .map(move |input| (text(&input["id"]), to.clone()))
        })
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Flink writes metrics as numbers or as text.
fn number(value: &Value) -> Option<f64> {
    value
        .as_f64()
        .or_else(|| value.as_str()?.parse().ok())
        .filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests;
