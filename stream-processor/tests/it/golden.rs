//! Scripts with the rows that real Flink gave for them: `tests/golden/flink-cases`, made by Flink 2.3.0.
//!
//! A case is a folder with `query.sql`, `case.json` and `expected*.jsonl`. Each is in one of three lists: `passes.txt` has
//! those that must be equal, `refused.txt` those that must be refused and for what, `differs.txt` those that must differ
//! and how, each for a reason that stands there. So a case changes its list as soon as it can.

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

/// What became of a case.
enum Outcome {
    Equal,
    /// The script ended with this error.
    Failed(String),
    /// Its rows are others.
    Differs(String),
}

async fn run(name: &str, parallelism: usize) -> Outcome {
    let folder = golden().join("flink-cases").join(name);
    let output = testkit::temp_dir();
    let inputs = format!("file://{}", golden().join("flink-inputs").display());
    let script = read(&folder.join("query.sql"))
        .replace("${INPUTS}", &inputs)
        .replace("${OUTPUT}", &format!("file://{}", output.path().display()));
    let script = format!("SET 'parallelism.default' = '{parallelism}';\n{script}");
    if let Err(error) = run_script(Config::default(), &script).await {
        return Outcome::Failed(testkit_chain(&error));
    }
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
            return Outcome::Differs(format!("{sink}: {difference}"));
        }
    }
    Outcome::Equal
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

/// The lines of a list: the case and what is to be found in its error or difference.
fn list(name: &str) -> Vec<(String, String)> {
    let lines = read(&golden().join(name));
    let lines = lines
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split_once(": ") {
            Some((case, text)) => (case.to_owned(), text.to_owned()),
            None => (line.to_owned(), String::new()),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_give_flinks_rows() {
    let mut failures = Vec::new();
    for (name, _) in list("passes.txt") {
        for parallelism in [1, 4] {
            if let Outcome::Failed(what) | Outcome::Differs(what) = run(&name, parallelism).await {
                failures.push(format!("{name} at parallelism {parallelism}: {what}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_scripts_are_refused_for_what_is_listed() {
    let mut failures = Vec::new();
    for (name, construct) in list("refused.txt") {
        let what = match run(&name, 1).await {
            Outcome::Failed(error) if error.contains(&construct) => continue,
            Outcome::Failed(error) => error,
            Outcome::Differs(difference) => format!("runs, and {difference}"),
            Outcome::Equal => "is equal now; move it to passes.txt".to_owned(),
        };
        failures.push(format!("{name}: {what}"));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_known() {
    let mut failures = Vec::new();
    for (name, how) in list("differs.txt") {
        let what = match run(&name, 1).await {
            Outcome::Failed(what) | Outcome::Differs(what) if what.contains(&how) => continue,
            Outcome::Failed(what) | Outcome::Differs(what) => what,
            Outcome::Equal => "is equal now; move it to passes.txt".to_owned(),
        };
        failures.push(format!("{name}: {what}"));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_case_is_in_one_list() {
    let mut listed: Vec<String> = ["passes.txt", "refused.txt", "differs.txt"]
        .into_iter()
        .flat_map(list)
        .map(|(name, _)| name)
        .collect();
    listed.sort();
    let cases = fs::read_dir(golden().join("flink-cases")).unwrap();
    let mut cases: Vec<String> = cases
        .map(|case| case.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    cases.sort();
    assert_eq!(listed, cases);
}
