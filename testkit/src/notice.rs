//! Words that reach the person who runs the tests, though cargo keeps what a passing test prints.

use std::io::Write;

/// Writes `text` and a line end to standard error past the capture of the test harness.
pub fn notice(text: &str) {
    // Where standard error is closed nobody reads, and the test is no worse for it.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
