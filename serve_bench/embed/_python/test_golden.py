"""Does app.onnx answer the golden samples as it must? `python test_golden.py`, or pytest."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
Model = importlib.import_module("@MODULE@").Model
GOLDEN = np.load(HERE / "golden.npz", allow_pickle=False)
"""input/…, output/… (float64), tolerance/… (the largest distance that passes), label: samples along the first axis."""


def part(prefix: str) -> dict[str, Any]:
    return {k[len(prefix) :]: GOLDEN[k] for k in GOLDEN.files if k.startswith(prefix)}


def asked(batch: int) -> dict[str, Any]:
    """The answers of app.onnx, in batches of so many samples."""
    model, inputs, samples = Model(), part("input/"), len(next(iter(part("output/").values())))
    pieces = [model.run({k: v[i : i + batch] for k, v in inputs.items()}) for i in range(0, samples, batch)]
    return {k: np.concatenate([p[k] for p in pieces]) for k in pieces[0]}


def check(batch: int) -> list[str]:
    """What was seen, a line each; raises AssertionError where an answer is wrong."""
    answers, said = asked(batch), []
    for name, wanted in part("output/").items():
        found, allowed = answers[name], float(GOLDEN["tolerance/" + name])
        assert found.shape == wanted.shape, f"{name}: shape {found.shape}, not {wanted.shape}"
        error = float(np.abs(found - wanted).max())
        assert error <= allowed, f"{name}: largest error {error:.2g}, allowed are {allowed:.2g}"
        said.append(f"{name}: {len(wanted)} samples, largest error {error:.2g} of {allowed:.2g} allowed")
    if "label" in GOLDEN.files:
        scores = np.sort(GOLDEN["output/probabilities"], axis=1)
        close = scores[:, -1] - scores[:, -2] < 2 * GOLDEN["tolerance/probabilities"]
        wrong = np.flatnonzero((answers["label"] != GOLDEN["label"]) & ~close)
        assert not len(wrong), f"label: wrong on sample {wrong[0]} and {len(wrong) - 1} more"
        said.append(f"label: right on {len(close)} samples")
    return said


def test_all_at_once() -> None:
    check(batch=1 << 30)


def test_one_by_one() -> None:
    check(batch=1)


if __name__ == "__main__":
    for size, words in ((1 << 30, "all at once"), (1, "one by one")):
        try:
            print("\n".join(f"{words}  {line}" for line in check(size)))
        except (AssertionError, ValueError) as problem:
            sys.exit(f"{words}  {problem}")
