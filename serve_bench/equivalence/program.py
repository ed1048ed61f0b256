"""`model.pt2` in a chosen precision, run in batches on all cores. Everything that needs torch stands here."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import BackendUnavailable, ExportError
from export.bundle.types import TensorSpec
from export.program import leaves, load_program, module_in, module_of
from serve_bench.backends._helpers import importable

Array = npt.NDArray[np.generic]
Call = Callable[[Sequence[Array]], list[Array]]
MEMORY_BYTES = 192 << 20
"""What all threads together may hold in intermediate tensors."""
BATCH = 64
"""Most samples at once: one thread a batch, with tensors that stay in the caches, is the fastest split of cores."""


_LOADING = threading.Lock()
"""Python 3.11 cannot build syntax trees in two threads at once, and torch builds them."""


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_torch(what: str) -> None:
    """Raises BackendUnavailable with the remedy where torch is not installed."""
    if not importable("torch"):
        raise BackendUnavailable(f"{what} needs torch, which is not installed: pip install '.[train]' in the clone")


def load(path: Path, dtype: str) -> Any:
    """The program of `path`, loaded afresh, as a module that computes in `dtype`, a torch dtype's name.

    What the graph itself writes as float32 (zeros for a first hidden state, casts) becomes `dtype` too. Raises
    ExportError where it does not load.
    """
    with _LOADING:
        return module_of(load_program(path)) if dtype == "float32" else module_in(path, dtype)


def caller(module: Any, dtype: str) -> Call:
    """A function of model-ready arrays, in the order of the program's inputs; floating ones are cast to `dtype`."""
    import torch

    wanted = getattr(torch, dtype)

    def call(arrays: Sequence[Array]) -> list[Array]:
        tensors = [torch.from_numpy(a) for a in arrays]
        with torch.inference_mode():
            answers = module(*(t.to(wanted) if t.is_floating_point() else t for t in tensors))
            return [_numpy(t) for t in leaves(answers)]

    return call


class Callers:
    """The program at `path` in any precision: loaded once in each, and called by any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Call] = {}
        self._made: dict[str, Any] = {}
        self._lock, self._making = threading.Lock(), threading.Lock()

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once; it may call this program."""
        with self._making:
            if name not in self._made:
                self._made[name] = make()
        return self._made[name]

    def __call__(self, dtype: str, arrays: Sequence[Array]) -> list[Array]:
        self.load(dtype)
        return self._known[dtype](arrays)

    def load(self, dtype: str) -> None:
        with self._lock:
            if dtype not in self._known:
                self._known[dtype] = caller(load(self.path, dtype), dtype)


def _numpy(tensor: Any) -> Array:
    tensor = tensor.float() if str(tensor.dtype) in ("torch.bfloat16", "torch.float16") else tensor
    array: Array = tensor.numpy()
    return array


def check_outputs(answers: Sequence[Array], specs: Sequence[TensorSpec], path: Path) -> None:
    if len(answers) < len(specs):
        raise ExportError(f"{path}: gives {len(answers)} outputs where {len(specs)} are documented; export it again")


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch's own threads off in this process, restored at the end: two forms are judged at a time, and pools of two
    threads that wait for each other on two cores only spin."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """A pool of one Python thread a core, with torch's own threads off in each; restored at the end."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def batch_for(module: Any, arrays: Sequence[Array], dtype: str) -> int:
    """How many samples at once stay inside the memory budget, from one run of the few samples in `arrays`.

    Counts for every operation its operands and results, and for a convolution its unfolded columns; twice the largest
    is taken, since neighbours in the graph live at the same time.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Meter(TorchDispatchMode):
        largest = 1
        supports_higher_order_operators = True

        def __torch_dispatch__(self, op: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = op(*args, **(kwargs or {}))
            used = sum(t.nbytes for t in leaves((args, result)))
            if "convolution" in str(op) or "conv2d" in str(op):
                out, weight = leaves(result)[0], args[1]
                used += out.nbytes // max(weight.shape[0], 1) * weight[0].numel()
            self.largest = max(self.largest, used)
            return result

    wanted = getattr(torch, dtype)
    tensors = [torch.from_numpy(a) for a in arrays]
    with torch.no_grad(), Meter() as meter:
        module(*(t.to(wanted) if t.is_floating_point() else t for t in tensors))
    samples = max(a.shape[0] for a in arrays)
    return int(np.clip(MEMORY_BYTES // cores() * samples // (2 * meter.largest), 1, BATCH))
