"""Opens the pages in headless Chromium over its debugging pipe, uses them, and fails on any script error.

Prints `ok`. With SCREENSHOTS set to a directory, writes pictures of what it saw there.
"""
import base64
import json
import os
import subprocess
import sys
import tempfile
import time

URL = os.environ["URL"]
SHOTS = os.environ.get("SCREENSHOTS")


class Browser:
    def __init__(self, profile):
        read_in, self.write = os.pipe()
        self.read, write_out = os.pipe()
        # Chromium reads commands from descriptor 3 and writes answers to 4.
        command = f"exec {os.environ['CHROMIUM']} --headless=new --no-sandbox --disable-gpu --hide-scrollbars --remote-debugging-pipe " \
                  f"--no-first-run --disable-extensions --user-data-dir={profile} about:blank 3<&{read_in} 4>&{write_out}"
        self.process = subprocess.Popen(["bash", "-c", command], pass_fds=(read_in, write_out), stderr=subprocess.DEVNULL)
        os.close(read_in)
        os.close(write_out)
        self.buffer, self.next_id, self.problems, self.session = b"", 0, [], None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log"]:
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        self.next_id += 1
        message = {"id": self.next_id, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.buffer:
                part = os.read(self.read, 1 << 20)
                if not part:
                    sys.exit("Chromium has gone away")
                self.buffer += part
            raw, self.buffer = self.buffer.split(b"\0", 1)
            answer = json.loads(raw)
            if answer.get("method") == "Runtime.exceptionThrown":
                details = answer["params"]["exceptionDetails"]
                self.problems.append(details.get("exception", {}).get("description") or details["text"])
            if answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                entry = answer["params"]["entry"]
                self.problems.append(f"{entry['text']} {entry.get('url', '')}")
            if answer.get("id") == self.next_id:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]

    def run(self, script):
        result = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            sys.exit(f"{script}: {result['exceptionDetails'].get('exception', {}).get('description')}")
        return result["result"].get("value")

    def until(self, script, limit=20):
        end = time.time() + limit
        while time.time() < end:
            value = self.run(f"!!({script})")
            if value:
                return value
            time.sleep(0.05)
        self.shot("failed")
        sys.exit(f"in vain: {script}; problems {self.problems}; body {self.run('document.body.innerText')[:1500]}")

    def open(self, path):
        self.send("Page.navigate", url=URL + path)
        self.until("document.readyState === 'complete' && location.href.startsWith('http')")

    def size(self, width, height, mobile=False):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if mobile else 1, mobile=mobile)

    def shot(self, name, full=False):
        if not SHOTS:
            return
        time.sleep(0.8)  # for the pictures only: the motion has come to rest
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=full)["data"]
        with open(f"{SHOTS}/{name}.png", "wb") as file:
            file.write(base64.b64decode(data))

    def key(self, key, code, modifiers=0, vk=0):
        for kind in ["keyDown", "keyUp"]:
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=code, modifiers=modifiers, windowsVirtualKeyCode=vk)

    def theme(self, name):
        self.run(f"localStorage.setItem('theme', '{name}')")


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
    browser.until("document.querySelectorAll('.tile').length === 5")
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
