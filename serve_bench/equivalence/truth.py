"""The stored truth of a bundle: inputs, float64 answers, and how far eager itself is from them. Read without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import BundleCorrupt
from export.bundle.types import Preprocess
from serve_bench.equivalence.make_truth import VERSION, make, write
from serve_bench.equivalence.probes import model_ready

__all__ = ["GOLDEN_SAMPLES", "VERSION", "Truth", "golden_from_truth", "make"]

Array = npt.NDArray[np.generic]
GOLDEN_SAMPLES = 32
FEW = 64
"""A class of inputs with fewer samples is too small to know eager's error from it."""


@dataclass(frozen=True)
class Truth:
    """truth.npz (or golden.npz) as it stands on disk; axis 0 counts samples unless `axes` says otherwise."""

    path: Path
    preprocess: Preprocess
    arrays: Mapping[str, Array]
    meta: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path, preprocess: Preprocess) -> Truth:
        """Reads and checks it; raises BundleCorrupt where it is cut off, lacks something or does not fit together."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            meta = json.loads(arrays.pop("meta").tobytes().decode())
        except Exception as error:  # numpy reads a header as Python's own literals: a damaged one gives anything
            raise BundleCorrupt(f"{path}: is cut off or no truth file; make the bundle again") from error
        truth = cls(path, preprocess, arrays, meta)
        truth._check()
        return truth

    def _check(self) -> None:
        version = self.meta.get("version") if isinstance(self.meta, dict) else None
        if version != VERSION:
            raise BundleCorrupt(
                f"{self.path}: has version {version!r}, this tool reads {VERSION}; make the bundle again"
            )
        needed = ("probes", "inputs", "outputs", "input_axes", "output_axes")
        if any(key not in self.meta for key in needed) or "test" not in self.meta["probes"]:
            raise BundleCorrupt(f"{self.path}: its description is incomplete; make the bundle again")
        for probe in self.probes:
            for name in self.input_names:
                self._get(f"{probe}/input/{name}")
            for name in self.output_names:
                answers = self._get(f"{probe}/output/{name}")
                if not np.isfinite(answers).all() or self.error(probe, "float32", name) is None:
                    raise BundleCorrupt(f"{self.path}: {probe}/output/{name} is no sound truth; make the bundle again")
                if answers.shape[self.meta["output_axes"][name]] != self.samples(probe):
                    raise BundleCorrupt(
                        f"{self.path}: {probe}/output/{name} has too few or too many samples; make the bundle again"
                    )
                self.scale(probe, name)
        if any(known is not None and len(known) != self.samples("test") for known in (self.labels, self.targets)):
            raise BundleCorrupt(f"{self.path}: has not as many labels as test samples; make the bundle again")

    def _get(self, key: str) -> Array:
        if key not in self.arrays:
            raise BundleCorrupt(f"{self.path}: {key} is missing; make the bundle again")
        return self.arrays[key]

    @property
    def probes(self) -> tuple[str, ...]:
        """ "test" first."""
        return tuple(self.meta["probes"])

    @property
    def skipped(self) -> Mapping[str, str]:
        """Probe → why this model has none."""
        return dict(self.meta.get("skipped", {}))

    @property
    def absent(self) -> Mapping[str, str]:
        """Precision → why eager's own error in it is not known."""
        return dict(self.meta.get("absent", {}))

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(self.meta["inputs"])

    @property
    def output_names(self) -> tuple[str, ...]:
        return tuple(self.meta["outputs"])

    @cached_property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """(N,) classes of probe "test"; None where the data have none."""
        found = self.arrays.get("test/label")
        return None if found is None else found.astype(np.int64)

    @cached_property
    def targets(self) -> npt.NDArray[np.float64] | None:
        """(N, …) values that a regression was to give on probe "test"; None where the data have none."""
        found = self.arrays.get("test/target")
        return None if found is None else found.astype(np.float64)

    @property
    def special(self) -> tuple[dict[str, Array], dict[str, npt.NDArray[np.bool_]]]:
        """Model-ready inputs with NaN and infinity, a sample each of SPECIAL; where eager's answers are finite."""
        parts: tuple[dict[str, Array], dict[str, npt.NDArray[np.bool_]]] = ({}, {})
        for key, array in self.arrays.items():
            if key.startswith("special/input/"):
                parts[0][key.removeprefix("special/input/")] = array
            elif key.startswith("special/finite/"):
                parts[1][key.removeprefix("special/finite/")] = array.astype(np.bool_)
        return parts

    def samples(self, probe: str) -> int:
        first = self.input_names[0]
        return int(self._get(f"{probe}/input/{first}").shape[self.meta["input_axes"][first]])

    def stored(self, probe: str) -> dict[str, Array]:
        """Inputs as they are stored: probe "test" as the data set has them (uint8, …), others model-ready."""
        return {name: self._get(f"{probe}/input/{name}") for name in self.input_names}

    def inputs(self, probe: str) -> dict[str, Array]:
        """Inputs as the model takes them, by name."""
        ready = self.stored(probe)
        if probe != "test":
            return ready
        types = self.meta["inputs"]
        first = self.input_names[0]
        return {
            name: model_ready(array, self.preprocess if name == first else Preprocess(), types[name])
            for name, array in ready.items()
        }

    def outputs(self, probe: str) -> dict[str, npt.NDArray[np.float64]]:
        """float64 answers by name, (N, …)."""
        return {name: self._get(f"{probe}/output/{name}").astype(np.float64) for name in self.output_names}

    def output_axis(self, output: str) -> int:
        """The axis along which an output counts samples."""
        return int(self.meta["output_axes"][output])

    @property
    def length_axes(self) -> dict[str, int]:
        """Input → its axis of a sequence's elements; empty where no input has one."""
        return dict(self.meta.get("length_axes", {}))

    def scale(self, probe: str, output: str) -> float:
        """max|y64| over the probe's class."""
        return self._scalar(f"{probe}/scale/{output}")

    def error(self, probe: str, precision: str, output: str) -> float | None:
        """Eager's own pooled error in `precision`, in units of the scale; None where eager cannot run in it."""
        key = f"{probe}/error/{precision}/{output}"
        return self._scalar(key) if key in self.arrays else None

    def reference(self, probe: str, precision: str, output: str) -> float | None:
        """Eager's own error that judges a probe: that of its class, or, where that is small, the largest of any class.

        On few samples eager can be right by luck (seen: 3.5e-4 on the four constant inputs, 1.8e-3 on 256 random ones).
        """
        whole = self.meta.get("whole_samples", {}).get(probe, self.samples(probe))
        taken = self.meta.get("reduced_samples", {}).get(precision, {}).get(probe, whole)
        if taken >= FEW:
            return self.error(probe, precision, output)
        known = [self.error(p, precision, output) for p in self.probes]
        return max((e for e in known if e is not None), default=None)

    def _scalar(self, key: str) -> float:
        value = self._get(key)
        if value.size != 1 or not np.isfinite(value).all():
            raise BundleCorrupt(f"{self.path}: {key} is no finite number; make the bundle again")
        return float(value.reshape(()))


def few_rows(truth: Truth, count: int) -> list[int]:
    """At most `count` test samples: half those with the smallest margins, the rest evenly spread."""
    total = truth.samples("test")
    if total <= count:
        return list(range(total))
    close = narrow(truth, count // 2)
    spread = np.linspace(0, total - 1, count - len(close)).astype(int).tolist()
    left = (i for i in range(total) if i not in {*close, *spread})
    found = {*close, *spread}
    while len(found) < count:
        found.add(next(left))
    return sorted(found)


def narrow(truth: Truth, count: int) -> list[int]:
    """The test samples whose two largest float64 outputs lie nearest to each other; none without such an output."""
    for answers in truth.outputs("test").values():
        if answers.ndim == 2 and answers.shape[1] >= 2:
            two = np.partition(answers, -2, axis=1)[:, -2:]
            return [int(i) for i in np.argsort(two[:, 1] - two[:, 0], kind="stable")[:count]]
    return []


def chosen_from(whole: Truth, rows: Mapping[str, Sequence[int]]) -> Truth:
    """The truth with the samples `rows` of each probe named there, and no other probe.

    Scales and eager's errors stay those of the whole classes, and so does the verdict on what is left.
    """
    axes = {"input": whole.meta["input_axes"], "output": whole.meta["output_axes"]}
    arrays: dict[str, Array] = {}
    for key, array in whole.arrays.items():
        probe, kind, *rest = key.split("/", 2)
        if probe not in rows:
            continue
        if kind in axes:
            array = array.take(rows[probe], axis=axes[kind][rest[0]])
        arrays[key] = array[list(rows[probe])] if kind in ("label", "target") else array
    sizes = {probe: whole.samples(probe) for probe in rows}
    meta = dict(whole.meta) | {"probes": list(rows), "skipped": {}, "whole_samples": sizes}
    return Truth(whole.path, whole.preprocess, arrays, meta)


def golden_from_truth(truth: Path, destination: Path, samples: int = GOLDEN_SAMPLES) -> None:
    """The first samples of probe "test" with their answers, in the same format: what a deployed copy checks itself by.

    Scales and eager's errors stay those of the whole test set.
    """
    whole = Truth.load(truth, Preprocess())
    first = chosen_from(whole, {"test": range(min(samples, whole.samples("test")))})
    write(destination, first.arrays, first.meta)
