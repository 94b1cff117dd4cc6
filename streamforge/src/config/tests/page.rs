//! `docs/configuration-keys.md` is made of the annotated defaults; `UPDATE_EXPECT=1` writes it anew.

use std::fmt::Write;

use expect_test::expect_file;

use super::super::DEFAULTS;
use super::{load_with, set};

const HEAD: &str = "# Every configuration key

Made from `streamforge.toml` by the test `the_page_of_all_keys_is_made_of_the_defaults`: change the key there and run it with `UPDATE_EXPECT=1`.
What goes before what, and how a value is given, is in [configuration](configuration.md).

A *size* is bytes with a unit (`64 MiB`, `10 MB`, `512 B`), a *duration* a number with a unit or several (`200ms`, `1h 30m`, `7days`), an *address* an IP address and a port (`127.0.0.1:8080`; port 0 takes a free one).
As a variable `[query_engine]` `listen` is `STREAMFORGE__QUERY_ENGINE__LISTEN`, on the command line `--set query_engine.listen=…`.
";

#[test]
fn the_page_of_all_keys_is_made_of_the_defaults() {
    expect_file!["../../../../docs/configuration-keys.md"].assert_eq(&page());
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut section = String::new();
    let mut comment = Vec::new();
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            head(&mut page, &section, &comment.join(" "));
            comment.clear();
        } else if let Some(name) = line
            .strip_prefix("# ")
            .and_then(|line| line.strip_suffix(" is not set"))
        {
            row(&mut page, &section, name, None, &comment.join(" "));
            comment.clear();
        } else if let Some(text) = line.strip_prefix("# ") {
            comment.push(text.to_owned());
        } else if let Some((name, value)) = line.split_once(" = ") {
            row(&mut page, &section, name, Some(value), &comment.join(" "));
            comment.clear();
        } else {
            // The head of the file, or `… is a table of its own`, which follows.
            comment.clear();
        }
    }
    page
}

fn head(page: &mut String, section: &str, comment: &str) {
    let comment = if comment.is_empty() {
        String::new()
    } else {
        format!("\n{comment}\n")
    };
    write!(
        page,
        "\n## `[{section}]`\n{comment}\n| key | default | kind | |\n|---|---|---|---|\n"
    )
    .unwrap();
}

fn row(page: &mut String, section: &str, name: &str, default: Option<&str>, comment: &str) {
    let name = name.trim_matches('"');
    let shown = default.map_or("not set".to_owned(), |value| {
        format!("`{}`", value.trim_matches('"'))
    });
    let shown = if shown == "``" { "empty" } else { &shown };
    let kind = kind(section, name, default);
    assert!(
        !comment.is_empty() || section == "iceberg_catalog.table_defaults",
        "{section}.{name} is not explained"
    );
    let comment = comment.replace('|', "\\|");
    writeln!(page, "| `{name}` | {shown} | {kind} | {comment} |").unwrap();
}

/// What the key accepts, found by trying.
fn kind(section: &str, name: &str, default: Option<&str>) -> &'static str {
    if section == "iceberg_catalog.table_defaults" {
        return "text";
    }
    let accepts =
        |value: &str| load_with(&set(&[&format!("{section}.{name}={value}")]), &[]).is_ok();
    if accepts("no such thing") {
        let is_path = ["data_dir", "dashboards"].contains(&name);
        return if is_path { "path" } else { "text" };
    }
    let is_string = default.is_none_or(|value| value.starts_with('"'));
    match () {
        () if accepts("true") => "true or false",
        () if is_string && accepts("1h 1m") => "duration",
        () if is_string && accepts("1 KiB") => "size",
        () if accepts("127.0.0.1:1") && !accepts("localhost:1") => "address",
        () if accepts("http://localhost:1/") => "URL",
        () if accepts("1") => "number",
        () if accepts("[\"a\"]") => "list of texts",
        () => "table",
    }
}
