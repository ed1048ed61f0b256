"""The process that forks: `python -m serve_bench.worker FD DIRECTORY MODULE…`. It computes nothing."""

from __future__ import annotations

import gc
import importlib
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

POLL_S = 0.002


def main(arguments: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if arguments[0] == "child":
        _serve(socket.socket(fileno=int(arguments[1])), Path(arguments[2]))
    control = socket.socket(fileno=int(arguments[0]))
    control.set_inheritable(False)
    directory = Path(arguments[1])
    for module in arguments[2:]:
        importlib.import_module(module)
    if arguments[2:]:
        _import_own()
    gc.collect()
    gc.freeze()
    _listen(control, directory)


def _import_own() -> None:
    """What a child needs of this package: 60 ms less for each."""
    from export.registry import entries

    importlib.import_module("serve_bench._child")
    importlib.import_module("serve_bench.latency.clock")
    entries("serve_bench.backends")


def _listen(control: socket.socket, directory: Path) -> None:
    """Forks and reaps as it is told; when the parent is gone, so are all children and their files."""
    children: set[int] = set()
    while True:
        message, fds = _receive(control)
        if message is None:
            break
        if message["do"] == "spawn":
            try:
                pid = _spawn(control, fds[0], Path(message["log"]), directory, message["fresh"])
            except OSError as error:
                _send(control, {"error": f"cannot make another: {error.strerror or error}"})
                continue
            children.add(pid)
            _send(control, {"pid": pid})
        else:
            children.discard(message["pid"])
            _send(control, {"status": _reap(message["pid"], message["limit_s"])})
    for pid in children:
        _reap(pid, 0.0)
    shutil.rmtree(directory, ignore_errors=True)


def _receive(control: socket.socket) -> tuple[Any, list[int]]:
    data, fds = b"", []
    while not data.endswith(b"\n"):
        part, received, _, _ = socket.recv_fds(control, 1 << 16, 1)
        fds += received
        if not part:
            return None, fds
        data += part
    return json.loads(data), fds


def _send(control: socket.socket, message: Any) -> None:
    try:
        control.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        return


def _spawn(control: socket.socket, fd: int, log: Path, directory: Path, fresh: bool) -> int:
    """The pid of a new child; raises OSError where the system gives no process, or no file for what it says."""
    zygote = os.getpid()
    try:
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            pid = os.fork()
            if not pid:
                _become_child(control, fd, said, zygote, directory, fresh)
            return pid
        finally:
            os.close(said)
    finally:
        os.close(fd)


def _become_child(control: socket.socket, fd: int, said: int, zygote: int, directory: Path, fresh: bool) -> NoReturn:
    try:
        _die_with(zygote)
        control.close()
        _redirect(said)
        if fresh:
            os.set_inheritable(fd, True)
            os.execv(
                sys.executable, [sys.executable, "-P", "-m", "serve_bench.worker", "child", str(fd), str(directory)]
            )
        _serve(socket.socket(fileno=fd), directory)
    finally:
        os._exit(70)


def _serve(channel: socket.socket, directory: Path) -> None:
    """Never returns: a child skips every library's clean-up, which may hang or crash after the work is done."""
    status = 70
    try:
        from serve_bench._child import serve

        channel.set_inheritable(False)
        serve(channel, directory)
        status = 0
    except OSError:
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _redirect(log: int) -> None:
    """File descriptors 1 and 2 to the log, whatever library writes to them."""
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _die_with(parent: int) -> None:
    """The kernel kills this process when the zygote ends (Linux); elsewhere the closed socket has to do."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _reap(pid: int, limit_s: float) -> int:
    """The child's status; killed where it does not end within `limit_s` seconds."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(POLL_S)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]
