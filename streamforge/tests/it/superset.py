# The asset bundle in a real Superset over our query engine: every chart's data is that of its own statement.
import datetime
import decimal
import io
import json
import os
import pathlib
import subprocess
import sys
import time
import zipfile

import requests
import trino
import yaml

bin_directory = pathlib.Path(sys.executable).parent
home, port = pathlib.Path(os.environ["HOME_DIRECTORY"]), int(os.environ["PORT"])
url = f"http://127.0.0.1:{port}"
config = home / "superset_config.py"
config.write_text(f"""
SECRET_KEY = "only for this test, and never the same twice: {os.urandom(16).hex()}"
SQLALCHEMY_DATABASE_URI = "sqlite:///{home}/superset.db?check_same_thread=false"
TALISMAN_ENABLED = False
""")
environment = os.environ | {"SUPERSET_CONFIG_PATH": str(config), "FLASK_APP": "superset", "SUPERSET_HOME": str(home)}
environment.pop("PYTHONDONTWRITEBYTECODE", None)


def superset(*arguments):
    done = subprocess.run([bin_directory / "superset", *arguments], env=environment, cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}\n{done.stderr[-5000:]}"


def bundle():
    """`dashboards/` as the archive that Superset imports, its database pointed at the engine under test."""
    source, archive = pathlib.Path(os.environ["BUNDLE"]), io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(source.rglob("*.yaml")):
            text = path.read_text().replace("127.0.0.1:8080", os.environ["TRINO_PORT"])
            file.writestr(f"dashboards/{path.relative_to(source)}", text)
    return archive.getvalue()


class Client:
    def __init__(self):
        self.session = requests.Session()
        self.session.headers["Referer"] = url
        login = {"username": "admin", "password": "admin", "provider": "db", "refresh": True}
        token = self.call("POST", "/api/v1/security/login", json=login)["access_token"]
        self.session.headers["Authorization"] = f"Bearer {token}"
        self.session.headers["X-CSRFToken"] = self.call("GET", "/api/v1/security/csrf_token/")["result"]

    def call(self, method, path, **arguments):
        answer = self.session.request(method, url + path, timeout=120, **arguments)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text[:3000]}"
        return answer.json()


def wait_until_healthy(server):
    deadline = time.monotonic() + 180
    while True:
        try:
            if requests.get(url + "/health", timeout=5).status_code == 200:
                return
        except (requests.ConnectionError, requests.Timeout):
            pass
        assert server.poll() is None, f"Superset ended: {(home / 'log').read_text()[-3000:]}"
        assert time.monotonic() < deadline, "Superset does not answer"
        time.sleep(0.2)


def statement(chart):
    """What Superset's own page asks for a chart."""
    form, filters = chart["form_data"], []
    for item in form["adhoc_filters"]:
        filters.append({"col": item["subject"], "op": item["operator"], "val": item["comparator"]})
    query = {"filters": filters, "row_limit": form.get("row_limit", 10000), "extras": {}, "post_processing": []}
    if form.get("query_mode") == "raw":
        query |= {"columns": form["all_columns"], "metrics": None, "orderby": [json.loads(text) for text in form["order_by_cols"]]}
    else:
        metrics = form.get("metrics") or [form["metric"]]
        query |= {"columns": form.get("groupby", []), "metrics": metrics, "orderby": [[metrics[0], False]]}
    if axis := form.get("x_axis"):
        grain = {"timeGrain": form["time_grain_sqla"]} if "time_grain_sqla" in form else {}
        query["columns"] = [{"sqlExpression": axis, "label": axis, "expressionType": "SQL", "columnType": "BASE_AXIS",
                             "isColumnReference": True} | grain, *query["columns"]]
    number, kind = form["datasource"].split("__")
    return {"datasource": {"id": int(number), "type": kind}, "queries": [query], "force": True,
            "result_format": "json", "result_type": "full"}


def plain(value):
    """One form for a value of the engine and of Superset, whose times are milliseconds since 1970."""
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=datetime.timezone.utc).timestamp() * 1000
    if isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool):
        return round(float(value), 6)
    return value


def ask(sql):
    cursor.execute(sql)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row)) for row in cursor.fetchall()]


def snapshots():
    return [ask(f'SELECT max(committed_at) AS at FROM iceberg."{schema}"."{table}$snapshots"') for schema, table in TABLES]


def compared(client, chart):
    """The chart's rows, which are those of its statement sent to the engine, while no table changes."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        before = snapshots()
        result = client.call("POST", "/api/v1/chart/data", json=statement(chart))["result"][0]
        assert result["error"] is None and result["status"] == "success", result
        ours = ask(result["query"].rstrip().rstrip(";"))
        if snapshots() == before:
            # By place: Superset asks under another name where a metric is called like a column.
            theirs = [[plain(row[name]) for name in result["colnames"]] for row in result["data"]]
            ours = [[plain(value) for value in row.values()] for row in ours]
            order = json.dumps
            assert sorted(theirs, key=order) == sorted(ours, key=order), \
                f"{chart['slice_name']}: {result['query']}\nSuperset {theirs[:5]}\nengine {ours[:5]}"
            return theirs
    raise AssertionError("the tables never rest")


def check(client):
    dashboard = client.call("GET", "/api/v1/dashboard/clickstream")["result"]
    names = sorted(yaml.safe_load(path.read_text())["slice_name"] for path in pathlib.Path(os.environ["BUNDLE"]).glob("charts/*.yaml"))
    assert dashboard["dashboard_title"] == "Clickstream" and dashboard["published"], dashboard
    assert sorted(dashboard["charts"]) == names, dashboard["charts"]
    charts = client.call("GET", "/api/v1/dashboard/clickstream/charts")["result"]
    assert sorted(chart["slice_name"] for chart in charts) == names, charts
    for dataset in client.call("GET", "/api/v1/dashboard/clickstream/datasets")["result"]:
        # Superset reads the columns of the engine's tables: those of the bundle are all there.
        refreshed = client.call("PUT", f"/api/v1/dataset/{dataset['id']}/refresh")
        assert refreshed["message"] == "OK", refreshed
        found = client.call("GET", f"/api/v1/dataset/{dataset['id']}")["result"]
        described = {row["Column"]: row["Type"].upper() for row in ask(f'DESCRIBE iceberg."{found["schema"]}"."{found["table_name"]}"')}
        columns = {column["column_name"]: column["type"].upper() for column in found["columns"]}
        assert columns == described, (columns, described)
    for chart in charts:
        rows = compared(client, chart)
        assert rows and any(rows[0]), f"{chart['slice_name']} is empty: {rows}"
        print("chart", chart["slice_name"], len(rows))


trino_host, trino_port = os.environ["TRINO_PORT"].split(":")
cursor = trino.dbapi.connect(host=trino_host, port=int(trino_port), user="test", catalog="iceberg").cursor()
TABLES = [(data["schema"], data["table_name"]) for data in
          (yaml.safe_load(path.read_text()) for path in pathlib.Path(os.environ["BUNDLE"]).glob("datasets/*/*.yaml"))]
superset("db", "upgrade")
superset("fab", "create-admin", "--username", "admin", "--firstname", "A", "--lastname", "B", "--email", "a@b.c", "--password", "admin")
superset("init")
with open(home / "log", "w") as log:
    server = subprocess.Popen([bin_directory / "gunicorn", "-w", "1", "-k", "gthread", "--threads", "4", "--timeout", "120",
                               "-b", f"127.0.0.1:{port}", "superset.app:create_app()"], cwd=home, env=environment, stdout=log, stderr=log)
try:
    wait_until_healthy(server)
    client = Client()
    files = {"bundle": ("bundle.zip", bundle())}
    assert client.call("POST", "/api/v1/assets/import/", files=files)["message"] == "OK"
    check(client)
finally:
    server.terminate()
    server.wait()
print("done")
