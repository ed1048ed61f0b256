"""Headless Chromium through its debugging pipe: a page is opened and asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from export.bundle.errors import BackendFailed

NAMES = ("chromium", "chromium-browser", "google-chrome")
WORDS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
)


def missing() -> str | None:
    """Why no browser can be driven here."""
    if sys.platform == "win32":
        return "Chromium is driven through a pipe that only POSIX systems have"
    return None if path() else f"no Chromium is installed: one of {', '.join(NAMES)} has to be on the path"


def path() -> str:
    """The browser's program; empty where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), "")


class Browser:
    """One browser process; JSON ended by a zero byte goes to its file descriptor 3 and comes from 4."""

    def __init__(self, profile: Path | str) -> None:
        to_read, self._to = os.pipe()
        self._from, from_write = os.pipe()
        # both ends go through the shell's redirection, whatever numbers they have here
        script = f'exec "$0" "$@" 3<&{to_read} 4>&{from_write}'
        command = ["bash", "-c", script, path(), *WORDS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(to_read, from_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(from_write)
        self._rest, self._number = b"", 0
        self.events: list[dict[str, Any]] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The result of a command; events that come meanwhile are kept in `events`. Raises BackendFailed."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        os.write(self._to, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BackendFailed(f"chromium: {method}: {answer['error'].get('message', answer['error'])}")
                result: dict[str, Any] = answer["result"]
                return result
            if "method" in answer:
                self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            got = os.read(self._from, 1 << 20)
            if not got:
                raise BackendFailed("chromium: the browser ended")
            self._rest += got
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def attach(self) -> str:
        """The session of a new, empty page."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session: str = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return session

    def close(self) -> None:
        """Ends the browser, by force where it does not answer."""
        try:
            self.send("Browser.close")
            self._process.wait(20)
        except (BackendFailed, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)


class Tab:
    """One page of a browser."""

    def __init__(self, browser: Browser) -> None:
        self._browser, self._session = browser, browser.attach()
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.send(method, self._session, **params)

    def __call__(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for. Raises BackendFailed where it throws."""
        answer = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if thrown := answer.get("exceptionDetails"):
            said = thrown.get("exception", {}).get("description") or thrown.get("text", "")
            raise BackendFailed(f"chromium: {said.splitlines()[0] if said else 'the page threw'}")
        return answer["result"].get("value")

    def until(self, condition: str, limit: float = 30) -> Any:
        """Waits in the page for a condition, at most `limit` seconds; its value."""
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
