"""The self-test over a real bundle: everything is caught, what is done stays done, and a miss would be seen."""

import json

import numpy as np
import pytest

from export.bundle.store import Bundle
from export.progress import Silent
from serve_bench.equivalence import selftest, selftest_judge, selftest_summary
from serve_bench.equivalence.truth import Truth, few_rows
from serve_bench.worker import Workers

pytest.importorskip("torch")


def test_some_faults_of_a_real_bundle(made, tmp_path, monkeypatch):
    import shutil

    root = tmp_path / "bundle"
    shutil.copytree(made.root, root)
    monkeypatch.setattr(selftest, "LIMIT", 1)
    monkeypatch.setattr(selftest, "RUNS_ON", {"onnx": "onnxruntime-cpu"})
    with Workers() as workers:
        begun = selftest.run(Bundle.open(root, trust=True), workers, 1.0, Silent())
        done = selftest.run(Bundle.open(root, trust=True), workers, None, Silent())
    assert 0 < len(begun.trials) < len(done.trials)
    assert done.left == 0
    assert begun.left == len(done.trials) - len(begun.trials)
    assert {t.key for t in begun.trials} <= {t.key for t in done.trials}
    assert [t.reason for t in done.false_alarms] == []
    exact = [t for t in done.trials if t.artifact == "onnx" and t.kind != selftest.SOUND]
    assert [f"{t.kind}: {t.fault}" for t in exact if not selftest_summary.caught(t)] == []
    assert not all(t.caught["numbers"] for t in exact)
    with Workers() as workers:
        again = selftest.run(Bundle.open(root, trust=True), workers, 0.0, Silent())
    assert again.left == 0
    whole = selftest_summary.share("all", done.trials)
    assert whole.others["top-1"] < whole.together


def trial(**more):
    facts = {
        "artifact": "onnx",
        "artifact_sha256": "a",
        "kind": "sign flipped",
        "fault": "w",
        "tensor": "w",
        "caught": {"numbers": True, "constants": True, "structure": False},
        "reason": "it differs",
        "others": {"top-1": False},
        "seconds": 0.1,
    }
    return selftest.Trial(**(facts | more))


def test_shares_are_never_rounded_up_to_all():
    missed = trial(caught={"numbers": False, "constants": False, "structure": False}, reason="")
    row = selftest_summary.share("all", [trial()] * 9999 + [missed])
    assert selftest_summary.cells(row)[:4] == ["all", "10000", "99.9 %", "99.9 %"]
    assert selftest_summary.cells(selftest_summary.share("x", [trial()]))[2] == "100 %"
    assert {name: share for name, share, _ in selftest_summary.other_cells(row, [])}["top-1"] == "0.0 %"


def test_what_rejects_the_sound_file_gets_no_credit_for_its_copies():
    sound = trial(kind=selftest.SOUND, caught={"numbers": False}, others={"top-1": False, "cosine, 0.99": True})
    wrong = trial(others={"top-1": True, "cosine, 0.99": True})
    trials = [sound, wrong]
    row = selftest_summary.share("all", trials, selftest_summary.rejected(trials))
    assert (row.faults, row.others["top-1"], row.others["cosine, 0.99"]) == (1, 1, 0)
    cells = {name: (share, wrongly) for name, share, wrongly in selftest_summary.other_cells(row, trials)}
    assert cells["cosine, 0.99"] == ("0.0 %", "1 of 1")
    assert cells["this verdict"] == ("100 %", "0 of 1")


def test_a_copy_that_does_not_run_is_caught_by_every_tool():
    row = selftest_summary.share("all", [trial(others={})])
    assert set(row.others.values()) == {1}


def test_few_samples_keep_the_bands_of_the_whole_class(made):
    bundle = Bundle.open(made.root, trust=True)
    whole = Truth.load(bundle.file("truth.npz"), bundle.manifest.preprocess)
    few = selftest_judge.few(whole)
    assert sum(few.samples(p) for p in few.probes) <= 256
    for probe in few.probes:
        for name in few.output_names:
            assert few.scale(probe, name) == whole.scale(probe, name)
            assert few.reference(probe, "float32", name) == whole.reference(probe, "float32", name)
    closest = few_rows(whole, 4)
    answers = whole.outputs("test")[whole.output_names[0]]
    two = np.sort(answers, axis=1)[:, -2:]
    assert int(np.argmin(two[:, 1] - two[:, 0])) in closest


def test_the_command_prints_what_is_caught_and_what_is_left(made, tmp_path):
    import shutil

    shutil.copytree(made.root, tmp_path / "bundle")
    said = made.run("verify", tmp_path / "bundle", "--self-test", "--minutes", "0.05", "--json", "--trust")
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    assert found["left"] > 0
    assert found["trials"]
