//! The dialect, statement by statement: `tests/slt` over the protocol, and the traps of the notes one by one.

use crate::client::Server;

/// Statement and what Trino answers.
const TRAPS: &[(&str, &str)] = &[
    // AND and OR go from left to right.
    (
        "select x from (values 0, 1, 2) t(x) where x <> 0 and 10 / x > 5",
        "1",
    ),
    (
        "select x, x <> 0 and 10 / x > 5, x = 0 or 10 / x > 5 from (values 0, 1, 2) t(x) order by x",
        "0 | false | true\n1 | true | true\n2 | false | false",
    ),
    (
        "select x from (values 'a', '7', '9') t(x) where x <> 'a' and cast(x as bigint) > 8 and x <> 'b'",
        "9",
    ),
    (
        "select x from (values 0, null, 4) t(x) where x <> 0 and (x is null or 8 / x = 2)",
        "4",
    ),
    (
        "select a.x from (values 0, 2) a(x) join (values 1, 2) b(y) on a.x <> 0 and 4 / a.x = b.y",
        "2",
    ),
    (
        "select x, count(*) from (values 0, 5, 5) t(x) group by x having x <> 0 and 10 / x = 2",
        "5 | 2",
    ),
    (
        "select x from (values 0, 1) t(x) where 10 / x > 5 and x <> 0",
        "DIVISION_BY_ZERO: Division by zero",
    ),
    ("select 1/2, 7/2.0, 1.0/3", "0 | 3.5 | 0.3"),
    (
        "select cast(1 as decimal(10,2))/cast(3 as decimal(10,2))",
        "0.33",
    ),
    ("select 1/0", "DIVISION_BY_ZERO: Division by zero"),
    ("select 1.0/0", "DIVISION_BY_ZERO: Division by zero"),
    ("select 1e0/0", "Infinity"),
    ("select 1 % 0", "DIVISION_BY_ZERO: Division by zero"),
    (
        "select 2147483647 + 1",
        "NUMERIC_VALUE_OUT_OF_RANGE: integer addition overflow: 2147483647 + 1",
    ),
    (
        "select 9223372036854775807 + 1",
        "NUMERIC_VALUE_OUT_OF_RANGE: bigint addition overflow: 9223372036854775807 + 1",
    ),
    (
        "select cast(127 as tinyint) + cast(1 as tinyint)",
        "NUMERIC_VALUE_OUT_OF_RANGE: tinyint addition overflow: 127 + 1",
    ),
    (
        "select sum(x) from (values 9223372036854775807, 1) t(x)",
        "NUMERIC_VALUE_OUT_OF_RANGE: bigint addition overflow",
    ),
    (
        "select x from (values 1, null, 3) t(x) order by x desc",
        "3\n1\nNULL",
    ),
    (
        "select x from (values 1, null, 3) t(x) order by x desc nulls first",
        "NULL\n3\n1",
    ),
    (
        "select '1' = 1",
        "TYPE_MISMATCH: line 1:12: Cannot apply operator: varchar(1) = integer",
    ),
    (
        "select 'abc' || 1",
        "TYPE_MISMATCH: line 1:14: Cannot apply operator: varchar(3) || integer",
    ),
    (
        "select date '2020-01-01' + 1",
        "TYPE_MISMATCH: line 1:26: Cannot apply operator: date + integer",
    ),
    (
        "select concat('a', null), greatest(1, null, 3), least(1, null)",
        "NULL | NULL | NULL",
    ),
    (
        "select array_max(array[1,null,3]), array_position(array[1,2], 5), split_part('a,b', ',', 3)",
        "NULL | 0 | NULL",
    ),
    ("select array[1,2,3][1]", "1"),
    (
        "select array[1,2,3][0]",
        "INVALID_FUNCTION_ARGUMENT: SQL array indices start at 1",
    ),
    (
        "select array[1,2,3][5]",
        "INVALID_FUNCTION_ARGUMENT: Array subscript must be less than or equal to array length: 5 > 3",
    ),
    (
        "select element_at(array[1,2,3], 5), element_at(map(array['a'],array[1]), 'b')",
        "NULL | NULL",
    ),
    (
        "select map(array['a'],array[1])['missing']",
        "INVALID_FUNCTION_ARGUMENT: Key not present in map: missing",
    ),
    (
        "select substr('abc',0), substr('abc',-2), substring('abc' from 2 for 1)",
        "(empty) | bc | b",
    ),
    (
        "select regexp_replace('aXbX', 'X', '-'), regexp_extract('a1', '[0-9]')",
        "a-b- | 1",
    ),
    (
        "select cast(1.5 as integer), cast(2.5 as integer), cast(-1.5 as integer)",
        "2 | 3 | -2",
    ),
    (
        "select cast(300 as tinyint)",
        "NUMERIC_VALUE_OUT_OF_RANGE: Out of range for tinyint: 300",
    ),
    (
        "select cast('abcdef' as varchar(3)), cast(1e20 as varchar), cast(0.1e0 as varchar)",
        "abc | 1.0E20 | 1.0E-1",
    ),
    (
        "select date '2020-01-02' - date '2020-01-01'",
        "1 00:00:00.000",
    ),
    (
        "select date_trunc('week', date '2020-01-05'), date_trunc('month', timestamp '2020-01-05 01:01:01')",
        "2019-12-30 | 2020-01-01 00:00:00",
    ),
    (
        "select extract(dow from date '2020-01-05'), extract(week from date '2020-01-05')",
        "7 | 1",
    ),
    (
        "select cast(timestamp '2020-01-01 00:00:00.123' as varchar)",
        "2020-01-01 00:00:00.123",
    ),
    (
        "select timestamp '2020-01-01 00:00:00 America/New_York'",
        "2020-01-01 00:00:00 America/New_York",
    ),
    (
        "select timestamp '2020-01-01 00:00:00' at time zone 'America/New_York'",
        "2019-12-31 19:00:00 America/New_York",
    ),
    (
        "select timestamp '2021-03-14 02:30:00 America/New_York'",
        "INVALID_LITERAL: line 1:8: '2021-03-14 02:30:00' does not exist in time zone America/New_York",
    ),
    (
        "select date_format(timestamp '2020-01-02 03:04:05', '%Y-%m-%d %H:%i:%s'), from_unixtime(0)",
        "2020-01-02 03:04:05 | 1970-01-01 00:00:00.000 UTC",
    ),
    (
        "select to_hex(md5(to_utf8('a'))), typeof(1), typeof(2147483648), typeof(1.50)",
        "0CC175B9C0F1B6A831C399E269772661 | integer | bigint | decimal(3,2)",
    ),
    (
        "select avg(x), sum(x), typeof(avg(x)), typeof(sum(x)) from (values 1.00, 2.01) t(x)",
        "1.51 | 3.01 | decimal(3,2) | decimal(38,2)",
    ),
    ("select avg(x) from (values 1, 2) t(x)", "1.5"),
    (
        "select nan() = nan(), nan() > 1e0, 0e0 = -0e0, 1e0 < infinity()",
        "false | false | true | true",
    ),
    (
        "select count(*) from (select distinct x from (values 0e0, -0e0, nan(), -nan()) t(x))",
        "2",
    ),
    ("select 1 as \"A\", 2 as a", "1 | 2"),
    ("select a from (select 1 as \"A\") t", "1"),
    ("select x, x from (values 1) t(x)", "1 | 1"),
    (
        "select x, count(*) from (values 1, 2) t(x) group by grouping sets ((x), ()) order by 1",
        "1 | 1\n2 | 1\nNULL | 2",
    ),
    (
        "select grouping(x), x, count(*) from (values 1, 2) t(x) group by rollup(x) order by 1, 2",
        "0 | 1 | 1\n0 | 2 | 1\n1 | NULL | 2",
    ),
    (
        "select a, x from (values (1, array[1,2])) t(a, b) cross join unnest(b) as u(x) order by x",
        "1 | 1\n1 | 2",
    ),
    (
        "select * from unnest(array[1,2], array['a']) with ordinality as t(x, y, n) order by n",
        "1 | a | 1\n2 | NULL | 2",
    ),
    (
        "select * from unnest(map(array['a'], array[1])) as t(k, v)",
        "a | 1",
    ),
    (
        "select a, x from (values (1, cast(array[] as array(integer)))) t(a, b) left join unnest(b) u(x) on true",
        "1 | NULL",
    ),
    (
        "select transform(array[1,2], x -> x + 1), filter(array[1,2,3], x -> x > 1), any_match(array[1,2], x -> x > 1)",
        "[2,3] | [2,3] | true",
    ),
    (
        "select try(1/0), try_cast('a' as integer), try(cast('x' as bigint))",
        "NULL | NULL | NULL",
    ),
    (
        "select 1 in (select 1), 2 in (values 1, null), 1 not in (values 1, null), 2 > all (select 1), exists (select 1)",
        "true | NULL | false | true | true",
    ),
    (
        "select x from (values 1, 2, 3) t(x) where x not in (select y from (values 1, null) u(y))",
        "",
    ),
    (
        "select x from (values 1, 2, 3) t(x) where x not in (select y from (values 1, 2) u(y))",
        "3",
    ),
    (
        "select (select max(y) from (values 1, 2) u(y) where y = x) from (values 1, 5) t(x) order by 1",
        "1\nNULL",
    ),
    (
        "select (select y from (values 1, 2) u(y))",
        "SUBQUERY_MULTIPLE_ROWS: Scalar sub-query has returned multiple rows",
    ),
    (
        "select sum(x) over (order by x), row_number() over (order by x desc), lag(x) over (order by x) from (values 1, 2, 3) t(x) order by x",
        "1 | 3 | NULL\n3 | 2 | 1\n6 | 1 | 2",
    ),
    (
        "select x, rank() over (order by count(*) desc) from (values 1, 1, 2) t(x) group by x order by x",
        "1 | 1\n2 | 2",
    ),
    (
        "select max_by(x, y), min_by(x, y), arbitrary(x) is not null, count_if(x > 1) from (values (1, 2), (2, 1)) t(x, y)",
        "1 | 2 | true | 1",
    ),
    (
        "select array_agg(x order by x desc), listagg(cast(x as varchar), ',') within group (order by x) from (values 1, 2) t(x)",
        "[2,1] | 1,2",
    ),
    (
        "select histogram(x), map_agg(x, 1) from (values 'a', 'a') t(x)",
        "{\"a\":2} | {\"a\":1}",
    ),
    (
        "select json_extract_scalar('{\"a\":{\"b\":[1,\"x\"]}}', '$.a.b[1]'), json_value('{\"a\":1}', 'lax $.a'), json_extract('{\"a\":{\"b\":1}}', '$.a')",
        "x | 1 | {\"b\":1}",
    ),
    (
        "select cast(row(1, 'a') as row(x bigint, y varchar)).x, row(1, 'a')[2]",
        "1 | a",
    ),
    (
        "select 'a\\b' like 'a\\b', 'a_c' like 'a#_c' escape '#', 'abc' like 'a#_c' escape '#'",
        "true | true | false",
    ),
    (
        "select 5 between symmetric 6 and 4, (1, 2) = (1, 2), (1, 2) in ((1, 2), (3, 4))",
        "true | true | true",
    ),
    (
        "select x from (values 1, 2, 2) t(x) union select 3 order by 1",
        "1\n2\n3",
    ),
    ("select 1 intersect select 1", "1"),
    ("select x from (values 1, 2, 2) t(x) except select 1", "2"),
    (
        "with a(x) as (values 1, 2), b as (select x + 1 as y from a) select sum(y) from b where y > (select min(x) from a)",
        "5",
    ),
    (
        "select a.x, b.x from (values 1, 2) a(x) full join (values 2, 3) b(x) on a.x = b.x order by 1, 2",
        "1 | NULL\n2 | 2\nNULL | 3",
    ),
    (
        "select x, a.y, b.z from (values (1, 'a')) a(x, y) join (values (1, 'b')) b(x, z) using (x)",
        "1 | a | b",
    ),
    (
        "select interval '1' minute * 3, timestamp '2020-01-31 00:00:00' + interval '1' month, interval '2-3' year to month",
        "0 00:03:00.000 | 2020-02-29 00:00:00 | 2-3",
    ),
    (
        "select nope from (values 1) t(x)",
        "COLUMN_NOT_FOUND: line 1:8: Column 'nope' cannot be resolved",
    ),
    (
        "select x, count(*) from (values 1) t(x)",
        "EXPRESSION_NOT_AGGREGATE: line 1:8: 'x' must be an aggregate expression or appear in GROUP BY clause",
    ),
    (
        "select foo(1)",
        "FUNCTION_NOT_FOUND: line 1:8: Function 'foo' not registered",
    ),
    (
        "insert into t values 1",
        "NOT_SUPPORTED: line 1:1: INSERT (this engine is read-only) is not supported",
    ),
    (
        "select * from nope.a.b",
        "CATALOG_NOT_FOUND: line 1:15: Catalog 'nope' does not exist",
    ),
    (
        "select round(2.5), round(-2.5), round(1.25, 1), round(2.5e0), truncate(-1.7e0)",
        "3 | -3 | 1.30 | 3.0 | -1.0",
    ),
    (
        "select date_diff('month', date '2020-01-31', date '2020-02-29'), date_add('day', 1, date '2020-02-28'), last_day_of_month(date '2020-02-01')",
        "1 | 2020-02-29 | 2020-02-29",
    ),
    ("select 1 where null", ""),
    (
        "select count(distinct x), count(x), count(*) from (values 1, 1, null) t(x)",
        "1 | 2 | 3",
    ),
    ("select stddev(x) from (values 1) t(x)", "NULL"),
    (
        "select x'0aff', uuid '12151fd2-7586-11e9-8f9e-2a86e4085a59', json '{\"a\": 1}'",
        "Cv8= | 12151fd2-7586-11e9-8f9e-2a86e4085a59 | {\"a\":1}",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answer_traps_are_avoided() {
    let server = Server::start().await;
    let client = server.client();
    let mut wrong = Vec::new();
    for (sql, expected) in TRAPS {
        let found =
            tokio::time::timeout(std::time::Duration::from_secs(20), client.text(sql)).await;
        let found = found.unwrap_or_else(|_| "no answer in 20 s".to_owned());
        if found != *expected {
            wrong.push(format!("{sql}\n   found: {found}\nexpected: {expected}"));
        }
    }
    server.stop().await;
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        TRAPS.len(),
        wrong.join("\n")
    );
}
