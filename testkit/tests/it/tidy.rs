//! The shape of the house: who may depend on whom, how long a file may be, that every file says what it is.

use std::fs;
use std::path::{Path, PathBuf};

const SERVICES: [&str; 7] = [
    "data-emitter",
    "streaming-server",
    "stream-processor",
    "storage-service",
    "iceberg-catalog",
    "query-engine",
    "viz-dashboard",
];
const LIBRARIES: [&str; 4] = ["telemetry", "kafka-client", "lake", "testkit"];
const DATAFUSION_USERS: [&str; 3] = ["stream-processor", "query-engine", "streamforge"];
const CEILING: usize = 600;

/// Files over the ceiling, each with the reason why it is one file.
const LONG_FILES: [(&str, &str); 0] = [];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

fn manifest(crate_name: &str) -> toml::Table {
    let path = root().join(crate_name).join("Cargo.toml");
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names(manifest: &toml::Table, section: &str) -> Vec<String> {
    manifest
        .get(section)
        .and_then(toml::Value::as_table)
        .map_or(Vec::new(), |table| table.keys().cloned().collect())
}

/// Every Rust file of the repository below a crate, generated ones apart.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in SERVICES
        .iter()
        .chain(&LIBRARIES)
        .chain(&["streamforge", "bench"])
    {
        collect(&root().join(name), &mut found);
    }
    assert!(
        found.len() > 50,
        "only {} Rust files found: the walk is broken",
        found.len()
    );
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
    {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs")
}

#[test]
fn services_speak_only_protocols() {
    for service in SERVICES {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for name in names(&manifest(service), section) {
                let other = SERVICES.contains(&name.as_str()) || name == "streamforge";
                assert!(
                    !other,
                    "{service} imports {name} ({section}); speak its protocol instead"
                );
            }
        }
    }
}

#[test]
fn libraries_know_no_service() {
    for library in LIBRARIES {
        for name in names(&manifest(library), "dependencies") {
            assert!(
                !SERVICES.contains(&name.as_str()),
                "{library} imports the service {name}"
            );
        }
    }
    for lowest in ["telemetry", "testkit"] {
        for name in names(&manifest(lowest), "dependencies") {
            assert!(
                !LIBRARIES.contains(&name.as_str()),
                "{lowest} imports {name}; it may import nothing of ours"
            );
        }
    }
}

#[test]
fn only_the_two_engines_and_the_binary_use_datafusion() {
    for name in SERVICES.iter().chain(&LIBRARIES) {
        let uses = names(&manifest(name), "dependencies")
            .iter()
            .any(|of| of.starts_with("datafusion"));
        assert!(
            !uses || DATAFUSION_USERS.contains(name),
            "{name} depends on DataFusion"
        );
    }
}

#[test]
fn no_file_is_over_the_ceiling() {
    let mut long = Vec::new();
    for path in sources().into_iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(&path).expect("a source file is readable");
        let lines = text
            .lines()
            .take_while(|line| !line.starts_with("#[cfg(test)]"))
            .count();
        let name = path
            .strip_prefix(root())
            .expect("it lies below the root")
            .display()
            .to_string();
        if lines > CEILING && LONG_FILES.iter().all(|(excused, _)| *excused != name) {
            long.push(format!("{name} has {lines} lines"));
        }
    }
    assert!(
        long.is_empty(),
        "over {CEILING} lines; split, or give a reason in LONG_FILES:\n{}",
        long.join("\n")
    );
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|path| {
            !fs::read_to_string(path)
                .expect("a source file is readable")
                .starts_with("//!")
        })
        .map(|path| path.display().to_string())
        .collect();
    assert!(
        silent.is_empty(),
        "no `//!` on the first line:\n{}",
        silent.join("\n")
    );
}

#[test]
fn every_crate_has_a_readme() {
    for name in SERVICES
        .iter()
        .chain(&LIBRARIES)
        .chain(&["streamforge", "bench"])
    {
        let path = root().join(name).join("README.md");
        assert!(path.is_file(), "{} is missing", path.display());
    }
}

#[test]
fn the_crates_are_the_members() {
    let workspace =
        fs::read_to_string(root().join("Cargo.toml")).expect("the root manifest is readable");
    let workspace: toml::Table = workspace.parse().expect("the root manifest is TOML");
    let mut members: Vec<_> = workspace["workspace"]["members"]
        .as_array()
        .expect("members is a list")
        .iter()
        .map(|member| member.as_str().expect("a member is a string").to_owned())
        .collect();
    let mut known: Vec<_> = SERVICES
        .iter()
        .chain(&LIBRARIES)
        .map(|name| (*name).to_owned())
        .collect();
    known.extend(["streamforge".to_owned(), "bench".to_owned()]);
    members.sort();
    known.sort();
    assert_eq!(
        members, known,
        "tidy.rs checks exactly the members of the workspace"
    );
}

/// The binary and the benchmarks are built and tested by the job that runs everything together.
#[test]
fn the_workflow_tests_each_module_on_its_own() {
    let workflow = fs::read_to_string(root().join(".github/workflows/ci.yml")).expect("readable");
    let (_, matrix) = workflow.split_once("crate:\n").expect("a matrix of crates");
    let mut named: Vec<_> = matrix
        .lines()
        .map_while(|line| line.trim().strip_prefix("- "))
        .collect();
    let mut known: Vec<_> = SERVICES.iter().chain(&LIBRARIES).copied().collect();
    named.sort_unstable();
    known.sort_unstable();
    assert_eq!(named, known);
    assert!(workflow.contains("run: .ci/run"));
}

/// The emitter is a client; the dashboard's container runs what `up` does besides.
#[test]
fn each_service_has_a_container() {
    let compose = fs::read_to_string(root().join("deploy/compose.yaml")).expect("readable");
    for service in SERVICES
        .iter()
        .filter(|service| **service != "data-emitter")
    {
        assert!(
            compose.contains(&format!("\n  {service}:\n")),
            "{service} has no container"
        );
        let alone = compose
            .matches(&format!("command: run {service}\n"))
            .count();
        let left_out = compose.matches(&format!("--without {service}")).count();
        let expected = if *service == "viz-dashboard" {
            (0, 0)
        } else {
            (1, 1)
        };
        assert_eq!((alone, left_out), expected, "{service}");
    }
}

#[test]
fn every_path_that_the_documents_name_exists() {
    let mut documents: Vec<_> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
        .iter()
        .map(|name| root().join(name))
        .collect();
    markdown(&root().join("docs"), &mut documents);
    let mut named = 0;
    let mut missing = Vec::new();
    for document in &documents {
        let text = fs::read_to_string(document).expect("a document is readable");
        for path in paths_in(&text, document.parent().expect("a file has a directory")) {
            named += 1;
            if !path.try_exists().expect("a path can be looked up") {
                missing.push(format!("{}: {}", document.display(), path.display()));
            }
        }
    }
    assert!(named > 50, "only {named} paths found: the walk is broken");
    assert!(
        missing.is_empty(),
        "named but not there:\n{}",
        missing.join("\n")
    );
}

fn markdown(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the directory is readable") {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            markdown(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// Targets of links, which start at the document, and code that begins with a directory of the root.
fn paths_in(text: &str, directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut in_fence = false;
    for line in text.lines() {
        in_fence ^= line.trim_start().starts_with("```");
        if in_fence {
            continue;
        }
        let links = line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
            .filter(|target| !target.is_empty() && !target.contains("://"));
        found.extend(links.map(|target| directory.join(target)));
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-/".contains(letter);
        let code = line.split('`').skip(1).step_by(2);
        let code = code.filter(|name| name.contains('/') && name.chars().all(plain));
        found.extend(
            code.filter(|name| is_ours(name))
                .map(|name| root().join(name)),
        );
    }
    found
}

fn is_ours(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or_default();
    let ours = ["docs", "sql", "dashboards", "deploy", ".ci", ".github"];
    ours.contains(&first)
        || first == "streamforge"
        || first == "bench"
        || SERVICES.contains(&first)
        || LIBRARIES.contains(&first)
}
