//! Trino's command line and its JDBC driver, unmodified, from Maven Central: `STREAMFORGE_PEERS=trino-cli,trino-jdbc`.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::lake::Lake;

/// The newest command line on Maven Central.
const CLI: &str = "io.trino:trino-cli:476:executable";
const JDBC: &str = "io.trino:trino-jdbc:483";

const TABLES: &str = r#"
catalog.create_table("n.t", schema=pa.schema([("id", pa.int64()), ("kind", pa.string())])).append(
    pa.table({"id": pa.array(range(50000), pa.int64()), "kind": ["a" if i % 2 else None for i in range(50000)]}))
"#;

/// A value of every type that a client may be sent.
const EVERY_TYPE: &str = "SELECT true, tinyint '1', smallint '2', 3, 9007199254740993, real '1.5', 2.5e0, DECIMAL '1.50', 'x', \
    X'0aff', DATE '2020-01-01', TIME '10:00:00.123456', TIMESTAMP '2020-01-01 10:00:00.123456', \
    TIMESTAMP '2020-01-01 10:00:00.123 America/New_York', INTERVAL '1 02:03:04' DAY TO SECOND, INTERVAL '2-3' YEAR TO MONTH, \
    ARRAY[1, NULL], MAP(ARRAY['a'], ARRAY[1]), CAST(ROW(1, 'q') AS ROW(x integer, y varchar)), \
    UUID '12151fd2-7586-11e9-8f9e-2a86e4085a59', JSON '{\"a\": 1}', NULL, nan(), ''";

fn cli(jar: &PathBuf, url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("java");
    command
        .args(["-Xmx256m", "-jar"])
        .arg(jar)
        .args([
            "--server",
            url,
            "--user",
            "cli",
            "--catalog",
            "iceberg",
            "--schema",
            "n",
        ])
        .args(["--history-file", "/dev/null"])
        .args(arguments);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeded(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn trinos_command_line_works() {
    if !testkit::peer("trino-cli") {
        return;
    }
    let lake = Lake::start().await;
    lake.python(TABLES).await;
    let server = lake.engine().await;
    let (url, client) = (server.url.clone(), server.client());
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let jar = testkit::jars("trino-cli-476", &[CLI]).join("trino-cli-476-executable.jar");
        let run = |arguments: &[&str]| cli(&jar, &url, arguments).output().unwrap();
        let execute = |sql: &str| succeeded(&run(&["--execute", sql, "--output-format", "CSV_UNQUOTED"]));
        assert_eq!(execute("SHOW CATALOGS"), "iceberg\nsystem\n");
        assert_eq!(execute("SHOW TABLES"), "t\n");
        assert_eq!(execute("DESCRIBE t"), "id,bigint,,\nkind,varchar,,\n");
        // Its JSON output cannot write arrays, so it is asked for text.
        assert_eq!(
            execute(EVERY_TYPE),
            "true,1,2,3,9007199254740993,1.5,2.5,1.50,x,0a ff,2020-01-01,10:00:00.123456,2020-01-01 10:00:00.123456,\
             2020-01-01 10:00:00.123 America/New_York,1 02:03:04.000,2-3,[1, NULL],{a=1},{x=1, y=q},\
             12151fd2-7586-11e9-8f9e-2a86e4085a59,{\"a\":1},,NaN,\n"
        );
        // Many pages, and what one statement sets is there for the next.
        let counted = execute("SELECT id FROM t ORDER BY id");
        assert!(counted.lines().map(|line| line.parse::<i64>().unwrap()).eq(0..50_000));
        assert_eq!(
            execute("USE iceberg.information_schema; SELECT count(*) > 0 FROM tables; SET SESSION query_priority = 3; \
                     PREPARE p FROM SELECT ? + 1; EXECUTE p USING 41"),
            "true\n42\n"
        );
        let aligned = succeeded(&run(&["--execute", "SELECT id, kind FROM t WHERE id < 2 ORDER BY 1", "--output-format", "ALIGNED"]));
        assert!(aligned.contains("  0 | NULL") && aligned.contains("  1 | a"), "{aligned}");
        let wrong = run(&["--execute", "SELECT id,\n  nope FROM t"]);
        assert_eq!(wrong.status.code(), Some(1));
        let message = text(&wrong.stderr);
        assert!(message.contains("failed: line 2:3: Column 'nope' cannot be resolved"), "{message}");
        let wrong = text(&run(&["--debug", "--execute", "SELEC 1"]).stderr);
        assert!(wrong.contains("line 1:1: mismatched input 'SELEC'"), "{wrong}");

        // Ctrl-C cancels the statement, not only the program.
        let endless = "SELECT count(*) FROM t a, t b, t c WHERE a.id + b.id + c.id < 0";
        let mut child = cli(&jar, &url, &["--execute", endless]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let state = |wanted: &'static str| {
            let client = client.clone();
            runtime.block_on(testkit::wait_until(wanted, Duration::from_secs(30), async move || {
                let sql = "SELECT state, error_code FROM system.runtime.queries WHERE query LIKE '%a.id + b.id%' AND source = 'trino-cli'";
                (client.text(sql).await == wanted).then_some(())
            }));
        };
        state("RUNNING | NULL");
        let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(interrupted.success());
        state("FAILED | USER_CANCELED");
        child.wait().unwrap();
    })
    .await
    .unwrap();
    server.stop().await;
}

const PEER: &str = r#"
import java.math.BigDecimal;
import java.sql.*;
import java.util.*;

public class Peer {
    static void check(Object found, Object wanted) {
        if (!Objects.equals(found, wanted)) throw new AssertionError("found " + found + ", wanted " + wanted);
    }

    static List<String> column(ResultSet rows, String name) throws SQLException {
        List<String> values = new ArrayList<>();
        while (rows.next()) values.add(rows.getString(name));
        return values;
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection connection = DriverManager.getConnection("jdbc:trino://" + arguments[0] + "/iceberg/n", "jdbc", null)) {
            check(connection.isValid(10), true);
            DatabaseMetaData metadata = connection.getMetaData();
            check(metadata.getDatabaseProductName(), "Trino");
            check(metadata.getDatabaseMajorVersion(), 483);
            check(column(metadata.getCatalogs(), "TABLE_CAT"), List.of("iceberg", "system"));
            check(column(metadata.getSchemas("iceberg", null), "TABLE_SCHEM"), List.of("information_schema", "n"));
            check(column(metadata.getTables("iceberg", "n", "%", new String[] {"TABLE"}), "TABLE_NAME"), List.of("t"));
            check(column(metadata.getColumns("iceberg", "n", "t", "%"), "COLUMN_NAME"), List.of("id", "kind"));
            check(column(metadata.getTableTypes(), "TABLE_TYPE"), List.of("TABLE", "VIEW"));
            check(column(metadata.getPrimaryKeys("iceberg", "n", "t"), "COLUMN_NAME"), List.of());
            try (Statement statement = connection.createStatement()) {
                ResultSet row = statement.executeQuery(arguments[1]);
                check(row.next(), true);
                check(row.getBoolean(1), true);
                check(row.getByte(2), (byte) 1);
                check(row.getShort(3), (short) 2);
                check(row.getInt(4), 3);
                check(row.getLong(5), 9007199254740993L);
                check(row.getFloat(6), 1.5f);
                check(row.getDouble(7), 2.5);
                check(row.getBigDecimal(8), new BigDecimal("1.50"));
                check(row.getString(9), "x");
                check(Arrays.toString(row.getBytes(10)), "[10, -1]");
                check(row.getDate(11), java.sql.Date.valueOf("2020-01-01"));
                check(row.getString(12), "10:00:00.123456");
                check(row.getTimestamp(13), Timestamp.valueOf("2020-01-01 10:00:00.123456"));
                check(row.getTimestamp(14).toInstant(), java.time.Instant.parse("2020-01-01T15:00:00.123Z"));
                check(row.getString(15), "1 02:03:04.000");
                check(row.getString(16), "2-3");
                check(Arrays.asList((Object[]) row.getArray(17).getArray()), Arrays.asList(1, null));
                check(row.getObject(18), Map.of("a", 1));
                check(row.getString(19), "{x=1, y=q}");
                check(row.getString(20), "12151fd2-7586-11e9-8f9e-2a86e4085a59");
                check(row.getString(21), "{\"a\":1}");
                check(row.getObject(22), null);
                check(Double.isNaN(row.getDouble(23)), true);
                check(row.getString(24), "");
                ResultSetMetaData columns = row.getMetaData();
                check(columns.getColumnTypeName(8), "decimal(3,2)");
                check(columns.getColumnType(13), Types.TIMESTAMP);
                ResultSet rows = statement.executeQuery("SELECT id FROM t ORDER BY id");
                for (long id = 0; id < 50000; id++) { check(rows.next(), true); check(rows.getLong(1), id); }
                check(rows.next(), false);
                try {
                    statement.executeQuery("SELECT id,\n nope FROM t");
                    throw new AssertionError("no error");
                } catch (SQLException error) {
                    check(error.getErrorCode(), 47);
                    check(error.getMessage().contains("line 2:2: Column 'nope' cannot be resolved"), true);
                }
            }
            try (PreparedStatement statement = connection.prepareStatement("SELECT count(*), max(kind) FROM t WHERE id < ? AND kind = ?")) {
                statement.setLong(1, 10);
                statement.setString(2, "a");
                ResultSet row = statement.executeQuery();
                check(row.next(), true);
                check(row.getLong(1), 5L);
                check(statement.getParameterMetaData().getParameterCount(), 2);
                check(statement.getMetaData().getColumnName(2), "_col1");
            }
            Statement endless = connection.createStatement();
            Thread canceller = new Thread(() -> {
                try { while (!running(arguments[0])) Thread.sleep(20); endless.cancel(); } catch (Exception error) { error.printStackTrace(); }
            });
            canceller.start();
            try {
                endless.executeQuery("SELECT count(*) FROM t a, t b, t c WHERE a.id + b.id + c.id < 0").next();
                throw new AssertionError("not cancelled");
            } catch (SQLException error) {
                canceller.join();
            }
            check(codes(arguments[0]), List.of("USER_CANCELED"));
        }
        System.out.println("ok");
    }

    static ResultSet queries(Connection connection, String column, String state) throws SQLException {
        return connection.createStatement().executeQuery("SELECT " + column + " AS c FROM system.runtime.queries WHERE query LIKE '%a.id + b.id%'"
            + " AND query NOT LIKE '%queries%' AND state = '" + state + "'");
    }

    static boolean running(String address) throws SQLException {
        try (Connection connection = DriverManager.getConnection("jdbc:trino://" + address, "watcher", null)) {
            return queries(connection, "state", "RUNNING").next();
        }
    }

    static List<String> codes(String address) throws SQLException {
        try (Connection connection = DriverManager.getConnection("jdbc:trino://" + address, "watcher", null)) {
            return column(queries(connection, "error_code", "FAILED"), "c");
        }
    }
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn trinos_jdbc_driver_works() {
    if !testkit::peer("trino-jdbc") {
        return;
    }
    let lake = Lake::start().await;
    lake.python(TABLES).await;
    let server = lake.engine().await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let printed = tokio::task::spawn_blocking(move || {
        let libraries = testkit::jars("trino-jdbc-483", &[JDBC]);
        testkit::java(&libraries, PEER, &[&address, EVERY_TYPE])
    })
    .await
    .unwrap();
    assert_eq!(printed.trim(), "ok");
    server.stop().await;
}
