//! Scripts with the rows that real Flink gave for them: `tests/golden/flink-cases`, made by Flink 2.3.0.
//!
//! A case is a folder with `query.sql`, `case.json` and `expected*.jsonl`; `passes.txt` lists the cases that must be
//! equal. A script outside of the list must be refused or differ, so that the list grows when it can.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stream_processor::{Config, run_script};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines a sink wrote into its folder.
pub(crate) fn written(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut files: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    };
    files.sort();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if file.is_file() && !name.starts_with(['.', '_']) {
            lines.extend(read(&file).lines().map(str::to_owned));
        }
    }
    lines
}

/// The rows that a changelog leaves.
pub(crate) fn materialised(lines: &[String]) -> Vec<Value> {
    let mut rows: BTreeMap<String, (i64, Value)> = BTreeMap::new();
    for line in lines {
        let change: Value = serde_json::from_str(line).unwrap();
        let (row, sign) = match change["op"].as_str() {
            Some("c") => (change["after"].clone(), 1),
            Some("d") => (change["before"].clone(), -1),
            other => panic!("{other:?} in {line}"),
        };
        rows.entry(row.to_string()).or_insert((0, row)).0 += sign;
    }
    rows.into_values()
        .flat_map(|(count, row)| {
            assert!(count >= 0, "taken back without having been there: {row}");
            std::iter::repeat_n(row, count as usize)
        })
        .collect()
}

/// A value without what does not count: the order of lists, the last digits of numbers.
fn comparable(value: &Value, lists: &[String], key: Option<&str>) -> Value {
    match value {
        // Minus zero is zero.
        Value::Number(number) => Value::String(format!("{:.9e}", number.as_f64().unwrap() + 0.0)),
        Value::String(text) if key.is_some_and(|key| lists.iter().any(|list| list == key)) => {
            let mut parts: Vec<&str> = text.split(',').collect();
            parts.sort_unstable();
            Value::String(parts.join(","))
        }
        Value::Array(items) => items
            .iter()
            .map(|item| comparable(item, lists, None))
            .collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), comparable(field, lists, Some(name))))
            .collect(),
        other => other.clone(),
    }
}

fn sorted(rows: impl Iterator<Item = Value>, lists: &[String]) -> Vec<String> {
    let mut rows: Vec<String> = rows
        .map(|row| comparable(&row, lists, None).to_string())
        .collect();
    rows.sort();
    rows
}

fn difference(expected: &[String], actual: &[String]) -> Option<String> {
    if expected == actual {
        return None;
    }
    let missing: Vec<&String> = expected
        .iter()
        .filter(|row| !actual.contains(row))
        .take(2)
        .collect();
    let extra: Vec<&String> = actual
        .iter()
        .filter(|row| !expected.contains(row))
        .take(2)
        .collect();
    Some(format!(
        "{} rows instead of {}; missing {missing:?}; extra {extra:?}",
        actual.len(),
        expected.len()
    ))
}

/// Runs one case; the error says how it differs.
async fn run(name: &str, parallelism: usize) -> Result<(), String> {
    let folder = golden().join("flink-cases").join(name);
    let output = testkit::temp_dir();
    let inputs = format!("file://{}", golden().join("flink-inputs").display());
    let script = read(&folder.join("query.sql"))
        .replace("${INPUTS}", &inputs)
        .replace("${OUTPUT}", &format!("file://{}", output.path().display()));
    let script = format!("SET 'parallelism.default' = '{parallelism}';\n{script}");
    run_script(Config::default(), &script)
        .await
        .map_err(|error| testkit_chain(&error))?;
    let case: Value = serde_json::from_str(&read(&folder.join("case.json"))).unwrap();
    let lists: Vec<String> =
        serde_json::from_value(case["compare"]["list_columns"].clone()).unwrap();
    for (sink, about) in case["sinks"].as_object().unwrap() {
        let expected = read(&folder.join(about["expected"].as_str().unwrap()));
        let lines = written(&output.path().join(sink));
        let found = match about["format"].as_str() {
            Some("csv" | "raw") => {
                let sort = |lines: Vec<String>| {
                    let mut lines = lines;
                    lines.sort();
                    lines
                };
                difference(
                    &sort(expected.lines().map(str::to_owned).collect()),
                    &sort(lines),
                )
            }
            format => {
                let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap();
                let actual = if format == Some("debezium-json") {
                    materialised(&lines)
                } else {
                    lines.iter().map(|line| parse(line)).collect()
                };
                difference(
                    &sorted(expected.lines().map(parse), &lists),
                    &sorted(actual.into_iter(), &lists),
                )
            }
        };
        if let Some(difference) = found {
            return Err(format!("{sink}: {difference}"));
        }
    }
    Ok(())
}

pub(crate) fn testkit_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text += &format!(": {source}");
        next = source.source();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_give_flinks_rows() {
    let passes = read(&golden().join("passes.txt"));
    let mut failures = Vec::new();
    for name in passes
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        for parallelism in [1, 4] {
            if let Err(error) = run(name, parallelism).await {
                failures.push(format!("{name} at parallelism {parallelism}: {error}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
