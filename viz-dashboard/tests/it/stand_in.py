"""A stand-in for the services the pages talk to: Trino's REST protocol over DuckDB, and Flink's job REST.

It runs every statement for real, on tables made here, so that a test compares values. Prints its port when it listens.
"""
import datetime as dt
import decimal
import json
import random
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import duckdb
import pyarrow

PAGE = 500
NOW = dt.datetime.now(dt.timezone.utc).replace(microsecond=0, tzinfo=None)
database = duckdb.connect()
lock = threading.Lock()
queries = {}
requests_seen = []


def fill():
    random.seed(7)
    database.execute("ATTACH ':memory:' AS iceberg; USE iceberg")
    for schema in ["bronze", "silver", "gold"]:
        database.execute(f"CREATE SCHEMA iceberg.{schema}")
    pages = ["/", "/products/lamp", "/products/desk", "/products/phone", "/cart", "/checkout", "/search", "/about", "/help", "/blog"]
    titles = ["Home", "Lamp", "Desk", "Phone", "Cart", "Checkout", "Search", "About us", "Help", "Blog"]
    categories = ["landing", "product", "product", "product", "checkout", "checkout", "search", "about", "about", "blog"]
    countries = ["PL", "DE", "US", "JP", "BR", "FR", "GB", "IN"]
    actions = ["page_view", "add_to_cart", "purchase", "login", "logout"]
    rows = []
    for i in range(3000):
        at = NOW - dt.timedelta(seconds=int(random.triangular(0, 7200, 900)))
        action = random.choices(actions, [70, 12, 4, 8, 6])[0]
        page = min(int(random.paretovariate(1.1)) - 1, len(pages) - 1)
        value = round(random.lognormvariate(3.6, 0.7), 2) if action == "purchase" else None
        rows.append((str(uuid.UUID(int=i)), f"account-{i % 500}", action, pages[page], f"session-{i % 900}",
                     random.choices(["mobile", "desktop", "tablet"], [55, 38, 7])[0], at,
                     random.choices(countries, [8, 7, 6, 4, 3, 3, 3, 2])[0], value, titles[page], categories[page]))
    database.execute("""CREATE TABLE silver.clickstream (event_identifier VARCHAR, account_id VARCHAR, action_name VARCHAR,
        source_path VARCHAR, session_token VARCHAR, platform_type VARCHAR, event_time TIMESTAMP, country VARCHAR,
        monetary_value DOUBLE, page_title VARCHAR, page_category VARCHAR)""")
    events = pyarrow.table([list(column) for column in zip(*rows)], names=[f"c{i}" for i in range(11)])
    database.register("events", events)
    database.execute("INSERT INTO silver.clickstream SELECT * FROM events")
    database.execute("""INSERT INTO silver.clickstream SELECT event_identifier || range, account_id, action_name, source_path,
        session_token, platform_type, event_time - INTERVAL 1 SECOND * (range * 37 % 600), country, monetary_value, page_title, page_category
        FROM silver.clickstream, range(1, 10)""")
    database.execute(open(sys.argv[1]).read())
    for schema, table in database.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'iceberg'").fetchall():
        database.execute(f"""CREATE TABLE {schema}."{table}$snapshots" AS SELECT
            TIMESTAMP '{NOW}' - INTERVAL 1 SECOND * (20 - range) AS committed_at, 1000 + range AS snapshot_id,
            CASE WHEN range % 5 = 0 THEN 'replace' ELSE 'append' END AS operation FROM range(1, 21)""")
        database.execute(f"""CREATE TABLE {schema}."{table}$files" AS SELECT CASE WHEN range < 17 THEN 0 ELSE 1 END AS content,
            100 * range AS record_count, 40000 * range AS file_size_in_bytes FROM range(1, 20)""")


def commit():
    """A new snapshot of every table, with a few more rows."""
    database.execute("INSERT INTO silver.clickstream SELECT uuid()::VARCHAR, account_id, 'page_view', source_path, session_token, "
                     "platform_type, now()::TIMESTAMP, country, NULL, page_title, page_category FROM silver.clickstream LIMIT 25")
    tables = database.execute("SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'iceberg' "
                              "AND table_name LIKE '%$snapshots'").fetchall()
    for schema, table in tables:
        database.execute(f'INSERT INTO {schema}."{table}" SELECT now()::TIMESTAMP, max(snapshot_id) + 1, \'append\' FROM {schema}."{table}"')


def plain(value):
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, (dt.date, uuid.UUID, decimal.Decimal)):
        return str(value)
    return value


TYPES = {"BIGINT": "bigint", "INTEGER": "integer", "HUGEINT": "bigint", "DOUBLE": "double", "VARCHAR": "varchar",
         "TIMESTAMP": "timestamp(6)", "BOOLEAN": "boolean", "DATE": "date"}


def begin(sql):
    if sql.strip().lower().startswith("select 'slow'"):
        return {"columns": [{"name": "x", "type": "varchar"}], "rows": [], "slow": True, "error": None}
    try:
        with lock:
            cursor = database.cursor()
            cursor.execute("USE iceberg")
            for name in ["tables", "columns"]:
                sql = sql.replace(f"iceberg.information_schema.{name}",
                                  f"(SELECT * FROM information_schema.{name} WHERE table_catalog = 'iceberg' AND table_name NOT LIKE '%$%') AS listed")
            cursor.execute(sql)
            columns = [{"name": d[0], "type": TYPES.get(str(d[1]).split("(")[0], "varchar")} for d in cursor.description]
            rows = [[int(v) if isinstance(v, int) and not isinstance(v, bool) else plain(v) for v in row] for row in cursor.fetchall()]
        return {"columns": columns, "rows": rows, "slow": False, "error": None}
    except duckdb.Error as error:
        return {"columns": [], "rows": [], "slow": False, "error": {
            "message": "line 1:8: " + str(error).split("\n")[0], "errorCode": 1, "errorName": "SYNTAX_ERROR", "errorType": "USER_ERROR",
            "errorLocation": {"lineNumber": 1, "columnNumber": 8}}}


JOB = "0123456789abcdef0123456789abcdef"
VERTICES = [("a1", "Source: clickstream"), ("b2", "parse, validate"), ("c3", "deduplicate by event_identifier"), ("d4", "TUMBLE 1 MINUTE"),
            ("e5", "Sink: silver.clickstream"), ("f6", "Sink: gold.activity_per_minute")]
EDGES = {"b2": ["a1"], "c3": ["b2"], "d4": ["c3"], "e5": ["c3"], "f6": ["d4"]}


def flink(path):
    now = int(time.time() * 1000)
    if path == "/jobs/overview":
        return {"jobs": [{"jid": JOB, "name": "clickstream", "state": "RUNNING", "start-time": now - 3_600_000, "duration": 3_600_000}]}
    if path == f"/jobs/{JOB}":
        records = now // 10 % 10_000_000
        return {"jid": JOB, "name": "clickstream", "vertices": [
            {"id": i, "name": name, "status": "RUNNING", "parallelism": 2,
             "metrics": {"read-records": records if k else 0, "write-records": records if k < 4 else 0}} for k, (i, name) in enumerate(VERTICES)],
            "plan": {"nodes": [{"id": i, "inputs": [{"id": x} for x in EDGES.get(i, [])]} for i, _ in VERTICES]}}
    if path == f"/jobs/{JOB}/checkpoints":
        return {"counts": {"completed": 720, "failed": 1, "in_progress": 0}, "history": [
            {"id": 720 - i, "status": "FAILED" if i == 9 else "COMPLETED", "trigger_timestamp": now - 5000 * (i + 1),
             "end_to_end_duration": 180 + (i * 77) % 120, "checkpointed_size": 1_200_000 + 9000 * i} for i in range(20)]}
    if path.endswith("/watermarks"):
        return [{"id": "0.currentInputWatermark", "value": str(now - 6000)}]
    if "/subtasks/metrics" in path:
        return [{"id": "numRecordsInPerSecond", "sum": 20112.0}, {"id": "numRecordsOutPerSecond", "sum": 19980.0}] + (
            [{"id": "pendingRecords", "sum": 412.0}] if "/a1/" in path else [])
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=None):
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def page(self, query_id, token):
        query = queries[query_id]
        base = f"http://{self.headers['Host']}/v1/statement/executing/{query_id}"
        if query["slow"]:
            time.sleep(0.05)
            return self.answer(200, {"id": query_id, "infoUri": base, "nextUri": f"{base}/{token + 1}", "columns": query["columns"],
                                     "stats": {"state": "RUNNING", "progressPercentage": 25.0, "elapsedTimeMillis": 50, "totalSplits": 4, "completedSplits": 1}})
        rows = query["rows"][token * PAGE:(token + 1) * PAGE]
        more = (token + 1) * PAGE < len(query["rows"])
        body = {"id": query_id, "infoUri": base, "columns": query["columns"], "stats": {
            "state": "RUNNING" if more else "FINISHED", "processedRows": len(query["rows"]), "elapsedTimeMillis": 3}}
        if rows:
            body["data"] = rows
        if more:
            body["nextUri"] = f"{base}/{token + 1}"
        if query["error"]:
            body["error"] = query["error"]
            body["stats"]["state"] = "FAILED"
        self.answer(200, body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.path == "/test/commit":
            with lock:
                commit()
            return self.answer(200, {})
        if self.path != "/v1/statement" or not self.headers.get("X-Trino-User"):
            return self.answer(400, {"error": "no user"})
        query_id = f"q{uuid.uuid4().hex}"
        requests_seen.append(body)
        queries[query_id] = begin(body)
        base = f"http://{self.headers['Host']}/v1/statement/executing/{query_id}/0"
        self.answer(200, {"id": query_id, "infoUri": base, "nextUri": base, "stats": {"state": "QUEUED"}})

    def do_GET(self):
        if self.path.startswith("/v1/statement/executing/"):
            query_id, token = self.path.split("/")[-2:]
            return self.page(query_id, int(token)) if query_id in queries else self.answer(404, {})
        if self.path == "/readyz":
            return self.answer(200, {})
        if self.path == "/v1/info":
            return self.answer(200, {"productName": "Stand-in", "version": "2.1"})
        if self.path == "/test/statements":
            return self.answer(200, requests_seen)
        if self.path == "/test/running":
            return self.answer(200, [i for i, q in queries.items() if q["slow"]])
        found = flink(self.path.split("?")[0])
        return self.answer(404, {}) if found is None else self.answer(200, found)

    def do_DELETE(self):
        queries.pop(self.path.split("/")[-2], None)
        self.answer(204)


fill()
server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
