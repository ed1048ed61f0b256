"""One session for everything that torch runs: eager, compiled and TorchScript differ only in the callable."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from export.bundle.errors import BackendFailed, BackendUnavailable
from export.bundle.types import Artifact, Boundary, Precision
from export.program import leaves
from serve_bench.backends._base import Arrays
from serve_bench.backends._helpers import NO_GPU, NO_POOL, first_line, gpu_names, importable, only_device, version

DEVICES = ("cpu", "cuda")
PRELOAD = ("serve_bench.backends._preload_torch", "serve_bench.backends._rehearse_torch")

_threads_set: int | None = None

SPINNING = "up to 10 ms after a run (OpenMP's default)"
"""Measured; the untimed runs at the beginning of the next visit take as long. Never to spin (OMP_WAIT_POLICY passive)
makes `cnn` 3 to 4 times as slow at batch 1 with two threads."""


def missing(name: str, device: str) -> str | None:
    """Why torch cannot run on `device` here; torch is not imported to find out."""
    if device not in DEVICES:
        return only_device(name, device, DEVICES)
    if not importable("torch"):
        return f"{name} needs torch, which is not installed: pip install '.[train]' in the clone"
    if device == "cpu":
        return None
    if not gpu_names():
        return NO_GPU
    if "+cpu" in (version("torch") or ""):
        return f"torch {version('torch')} is built without CUDA: install the CUDA build of torch"
    return None


def boundaries(device: str) -> tuple[Boundary, ...]:
    return ("host", "device", "compute") if device == "cuda" else ("host",)


def prepare(name: str, device: str, threads: int) -> dict[str, Any]:
    """Sets torch's threads (once a process) and pins float32 to float32; returns what was set."""
    global _threads_set
    import torch

    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    if device == "cuda" and torch.cuda._is_in_bad_fork():
        raise BackendFailed(f"{name}: CUDA was opened before this process was forked: run it with --isolate")
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendUnavailable(f"{name}: torch sees no CUDA device: {NO_GPU}")
    if _threads_set not in (None, threads):
        raise BackendFailed(f"{name}: this process has {_threads_set} threads, not {threads}: use another process")
    if _threads_set is None:
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        _threads_set = threads
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    settings: dict[str, Any] = {"threads": torch.get_num_threads(), "interop_threads": 1, "inference_mode": True}
    settings["spinning"] = NO_POOL if threads == 1 else SPINNING
    if device == "cuda":
        torch.backends.cudnn.benchmark = False
        settings |= {
            "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
            "tf32_cudnn": torch.backends.cudnn.allow_tf32,
            "cudnn_benchmark": False,
            "stream": "current",
            "events": "two a run",
            "gpu": torch.cuda.get_device_name(),
        }
    else:
        settings["onednn_fpmath"] = os.environ.get("ONEDNN_DEFAULT_FPMATH_MODE", "default (strict)")
    return settings


def found_precision(artifact: Artifact, device: str) -> tuple[Precision, str]:
    """Multiplies and convolves 1 + 2⁻¹² by one: TF32, bfloat16 and float16 round it to 1, float32 keeps it.

    Only float32 graphs are asked; a graph that is typed narrower computes in its own type.
    """
    import torch

    if artifact.precision != "float32":
        return artifact.precision, f"the graph is typed {artifact.precision}; torch computes in a tensor's own type"
    value = 1 + 2**-12
    with torch.inference_mode():
        a = torch.full((64, 64), value, device=device)
        product = (a @ torch.eye(64, device=device)).cpu()
        image = torch.full((1, 16, 16, 16), value, device=device)
        kernel = torch.zeros(16, 16, 3, 3, device=device)
        kernel[range(16), range(16), 1, 1] = 1
        convolved = torch.nn.functional.conv2d(image, kernel).cpu()
    found = {"matmul": bool((product == value).all()), "convolution": bool((convolved == value).all())}
    how = ", ".join(f"{k} {'kept' if exact else 'lost'} 1+2^-12" for k, exact in found.items())
    if all(found.values()):
        return "float32", f"probe in this process: {how}"
    rounded: Precision = "tf32" if device == "cuda" else "bfloat16"
    return rounded, f"probe in this process: {how}"


class TorchSession:
    """Buffers that are owned here, one callable, and on CUDA two events around it."""

    def __init__(self, name: str, call: Callable[..., Any], artifact: Artifact, device: str) -> None:
        self.settings: dict[str, Any] = {}
        self._name, self._call, self._artifact, self._device = name, call, artifact, device
        self._host: dict[str, Any] = {}
        self._views: dict[str, Any] = {}
        self._arguments: list[Any] = []
        self._result: Any = None
        self._precision: tuple[Precision, str] | None = None
        self._events: tuple[Any, Any] | None = None
        self._stream: Any = None
        self._guard: Callable[[], Any] | None = None

    @property
    def precision(self) -> tuple[Precision, str]:
        if self._precision is None:
            self._precision = found_precision(self._artifact, self._device)
        return self._precision

    def bind(self, inputs: Arrays) -> None:
        for spec in self._artifact.inputs:
            view = self._views.get(spec.name)
            if view is None or view.shape != inputs[spec.name].shape:
                self._allocate(inputs)
                break
        for spec in self._artifact.inputs:
            np.copyto(self._views[spec.name], inputs[spec.name])
        if self._device == "cuda":
            for argument, spec in zip(self._arguments, self._artifact.inputs, strict=True):
                argument.copy_(self._host[spec.name], non_blocking=True)

    def _allocate(self, inputs: Arrays) -> None:
        import torch

        self._guard = torch.inference_mode
        cuda = self._device == "cuda"
        if cuda and self._events is None:
            self._events = (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            self._stream = torch.cuda.current_stream()
        for spec in self._artifact.inputs:
            if spec.name not in inputs:
                raise BackendFailed(f"{self._name}: input {spec.name!r} was not given")
            source = torch.from_numpy(np.empty(inputs[spec.name].shape, spec.dtype))
            self._host[spec.name] = source.pin_memory() if cuda else source
            self._views[spec.name] = self._host[spec.name].numpy()
        hosts = [self._host[s.name] for s in self._artifact.inputs]
        self._arguments = [h.to("cuda") for h in hosts] if cuda else hosts

    def run(self) -> None:
        assert self._guard is not None, "bind comes before run"
        try:
            with self._guard():
                if self._events is None:
                    self._result = self._call(*self._arguments)
                    return
                self._events[0].record()
                self._result = self._call(*self._arguments)
                self._events[1].record()
        except (RuntimeError, TypeError, AssertionError) as error:
            if self._mended(error):
                self.run()
                return
            raise BackendFailed(f"{self._name}: {first_line(error)}") from error

    def _mended(self, error: BaseException) -> bool:
        """Whether what `error` speaks of was put right, so that the run is worth another try."""
        return False

    def sync(self) -> None:
        """Waits for the stream, not for the last event: after `bind` the copies to the device count too."""
        if self._stream is not None:
            self._stream.synchronize()

    def outputs(self) -> Arrays:
        found = leaves(self._result)
        if len(found) < len(self._artifact.outputs):
            raise BackendFailed(f"{self._name}: {len(found)} outputs, {len(self._artifact.outputs)} are documented")
        return {s.name: _numpy(t) for s, t in zip(self._artifact.outputs, found, strict=False)}

    def elapsed_ns(self) -> int:
        if self._events is None:
            raise BackendFailed(f"{self._name} on {self._device}: there are no device events; measure boundary host")
        self._events[1].synchronize()
        return round(self._events[0].elapsed_time(self._events[1]) * 1e6)

    def close(self) -> None:
        self._call = _closed
        self._result, self._arguments = None, []
        self._host.clear()
        self._views.clear()


def _closed(*_: Any) -> Any:
    raise BackendFailed("the session is closed: open it again")


def _numpy(tensor: Any) -> Any:
    tensor = tensor.cpu()
    return tensor.float().numpy() if str(tensor.dtype) == "torch.bfloat16" else tensor.numpy()
