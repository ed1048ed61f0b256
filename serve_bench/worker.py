"""Processes that run what was exported.

A *zygote* imports a set of modules once, opens nothing and then forks one child for each request: a child is a process
made anew at the price of a fork. With `fresh` the child executes a new interpreter instead. Everything executable is
opened in children only, so that a native crash ends a child and becomes `WorkerDied`, one row.

    parent ── control socket ──► zygote ── fork ──► child
       └────────────── one socket for each child ─────┘

Children die with their parents: they end when their socket closes, and on Linux the kernel kills them with the zygote.
They ignore Ctrl-C, which is the parent's to act on. Their stdout and stderr go to a file that errors quote.
"""

from __future__ import annotations

import itertools
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

from serve_bench._opened import Examined, OpenedFacts, Started, Warm
from serve_bench._processes import Channel, Zygote, how_it_ended, last_words

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from export.bundle.errors import PipelineError
    from export.bundle.types import Artifact, Json
    from serve_bench.backends._base import Arrays
    from serve_bench.latency.scenarios._base import Load, Served

OUT_OF_MEMORY = ", as the system does where memory runs out: ask for a smaller batch"
REAP_S = 5.0
"""How long a child may take to end after its socket closed, before it is killed."""


class Worker:
    """One child process: sessions by key, and what can be asked of them. Made by `Workers.spawn`.

    Every request raises the child's own error, or WorkerDied where the process ended or overran its time limit.
    """

    def __init__(self, zygote: Zygote, channel: Channel, pid: int, family: str, log: Path, limit_s: float) -> None:
        self.pid = pid
        self.family = family
        self._zygote, self._channel, self._log, self._limit_s = zygote, channel, log, limit_s
        self._backends: dict[str, str] = {}
        self._files = itertools.count(1)
        self._ended = ""

    def open(
        self, key: str, backend: str, artifact: Artifact, device: str, threads: int, limit_s: float | None = None
    ) -> OpenedFacts:
        """Opens `artifact` (absolute path, sha256 checked by the bundle) under a key of the caller's choice, for which
        it has `limit_s` seconds, and finds out what it computes in."""
        started = self.start(key, backend, artifact, device, threads, limit_s)
        return OpenedFacts(**vars(started), **vars(self.examine(key)))

    def start(
        self, key: str, backend: str, artifact: Artifact, device: str, threads: int, limit_s: float | None = None
    ) -> Started:
        """Opens it and no more; ended after `limit_s` seconds."""
        from export.bundle.types import to_json

        self._backends[key] = backend
        asked = {"backend": backend, "artifact": to_json(artifact), "device": device, "threads": threads, "key": key}
        return Started(**self._ask("open", key, limit_s=limit_s, **asked))

    def examine(self, key: str) -> Examined:
        """What an open session computes in. That may open a second one and load libraries (a float16 graph on ONNX
        Runtime), so that nothing is timed after it that is to be a process's first."""
        return Examined(**self._ask("examine", key, key=key))

    def answer(self, key: str, inputs: Path | Arrays, batch: int) -> dict[str, npt.NDArray[np.generic]]:
        """Outputs by name for all samples of model-ready inputs, run in batches, the last one smaller."""
        return self.timed_answer(key, inputs, batch)[0]

    def timed_answer(
        self, key: str, inputs: Path | Arrays, batch: int
    ) -> tuple[dict[str, npt.NDArray[np.generic]], int]:
        """The same with the nanoseconds of its runs, copies in and out included (boundary `host`)."""
        from serve_bench.exchange import read_arrays

        path = inputs if isinstance(inputs, Path) else self._written(inputs)
        reply = self._ask("answer", key, key=key, inputs=str(path), batch=batch)
        written = Path(reply["path"])
        try:
            return read_arrays(written), int(reply["run_ns"])
        finally:
            written.unlink(missing_ok=True)
            if path is not inputs:
                path.unlink(missing_ok=True)

    def load_inputs(self, path: Path | Arrays) -> None:
        """Model-ready inputs that `warm_up` and `measure` take their batches from."""
        file = path if isinstance(path, Path) else self._written(path)
        self._ask("load_inputs", None, path=str(file))
        if file is not path:
            file.unlink(missing_ok=True)

    def warm_up(self, key: str, batch: int, boundary: str, within_s: float, limit_s: float | None = None) -> Warm:
        """Runs until the running median has settled, or for `within_s` seconds after the first; ended after
        `limit_s`."""
        asked = {"key": key, "batch": batch, "boundary": boundary, "within_s": within_s}
        return Warm(**self._ask("warm_up", key, limit_s=limit_s, **asked))

    def measure(
        self, key: str, batch: int, boundary: str, runs: int, offset: int, limit_s: float | None = None
    ) -> list[int]:
        """Nanoseconds of `runs` runs, batches taken in order from number `offset` on; ended after `limit_s` seconds."""
        asked = {"key": key, "batch": batch, "boundary": boundary, "runs": runs, "offset": offset}
        return list(self._ask("measure", key, limit_s=limit_s, **asked))

    def load(self, key: str, load: Load, limit_s: float | None = None) -> Served:
        """One LoadGen run over the inputs that were loaded; queries come as `load` says; ended after `limit_s`."""
        from export.bundle.types import from_json, to_json
        from serve_bench.latency.scenarios._base import Served

        return from_json(Served, self._ask("load", key, limit_s=limit_s, key=key, load=to_json(load)))

    def measure_between(
        self, key: str, batch: int, start_ns: int, end_ns: int, offset: int, limit_s: float | None = None
    ) -> tuple[list[int], list[int]]:
        """Starts (ns after `start_ns`) and latencies of the runs that begin between two times of the clock; ended after
        `limit_s` seconds.

        Several workers are asked at once, each from a thread of its own: a worker takes one request at a time.
        """
        asked = {"key": key, "batch": batch, "start_ns": start_ns, "end_ns": end_ns, "offset": offset}
        answer = self._ask("measure_between", key, limit_s=limit_s, **asked)
        return list(answer[0]), list(answer[1])

    def peak_memory(self) -> dict[str, int]:
        """Bytes: peak_resident, resident, proportional (PSS); empty where /proc is not."""
        return dict(self._ask("peak_memory", None))

    def page_faults(self) -> int | None:
        """Pages that the system has given the process so far, but for those read from a disk; None where /proc is not.

        Proc(5): minflt, the tenth field of /proc/PID/stat; the second is a name in brackets, which may hold anything.
        """
        try:
            after_name = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2]
            return int(after_name.split()[7])
        except (OSError, ValueError, IndexError):
            return None

    def bind(self, cores: Collection[int]) -> None:
        """Binds the process to `cores`; raises OSError where the system refuses."""
        from serve_bench.latency.cores import bind

        bind(self.pid, cores)

    def close(self, key: str) -> None:
        self._ask("close", key, key=key)
        self._backends.pop(key, None)

    def hang_up(self) -> None:
        """Lets the process end, without waiting for it; `stop` does that."""
        self._channel.close()

    def stop(self) -> None:
        """Ends the process; a second call does nothing."""
        if not self._ended:
            self._channel.close()
            self._ended = "it was stopped"
            self._reaped(REAP_S)

    def _ask(self, what: str, key: str | None, /, limit_s: float | None = None, **arguments: Json) -> Json:
        from export.bundle import errors

        limit_s = limit_s or self._limit_s

        name = self._backends.get(key or "", self.family)
        if self._ended:
            raise errors.WorkerDied(f"{name}: its process is gone: {self._ended}")
        try:
            sent = self._channel.send({"do": what, "with": arguments})
            reply = self._channel.receive(limit_s) if sent else None
        except TimeoutError:
            self._end(name, f"no answer to {what!r} within {limit_s:g} s", limit_s=0.0)
        if reply is None:
            self._end(name, "")
        if "error" in reply:
            text = str(reply["message"])
            raise error_from(reply["error"], text if name in text else f"{name}: {text}")
        return reply["ok"]

    def _end(self, name: str, why: str, limit_s: float = REAP_S) -> NoReturn:
        from export.bundle.errors import WorkerDied, WorkerHung

        self._channel.close()
        self._ended = why or "it ended"
        how = self._reaped(limit_s)
        self._ended = why or f"{how}{OUT_OF_MEMORY if how.endswith('SIGKILL') else ''}"
        raise (WorkerHung if why else WorkerDied)(f"{name}: its process ended: {self._ended}{last_words(self._log)}")

    def _reaped(self, limit_s: float) -> str:
        """How the process ended, which is given `limit_s` seconds for it; it has ended with its zygote where that is
        gone."""
        from export.bundle.errors import WorkerDied

        try:
            return how_it_ended(self._zygote.ask({"do": "reap", "pid": self.pid, "limit_s": limit_s})["status"])
        except WorkerDied as error:
            return str(error)

    def _written(self, arrays: Arrays) -> Path:
        from serve_bench.exchange import SUFFIX, write_arrays

        return write_arrays(self._log.parent / f"asked-{self.pid}-{next(self._files)}{SUFFIX}", arrays)


class Workers:
    """All processes of one command: leaving the context ends every one of them and removes their files."""

    def __init__(self, limit_s: float = 900.0) -> None:
        self._limit_s = limit_s
        self._zygotes: dict[tuple[str, ...], Zygote] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._directory: Path | None = None

    def __enter__(self) -> Self:
        self._directory = Path(tempfile.mkdtemp(prefix="pipeline-workers-"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for zygote in self._zygotes.values():
            zygote.stop()
        self._zygotes.clear()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        self._directory = None

    def prepare(self, preload: tuple[str, ...]) -> None:
        """Lets the process that imports `preload` start now, so that a later `spawn` need not wait for it; what fails
        is for `spawn` to say."""
        from export.bundle.errors import WorkerDied

        with suppress(WorkerDied):
            self._zygote(preload)

    def _zygote(self, preload: tuple[str, ...]) -> Zygote:
        """The living one of `preload`, made anew where it has ended; raises WorkerDied where it cannot be started."""
        assert self._directory is not None, "use it as a context: with Workers() as workers"
        with self._lock:
            known = self._zygotes.get(preload)
            if known is None or known.ended:
                if known is not None:
                    known.stop()
                self._zygotes[preload] = Zygote(preload, self._directory, next(self._numbers))
            return self._zygotes[preload]

    def spawn(self, family: str, preload: tuple[str, ...], fresh: bool = False) -> Worker:
        """A process made anew: forked after `preload` was imported, or with `fresh` a new interpreter.

        Raises WorkerDied where a module of `preload` cannot be imported, or the system gives no process.
        """
        zygote = self._zygote(() if fresh else preload)
        assert self._directory is not None
        log = self._directory / f"worker-{next(self._numbers)}.log"
        ours, theirs = socket.socketpair()
        channel = Channel(ours)
        try:
            with theirs:
                answer = zygote.ask({"do": "spawn", "log": str(log), "fresh": fresh}, fds=[theirs.fileno()])
        except BaseException:
            channel.close()
            raise
        return Worker(zygote, channel, int(answer["pid"]), family, log, self._limit_s)


def error_from(kind: str, message: str) -> PipelineError:
    """The child's error, of its own type where that is one of ours, else BackendFailed."""
    from export.bundle import errors

    known = getattr(errors, kind, None)
    if not (isinstance(known, type) and issubclass(known, errors.PipelineError)):
        known = errors.BackendFailed
    error = known.__new__(known, message)
    assert isinstance(error, errors.PipelineError)
    return error


if __name__ == "__main__":
    from serve_bench._zygote import main

    main(sys.argv[1:])
