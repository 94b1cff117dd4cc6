//! `streamforge status`: one screen that says whether the lakehouse is well, with an exit code for scripts.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::cli::Settings;
use crate::config::{self, Endpoints};
use crate::output;
use crate::trino::Client;

const PATIENCE: Duration = Duration::from_secs(5);

/// Prints services, jobs and tables; exit code 1 if a service is not ready or a job is not running.
pub(crate) async fn status(settings: &Settings) -> anyhow::Result<ExitCode> {
    let endpoints = config::load(settings)?.config.endpoints;
    let mut well = services(&endpoints).await;
    output::line("");
    well &= jobs(&endpoints).await;
    output::line("");
    well &= tables(&endpoints).await;
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn services(endpoints: &Endpoints) -> bool {
    let client = reqwest::Client::new();
    let mut rows = Vec::new();
    let mut well = true;
    for (name, address, readiness) in [
        ("streaming-server", &endpoints.kafka, &endpoints.kafka_admin),
        ("storage-service", &endpoints.s3, &endpoints.s3),
        ("iceberg-catalog", &endpoints.catalog, &endpoints.catalog),
        ("stream-processor", &endpoints.gateway, &endpoints.jobs),
        ("query-engine", &endpoints.trino, &endpoints.trino),
        ("viz-dashboard", &endpoints.dashboard, &endpoints.dashboard),
    ] {
        let state = readiness_of(&client, readiness).await;
        // A real product in our service's place has no /readyz; that it answers is all it can say.
        well &= matches!(state.as_str(), "ready" | "answers");
        rows.push(vec![name.to_owned(), address.clone(), state]);
    }
    output::table(&["service", "address", "state"], &rows);
    well
}

async fn readiness_of(client: &reqwest::Client, base: &str) -> String {
    if base.is_empty() {
        return "answers".to_owned();
    }
    let url = format!("{}/readyz", base.trim_end_matches('/'));
    match client.get(url).timeout(PATIENCE).send().await {
        Err(_) => "does not answer".to_owned(),
        Ok(answer) if answer.status().is_success() => "ready".to_owned(),
        Ok(answer) if answer.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE => answer
            .text()
            .await
            .map_or("broke off".to_owned(), |text| text.trim().to_owned()),
        Ok(_) => "answers".to_owned(),
    }
}

async fn jobs(endpoints: &Endpoints) -> bool {
    let url = format!("{}/jobs/overview", endpoints.jobs.trim_end_matches('/'));
    let answer = reqwest::Client::new()
        .get(url)
        .timeout(PATIENCE)
        .send()
        .await;
    let overview = match answer {
        Ok(answer) => crate::gateway::body(answer).await,
        Err(error) => Err(error.into()),
    };
    let overview = match overview {
        Ok(overview) => overview,
        Err(error) => {
            output::line(&format!("jobs: {error:#}"));
            return false;
        }
    };
    let jobs = overview["jobs"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let number = |value: &Value| {
        value
            .as_i64()
            .map_or("-".to_owned(), |number| number.to_string())
    };
    let rows: Vec<_> = jobs
        .iter()
        .map(|job| {
            vec![
                text(&job["jid"]),
                text(&job["name"]),
                text(&job["state"]),
                number(&job["lag"]),
            ]
        })
        .collect();
    output::table(&["job", "name", "state", "lag (records)"], &rows);
    jobs.iter().all(|job| {
        matches!(
            job["state"].as_str(),
            Some("RUNNING" | "FINISHED" | "CANCELED")
        )
    })
}

async fn tables(endpoints: &Endpoints) -> bool {
    match table_rows(endpoints).await {
        Ok(rows) => {
            output::table(&["table", "rows", "files", "MB", "last commit"], &rows);
            true
        }
        Err(error) => {
            output::line(&format!("tables: {error:#}"));
            false
        }
    }
}

async fn table_rows(endpoints: &Endpoints) -> anyhow::Result<Vec<Vec<String>>> {
    let mut trino = Client::new(&endpoints.trino, PATIENCE * 6).with_names("iceberg", None);
    let names = "SELECT table_schema, table_name FROM information_schema.tables \
                 WHERE table_schema <> 'information_schema' ORDER BY 1, 2";
    let mut rows = Vec::new();
    for name in trino.query(names).await?.data {
        let part = |index: usize| name[index].as_str().unwrap_or_default().to_owned();
        let (schema, table) = (part(0), part(1));
        let sizes = format!(
            "SELECT coalesce(sum(record_count), 0), count(*), coalesce(sum(file_size_in_bytes), 0) \
             FROM \"{schema}\".\"{table}$files\" WHERE content = 0"
        );
        let sizes = trino.query(&sizes).await?.data;
        let last = format!("SELECT max(committed_at) FROM \"{schema}\".\"{table}$snapshots\"");
        let last = trino.query(&last).await?.data;
        let size = |index: usize| {
            sizes
                .first()
                .and_then(|row| row[index].as_i64())
                .unwrap_or(0)
        };
        let last = last
            .first()
            .and_then(|row| row[0].as_str().map(str::to_owned));
        rows.push(vec![
            format!("{schema}.{table}"),
            size(0).to_string(),
            size(1).to_string(),
            format!("{:.1}", size(2) as f64 / 1e6),
            last.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    Ok(rows)
}
