//! Apache Spark with Iceberg's own runtime, as a library of the Python environment.

use std::path::PathBuf;
use std::process::Command;

use crate::python::{once, run};
use crate::{interpreter, jars, notice};

const SPARK: &str = "3.5.6";
const ICEBERG: &str = "1.10.1";

/// Where Spark and Iceberg's runtime for it lie.
#[derive(Debug)]
pub struct Spark {
    /// For `PYTHONPATH` of [`interpreter()`].
    pub python: PathBuf,
    /// The directory with the jars of Iceberg and of its S3 client.
    pub jars: PathBuf,
}

/// Spark from the Python package index and Iceberg from Maven Central, fetched at the first call on this machine.
///
/// # Panics
/// If Maven, Java or python3 is missing, or something cannot be fetched.
pub fn spark() -> Spark {
    // Before the lock, which it takes, too.
    let interpreter = interpreter();
    let python = once("python.lock", &format!("pyspark-{SPARK}"), |directory| {
        notice(&format!(
            "installing Apache Spark {SPARK} into {} (once)",
            directory.display()
        ));
        run(Command::new(interpreter)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--target",
            ])
            .arg(directory)
            .arg(format!("pyspark=={SPARK}")));
    });
    let jars = jars(
        &format!("iceberg-spark-{ICEBERG}"),
        &[
            &format!("org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:{ICEBERG}"),
            &format!("org.apache.iceberg:iceberg-aws-bundle:{ICEBERG}"),
        ],
    );
    Spark { python, jars }
}
