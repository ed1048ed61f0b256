"""Damaged files: whatever is wrong with them, one clear line and nothing else. Thousands of mutations, seeded."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from export.bundle.errors import PipelineError
from export.bundle.store import Bundle
from export.bundle.types import Preprocess
from serve_bench.equivalence import constants, stored, structure
from serve_bench.equivalence.truth import Truth

pytestmark = pytest.mark.slow
MUTATIONS = 500
"""Of each file."""


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, a piece cut out, doubled or moved, or the end cut off."""
    kind = rng.integers(5)
    if kind == 0:
        changed = bytearray(data)
        for place in rng.integers(len(data), size=int(rng.integers(1, 9))):
            changed[place] = int(rng.integers(256))
        return bytes(changed)
    first, second = sorted(int(i) for i in rng.integers(len(data) + 1, size=2))
    if kind == 1:
        return data[:first] + data[second:]
    if kind == 2:
        return data[:second] + data[first:]
    if kind == 3:
        return data[:first]
    return data[:first] + bytes(rng.integers(256, size=int(rng.integers(1, 65)), dtype=np.uint8)) + data[second:]


def outside(folder: Path) -> dict[str, int]:
    """Everything in `folder` but the one place that a test writes to."""
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if (folder / "inside") not in (p, *p.parents)}


def only_ours(action, what: str) -> None:
    """Whatever is raised is an error of ours, in one line."""
    said = ""
    try:
        action()
    except PipelineError as error:
        said = str(error).strip()
    assert "\n" not in said, what


def check_bundle(root: Path) -> None:
    bundle = Bundle.open(root)
    bundle.check()
    for kind in ("verification", "measurement", "absent", "selftest"):
        bundle.read(kind)


@pytest.mark.parametrize("name", ["payload/manifest.json", "records/verification.jsonl"])
def test_a_bundle_with_a_damaged_file_is_refused_in_one_line(made, tmp_path, name):
    root = tmp_path / "inside" / "bundle"
    shutil.copytree(made.root, root)
    whole, before = (root / name).read_bytes(), outside(tmp_path)
    rng = np.random.default_rng(0)
    for number in range(MUTATIONS):
        (root / name).write_bytes(mutated(whole, rng))
        only_ours(lambda: check_bundle(root), f"{name}, mutation {number}")
    assert outside(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "form"),
    [("model.onnx", "onnx"), ("model.pt2", "exported_program"), ("model.torchscript.pt", "torchscript")],
)
def test_a_damaged_model_is_read_without_running_it(made, tmp_path, name, form):
    bundle = Bundle.open(made.root, trust=True)
    artifact = next(a for a in bundle.artifacts if a.path == name)
    weights = bundle.file("weights.safetensors")
    whole, path, rng = bundle.file(name).read_bytes(), tmp_path / "inside" / name, np.random.default_rng(1)
    path.parent.mkdir()
    before = outside(tmp_path)
    for number in range(MUTATIONS):
        path.write_bytes(mutated(whole, rng))
        what = f"{name}, mutation {number}"
        only_ours(lambda: structure.check(path, artifact, structure.told_of(bundle.manifest)), what)
        only_ours(lambda: stored.read(path, form), what)
        only_ours(lambda: constants.compare(weights, path, form, "float32", bundle.file("model.pt2")), what)
    assert outside(tmp_path) == before


def test_a_damaged_truth_is_refused_in_one_line(made, tmp_path):
    whole, path, rng = (
        (made.root / "payload/golden.npz").read_bytes(),
        tmp_path / "golden.npz",
        np.random.default_rng(2),
    )
    for number in range(MUTATIONS):
        path.write_bytes(mutated(whole, rng))
        only_ours(lambda: Truth.load(path, Preprocess()), f"golden.npz, mutation {number}")
