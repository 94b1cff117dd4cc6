//! The Trino Python client, unmodified.

use crate::client::Server;

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_reads_every_type() {
    let server = Server::start().await;
    let port = server.url.rsplit_once(':').unwrap().1.to_owned();
    let script = r#"
import os, trino, datetime, decimal, uuid
conn = trino.dbapi.connect(host="127.0.0.1", port=int(os.environ["PORT"]), user="py", catalog="iceberg")
cur = conn.cursor()
cur.execute("""SELECT 1, 9007199254740993, 1.5e0, DECIMAL '1.50', 'x', X'0aff', DATE '2020-01-01', TIME '10:00:00.123456',
  TIMESTAMP '2020-01-01 10:00:00.123456', TIMESTAMP '2020-01-01 10:00:00.123 UTC', ARRAY[1, NULL], MAP(ARRAY['a'], ARRAY[1]),
  CAST(ROW(1, 'q') AS ROW(x integer, y varchar)), UUID '12151fd2-7586-11e9-8f9e-2a86e4085a59', true, NULL, INTERVAL '1 02:03:04' DAY TO SECOND""")
row = cur.fetchone()
assert row[:7] == [1, 9007199254740993, 1.5, decimal.Decimal("1.50"), "x", b"\x0a\xff", datetime.date(2020, 1, 1)], row
assert row[7] == datetime.time(10, 0, 0, 123456) and row[8] == datetime.datetime(2020, 1, 1, 10, 0, 0, 123456), row
assert row[9] == datetime.datetime(2020, 1, 1, 10, 0, 0, 123000, tzinfo=datetime.timezone.utc), row
assert row[10] == [1, None] and row[11] == {"a": 1} and tuple(row[12]) == (1, "q"), row
assert row[13] == uuid.UUID("12151fd2-7586-11e9-8f9e-2a86e4085a59") and row[14] is True and row[15] is None, row
assert row[16] == datetime.timedelta(days=1, hours=2, minutes=3, seconds=4), row
cur.execute("SELECT ? + 1, ?", (41, "it's"))
assert cur.fetchall() == [[42, "it's"]]
cur.execute("SELECT x FROM UNNEST(SEQUENCE(1, 10000)) t(x)")
assert [r[0] for r in cur.fetchall()] == list(range(1, 10001))
try:
    cur.execute("SELECT nope"); cur.fetchall(); assert False
except trino.exceptions.TrinoUserError as e:
    assert e.error_name == "COLUMN_NOT_FOUND" and "line 1:8" in e.message, e
cur.execute("SHOW FUNCTIONS"); assert any(r[0] == "date_trunc" for r in cur.fetchall())
cur.execute("SET SESSION query_priority = 2"); cur.fetchall()
cur.execute("SHOW SESSION LIKE 'query_priority'"); assert cur.fetchall()[0][1] == "2"
print("ok", cur.query_id is not None)
"#;
    let printed = tokio::task::spawn_blocking(move || testkit::python(script, &[("PORT", &port)]))
        .await
        .unwrap();
    assert_eq!(printed.trim(), "ok True");
    server.stop().await;
}
