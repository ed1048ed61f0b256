"""What this machine can do at most: float32 multiply-adds and memory traffic a second, on the CPU.

    python -m serve_bench.latency.peak THREADS

measures in a process of its own, so that no thread pool stays behind, and prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.bundle.errors import BackendFailed, PipelineError
from export.bundle.types import Json, from_json, to_json

SIZES = (512, 1024, 2048)
"""Rows of the square matrices; the next is tried only where the last took less than LONG_S."""
LONG_S = 0.005
PRODUCT_S = 0.1
"""Repetitions of one size in one library, in all."""
COPY_S = 0.15
REPETITIONS = 3
"""At least."""
CACHES = 4
"""The copied array is so many times the last-level cache, but at most an eighth of the memory and MOST_BYTES."""
LEAST_BYTES, MOST_BYTES = 64 << 20, 1 << 30
LIMIT_S = 60.0
"""Of the process: a machine that takes longer has no peak worth the wait."""
POOLS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The best of several repetitions."""

    flops_per_s: float
    """Of a product of two square float32 matrices, a multiply-add counted as two."""
    library: str
    """The faster one: "onnxruntime" or "numpy"."""
    matrix: int
    """Rows of the matrices."""
    bytes_per_s: float
    """Of a copy between two arrays: bytes read plus bytes written."""
    copy_bytes: int
    """Of one of the arrays."""
    cache_bytes: int
    """Of the last-level cache, 0 where the system does not say."""
    threads: int
    seconds: float
    """What measuring took, imports and the start of its process left out."""


def measure_peak(threads: int) -> Peak:
    """Measures with `threads` threads, in about a second; raises BackendFailed where the process fails or hangs."""
    from serve_bench._processes import child_environment

    command = [sys.executable, "-P", "-m", "serve_bench.latency.peak", str(threads)]
    environment = child_environment() | dict.fromkeys(POOLS, str(threads))
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendFailed(f"the machine's peak could not be measured: {error}") from error
    try:
        return from_json(Peak, json.loads(done.stdout.splitlines()[-1]))
    except (LookupError, ValueError) as error:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:200]
        raise BackendFailed(f"the machine's peak could not be measured: {last}") from error


def with_peaks(devices: Collection[str], threads: int, measure: Callable[[], dict[str, Json]]) -> dict[str, Json]:
    """The facts of the run that `measure` takes, with the peak before and after it under "peak": `Peak`'s fields, or
    `error` alone. What that took is "peak" of the facts' "seconds". Nothing is added where nothing runs on the CPU."""
    if "cpu" not in devices:
        return measure()
    start = time.perf_counter()
    before = peak_facts(threads)
    taken_s = time.perf_counter() - start
    facts = measure()
    start = time.perf_counter()
    after = peak_facts(threads)
    taken_s += time.perf_counter() - start
    return facts | {"peak": [before, after], "seconds": {**facts.get("seconds", {}), "peak": round(taken_s, 3)}}


def peak_facts(threads: int) -> dict[str, Json]:
    """`measure_peak` as records hold it, or its `error` in words: a run stands without its peak."""
    try:
        return dict(to_json(measure_peak(threads)))
    except PipelineError as error:
        return {"error": str(error)}


def cache_bytes(root: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int:
    """Size of the largest cache of the first core, from sysfs; 0 where it is not there."""
    found = [0]
    for file in root.glob("index*/size"):
        text = file.read_text().strip()
        factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
        digits = text.rstrip("KMG")
        found += [int(digits) * factor] if digits.isdigit() else []
    return max(found)


def copied_bytes(cache: int, memory: int) -> int:
    """Size of the array that is copied, for a last-level cache and a memory (0: not known) of so many bytes."""
    wanted = min(max(LEAST_BYTES, CACHES * cache), MOST_BYTES)
    return min(wanted, memory // 8) if memory else wanted


def best_s(run: Callable[[], Any], limit_s: float) -> float:
    """The shortest of at least REPETITIONS repetitions after one that does not count, in `limit_s` seconds or so."""
    run()
    times: list[int] = []
    end = time.perf_counter_ns() + int(limit_s * 1e9)
    while len(times) < REPETITIONS or time.perf_counter_ns() < end:
        start = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - start)
    return min(times) / 1e9


def _numpy_product(size: int) -> Callable[[], Any]:
    import numpy as np

    left, right = _matrix(size), _matrix(size)
    out = np.empty((size, size), np.float32)
    return lambda: np.matmul(left, right, out=out)


def _onnxruntime_product(threads: int) -> Callable[[int], Callable[[], Any]]:
    """ONNX Runtime's MatMul with its second matrix as a weight, which it may pack beforehand as it does a model's."""

    def product(size: int) -> Callable[[], Any]:
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper

        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [size, size]) for n in ("x", "y")]
        weight = numpy_helper.from_array(_matrix(size), "w")
        graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "peak", ends[:1], ends[1:], [weight])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        binding.bind_cpu_input("x", _matrix(size))
        binding.bind_output("y")
        return lambda: session.run_with_iobinding(binding)

    return product


def _matrix(size: int) -> Any:
    import numpy as np

    return np.random.default_rng(0).random((size, size), np.float32)


def _products(threads: int) -> tuple[float, str, int]:
    """The highest rate over libraries and sizes, with the library and the size."""
    found = []
    for library, product in (("onnxruntime", _onnxruntime_product(threads)), ("numpy", _numpy_product)):
        for size in SIZES:
            seconds = best_s(product(size), PRODUCT_S)
            found.append((2 * size**3 / seconds, library, size))
            if seconds > LONG_S:
                break
    return max(found)


def _copy(threads: int, size: int) -> float:
    """Bytes read plus bytes written a second, each thread on a part of its own; numpy's copy holds no lock."""
    import numpy as np

    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        seconds = best_s(lambda: list(pool.map(lambda part: np.copyto(part[1], part[0]), parts)), COPY_S)
    return 2 * size / seconds


def _measured(threads: int) -> Peak:
    from export.bundle.environment import memory_bytes

    start = time.perf_counter()
    rate, library, matrix = _products(threads)
    cache = cache_bytes()
    size = copied_bytes(cache, memory_bytes())
    return Peak(
        flops_per_s=rate,
        library=library,
        matrix=matrix,
        bytes_per_s=_copy(threads, size),
        copy_bytes=size,
        cache_bytes=cache,
        threads=threads,
        seconds=time.perf_counter() - start,
    )


if __name__ == "__main__":
    answer = json.dumps(to_json(_measured(int(sys.argv[1]))))
    sys.stdout.flush()
    os.write(1, f"\n{answer}\n".encode())
