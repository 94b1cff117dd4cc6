//! `streamforge sql`: a shell over the Trino protocol.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Map, Value};

use crate::cli::{Format, Settings, Sql};
use crate::output;
use crate::trino::{Client, Rows};

/// Runs `-e`, or what comes from standard input, statement by statement.
pub(crate) async fn shell(settings: &Settings, options: &Sql) -> anyhow::Result<ExitCode> {
    let server = match &options.server {
        Some(url) => url.to_string(),
        None => crate::config::load(settings)?.config.endpoints.trino,
    };
    let mut client = Client::new(&server, options.timeout)
        .with_names(&options.catalog, options.schema.as_deref());
    if let Some(script) = &options.execute {
        let (mut complete, rest) = statements(script);
        complete.extend(Some(rest).filter(|rest| !rest.trim().is_empty()));
        for statement in complete {
            print(&client.query(&statement).await?, options.format);
        }
        return Ok(ExitCode::SUCCESS);
    }
    interactive(&mut client, options.format).await
}

/// Reads until the end of input; an error ends a script, and is only printed to a person.
async fn interactive(client: &mut Client, format: Format) -> anyhow::Result<ExitCode> {
    let person = std::io::stdin().is_terminal();
    let mut pending = String::new();
    loop {
        if person {
            prompt(pending.trim().is_empty())?;
        }
        let mut text = String::new();
        let read = std::io::stdin()
            .lock()
            .read_line(&mut text)
            .context("could not read standard input")?;
        if read == 0 || matches!(text.trim(), "quit" | "exit" | "quit;" | "exit;") {
            break;
        }
        pending.push_str(&text);
        let (complete, rest) = statements(&pending);
        pending = rest;
        for statement in complete {
            run(client, &statement, format, person).await?;
        }
    }
    if !pending.trim().is_empty() {
        run(client, pending.trim(), format, person).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn run(
    client: &mut Client,
    statement: &str,
    format: Format,
    person: bool,
) -> anyhow::Result<()> {
    match client.query(statement).await {
        Ok(rows) => print(&rows, format),
        Err(error) if person => output::error(&format!("{error:#}")),
        Err(error) => return Err(error),
    }
    Ok(())
}

fn prompt(first: bool) -> anyhow::Result<()> {
    let mut out = std::io::stderr();
    write!(
        out,
        "{}",
        if first {
            "streamforge> "
        } else {
            "          -> "
        }
    )
    .and_then(|()| out.flush())
    .context("could not write the prompt")
}

/// Cuts `script` at its semicolons, strings, quoted names and comments apart; what follows the last one is the rest.
fn statements(script: &str) -> (Vec<String>, String) {
    let mut complete = Vec::new();
    let mut begin = 0;
    let mut rest = script.char_indices().peekable();
    while let Some((at, character)) = rest.next() {
        match character {
            '\'' | '"' => while rest.next().is_some_and(|(_, inner)| inner != character) {},
            '-' if rest.peek().is_some_and(|(_, next)| *next == '-') => {
                while rest.next().is_some_and(|(_, inner)| inner != '\n') {}
            }
            ';' => {
                complete.push(script[begin..at].trim().to_owned());
                begin = at + 1;
            }
            _ => {}
        }
    }
    complete.retain(|statement| !statement.is_empty());
    (complete, script[begin..].to_owned())
}

fn print(rows: &Rows, format: Format) {
    match format {
        Format::Table if rows.columns.is_empty() => {
            output::line(rows.update_type.as_deref().unwrap_or("OK"));
        }
        Format::Table => {
            let headings: Vec<_> = rows.columns.iter().map(String::as_str).collect();
            let cells: Vec<Vec<_>> = rows
                .data
                .iter()
                .map(|row| row.iter().map(cell).collect())
                .collect();
            output::table(&headings, &cells);
            output::line(&format!(
                "({} row{})",
                cells.len(),
                if cells.len() == 1 { "" } else { "s" }
            ));
        }
        Format::Csv => {
            let header: Vec<_> = rows.columns.iter().map(|name| quoted(name)).collect();
            output::line(&header.join(","));
            for row in &rows.data {
                let cells: Vec<_> = row.iter().map(|value| quoted(&csv(value))).collect();
                output::line(&cells.join(","));
            }
        }
        Format::Json => {
            for row in &rows.data {
                let pairs = rows.columns.iter().cloned().zip(row.iter().cloned());
                output::line(&Value::Object(Map::from_iter(pairs)).to_string());
            }
        }
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        other => csv(other),
    }
}

fn csv(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{quoted, statements};

    #[test]
    fn statements_end_at_semicolons_outside_of_strings_and_comments() {
        let (complete, rest) = statements("SELECT ';' AS \"a;b\"; -- one; two\n SELECT 2; SELECT");
        assert_eq!(
            complete,
            ["SELECT ';' AS \"a;b\"", "-- one; two\n SELECT 2"]
        );
        assert_eq!(rest, " SELECT");
    }

    #[test]
    fn a_field_with_a_comma_or_a_quote_is_quoted() {
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quoted("plain"), "plain");
    }
}
