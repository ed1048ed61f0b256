"""Makes truth.npz from `model.pt2`: float64 answers over the whole test set, and eager's own error beside them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import ExportError
from export.bundle.files import atomic
from export.bundle.types import LENGTH, Preprocess, TensorSpec
from export.progress import Bar
from serve_bench._child import sample_count, slices
from serve_bench.backends._helpers import batch_axis, first_line
from serve_bench.equivalence import program
from serve_bench.equivalence.bands import relative
from serve_bench.equivalence.decisions import decides, probabilities
from serve_bench.equivalence.probes import SAMPLES, synthetic, with_special_values
from serve_bench.equivalence.truth_parts import Pool, Reference, lazily, reduced_errors

Array = npt.NDArray[np.generic]
Arrays = Mapping[str, Array]
VERSION = 4
FEWEST = 64
"""Samples of a random probe where the test set has no more."""


class NotFinite(ExportError):
    """The reference itself gives NaN or Inf."""


def make(
    program_path: Path,
    stored: Arrays,
    targets: npt.NDArray[np.generic] | None,
    preprocess: Preprocess,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    destination: Path,
    bar: Bar,
    seed: int = 0,
    axes: Mapping[str, tuple[int, int]] | None = None,
) -> dict[str, Any]:
    """Writes truth.npz at `destination` and returns its facts (samples, batch, seconds of each part, eager's errors).

    `stored` holds the test set by input name, (N, …), as it is stored; `targets` (N,) classes or (N, …) values. The
    program is loaded afresh for each precision, so nothing of the caller's is changed; `bar` counts test samples;
    `axes` gives the documented range of dynamic axes other than the batch. Intermediate tensors stay within a
    fixed memory budget. Raises ExportError where the program itself gives NaN or Inf on the test set (nothing could be
    verified against it) or does not fit its inputs and outputs, BackendUnavailable without torch.
    """
    program.require_torch("the float64 truth")
    reference = Reference(program_path, inputs, outputs, preprocess)
    total = sample_count(inputs, stored)
    if total == 0:
        raise ExportError(f"{program_path}: there are no samples to take the truth of; give at least one")
    started = time.perf_counter()
    with program.one_thread_each() as pool:
        wide, single = program.load(program_path, "float64"), program.load(program_path, "float32")
        batch = _batch(reference, wide, stored)
        calls = (program.caller(wide, "float64"), program.caller(single, "float32"))
        test = _answers(reference, pool, calls, "test", stored, batch, bar)
        probes, skipped = _synthetic(reference, stored, seed, axes or {})
        pools = {"test": test}
        for name in list(probes):
            try:
                pools[name] = _answers(reference, pool, calls, name, probes[name], batch, None)
            except NotFinite as error:
                skipped[name] = str(error)
                del probes[name]
        seconds = {"float64 and float32": time.perf_counter() - started}
        given = {"test": stored} | probes
        errors, absent, taken = reduced_errors(reference, pool, given, pools, batch, seconds)
        special = _special(reference, calls[1], stored)
    arrays = _arrays(reference, given, pools, errors, targets) | special
    notes = {"skipped": skipped, "absent": absent, "reduced_samples": taken, "seed": seed}
    before = time.perf_counter()
    write(destination, arrays, _meta(reference, list(pools)) | notes)
    seconds["writing"] = time.perf_counter() - before
    own = {k: float(v.reshape(())) for k, v in arrays.items() if "/error/" in k}
    facts = {"samples": total, "batch": batch, "threads": program.cores(), "seconds": seconds, "errors": own}
    return facts | notes


def _meta(reference: Reference, probes: list[str]) -> dict[str, Any]:
    return {
        "version": VERSION,
        "probes": probes,
        "inputs": {s.name: s.dtype for s in reference.inputs},
        "outputs": [s.name for s in reference.outputs],
        "input_axes": {s.name: batch_axis(s) or 0 for s in reference.inputs},
        "output_axes": {s.name: batch_axis(s) or 0 for s in reference.outputs},
        "length_axes": {s.name: s.shape.index(LENGTH) for s in reference.inputs if LENGTH in s.shape},
    }


def write(destination: Path, arrays: Arrays, meta: Mapping[str, Any]) -> None:
    """The arrays and their description as one compressed .npz, whole or not there; equal content gives equal bytes."""
    text = json.dumps(meta).encode()
    with atomic(destination) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays, meta=np.frombuffer(text, np.uint8))  # type: ignore[arg-type]


def _synthetic(
    reference: Reference, stored: Arrays, seed: int, ranges: Mapping[str, tuple[int, int]]
) -> tuple[dict[str, dict[str, Array]], dict[str, str]]:
    few, _ = next(slices(reference.inputs, stored, 256))
    ready = {s.name: a for s, a in zip(reference.inputs, reference.ready(few, stored=True), strict=True)}
    axes = {s.name: batch_axis(s) or 0 for s in reference.inputs}
    count = int(np.clip(sample_count(reference.inputs, stored), FEWEST, SAMPLES))
    return synthetic(reference.inputs, ready, axes, seed, count, ranges)


def _special(reference: Reference, call: program.Call, stored: Arrays) -> dict[str, Array]:
    """Inputs with NaN and infinity, and where eager's float32 answers are finite; empty where none can be made."""
    axes = {s.name: batch_axis(s) for s in reference.inputs}
    if None in axes.values():
        return {}
    one, _ = next(slices(reference.inputs, stored, 1))
    ready = {s.name: a for s, a in zip(reference.inputs, reference.ready(one, stored=True), strict=True)}
    inputs = with_special_values(reference.inputs, ready, {n: a or 0 for n, a in axes.items()})
    if not inputs:
        return {}
    answers = call([inputs[s.name] for s in reference.inputs])
    found = {f"special/input/{name}": array for name, array in inputs.items()}
    return found | {
        f"special/finite/{s.name}": np.isfinite(y) for s, y in zip(reference.outputs, answers, strict=False)
    }


def _batch(reference: Reference, wide: Any, stored: Arrays) -> int:
    few, _ = next(slices(reference.inputs, stored, min(2, sample_count(reference.inputs, stored))))
    arrays = reference.ready(few, stored=True)
    try:
        return program.batch_for(wide, arrays, "float64")
    except Exception as error:
        raise ExportError(
            f"{reference.path}: cannot run in float64 on these inputs: {first_line(error)}; "
            "check names, shapes and types of the inputs"
        ) from error


def _answers(
    reference: Reference,
    pool: Any,
    calls: Sequence[program.Call],
    probe: str,
    given: Arrays,
    batch: int,
    bar: Bar | None,
) -> list[Pool]:
    """Runs every sample in float64 and in eager float32, batches shared out over all cores; one pool an output."""
    axes = [batch_axis(s) or 0 for s in reference.outputs]
    pools = [Pool() for _ in reference.outputs]
    total, done = sample_count(reference.inputs, given), 0

    def both(piece: tuple[Arrays, int]) -> tuple[list[list[Array]], int]:
        arrays = reference.ready(piece[0], stored=probe == "test")
        return [call(arrays) for call in calls], piece[1]

    for (wide, single), count in pool.map(both, lazily(reference, given, batch)):
        program.check_outputs(wide, reference.outputs, reference.path)
        for i, found in enumerate(pools):
            y64, y32 = (y[i].take(range(count), axis=axes[i]) for y in (wide, single))
            _check_finite(reference, probe, i, done, y64, y32)
            found.parts.append(y64)
            found.scale = max(found.scale, float(np.abs(y64).max(initial=0.0)))
            found.distance = max(found.distance, float(np.abs(y32 - y64).max(initial=0.0)))
            if decides("", y64) and i == 0:
                shares = probabilities(y64)
                found.share_scale = max(found.share_scale, float(shares.max(initial=0.0)))
                own = probabilities(y32, np.float32)
                found.share_distance = max(found.share_distance, float(np.abs(own - shares).max(initial=0.0)))
        done += count
        if bar is not None:
            bar.advance(done, total)
    return pools


def _check_finite(reference: Reference, probe: str, output: int, start: int, y64: Array, y32: Array) -> None:
    for precision, y in (("float64", y64), ("eager float32", y32)):
        bad = np.argwhere(~np.isfinite(y))
        if len(bad):
            where = (start + int(bad[0][0]), *map(int, bad[0][1:]))
            raise NotFinite(
                f"{reference.path}: the reference itself gives {float(y[tuple(bad[0])])} in {precision} "
                f"(probe {probe!r}, output {reference.outputs[output].name!r}, index {where}), "
                "so nothing can be verified against it; "
                "check the weights and the inputs"
            )


def _arrays(
    reference: Reference,
    given: Mapping[str, Arrays],
    pools: Mapping[str, list[Pool]],
    errors: Mapping[str, float],
    targets: npt.NDArray[np.generic] | None,
) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for probe, found in pools.items():
        for s in reference.inputs:
            arrays[f"{probe}/input/{s.name}"] = np.asarray(given[probe][s.name])
        for s, p in zip(reference.outputs, found, strict=True):
            arrays[f"{probe}/output/{s.name}"] = np.concatenate(p.parts, axis=batch_axis(s) or 0)
            arrays[f"{probe}/scale/{s.name}"] = np.array(p.scale)
            arrays[f"{probe}/error/float32/{s.name}"] = np.array(relative(p.distance, p.scale))
        shares = found[0]
        if shares.share_scale > 0:
            arrays.setdefault(f"{probe}/scale/probabilities", np.array(shares.share_scale))
            error = relative(shares.share_distance, shares.share_scale)
            arrays.setdefault(f"{probe}/error/float32/probabilities", np.array(error))
    arrays |= {key: np.array(value) for key, value in errors.items()}
    if targets is not None and targets.dtype.kind in "iu":
        arrays["test/label"] = np.asarray(targets, np.int64)
    elif targets is not None:
        arrays["test/target"] = np.asarray(targets)
    return arrays
