"""Opens the pages, uses them, and fails on any script error. Prints `ok`. Runs after chromium.py, in one script with it."""


def dashboard(browser):
    browser.size(1440, 1150)
    browser.open("/")
    assert browser.run("location.pathname") == "/dashboards/clickstream"
    browser.theme("light")
    browser.open("/dashboards/clickstream")
    cards = browser.run("document.querySelectorAll('[data-chart]').length")
    browser.until(f"document.body.dataset.drawn == {cards}")
    errors = browser.run("[...document.querySelectorAll('.note.error')].map(note => note.closest('section').innerText)")
    assert errors == [], errors
    assert browser.run("document.querySelectorAll('canvas').length") >= 6
    numbers = browser.run("[...document.querySelectorAll('.number')].map(number => number.textContent)")
    assert len(numbers) == 4 and all(any(c in "123456789" for c in number) for number in numbers), numbers
    browser.shot("dashboard-light")
    # A commit reaches the page without a reload.
    events = browser.run("document.querySelector('.number').textContent")
    subprocess.run(
        [sys.executable, "-c", f"import urllib.request as u; u.urlopen(u.Request('{os.environ['STAND_IN']}/test/commit', method='POST'))"], check=True)
    browser.until("document.querySelector('[aria-labelledby] .change') && document.getElementById('live-text').textContent.includes('live')")
    # A chosen value is a filter of every chart, kept in the address.
    browser.run("document.querySelectorAll('details.pick summary')[0].click()")
    browser.until("document.querySelectorAll('details.pick[open] input').length > 2")
    browser.run("[...document.querySelectorAll('details.pick[open] label')].find(label => label.textContent === 'page_view').querySelector('input').click()")
    browser.until("location.search.includes('f.action_name=page_view')")
    browser.until("document.querySelectorAll('[aria-busy]').length === 0")
    assert browser.run("document.querySelectorAll('.number')[2].textContent") in ("0", "–")
    browser.key("Escape", "Escape", vk=27)
    browser.until("document.querySelectorAll('details[open]').length === 0")
    browser.theme("dark")
    browser.open("/dashboards/clickstream")
    browser.until(f"document.body.dataset.drawn == {cards}")
    browser.shot("dashboard-dark")
    browser.run("document.querySelectorAll('.menu [data-do=table]')[4].click()")
    browser.until("document.querySelectorAll('.table-box').length >= 2")
    browser.size(390, 844, mobile=True)
    browser.open("/dashboards/clickstream")
    browser.until(f"document.body.dataset.drawn == {cards}")
    assert browser.run("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than a phone"
    browser.shot("dashboard-phone", full=True)
    assert events


def sql(browser):
    browser.size(1440, 900)
    browser.theme("light")
    browser.open("/sql")
    browser.until("document.querySelectorAll('.tree summary').length > 5")
    browser.run("document.getElementById('run').click()")
    browser.until("document.querySelectorAll('.rows tbody tr').length === 5")
    assert browser.run("document.querySelector('.rows tbody td').textContent") == "page_view"
    assert "finished · 5 rows" in browser.run("document.getElementById('state').textContent")
    browser.shot("sql-rows")
    browser.run("document.getElementById('tab-chart').click()")
    browser.until("document.querySelector('#chart canvas')")
    browser.theme("dark")
    browser.open("/sql?q=" + "SELECT%20date_trunc('minute'%2C%20event_time)%20AS%20minute%2C%20platform_type%2C%20count(*)%20AS%20events%20FROM%20silver.clickstream%20GROUP%20BY%201%2C%202%20ORDER%20BY%201")
    browser.until("document.getElementById('state').textContent.startsWith('finished')")
    browser.run("document.getElementById('tab-chart').click()")
    browser.until("document.querySelector('#chart canvas')")
    browser.shot("sql-chart-dark")
    # A mistake is said where it is made, by keyboard alone.
    browser.run("document.querySelector('.cm-content').focus()")
    browser.key("a", "KeyA", modifiers=2, vk=65)
    browser.send("Input.insertText", text="SELECT nothing FROM nowhere")
    browser.key("Enter", "Enter", modifiers=2, vk=13)
    browser.until("document.querySelector('.failure')")
    assert "SYNTAX_ERROR" in browser.run("document.querySelector('.failure').innerText")
    # Cancel reaches the engine.
    browser.run("document.querySelector('.cm-content').focus()")
    browser.key("a", "KeyA", modifiers=2, vk=65)
    browser.send("Input.insertText", text="SELECT 'slow'")
    browser.key("Enter", "Enter", modifiers=2, vk=13)
    browser.until("!document.getElementById('cancel').disabled && document.getElementById('state').textContent.includes('running')")
    browser.run("document.getElementById('cancel').click()")
    browser.until("document.getElementById('state').textContent.startsWith('cancelled')")
    browser.run("document.getElementById('tab-history').click()")
    assert browser.run("document.querySelectorAll('.history-item').length") >= 3


def platform(browser):
    browser.theme("light")
    browser.size(1440, 1300)
    browser.open("/platform")
    browser.until("document.querySelectorAll('.tile').length === 6")
    browser.until("document.querySelectorAll('.graph g').length === 6")
    browser.until("document.querySelector('#tables tbody tr')")
    assert "TUMBLE 1 MINUTE" in browser.run("document.getElementById('jobs').textContent")
    browser.until("document.querySelector('.checkpoints canvas')")
    browser.shot("platform-light")
    browser.theme("dark")
    browser.open("/platform")
    browser.until("document.querySelector('.checkpoints canvas') && document.querySelector('#tables tbody tr')")
    browser.shot("platform-dark")


with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
    browser = Browser(profile)
    try:
        for part in [dashboard, sql, platform]:
            part(browser)
        # The Kafka broker is not part of this test: its part of the page says so, which the browser logs as a failed load.
        problems = [problem for problem in browser.problems if "/api/platform/topics" not in problem]
        assert problems == [], problems
    finally:
        browser.process.terminate()
        browser.process.wait()
print("ok")
