"""Headless Chromium through its debugging pipe: real pointer and key events, media settings, screenshots."""

from __future__ import annotations

import base64
from functools import cached_property

from serve_bench.embed.runtimes import _browser

PATH = _browser.path()
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


class Browser(_browser.Browser):
    def page(self, width=390, height=844, dark=False, touch=False):
        return Page(self, width, height, dark, touch)


class Page(_browser.Tab):
    def __init__(self, browser, width, height, dark, touch):
        super().__init__(browser)
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url):
        self.send("Page.navigate", url=url)
        return self

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
