//! What parses, what is refused and where, and that nothing panics.

use proptest::prelude::*;

use super::{parse_expression, parse_statement, parse_type};
use crate::error::Position;
use crate::sql::ast::{Command, ExprKind, SetExpr, TableKind};

const START: Position = Position { line: 1, column: 1 };

fn parse(text: &str) -> Command {
    parse_statement(text, START).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn flink_statements_parse() {
    for text in [
        "SELECT window_start, count(*) FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '10' SECOND)) GROUP BY window_start, window_end",
        "SELECT * FROM TUMBLE(DATA => TABLE bid, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10' MINUTES)",
        "SELECT * FROM SESSION(TABLE Bid PARTITION BY item, DESCRIPTOR(bidtime), INTERVAL '5' MINUTES)",
        "SELECT * FROM (SELECT *, PROCTIME() as p_time FROM bid) B JOIN side_input FOR SYSTEM_TIME AS OF B.p_time AS S ON mod(B.auction, 10000) = S.key",
        "CREATE TABLE t (a BIGINT, ts TIMESTAMP(3), p AS PROCTIME(), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND, PRIMARY KEY (a) NOT ENFORCED) WITH ('connector'='kafka','topic'='x')",
        "CREATE TABLE t (a BIGINT, ts TIMESTAMP_LTZ(3) METADATA FROM 'timestamp', o BIGINT METADATA VIRTUAL) WITH ('connector'='kafka')",
        "CREATE TABLE t (a ROW<x BIGINT, y VARCHAR>, m MAP<STRING, ARRAY<INT>>, r ARRAY<ROW<a INT NOT NULL>>) WITH ('connector'='kafka')",
        "CREATE CATALOG c WITH ('type'='iceberg','catalog-type'='rest','uri'='http://x')",
        "CREATE TABLE t (WATERMARK FOR a AS a) WITH ('k'='v') LIKE s (EXCLUDING ALL INCLUDING GENERATED)",
        "CREATE TABLE t (a STRING, dt STRING) PARTITIONED BY (dt) WITH ('connector'='filesystem')",
        "CREATE TEMPORARY VIEW v AS SELECT 1",
        "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; INSERT INTO b SELECT 2; END",
        "BEGIN STATEMENT SET; INSERT INTO a SELECT 1; END;",
        "SELECT JSON_VALUE(p, 'lax $.nope' DEFAULT 'dd' ON EMPTY), JSON_VALUE(p, '$.v' RETURNING INTEGER) + 1, JSON_OBJECT('m' VALUE v ABSENT ON NULL), JSON_QUERY(p, '$.v' WITH WRAPPER), p IS JSON",
        "SELECT FLOOR(ts TO MINUTE), EXTRACT(DOW FROM ts), TIMESTAMPDIFF(SECOND, a, b), TRIM(LEADING 'x' FROM y), POSITION('a' IN b)",
        "SELECT COUNT(DISTINCT x) FILTER (WHERE y > 1), SUM(x) OVER (PARTITION BY a ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW) FROM t",
        "SELECT person.name, t.person.id, arr[1].x FROM t CROSS JOIN UNNEST(arr) AS x (a, b) WHERE event_type = 0 AND NOT a BETWEEN 1 AND 2",
        "INSERT OVERWRITE t PARTITION (dt='x') SELECT 1",
        "SET 'a' = 'b'",
    ] {
        parse(text);
    }
}

#[test]
fn table_hints_are_kept() {
    let Command::Select(query) =
        parse("SELECT * FROM t /*+ OPTIONS('scan.startup.mode'='latest-offset') */ AS x")
    else {
        panic!("not a query")
    };
    let SetExpr::Select(select) = query.body else {
        panic!("not a select")
    };
    let Some(TableKind::Named { hints, .. }) = select.from.map(|table| table.kind) else {
        panic!("not a table")
    };
    assert_eq!(hints[0].options["scan.startup.mode"], "latest-offset");
}

#[test]
fn refusals_name_line_and_column() {
    let error = parse_statement("SELECT a\nFROM t MATCH_RECOGNIZE (x)", START).unwrap_err();
    assert_eq!(
        error.to_string(),
        "MATCH_RECOGNIZE is not supported at line 2, column 8"
    );
    let error = parse_statement("SELECT a FROM", START).unwrap_err();
    assert!(
        error.to_string().contains("Encountered \"<EOF>\""),
        "{error}"
    );
}

#[test]
fn types_print_as_they_parse() {
    for text in [
        "BIGINT NOT NULL",
        "DECIMAL(10, 2)",
        "ROW<`a` INT, `b` ARRAY<STRING NOT NULL>>",
        "MAP<STRING, TIMESTAMP_LTZ(3)>",
    ] {
        assert_eq!(parse_type(text).unwrap().to_string(), text);
    }
}

#[test]
fn deep_nesting_is_refused() {
    let text = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(parse_expression(&text).is_err());
}

fn token() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "SELECT",
        "FROM",
        "WHERE",
        "(",
        ")",
        ",",
        ".",
        "a",
        "`b`",
        "'c'",
        "1",
        "1.5e3",
        "AND",
        "NOT",
        "IN",
        "BETWEEN",
        "CASE",
        "WHEN",
        "THEN",
        "END",
        "CAST",
        "AS",
        "ROW",
        "<",
        ">",
        "INT",
        "JOIN",
        "ON",
        "TABLE",
        "TUMBLE",
        "DESCRIPTOR",
        "INTERVAL",
        "SECOND",
        "GROUP",
        "BY",
        "CREATE",
        "WITH",
        "=",
        ";",
        "/*+ X('a'='b') */",
        "INSERT",
        "INTO",
        "VALUES",
        "OVER",
        "[",
        "]",
        "-",
        "JSON_VALUE",
        "RETURNING",
        "EMPTY",
        "IS",
        "NULL",
        "UNION",
        "ALL",
        "LIKE",
        "PARTITION",
        "*",
    ])
}

proptest! {
    #[test]
    fn any_tokens_parse_or_are_refused(words in proptest::collection::vec(token(), 0..40)) {
        let _ = parse_statement(&words.join(" "), START);
        let _ = parse_expression(&words.join(" "));
    }
}

#[test]
fn grouping_sets_multiply_out() {
    let sets = |group: &str| {
        let text = format!("SELECT COUNT(*) FROM t GROUP BY {group} HAVING TRUE");
        let Command::Select(query) = parse(&text) else {
            panic!("{text}");
        };
        let SetExpr::Select(select) = query.body else {
            panic!("{text}");
        };
        let name = |at: &usize| match &select.group[*at].kind {
            ExprKind::Name(path) => path[0].value.clone(),
            other => format!("{other:?}"),
        };
        let shown = |set: &Vec<usize>| set.iter().map(name).collect::<Vec<_>>().join("");
        let sets = select.grouping_sets.as_ref();
        sets.map(|sets| sets.iter().map(shown).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(sets("a, b"), None);
    assert_eq!(sets("()"), None);
    let several = |group: &str| sets(group).unwrap();
    assert_eq!(several("GROUPING SETS ((a, b), a, ())"), "ab a ");
    assert_eq!(several("CUBE (a, b)"), "ab a b ");
    assert_eq!(several("ROLLUP (a, (b, c))"), "abc a ");
    assert_eq!(several("x, CUBE (a), ROLLUP (b)"), "xab xa xb x");
    assert_eq!(several("GROUPING SETS (CUBE (a), (b))"), "a  b");
    let text = "SELECT 1 FROM t GROUP BY CUBE (a, b, c, d, e, f, g, h, i)";
    let error = parse_statement(text, START).unwrap_err();
    assert!(error.to_string().contains("CUBE of 9 elements"), "{error}");
}
