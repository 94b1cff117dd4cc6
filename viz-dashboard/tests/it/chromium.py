"""Headless Chromium over its debugging pipe, for tests that use the pages as a person does.

Any script error is kept in `problems`. With SCREENSHOTS set to a directory, `shot` writes pictures there.
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
