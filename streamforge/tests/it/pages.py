"""Uses the demo's pages and compares what they show with the same query over the Trino protocol. Prints `ok`.

Runs after chromium.py, in one script with it. The stream goes on all the while, so every comparison is with the table
at one of its snapshots.
"""
import csv
import io

import trino

LIMIT = 90
host, port = os.environ["TRINO_PORT"].split(":")
cursor = trino.dbapi.connect(host=host, port=int(port), user="test", catalog="iceberg").cursor()
NUMBER = "Number(document.querySelector('.number').title)"
CARD = "[...document.querySelectorAll('[data-chart]')].find(card => card.querySelector('h2').textContent === 'Top pages').querySelector('.plot')"
TOP = f"echarts.getInstanceByDom({CARD})"
TOP_PAGES = f"(() => {{ const o = {TOP}.getOption(); return o.yAxis[0].data.map((name, i) => [name, o.series[0].data[i]]).reverse(); }})()"


def ask(sql):
    cursor.execute(sql)
    return [list(row) for row in cursor.fetchall()]


def snapshots():
    """Newest first: what the page shows is younger than the last minute."""
    return [row[0] for row in ask('SELECT snapshot_id FROM silver."clickstream$snapshots" ORDER BY committed_at DESC LIMIT 100')]


def is_of_a_snapshot(shown, sql):
    seen = []
    for snapshot in snapshots():
        seen.append(ask(sql.format(f"silver.clickstream FOR VERSION AS OF {snapshot}")))
        if seen[-1] == shown:
            return
    sys.exit(f"the page shows {shown}, no snapshot has that for {sql}; the newest has {seen[0]}")


def dashboard(browser):
    browser.open("/dashboards/clickstream?time=No+filter")
    browser.until("Number(document.body.dataset.drawn) === document.querySelectorAll('[data-chart]').length", LIMIT)
    browser.until(f"{NUMBER} > 0 && {CARD}", LIMIT)
    assert browser.run("document.querySelectorAll('.note.error').length") == 0, browser.run("document.body.innerText")
    browser.run("window.loadedOnce = true")
    events, pages = browser.run(NUMBER), browser.run(TOP_PAGES)
    is_of_a_snapshot([[events]], "SELECT count(*) FROM {}")
    # Commits come by themselves; the page follows without a reload.
    browser.until(f"{NUMBER} > {events} && JSON.stringify({TOP_PAGES}) !== {json.dumps(json.dumps(pages, separators=(',', ':')))}", LIMIT)
    assert browser.run("window.loadedOnce") is True, "the page was loaded anew"
    is_of_a_snapshot([[browser.run(NUMBER)]], "SELECT count(*) FROM {}")
    moved = browser.run(TOP_PAGES)
    counts = "SELECT page_title, count(*) FROM {} WHERE action_name = 'page_view' GROUP BY page_title ORDER BY 2 DESC, 1"
    # Pages with the same count may stand in either order, also at the end of the ten.
    for snapshot in snapshots():
        all_pages = dict(ask(counts.format(f"silver.clickstream FOR VERSION AS OF {snapshot}")))
        if all(all_pages.get(name) == n for name, n in moved) and sorted(all_pages.values())[-len(moved):] == sorted(n for _, n in moved):
            break
    else:
        sys.exit(f"the chart shows {moved}, which no snapshot has")


def sql(browser, downloads):
    statement = f"""SELECT action_name, count(*) AS events, max(monetary_value) AS dearest
FROM silver.clickstream FOR VERSION AS OF {snapshots()[0]}
GROUP BY action_name ORDER BY action_name"""
    expected = ask(statement)
    browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=downloads)
    browser.open("/sql")
    browser.until("document.querySelector('.cm-content')", LIMIT)
    browser.run("document.querySelector('.cm-content').focus()")
    browser.key("a", "KeyA", modifiers=2, vk=65)
    browser.send("Input.insertText", text=statement)
    browser.key("Enter", "Enter", modifiers=2, vk=13)
    browser.until("document.getElementById('state').textContent.startsWith('finished')", LIMIT)
    names = browser.run("[...document.querySelectorAll('#grid th')].map(th => th.firstChild.textContent)")
    grid = browser.run("[...document.querySelectorAll('#grid tbody tr')].map(tr => [...tr.cells].map(td => td.classList.contains('null') ? '' : td.textContent))")
    assert names == ["action_name", "events", "dearest"], names
    browser.run("document.getElementById('csv').click()")
    end = time.time() + LIMIT
    while not (files := [name for name in os.listdir(downloads) if name.endswith(".csv")]):
        assert time.time() < end, os.listdir(downloads)
        browser.run("new Promise(done => setTimeout(done, 20))")
    with open(f"{downloads}/{files[0]}", encoding="utf-8") as file:
        header, *rows = list(csv.reader(io.StringIO(file.read())))
    assert (header, rows) == (names, grid), (header, rows, names, grid)
    shown = [[action, int(events), float(dearest) if dearest else None] for action, events, dearest in grid]
    assert len(shown) >= 3 and shown == expected, (shown, expected)


def platform(browser):
    browser.open("/platform")
    browser.until("[...document.querySelectorAll('#topics tbody tr')].some(row => row.cells[0].textContent === 'clickstream' && Number(row.cells[4].textContent) > 0)", LIMIT)
    browser.until("document.querySelectorAll('.graph .running').length > 5", LIMIT)
    assert browser.run("[...document.querySelectorAll('.graph')].every(box => box.scrollWidth <= box.clientWidth + 1)"), "the graph is cut"
    browser.until("document.querySelectorAll('.tile .state.up').length === 6", LIMIT)
    tiles = browser.run("document.getElementById('services').innerText")
    assert "StreamForge 0" in tiles, tiles


with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, tempfile.TemporaryDirectory() as downloads:
    browser = Browser(profile)
    try:
        browser.size(1440, 900)
        dashboard(browser)
        sql(browser, downloads)
        platform(browser)
        assert browser.problems == [], browser.problems
    finally:
        browser.process.terminate()
        browser.process.wait()
print("ok")
