"""Headless Chromium through its debugging pipe: real pointer and key events, media settings, screenshots."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from functools import cached_property

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATH = next((found for name in NAMES if (found := shutil.which(name))), "")
WORDS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
)
KEYS = {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    " ": 32,
    "Backspace": 8,
    "Escape": 27,
    "Tab": 9,
}


class Browser:
    """One browser process; JSON ended by a zero byte goes to its file descriptor 3 and comes from 4."""

    def __init__(self, profile):
        to_read, self._to = os.pipe()
        self._from, from_write = os.pipe()
        # both ends go through the shell's redirection, whatever numbers they have here
        script = f'exec "$0" "$@" 3<&{to_read} 4>&{from_write}'
        command = ["bash", "-c", script, PATH, *WORDS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(to_read, from_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(from_write)
        self._rest, self._number, self.events = b"", 0, []

    def send(self, method, session=None, **params):
        """The result of a command; events that come meanwhile are kept in `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        os.write(self._to, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def _next(self):
        while b"\0" not in self._rest:
            got = os.read(self._from, 1 << 20)
            assert got, "the browser ended"
            self._rest += got
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def page(self, width=390, height=844, dark=False, touch=False):
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, session, width, height, dark, touch)

    def close(self):
        self.send("Browser.close")
        self._process.wait(20)
        os.close(self._to)
        os.close(self._from)


class Page:
    def __init__(self, browser, session, width, height, dark, touch):
        self._browser, self._session = browser, session
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def send(self, method, **params):
        return self._browser.send(method, self._session, **params)

    def open(self, url):
        self.send("Page.navigate", url=url)
        return self

    def __call__(self, expression):
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition, limit=30):
        """Waits, in the page, frame by frame, for a condition; its value."""
        return self(
            f"""new Promise((done, failed) => {{
              const end = performance.now() + {limit * 1000};
              const look = () => {{
                const found = ({condition});
                if (found) done(found);
                else if (performance.now() > end) failed(new Error("never came: " + {json.dumps(condition)}));
                else setTimeout(look, 10);
              }};
              look();
            }})"""
        )

    def ready(self):
        self.until("document.querySelector('#view') && (!view.inert || !trouble.hidden)")
        assert self("trouble.hidden"), self("trouble.textContent")
        return self

    def _mouse(self, kind, x, y):
        down = kind != "mouseReleased"
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=int(down), clickCount=1)

    def _touch(self, kind, *points):
        self.send("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in points])

    @cached_property
    def paper(self):
        """Left, top and width of the drawing area in the window."""
        return self("(() => { const b = paper.getBoundingClientRect(); return [b.left, b.top, b.width]; })()")

    def draw(self, strokes, touch=False):
        """Strokes in the paper's own 280 units, by mouse, or by finger."""
        left, top, width = self.paper
        for stroke in strokes:
            first, *others = [(left + x * width / 280, top + y * width / 280) for x, y in stroke]
            if touch:
                self._touch("touchStart", first)
                for point in others:
                    self._touch("touchMove", point)
                self._touch("touchEnd")
            else:
                self._mouse("mousePressed", *first)
                for point in others:
                    self._mouse("mouseMoved", *point)
                self._mouse("mouseReleased", *(others or [first])[-1])

    def press(self, *keys):
        for key in keys:
            known = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key]}
            self.send("Input.dispatchKeyEvent", type="keyDown", **known)
            self.send("Input.dispatchKeyEvent", type="keyUp", **known)

    def settled(self):
        """Waits for the frame that takes up what was put in, and for the answer to it."""
        self("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.until("view.getAttribute('aria-busy') !== 'true'")
        return self

    def screenshot(self, path, whole=True):
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def requests(self):
        """Every address that was asked for since the browser started."""
        asked = [e for e in self._browser.events if e["method"] == "Network.requestWillBeSent"]
        return [e["params"]["request"]["url"] for e in asked if e.get("sessionId") == self._session]

    def complaints(self):
        """What the page threw, and what the browser logged as errors, such as a breach of its policy."""
        own = [e for e in self._browser.events if e.get("sessionId") == self._session]
        thrown = [e["params"]["exceptionDetails"]["text"] for e in own if e["method"] == "Runtime.exceptionThrown"]
        logged = [e["params"]["entry"] for e in own if e["method"] == "Log.entryAdded"]
        return thrown + [entry["text"] for entry in logged if entry["level"] == "error"]
