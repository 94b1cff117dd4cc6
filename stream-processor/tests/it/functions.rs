//! Functions and operators whose results only rows show, against what Flink gives.

use std::path::Path;

use stream_processor::{Config, run_script};

use crate::golden::{materialised, testkit_chain, written};

/// What `SELECT <selected> FROM t` writes, sorted, where `t (id INT, s STRING, d DOUBLE, ts TIMESTAMP(3))` has `lines`.
async fn select(settings: &str, columns: &str, selected: &str, lines: &str) -> Vec<String> {
    let root = testkit::temp_dir();
    let output = root.path().join("out");
    run_script(
        Config::default(),
        &script(root.path(), settings, columns, selected, lines),
    )
    .await
    .unwrap_or_else(|error| panic!("{}", testkit_chain(&error)));
    let mut rows = written(&output);
    rows.sort();
    rows
}

fn script(root: &Path, settings: &str, columns: &str, selected: &str, lines: &str) -> String {
    let input = root.join("in.jsonl");
    std::fs::write(&input, lines).unwrap();
    let with = |path: &Path| {
        format!(
            "WITH ('connector' = 'filesystem', 'format' = 'json', 'path' = 'file://{}')",
            path.display()
        )
    };
    format!(
        "{settings}
         CREATE TABLE t (id INT, s STRING, d DOUBLE, ts TIMESTAMP(3)) {};
         CREATE TABLE o ({columns}) {};
         INSERT INTO o SELECT {selected} FROM t;",
        with(&input),
        with(&root.join("out"))
    )
}

const DOUBLES: &str = r#"{"id":1,"d":"NaN"}
{"id":2,"d":-0.0}
{"id":3,"d":51}
{"id":4}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn doubles_are_compared_as_in_java() {
    let rows = select(
        "",
        "id INT, above BOOLEAN, enough BOOLEAN, zero BOOLEAN, itself BOOLEAN, distinct_ BOOLEAN, f BOOLEAN, most DOUBLE",
        "id, d > 50, d >= 0, d = 0, d = d, d IS DISTINCT FROM 0e0, CAST(d AS FLOAT) >= CAST(0 AS FLOAT), GREATEST(d, 7e0)",
        DOUBLES,
    )
    .await;
    assert_eq!(
        rows,
        [
            r#"{"id":1,"above":false,"enough":false,"zero":false,"itself":false,"distinct_":true,"f":false,"most":"NaN"}"#,
            r#"{"id":2,"above":false,"enough":true,"zero":true,"itself":true,"distinct_":false,"f":true,"most":7.0}"#,
            r#"{"id":3,"above":true,"enough":true,"zero":false,"itself":true,"distinct_":true,"f":true,"most":51.0}"#,
            r#"{"id":4,"above":null,"enough":null,"zero":null,"itself":null,"distinct_":true,"f":null,"most":null}"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nan_passes_no_filter() {
    let kept =
        "id FROM t WHERE d >= 0 UNION ALL SELECT id + 10 FROM t WHERE d < 100 UNION ALL SELECT -id";
    let rows = select("", "id INT", kept, DOUBLES).await.join(" ");
    assert_eq!(
        rows,
        r#"{"id":-1} {"id":-2} {"id":-3} {"id":-4} {"id":12} {"id":13} {"id":2} {"id":3}"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn json_paths_are_strict_unless_they_say_lax() {
    let rows = select(
        "",
        "id INT, plain STRING, error_ STRING, empty_ STRING, lax_empty STRING, lax_error STRING, root STRING, there BOOLEAN",
        "id, JSON_VALUE(s, '$.b'), JSON_VALUE(s, '$.b' DEFAULT 'E' ON ERROR), JSON_VALUE(s, '$.b' DEFAULT '-7' ON EMPTY),
         JSON_VALUE(s, 'lax $.b' DEFAULT '-7' ON EMPTY), JSON_VALUE(s, 'lax $.b' DEFAULT 'E' ON ERROR), JSON_VALUE(s, '$'),
         JSON_EXISTS(s, '$.b')",
        r#"{"id":1,"s":"{}"}
{"id":2,"s":"{\"b\":null}"}
{"id":3,"s":"{\"b\":[1]}"}
{"id":4,"s":"{\"b\":1.5e1}"}
{"id":5,"s":"no JSON"}
{"id":6,"s":"1e-5"}
{"id":7}
"#,
    )
    .await;
    let nothing = r#""plain":null,"error_":"E","empty_":null,"lax_empty":"-7","lax_error":null,"#;
    assert_eq!(
        rows,
        [
            format!(r#"{{"id":1,{nothing}"root":null,"there":false}}"#),
            format!(r#"{{"id":2,{nothing}"root":null,"there":false}}"#),
            format!(r#"{{"id":3,{nothing}"root":null,"there":true}}"#),
            r#"{"id":4,"plain":"15","error_":"15","empty_":"15","lax_empty":"15","lax_error":"15","root":null,"there":true}"#
                .to_owned(),
            format!(r#"{{"id":5,{nothing}"root":null,"there":false}}"#),
            format!(r#"{{"id":6,{nothing}"root":"0.00001","there":false}}"#),
            r#"{"id":7,"plain":null,"error_":null,"empty_":null,"lax_empty":null,"lax_error":null,"root":null,"there":null}"#
                .to_owned(),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_of_all_years_are_exact() {
    let rows = select(
        "",
        "id INT, micros TIMESTAMP(6), text STRING, y BIGINT, later TIMESTAMP(3), parsed TIMESTAMP(3), cut TIMESTAMP(3), f STRING",
        "id, CAST(ts AS TIMESTAMP(6)), CAST(ts AS STRING), EXTRACT(YEAR FROM ts), ts + INTERVAL '1' DAY,
         TO_TIMESTAMP(s), FLOOR(ts TO MONTH), DATE_FORMAT(ts, 'yyyy/MM/dd')",
        r#"{"id":1,"s":"9999-12-31 00:00:00","ts":"9999-12-30 23:59:59.999"}
{"id":2,"s":"0001-01-01 00:00:00","ts":"0001-01-01 00:00:00"}
"#,
    )
    .await;
    assert_eq!(
        rows,
        [
            r#"{"id":1,"micros":"9999-12-30 23:59:59.999","text":"9999-12-30 23:59:59.999","y":9999,"later":"9999-12-31 23:59:59.999","parsed":"9999-12-31 00:00:00","cut":"9999-12-01 00:00:00","f":"9999/12/30"}"#,
            r#"{"id":2,"micros":"0001-01-01 00:00:00","text":"0001-01-01 00:00:00.000","y":1,"later":"0001-01-02 00:00:00","parsed":"0001-01-01 00:00:00","cut":"0001-01-01 00:00:00","f":"0001/01/01"}"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn instants_of_texts_and_numbers() {
    let rows = select(
        "SET 'table.local-time-zone' = 'Asia/Tokyo';",
        "id INT, text TIMESTAMP_LTZ(3), half TIMESTAMP_LTZ(3), far TIMESTAMP_LTZ(3), last TIMESTAMP_LTZ(3)",
        "id, TO_TIMESTAMP_LTZ(s), TO_TIMESTAMP_LTZ(d, 0), TO_TIMESTAMP_LTZ(253402300800, 0), TO_TIMESTAMP_LTZ(253402300799999, 3)",
        r#"{"id":1,"s":"2026-03-01 10:00:00","d":1.5}
"#,
    )
    .await;
    assert_eq!(
        rows,
        [
            r#"{"id":1,"text":"2026-03-01 10:00:00Z","half":"1970-01-01 00:00:01.5Z","far":null,"last":"9999-12-31 23:59:59.999Z"}"#
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_and_wall_clocks_are_instants_of_the_sessions_zone() {
    let rows = select(
        "SET 'table.local-time-zone' = 'Asia/Tokyo';",
        "id INT, before_ BOOLEAN, same BOOLEAN, either_ TIMESTAMP_LTZ(3)",
        "id, TO_TIMESTAMP_LTZ(s) > '2026-03-01 18:59:59', TO_TIMESTAMP_LTZ(s) = '2026-03-01 19:00:00',
         COALESCE(ts, TO_TIMESTAMP_LTZ(s))",
        r#"{"id":1,"s":"2026-03-01 10:00:00","ts":"2026-03-01 10:00:00"}
{"id":2,"s":"2026-03-01 10:00:00"}
"#,
    )
    .await;
    assert_eq!(
        rows,
        [
            r#"{"id":1,"before_":true,"same":true,"either_":"2026-03-01 01:00:00Z"}"#,
            r#"{"id":2,"before_":true,"same":true,"either_":"2026-03-01 10:00:00Z"}"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_union_makes_wall_clocks_instants_of_the_sessions_zone() {
    let rows = select(
        "SET 'table.local-time-zone' = 'Asia/Tokyo';",
        "at_ TIMESTAMP_LTZ(3)",
        "ts FROM t UNION ALL SELECT TO_TIMESTAMP_LTZ(s)",
        r#"{"s":"2026-03-01 10:00:00","ts":"2026-03-01 10:00:00"}
"#,
    )
    .await;
    assert_eq!(
        rows,
        [
            r#"{"at_":"2026-03-01 01:00:00Z"}"#,
            r#"{"at_":"2026-03-01 10:00:00Z"}"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_read_as_simple_dates_of_the_sessions_zone() {
    let rows = select(
        "SET 'table.local-time-zone' = 'Asia/Tokyo';",
        "id INT, clock STRING, of_zone BIGINT, of_text BIGINT",
        "id, DATE_FORMAT(s, 'dd/MM HH:mm'), UNIX_TIMESTAMP(s), UNIX_TIMESTAMP(s, 'yyyy-MM-dd HH:mm:ssX')",
        r#"{"id":1,"s":"2026-03-01 10:00:03Z"}
{"id":2,"s":"2026-02-30 25:00:00"}
{"id":3,"s":"2026-03-01"}
{"id":4}
"#,
    )
    .await;
    assert_eq!(
        rows,
        [
            r#"{"id":1,"clock":"01/03 10:00","of_zone":1772326803,"of_text":1772359203}"#,
            r#"{"id":2,"clock":"03/03 01:00","of_zone":1772467200,"of_text":-9223372036854775808}"#,
            r#"{"id":3,"clock":null,"of_zone":-9223372036854775808,"of_text":-9223372036854775808}"#,
            r#"{"id":4,"clock":null,"of_zone":null,"of_text":null}"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_cut_and_matched_as_in_java() {
    let rows = select(
        "",
        "id INT, less STRING, none STRING, r STRING, dollar STRING, digits STRING, empty_ BOOLEAN",
        r"id, SUBSTRING(s, 1, id - 2), SUBSTRING(s, 2, -1), REGEXP_REPLACE(s, '\W', ''), REGEXP_REPLACE(s, '(r)', '$1$1'),
          REGEXP_EXTRACT(s, '\d+'), REGEXP(s, '')",
        r#"{"id":1,"s":"Größe ٣7"}
{"id":3,"s":"Größe"}
"#,
    )
    .await;
    assert_eq!(
        rows,
        [
            r#"{"id":1,"less":null,"none":null,"r":"Gre7","dollar":"G$1$1öße ٣7","digits":"7","empty_":false}"#,
            r#"{"id":3,"less":"G","none":null,"r":"Gre","dollar":"G$1$1öße","digits":null,"empty_":false}"#,
        ]
    );
}

/// As `SELECT` of Flink 2.1 gave them.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_cut_and_texts_replaced() {
    let rows = select(
        "",
        "id INT, cut DECIMAL(10, 2), tens DECIMAL(8, 0), whole INT, logs DOUBLE, hex STRING, bits STRING, here INT, first_ INT,
         over_ STRING, past STRING, mapped STRING, third STRING, none STRING, key3 STRING, sha STRING, base STRING, split_ STRING",
        "id, TRUNCATE(CAST(42.345 AS DECIMAL(10, 3)), 2), TRUNCATE(CAST(42.345 AS DECIMAL(10, 3)), -1), TRUNCATE(12345, -2),
         LOG(2, 8), HEX(-1), BIN(4), LOCATE('e', s, 2), LOCATE('', s, 30), OVERLAY(s PLACING 'XX' FROM 4 FOR 1),
         OVERLAY(s PLACING 'XX' FROM 5 FOR 10), TRANSLATE(s, 'llo', 'xyz'), ELT(id, 'a', s), ELT(3, 'a', s),
         STR_TO_MAP('k1=v1;k2=v2=x;k3', ';', '=')['k2'], SHA1('abc'), FROM_BASE64('SGVsbG8gV29ybGQ'),
         CAST(SPLIT('a,,b,', ',') AS STRING)",
        r#"{"id":2,"s":"hello"}
"#,
    )
    .await;
    assert_eq!(
        rows,
        [
            r#"{"id":2,"cut":42.34,"tens":4E+1,"whole":12300,"logs":3.0,"hex":"FFFFFFFFFFFFFFFF","bits":"100","here":2,"first_":1,"over_":"helXXo","past":"hellXX","mapped":"hexxz","third":"hello","none":null,"key3":"v2=x","sha":"a9993e364706816aba3e25717850c26c9cd0d89d","base":"Hello World","split_":"[a, , b, ]"}"#
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_queried_with_every_clause() {
    let rows = select(
        "",
        "id INT, all_ STRING, sorted STRING, wrapped STRING, once STRING, empty_ STRING, error_ STRING, list ARRAY<STRING>, there BOOLEAN",
        "id, JSON_QUERY(s, 'lax $.a[*].x'), JSON_QUERY(s, '$'), JSON_QUERY(s, '$.a' WITH UNCONDITIONAL WRAPPER),
         JSON_QUERY(s, '$.a' WITH CONDITIONAL WRAPPER), JSON_QUERY(s, 'lax $.n' EMPTY OBJECT ON EMPTY),
         JSON_QUERY(s, '$.n' EMPTY ARRAY ON ERROR), JSON_QUERY(s, '$.a' RETURNING ARRAY<STRING>),
         JSON_EXISTS(s, '$.n' TRUE ON ERROR)",
        r#"{"id":1,"s":"{\"b\":1.50,\"a\":[{\"x\":1e3},2]}"}
{"id":2,"s":"no JSON"}
"#,
    )
    .await;
    assert_eq!(
        rows,
        [
            r#"{"id":1,"all_":"[1E+3]","sorted":"{\"a\":[{\"x\":1E+3},2],\"b\":1.50}","wrapped":"[[{\"x\":1E+3},2]]","once":"[{\"x\":1E+3},2]","empty_":"{}","error_":"[]","list":["{\"x\":1E+3}","2"],"there":true}"#,
            r#"{"id":2,"all_":null,"sorted":null,"wrapped":null,"once":null,"empty_":"{}","error_":"[]","list":null,"there":true}"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_values_are_made_and_cast() {
    let rows = select(
        "",
        "id INT, longs ARRAY<BIGINT>, r ROW<x BIGINT, y STRING>, m MAP<STRING, DOUBLE>, shown STRING, none STRING, bytes VARBINARY(3), back STRING",
        "id, CAST(ARRAY[id, 7] AS ARRAY<BIGINT>), CAST(ROW(id, s) AS ROW<x BIGINT, y STRING>), MAP['a', d, 'b', 1e0],
         CAST(ROW(ARRAY[d, 1e0], MAP['k', s], s) AS STRING), CAST(ARRAY[s] AS STRING), CAST('abcdef' AS VARBINARY(3)),
         CAST(CAST('ab' AS BINARY(3)) AS STRING)",
        r#"{"id":1,"s":"x","d":2.5}
{"id":2}
"#,
    )
    .await;
    assert_eq!(
        rows,
        [
            r#"{"id":1,"longs":[1,7],"r":{"x":1,"y":"x"},"m":{"a":2.5,"b":1.0},"shown":"([2.5, 1.0], {k=x}, x)","none":"[x]","bytes":"YWJj","back":"ab\u0000"}"#,
            r#"{"id":2,"longs":[2,7],"r":{"x":2,"y":null},"m":{"a":null,"b":1.0},"shown":"([NULL, 1.0], {k=NULL}, NULL)","none":"[NULL]","bytes":"YWJj","back":"ab\u0000"}"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn elements_are_chosen_and_ordered() {
    let arrays = "ARRAY[id, 3, CAST(NULL AS INT), 3]";
    let rows = select(
        "",
        "id INT, joined ARRAY<INT>, distinct_ ARRAY<INT>, union_ ARRAY<INT>, except_ ARRAY<INT>, both_ ARRAY<INT>, has BOOLEAN,
         has_null BOOLEAN, at_ INT, at_null INT, less ARRAY<INT>, more ARRAY<INT>, slice_ ARRAY<INT>, sorted ARRAY<INT>,
         down ARRAY<INT>, most INT, least INT, text STRING, keys_ ARRAY<STRING>, made MAP<STRING, INT>, entries STRING",
        &format!(
            "id, ARRAY_CONCAT({arrays}, ARRAY[9]), ARRAY_DISTINCT({arrays}), ARRAY_UNION({arrays}, ARRAY[id, 7]),
             ARRAY_EXCEPT({arrays}, ARRAY[id]), ARRAY_INTERSECT({arrays}, ARRAY[3, 8]), ARRAY_CONTAINS({arrays}, 3),
             ARRAY_CONTAINS({arrays}, NULL), ARRAY_POSITION({arrays}, 3), ARRAY_POSITION({arrays}, CAST(NULL AS INT)),
             ARRAY_REMOVE({arrays}, 3), ARRAY_APPEND(ARRAY_PREPEND({arrays}, 0), id), ARRAY_SLICE({arrays}, -2, -1),
             ARRAY_SORT({arrays}), ARRAY_SORT(ARRAY_REVERSE({arrays}), FALSE), ARRAY_MAX({arrays}), ARRAY_MIN({arrays}),
             ARRAY_JOIN(ARRAY[s, CAST(NULL AS STRING), 'z'], '-', '?'), MAP_KEYS(MAP[s, id]),
             MAP_FROM_ARRAYS(ARRAY[s, 'b'], ARRAY[id, 2]), CAST(MAP_ENTRIES(MAP[s, id]) AS STRING)"
        ),
        r#"{"id":5,"s":"x"}
"#,
    )
    .await;
    assert_eq!(
        rows,
        [
            r#"{"id":5,"joined":[5,3,null,3,9],"distinct_":[5,3,null],"union_":[5,3,null,7],"except_":[3,null],"both_":[3],"has":true,"has_null":true,"at_":2,"at_null":null,"less":[5,null],"more":[0,5,3,null,3,5],"slice_":[null,3],"sorted":[null,3,3,5],"down":[5,3,3,null],"most":5,"least":3,"text":"x-?-z","keys_":["x"],"made":{"x":5,"b":2},"entries":"[(x, 5)]"}"#
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_are_counted_and_lists_written() {
    let rows = select(
        "",
        "id INT, n INT, empty_ INT, at_ INT, part STRING, list STRING, nulls STRING, inner_ STRING",
        r"id, REGEXP_COUNT(s, 'a+'), REGEXP_COUNT('aab', 'x*'), REGEXP_INSTR(s, 'a+'), REGEXP_SUBSTR(s, 'a+b'),
          JSON_ARRAY(id, s, CAST(NULL AS INT)), JSON_ARRAY(id, CAST(NULL AS INT) NULL ON NULL),
          JSON_OBJECT('k' VALUE JSON_ARRAY(s))",
        r#"{"id":1,"s":"😀aaba"}
"#,
    )
    .await;
    assert_eq!(
        rows,
        [
            r#"{"id":1,"n":2,"empty_":4,"at_":3,"part":"aab","list":"[1,\"😀aaba\"]","nulls":"[1,null]","inner_":"{\"k\":[\"😀aaba\"]}"}"#
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_take_rows_back() {
    let root = testkit::temp_dir();
    let input = root.path().join("in.jsonl");
    let lines = ["a", "b", "a", "c", "b", "a"].map(|s| format!("{{\"s\":\"{s}\"}}\n"));
    std::fs::write(&input, lines.concat()).unwrap();
    let script = format!(
        "CREATE TABLE t (s STRING) WITH ('connector' = 'filesystem', 'format' = 'json', 'path' = 'file://{}');
         CREATE TABLE o (l STRING, f BIGINT, z BIGINT, a ARRAY<BIGINT>, m MULTISET<STRING>, j STRING, o STRING, v DOUBLE, d STRING)
           WITH ('connector' = 'filesystem', 'format' = 'debezium-json', 'path' = 'file://{}');
         INSERT INTO o SELECT LISTAGG(CAST(c AS STRING)), FIRST_VALUE(c), LAST_VALUE(c), ARRAY_AGG(c), COLLECT(CAST(c AS STRING)),
           JSON_ARRAYAGG(c), JSON_OBJECTAGG(KEY s VALUE c), VAR_POP(CAST(c AS DOUBLE)), LISTAGG(DISTINCT CAST(c > 0 AS STRING))
           FROM (SELECT s, COUNT(*) AS c FROM t GROUP BY s);",
        input.display(),
        root.path().join("out").display()
    );
    run_script(
        Config::default(),
        &format!("SET 'parallelism.default' = '1'; {script}"),
    )
    .await
    .unwrap_or_else(|error| panic!("{}", testkit_chain(&error)));
    let rows = materialised(&written(&root.path().join("out")));
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = &rows[0];
    let mut counts: Vec<i64> = serde_json::from_value(row["a"].clone()).unwrap();
    assert_eq!(row["f"], counts[0]);
    assert_eq!(row["z"], counts[2]);
    let texts: Vec<String> = counts.iter().map(ToString::to_string).collect();
    assert_eq!(row["l"], texts.join(","));
    assert_eq!(row["j"], format!("[{}]", texts.join(",")));
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 3]);
    assert_eq!(row["o"], r#"{"a":3,"b":2,"c":1}"#);
    assert_eq!(row["m"], serde_json::json!({"1": 1, "2": 1, "3": 1}));
    assert_eq!(row["d"], "TRUE");
    let variance = row["v"].as_f64().unwrap();
    assert!((variance - 2.0 / 3.0).abs() < 1e-12, "{variance}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_has_a_uuid_of_its_own() {
    let rows = select("", "u STRING", "UUID()", "{\"id\":1}\n{\"id\":2}\n").await;
    assert_eq!(rows.len(), 2);
    assert_ne!(rows[0], rows[1]);
    assert_eq!(rows[0].len(), r#"{"u":""}"#.len() + 36);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_gather_values() {
    for parallelism in [1, 4] {
        for (window, keys) in [
            (
                "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)",
                "s, window_start, window_end",
            ),
            (
                "SESSION(TABLE t PARTITION BY s, DESCRIPTOR(ts), INTERVAL '1' MINUTE)",
                "s, window_start, window_end",
            ),
            (
                "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '2' MINUTE)",
                "s, window_start, window_end",
            ),
        ] {
            let root = testkit::temp_dir();
            let input = root.path().join("in.jsonl");
            let lines = [1, 2, 5]
                .map(|v| format!("{{\"s\":\"a\",\"v\":{v},\"ts\":\"2026-03-01 10:00:0{v}\"}}\n"));
            std::fs::write(&input, lines.concat()).unwrap();
            let script = format!(
                "SET 'parallelism.default' = '{parallelism}';
                 CREATE TABLE t (s STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
                   WITH ('connector' = 'filesystem', 'format' = 'json', 'path' = 'file://{}');
                 CREATE TABLE o (a ARRAY<INT>, j STRING, m MULTISET<STRING>, p INT, d DOUBLE, l STRING)
                   WITH ('connector' = 'filesystem', 'format' = 'json', 'path' = 'file://{}');
                 INSERT INTO o SELECT ARRAY_AGG(v), JSON_ARRAYAGG(v), COLLECT(s), VAR_POP(v), VAR_SAMP(CAST(v AS DOUBLE)),
                   LISTAGG(CAST(v AS STRING)) FROM TABLE({window}) GROUP BY {keys};",
                input.display(),
                root.path().join("out").display()
            );
            run_script(Config::default(), &script)
                .await
                .unwrap_or_else(|error| panic!("{window}: {}", testkit_chain(&error)));
            let rows = written(&root.path().join("out"));
            let row = r#"{"a":[1,2,5],"j":"[1,2,5]","m":{"a":3},"p":3,"d":4.333333333333334,"l":"1,2,5"}"#;
            let n_windows = if window.starts_with("HOP") { 2 } else { 1 };
            assert_eq!(rows, vec![row; n_windows], "{window} at {parallelism}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_java_reads_in_another_way_is_refused() {
    let root = testkit::temp_dir();
    let script = script(root.path(), "", "f BOOLEAN", "REGEXP(s, 'a++')", "{}");
    let error = run_script(Config::default(), &script).await.unwrap_err();
    let error = testkit_chain(&error);
    assert!(error.contains("possessive"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_files_are_refused() {
    let root = testkit::temp_dir();
    let folder = root.path().join("in/dt=2026-01-01");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("rows.jsonl"), "{\"id\":1}\n").unwrap();
    let at = |name: &str| root.path().join(name).display().to_string();
    let script = format!(
        "CREATE TABLE t (id INT, dt STRING) PARTITIONED BY (dt)
           WITH ('connector' = 'filesystem', 'format' = 'json', 'path' = 'file://{}');
         CREATE TABLE o (id INT, dt STRING)
           WITH ('connector' = 'filesystem', 'format' = 'json', 'path' = 'file://{}');
         INSERT INTO o SELECT id, dt FROM t;",
        at("in"),
        at("out")
    );
    let error = run_script(Config::default(), &script).await.unwrap_err();
    let error = testkit_chain(&error);
    assert!(error.contains("PARTITIONED BY"), "{error}");
}
