//! What the commands print; the one place that writes to standard output.

use std::io::Write;

/// One line of result. A closed pipe ends the program quietly, as other tools do.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// The one error a command ends with.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr(), "error: {text}");
}

/// A line about progress, apart from the results.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Rows in aligned columns under their headings, numbers to the right.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) {
    for text in aligned(headings, rows) {
        line(&text);
    }
}

fn aligned(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([headings[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..headings.len()).map(width).collect();
    let is_number: Vec<_> = (0..headings.len())
        .map(|column| !rows.is_empty() && rows.iter().all(|row| row[column].parse::<f64>().is_ok()))
        .collect();
    let print = |cells: Vec<&str>| {
        let cells = cells.into_iter().enumerate().map(|(column, cell)| {
            let width = widths[column];
            if is_number[column] {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![print(headings.to_vec())];
    lines.push(print(widths.iter().map(|_| "").collect::<Vec<_>>()));
    lines[1] = widths
        .iter()
        .map(|width| "-".repeat(*width))
        .collect::<Vec<_>>()
        .join("  ");
    lines.extend(
        rows.iter()
            .map(|row| print(row.iter().map(String::as_str).collect())),
    );
    lines
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    #[test]
    fn columns_are_aligned_and_numbers_stand_to_the_right() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["bcd".to_owned(), "230".to_owned()],
        ];
        expect![[r"
            name  rows
            ----  ----
            a        1
            bcd    230"]]
        .assert_eq(&super::aligned(&["name", "rows"], &rows).join("\n"));
    }
}
