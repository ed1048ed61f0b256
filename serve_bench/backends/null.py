"""A backend that computes nothing, or waits a known time: what measuring costs and finds, and a fake for tests."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from export.bundle.errors import BackendFailed
from export.bundle.types import Artifact, Boundary, Precision
from serve_bench.backends._base import Arrays, Session
from serve_bench.backends._helpers import batch_axis, example_shape, only_device


class NullSession:
    """Keeps a reference to its inputs; its outputs are zeros of the documented shapes."""

    settings: Mapping[str, Any] = {"computes": "nothing"}

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._outputs: Arrays = {}
        self._batch = -1

    @property
    def precision(self) -> tuple[Precision, str]:
        return self._artifact.precision, "nothing is computed; this is the artifact's own word"

    def bind(self, inputs: Arrays) -> None:
        self._inputs = inputs
        first = self._artifact.inputs[0]
        batch = inputs[first.name].shape[batch_axis(first) or 0]
        if batch != self._batch:
            self._batch = batch
            self._outputs = {s.name: np.zeros(example_shape(s, batch), s.dtype) for s in self._artifact.outputs}

    def run(self) -> None:
        return None

    def sync(self) -> None:
        return None

    def outputs(self) -> Arrays:
        return self._outputs

    def elapsed_ns(self) -> int:
        raise BackendFailed("null: there are no device events; measure boundary host")

    def close(self) -> None:
        return None


class WaitingSession(NullSession):
    """Spins for as many nanoseconds as the artifact's fact "delay_ns" says: a run of known length."""

    def __init__(self, artifact: Artifact, delay_ns: int) -> None:
        super().__init__(artifact)
        self._delay_ns = delay_ns
        self.settings = {"computes": "nothing", "delay_ns": delay_ns}

    def run(self) -> None:
        clock = time.perf_counter_ns
        end = clock() + self._delay_ns
        while clock() < end:
            pass


class Null:
    name = "null"
    reads = None
    family = "null"
    preload: tuple[str, ...] = ()

    def devices(self) -> tuple[str, ...]:
        return ("cpu",)

    def boundaries(self, device: str) -> tuple[Boundary, ...]:
        return ("host",)

    def missing(self, device: str) -> str | None:
        return only_device(self.name, device, self.devices())

    def open(self, artifact: Artifact, device: str, threads: int) -> Session:
        delay_ns = int(artifact.facts.get("delay_ns", 0))
        return WaitingSession(artifact, delay_ns) if delay_ns else NullSession(artifact)


ENTRIES = (Null(),)
