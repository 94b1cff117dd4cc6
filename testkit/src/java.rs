//! Java programs and their libraries, which Maven fetches once into the cache outside the repository.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{notice, python};

/// The directory with the jars of `coordinates` (`group:artifact:version`, with `:classifier` behind it where one is meant) and all they need, made at the first call.
///
/// `name` is its name in the cache; other coordinates need another name. Processes that come at the same time wait for
/// the first.
///
/// # Panics
/// If Maven is missing or cannot fetch them.
pub fn jars(name: &str, coordinates: &[&str]) -> PathBuf {
    let cache = python::cache_dir();
    fs::create_dir_all(&cache).expect("the cache directory can be made");
    let lock = File::create(cache.join("jars.lock")).expect("the lock file can be made");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .expect("the lock can be taken");
    let directory = cache.join(name);
    let libraries = directory.join("libs");
    let complete = directory.join("complete");
    if !complete.is_file() {
        notice(&format!(
            "fetching {} into {} (once)",
            coordinates.join(", "),
            directory.display()
        ));
        fs::create_dir_all(&directory).expect("the cache can be written");
        fs::write(directory.join("pom.xml"), pom(coordinates)).expect("the cache can be written");
        let output = Command::new("mvn")
            .args(["-q", "-B", "dependency:copy-dependencies"])
            .arg("-DincludeScope=runtime")
            .arg(format!("-DoutputDirectory={}", libraries.display()))
            .current_dir(&directory)
            .output()
            .expect("mvn starts");
        assert!(
            output.status.success(),
            "Maven failed:\n{}",
            String::from_utf8_lossy(&output.stdout)
        );
        fs::write(complete, "").expect("the cache can be written");
    }
    libraries
}

fn pom(coordinates: &[&str]) -> String {
    let dependency = |coordinate: &&str| {
        let parts: Vec<&str> = coordinate.split(':').collect();
        let (group, artifact, version, classifier) = match parts[..] {
            [group, artifact, version] => (group, artifact, version, String::new()),
            [group, artifact, version, classifier] => {
                let classifier = format!("<classifier>{classifier}</classifier>");
                (group, artifact, version, classifier)
            }
            _ => panic!("`{coordinate}` needs the form group:artifact:version[:classifier]"),
        };
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version>{classifier}</dependency>\n"
        )
    };
    let dependencies: String = coordinates.iter().map(dependency).collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n<modelVersion>4.0.0</modelVersion>\n\
         <groupId>peer</groupId><artifactId>peer</artifactId><version>1</version>\n\
         <dependencies>\n{dependencies}</dependencies>\n</project>\n"
    )
}

/// Runs the program of one source file, whose public class is `Peer`, and returns what it printed.
///
/// # Panics
/// If it fails, with all it wrote.
pub fn java(libraries: &Path, source: &str, arguments: &[&str]) -> String {
    let directory = crate::temp_dir();
    let file = directory.path().join("Peer.java");
    fs::write(&file, source).expect("the source can be written");
    let output = Command::new("java")
        .args(["-Xmx256m", "-cp"])
        .arg(libraries.join("*"))
        .arg(&file)
        .args(arguments)
        .output()
        .expect("java starts");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "the program ended with {}\n--- stdout\n{stdout}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}
