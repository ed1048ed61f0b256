"""The parent's side of a zygote: how it is started, spoken to and ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.bundle.types import Json

ZYGOTE_S = 1.0
"""The same for a zygote, which may be in the middle of an import."""
INTERPRETER = (sys.executable, "-P", "-m", "serve_bench.worker")
"""`-P`: a file in the current folder named like a library must not be imported in its stead."""


class Channel:
    """JSON lines over a socket, with a time limit; `None` where the other end is gone."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = bytearray()

    def send(self, message: Json, fds: Sequence[int] = ()) -> bool:
        """False where nobody is left to read it, or this end was closed."""
        data = json.dumps(message).encode() + b"\n"
        try:
            if fds:
                sent = socket.send_fds(self._socket, [data], list(fds))
                data = data[sent:]
            self._socket.sendall(data)
        except TimeoutError:
            raise
        except OSError:
            return False
        return True

    def receive(self, limit_s: float | None = None) -> Json | None:
        """The next message; raises TimeoutError after `limit_s` seconds."""
        end = None if limit_s is None else time.monotonic() + limit_s
        while b"\n" not in self._buffer:
            try:
                self._socket.settimeout(None if end is None else max(end - time.monotonic(), 0.001))
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                raise
            except OSError:
                data = b""
            if not data:
                return None
            self._buffer += data
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = bytearray(rest)
        return json.loads(line)

    def close(self) -> None:
        """Also wakes a thread that waits in `receive`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables by which a pool could compute through the turns of others, or a form be timed with a pool that sleeps."""


class Zygote:
    """The parent's handle on a process that forks. Raises WorkerDied where no such process can be started."""

    def __init__(self, preload: tuple[str, ...], directory: Path, number: int) -> None:
        from export.bundle.errors import WorkerDied

        self._what = f"the process that imports {' '.join(preload) or 'no modules'}"
        self._log = directory / f"zygote-{number}.log"
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair()
        command = [*INTERPRETER, str(theirs.fileno()), str(directory), *preload]
        try:
            with theirs, self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[theirs.fileno()],
                    env=child_environment(),
                )
        except OSError as error:
            ours.close()
            raise WorkerDied(f"{self._what} cannot be started: {error.strerror or error}") from error
        self._channel = Channel(ours)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def ask(self, message: Json, fds: Sequence[int] = (), limit_s: float = 120.0) -> Json:
        """Raises WorkerDied where the zygote is gone, says nothing in time or cannot do it."""
        from export.bundle.errors import WorkerDied

        with self._lock:
            answer, how = None, ""
            try:
                if self._channel.send(message, fds):
                    answer = self._channel.receive(limit_s)
            except TimeoutError:
                how = f"no answer within {limit_s:g} s"
                # Told to end, it would take the files of the other zygotes' children with it.
                self._process.kill()
            if answer is None:
                self.stop()
                how = how or how_it_ended(_status(self._process.returncode))
                raise WorkerDied(f"{self._what} ended: {how}{last_words(self._log)}")
        if "error" in answer:
            raise WorkerDied(f"{self._what} {answer['error']}")
        return answer

    def stop(self) -> None:
        self._channel.close()
        try:
            self._process.wait(ZYGOTE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _status(returncode: int) -> int:
    """As waitpid has it: the signal, or the exit status in the second byte."""
    return -returncode if returncode < 0 else returncode << 8


def child_environment() -> dict[str, str]:
    """What a zygote is started with: numpy's own threads off, as they cannot be forked; OpenMP's waiting as it is by
    itself; a checkout findable."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    for name in WAITING:
        environment.pop(name, None)
    here = Path(__file__).resolve().parent.parent
    if here.name not in ("site-packages", "dist-packages"):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(here), os.environ.get("PYTHONPATH")]))
    return environment


def how_it_ended(status: int) -> str:
    """ "killed by SIGSEGV" or "exit status 3", from what waitpid says."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"killed by {signal.Signals(number).name}"
        except ValueError:
            return f"killed by signal {number}"
    return f"exit status {os.waitstatus_to_exitcode(status)}"


def last_line(log: Path) -> str:
    """The last line with text in a log, at most 200 characters; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - 4096, 0))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


def last_words(log: Path) -> str:
    """ "; its last words: …" of a log; empty where it holds none."""
    last = last_line(log)
    return f"; its last words: {last}" if last else ""
