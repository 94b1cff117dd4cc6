//! The dialect: the statements of `tests/slt` over the protocol, with the answers that Trino gives.
//!
//! The answers in a file are Trino's by its documentation, not what this engine printed; the kinds of the columns are.
//! `UPDATE_EXPECT=1` rewrites the files, whose changes then want a look.

use sqllogictest::{DefaultColumnType, Runner, default_normalizer, default_validator};

use crate::client::Server;

/// As many columns as expected, of the kinds expected: `I` integers, `R` other numbers, `T` all else, `?` any.
#[expect(clippy::ptr_arg, reason = "the type that the runner wants")]
fn columns_match(found: &Vec<DefaultColumnType>, expected: &Vec<DefaultColumnType>) -> bool {
    found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(found, expected)| *expected == DefaultColumnType::Any || found == expected)
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_give_trinos_answers() {
    let server = Server::start().await;
    let client = server.client();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/slt");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = Vec::new();
    for file in files {
        let mut runner = Runner::new(|| async { Ok(client.clone()) });
        runner.with_column_validator(columns_match);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            runner
                .update_test_file(
                    &file,
                    "\t",
                    default_validator,
                    default_normalizer,
                    columns_match,
                )
                .await
                .unwrap();
        } else if let Err(error) = runner.run_file_async(&file).await {
            wrong.push(error.display(false).to_string());
        }
    }
    server.stop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
