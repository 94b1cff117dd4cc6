//! What the grammar takes and refuses, with places.

use super::statement;

fn refuses(sql: &str) -> String {
    statement(sql)
        .map(|_| String::new())
        .unwrap_or_else(|failure| failure.text())
}

#[test]
fn takes_the_forms_clients_send() {
    for sql in [
        "SELECT 1",
        "select a.b.c[1].d from t x cross join unnest(x.y) with ordinality as u(v, n)",
        "SELECT count(*) filter (where x > 1) over (partition by a order by b rows between 1 preceding and current row) FROM t",
        "WITH a(x) AS (VALUES 1, 2), b AS (TABLE a) SELECT * FROM a JOIN b USING (x) WHERE x NOT IN (SELECT 1) OFFSET 5 LIMIT 5",
        "select x from t for version as of 123 where a between symmetric 1 and 2 order by 1 desc nulls first fetch first 3 rows with ties",
        "EXECUTE IMMEDIATE 'SELECT ?' USING 'a', DATE '2020-01-01'",
        "PREPARE p FROM SELECT ? + 1",
        "EXPLAIN (TYPE IO, FORMAT JSON) SELECT 1",
        "CALL system.runtime.kill_query(query_id => 'x', message => 'y')",
        "select transform(a, x -> x + 1), reduce(a, 0, (s, x) -> s + x, s -> s), cast(r as row(a bigint, b array(varchar)))",
        "select date_trunc('minute', t) - interval '1' minute * (minute(t) % 5), timestamp '2020-01-01 00:00:00 UTC' at time zone 'UTC'",
        "(select 1) union all (select 2) order by 1 limit 1",
        "select listagg(x, ',') within group (order by x), trim(leading 'a' from b), position('a' in b), u&'\\0041'",
        "select * from (((select 1) union select 2)) t",
        "select grouping(a, b) from t group by grouping sets ((a), (a, b), ()), rollup(c)",
        "show functions like 'a%'; ",
        "select json_value(x, 'lax $.a' returning bigint), sum(a) limit 5",
        "select \"limit\", t.* from \"t$snapshots\" t where (a, b) in ((1, 2)) and x >= all (select 1)",
    ] {
        assert_eq!(refuses(sql), "", "{sql}");
    }
}

#[test]
fn refuses_with_the_place() {
    assert!(
        refuses("selec AS region")
            .starts_with("line 1:1: mismatched input 'selec'. Expecting: 'ALTER'")
    );
    assert_eq!(
        refuses("select 1,\n  from t"),
        "line 2:3: mismatched input 'from'. Expecting: <identifier>"
    );
    assert_eq!(
        refuses("select 'abc"),
        "line 1:8: mismatched input '''. Expecting: closing quote"
    );
    assert!(refuses("select x from t qualify 1").contains("line 1:17: mismatched input 'qualify'"));
    assert_eq!(
        refuses("select * from t tablesample bernoulli (50)"),
        "line 1:17: TABLESAMPLE is not supported"
    );
    assert_eq!(
        refuses("select 1 1"),
        "line 1:10: mismatched input '1'. Expecting: <EOF>"
    );
    assert!(refuses("").starts_with("line 1:1: mismatched input '<EOF>'"));
}

#[test]
fn nesting_and_chains_are_bounded() {
    // Query threads have deep stacks; test threads do not.
    let thread = std::thread::Builder::new()
        .stack_size(64 << 20)
        .spawn(nesting_and_chains)
        .unwrap();
    thread.join().unwrap();
}

fn nesting_and_chains() {
    let deep = format!("select {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(refuses(&deep).contains("nested too deeply"));
    let minus = format!("select {}1", "- ".repeat(100_000));
    assert!(refuses(&minus).contains("nested too deeply"));
    let relations = format!("select * from {}select 1", "(".repeat(5_000));
    assert!(refuses(&relations).contains("nested too deeply"));
    let chain = format!("select 1{}", " + 1".repeat(100_000));
    assert!(refuses(&chain).contains("too many chained operators"));
    assert_eq!(
        refuses(&format!(
            "select 1 where {} true",
            "true and ".repeat(50_000)
        )),
        ""
    );
}
