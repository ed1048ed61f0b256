"""What runs inside a worker process: sessions, and the requests they answer. Speaks JSON lines; arrays go by file."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import BackendFailed, PipelineError
from export.bundle.types import Artifact, Boundary, TensorSpec, from_json, to_json
from serve_bench import exchange
from serve_bench.backends._base import Arrays, Session
from serve_bench.backends._helpers import batch_axis, first_line


def sample_count(specs: Sequence[TensorSpec], inputs: Arrays) -> int:
    """How many samples `inputs` hold, along each input's batch axis; raises BackendFailed where inputs disagree."""
    counts = {}
    for spec in specs:
        if spec.name not in inputs:
            raise BackendFailed(f"input {spec.name!r} is missing: given are {', '.join(sorted(inputs)) or 'none'}")
        counts[spec.name] = inputs[spec.name].shape[batch_axis(spec) or 0]
    if len(set(counts.values())) != 1:
        raise BackendFailed(f"inputs differ in their number of samples: {counts}")
    return int(next(iter(counts.values())))


def fixed_batch(specs: Sequence[TensorSpec]) -> int | None:
    """The only batch that a graph without a dynamic batch takes; None where the batch is free."""
    if any(batch_axis(spec) is not None for spec in specs):
        return None
    return int(specs[0].shape[0]) if specs[0].shape else 1


def slices(specs: Sequence[TensorSpec], inputs: Arrays, batch: int) -> Iterator[tuple[Arrays, int]]:
    """Batches in order, each with the number of its samples that count.

    The last one is smaller, or, where the graph's batch is fixed, filled up with repetitions of the last sample.
    """
    total = sample_count(specs, inputs)
    fixed = fixed_batch(specs)
    size = fixed or batch
    for start in range(0, total, size):
        count = min(size, total - start)
        rows = np.minimum(np.arange(start, start + size), total - 1) if fixed else slice(start, start + count)
        yield {s.name: _rows(inputs[s.name], rows, batch_axis(s) or 0) for s in specs}, count


def whole_batches(specs: Sequence[TensorSpec], inputs: Arrays, batch: int) -> list[Arrays]:
    """Real samples in batches of exactly `batch`; where there are fewer samples, they are repeated in order."""
    total = sample_count(specs, inputs)
    starts = range(0, max(total - batch, 0) + 1, batch)
    rows = [np.arange(start, start + batch) % total for start in starts]
    return [
        {s.name: np.ascontiguousarray(np.take(inputs[s.name], r, axis=batch_axis(s) or 0)) for s in specs} for r in rows
    ]


def _rows(array: npt.NDArray[np.generic], rows: Any, axis: int) -> npt.NDArray[np.generic]:
    return np.ascontiguousarray(array[(slice(None),) * axis + (rows,)])


class Child:
    """The requests of one worker process, by name."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[str, tuple[Session, Artifact]] = {}
        self._inputs: Arrays = {}
        self._batches: dict[tuple[str, int], list[Arrays]] = {}
        self._files = 0

    def handle(self, request: Mapping[str, Any]) -> Any:
        known: dict[str, Callable[..., Any]] = {
            "open": self.open,
            "examine": self.examine,
            "answer": self.answer,
            "load_inputs": self.load_inputs,
            "warm_up": self.warm_up,
            "measure": self.measure,
            "load": self.load,
            "measure_between": self.measure_between,
            "close": self.close,
            "peak_memory": peak_memory,
        }
        return known[request["do"]](**request.get("with", {}))

    def open(self, key: str, backend: str, artifact: Any, device: str, threads: int) -> Any:
        from export.registry import entry

        chosen = entry("serve_bench.backends", "backend", backend)
        record = from_json(Artifact, artifact)
        started = time.perf_counter_ns()
        session = chosen.open(record, device, threads)
        open_ns = time.perf_counter_ns() - started
        self._open[key] = (session, record)
        return to_json({"settings": session.settings, "open_ns": open_ns})

    def examine(self, key: str) -> Any:
        session, _ = self._open[key]
        precision, evidence = session.precision
        return {"precision": precision, "precision_evidence": evidence}

    def answer(self, key: str, inputs: str, batch: int) -> Any:
        session, artifact = self._open[key]
        parts: dict[str, list[npt.NDArray[np.generic]]] = {s.name: [] for s in artifact.outputs}
        run_ns = 0
        for piece, count in slices(artifact.inputs, exchange.read_arrays(Path(inputs)), batch):
            started = time.perf_counter_ns()
            session.bind(piece)
            session.run()
            session.sync()
            outputs = session.outputs()
            run_ns += time.perf_counter_ns() - started
            for spec in artifact.outputs:
                parts[spec.name].append(np.take(outputs[spec.name], range(count), axis=batch_axis(spec) or 0))
        axes = {s.name: batch_axis(s) or 0 for s in artifact.outputs}
        self._files += 1
        path = self._directory / f"{os.getpid()}-{self._files}{exchange.SUFFIX}"
        whole = {name: np.concatenate(values, axis=axes[name]) for name, values in parts.items()}
        return {"path": str(exchange.write_arrays(path, whole)), "run_ns": run_ns}

    def load_inputs(self, path: str) -> None:
        self._inputs = exchange.read_arrays(Path(path))
        self._batches.clear()

    def warm_up(self, key: str, batch: int, boundary: Boundary, within_s: float) -> Any:
        from serve_bench.latency import clock

        session, artifact = self._open[key]
        runs, settled, median_ns, first_ns = clock.settle(session, boundary, self._batched(key, batch), within_s)
        _check_shapes(artifact, batch, session.outputs())
        return {"runs": runs, "settled": settled, "median_ns": median_ns, "first_run_ns": first_ns}

    def measure(self, key: str, batch: int, boundary: Boundary, runs: int, offset: int) -> list[int]:
        from serve_bench.latency import clock

        session, _ = self._open[key]
        return list(clock.timed_runs(session, boundary, self._batched(key, batch), runs, offset))

    def load(self, key: str, load: Any) -> Any:
        from serve_bench.latency.scenarios._base import Load
        from serve_bench.latency.scenarios._inside import run_load

        session, artifact = self._open[key]
        asked = from_json(Load, load)
        return to_json(run_load(session, artifact.inputs, self._inputs, asked, self._directory))

    def measure_between(self, key: str, batch: int, start_ns: int, end_ns: int, offset: int) -> list[list[int]]:
        from serve_bench.latency import clock

        session, _ = self._open[key]
        return list(map(list, clock.runs_between(session, self._batched(key, batch), start_ns, end_ns, offset)))

    def _batched(self, key: str, batch: int) -> list[Arrays]:
        _, artifact = self._open[key]
        fixed = fixed_batch(artifact.inputs)
        if fixed not in (None, batch):
            raise BackendFailed(f"{artifact.name}: its batch is fixed at {fixed}")
        names = ",".join(f"{s.name}:{batch_axis(s)}" for s in artifact.inputs)
        if (names, batch) not in self._batches:
            if not self._inputs:
                raise BackendFailed("no inputs are loaded: load_inputs comes before warm_up and measure")
            self._batches[names, batch] = whole_batches(artifact.inputs, self._inputs, batch)
        return self._batches[names, batch]

    def close(self, key: str) -> None:
        session, _ = self._open.pop(key)
        session.close()


def _check_shapes(artifact: Artifact, batch: int, outputs: Arrays) -> None:
    """Raises BackendFailed where an output has not the shape that was promised for this batch."""
    for spec in artifact.outputs:
        if spec.name not in outputs:
            raise BackendFailed(f"{artifact.name}: gives no output {spec.name!r}")
        shape, promised = outputs[spec.name].shape, [batch if d == "batch" else d for d in spec.shape]
        wrong = len(shape) != len(promised) or any(
            isinstance(p, int) and p != n for p, n in zip(promised, shape, strict=True)
        )
        if wrong:
            raise BackendFailed(
                f"{artifact.name}: output {spec.name!r} has shape {list(shape)} at batch {batch}, "
                f"{promised} was promised"
            )


def peak_memory() -> dict[str, int]:
    """Bytes of this process: most resident ever, resident and proportional (PSS) now; empty where /proc is not."""
    found: dict[str, int] = {}
    names = {"VmHWM:": "peak_resident", "VmRSS:": "resident", "Pss:": "proportional"}
    for file in ("/proc/self/status", "/proc/self/smaps_rollup"):
        try:
            lines = Path(file).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if words and words[0] in names:
                found[names[words[0]]] = int(words[1]) * 1024
    return found


def serve(channel: socket.socket, directory: Path) -> None:
    """Answers requests until the other end closes; every error goes back typed, in one line."""
    child = Child(directory)
    with channel, channel.makefile("rb") as requests:
        for line in requests:
            channel.sendall(json.dumps(_reply(child, json.loads(line))).encode() + b"\n")


def _reply(child: Child, request: Mapping[str, Any]) -> Any:
    try:
        return {"ok": child.handle(request)}
    except PipelineError as error:
        return {"error": type(error).__name__, "message": first_line(error)}
    except MemoryError:
        return {"error": "BackendFailed", "message": "not enough memory: ask for a smaller batch"}
    except Exception as error:
        import traceback

        traceback.print_exc()
        return {"error": "BackendFailed", "message": f"{type(error).__name__}: {first_line(error)}"}
