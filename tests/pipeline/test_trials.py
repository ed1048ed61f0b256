"""What `make bench-equivalence` adds up: places of faults, how near sound forms come to their bands, what is kept."""

import shutil

import pytest

from export.bundle.store import Bundle
from pipeline import bench_equivalence, trials
from serve_bench.equivalence import selftest

pytest.importorskip("torch")


@pytest.fixture
def bundle(made, tmp_path):
    return Bundle.open(shutil.copytree(made.root, tmp_path / "cnn"), trust=True)


def caught(artifact, fault, numbers):
    return selftest.Trial(
        artifact=artifact.name,
        artifact_sha256=artifact.sha256,
        kind=fault.kind,
        fault=fault.name,
        tensor=fault.tensor,
        caught={"numbers": numbers, "constants": True, "structure": False},
        reason="",
        others={},
        seconds=0.1,
    )


def test_a_fault_of_one_tensor_is_placed_where_that_tensor_is_taken(bundle):
    artifact = next(a for a in bundle.artifacts if a.name == "onnx")
    faults = [f for f in selftest.faults_of(bundle, artifact) if f.kind == "tensor scaled"]
    others = [f for f in selftest.faults_of(bundle, artifact) if f.kind == "element zeroed"]
    known = [caught(artifact, f, True) for f in faults] + [caught(artifact, f, False) for f in others]
    found = list(trials.placed(bundle, known))
    assert [p.fault for p in found] == [f.name for f in faults]
    assert len(found) > 2
    assert [p for p in found if not p.right] == []
    assert all(p.tensor in p.said or p.tensor.split(".")[0] in p.said for p in found)


def test_a_wrong_place_would_be_seen(bundle, monkeypatch):
    artifact = next(a for a in bundle.artifacts if a.name == "onnx")
    fault = next(f for f in selftest.faults_of(bundle, artifact) if f.tensor == "conv2.weight")
    place = trials._place

    def last(copy, inputs, known, folder):
        found = place(copy, inputs, known, folder)
        assert found is not None
        return type(found)(**{**vars(found), "value": "log_probabilities"})

    monkeypatch.setattr(trials, "_place", last)
    (found,) = trials.placed(bundle, [caught(artifact, fault, True)])
    assert not found.right


def test_sound_forms_lie_inside_their_bands(bundle):
    found = list(trials.ratios(bundle))
    assert {r.backend for r in found} >= {"eager", "onnxruntime-cpu", "torchscript"}
    assert all(0 < r.ratio <= 16 for r in found)
    table = list(bench_equivalence.calibration(found))
    assert any(line.startswith("| eager | float32 | 1 | ") and line.endswith(" | 16 |") for line in table)


def test_what_was_tried_by_these_rules_is_kept(bundle):
    made = []

    def make():
        made.append(1)
        return [trials.Benign(model="cnn", artifact="onnx", variant="renamed", reason="")]

    first = bench_equivalence.kept_or_made(bundle, "benign", trials.Benign, make)
    assert bench_equivalence.kept_or_made(bundle, "benign", trials.Benign, make) == first
    assert len(made) == 1
