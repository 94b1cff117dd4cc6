//! Statements that change or show the session.

use super::super::{Session, SessionOptions, StatementResult, split};

async fn rows(session: &mut Session, statement: &str) -> Vec<Vec<Option<String>>> {
    match session.execute(statement).await.unwrap() {
        StatementResult::Rows { rows, .. } => rows,
        other => panic!("{statement}: {other:?}"),
    }
}

async fn run(session: &mut Session, script: &str) {
    for statement in split(script).unwrap() {
        session.execute_at(&statement).await.unwrap();
    }
}

#[tokio::test]
async fn tables_are_described_and_overridden() {
    let mut session = Session::new(SessionOptions {
        option_overrides: [("127.0.0.1:9092".to_owned(), "127.0.0.1:4711".to_owned())].into(),
        ..SessionOptions::default()
    });
    run(
        &mut session,
        "CREATE TABLE t (id STRING NOT NULL, o BIGINT METADATA FROM 'offset' VIRTUAL, twice AS o * 2,
           ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND, PRIMARY KEY (id) NOT ENFORCED)
         WITH ('connector' = 'kafka', 'properties.bootstrap.servers' = '127.0.0.1:9092');",
    )
    .await;
    let described = rows(&mut session, "DESCRIBE t").await;
    assert_eq!(described[2][1].as_deref(), Some("BIGINT"));
    assert_eq!(described[3][5].as_deref(), Some("ts - INTERVAL '5' SECOND"));
    let created = rows(&mut session, "SHOW CREATE TABLE t").await;
    assert!(
        created[0][0]
            .as_deref()
            .unwrap()
            .contains("'127.0.0.1:4711'")
    );
}

#[tokio::test]
async fn settings_are_checked() {
    let mut session = Session::new(SessionOptions::default());
    run(
        &mut session,
        "SET 'table.exec.state.ttl' = '1 h'; SET 'rest.port' = '8081'",
    )
    .await;
    let error = session
        .execute("SET 'parallelism.default' = 'many'")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("parallelism.default"), "{error}");
    assert_eq!(rows(&mut session, "SET").await.len(), 2);
}
