"""Flipped bits are drawn, found and put back; a check that finds nothing is seen to."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.bundle.errors import BundleCorrupt
from pipeline import bench_integrity
from pipeline.bench_integrity import flip_trials, lines, main
from tests.export.small_bundle import make


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "state"))
    bundle = make(tmp_path / "b", {"model.onnx": "graph", "engines/sm80/model.engine": "code", "empty.bin": ""})
    bundle.append("measurement", {"latency": 1e-07, "said": "é\u001b"})
    return bundle.root


def tree(root: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_every_flip_is_found_and_the_bundle_is_left_alone(root):
    before = tree(root)
    flips = flip_trials(root, 2000, 0)
    assert (flips.found, flips.missed) == (2000, ())
    assert [f.path for f in flips.by_file] == [
        "payload/engines/sm80/model.engine",
        "payload/manifest.json",
        "payload/model.onnx",
        "records/measurement.jsonl",
    ]
    assert sum(f.trials for f in flips.by_file) == 2000
    assert all(400 < f.trials < 600 and f.found == f.trials for f in flips.by_file)
    assert tree(root) == before


def test_the_same_seed_draws_the_same_flips(root):
    assert flip_trials(root, 50, 7) == flip_trials(root, 50, 7) != flip_trials(root, 50, 8)


def test_a_blind_check_is_seen(root, monkeypatch, capsys):
    monkeypatch.setattr(bench_integrity, "check_file", lambda *_: [])
    flips = flip_trials(root, 3, 0)
    assert (flips.found, len(flips.missed)) == (0, 3)
    assert lines(flips)[-1].startswith(f"missed: {flips.missed[2].path}, byte {flips.missed[2].offset}, bit ")
    assert main([str(root), "--trials", "3"]) == 1
    assert "0 of 3 flipped bits found (seed 0)" in capsys.readouterr().out


def test_a_bundle_that_is_not_whole_is_refused(root, capsys):
    (root / "payload/model.onnx").write_text("x")
    with pytest.raises(BundleCorrupt, match=r"model\.onnx: was changed"):
        flip_trials(root, 1, 0)
    assert main([str(root)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
