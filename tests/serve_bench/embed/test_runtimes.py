"""`embed check`: every runtime at hand gives the golden answers; a wrong, broken or absent one is said to be so."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from tiny_kits import KITS, TOLERANCE, damage, image_kit, vector_kit

from export.bundle.errors import BackendFailed, BackendUnavailable, UnknownName, VerdictFailed
from export.progress import Silent
from serve_bench.embed import _check
from serve_bench.embed._check import Check, check, judged, runtimes, tried
from serve_bench.embed.runtimes._base import Answers
from serve_bench.embed.runtimes._process import ask_python


@dataclass
class Fake:
    """Gives the golden answers, `off` by so much."""

    off: float = 0.0
    reason: str | None = None
    error: Exception | None = None
    change: dict = field(default_factory=dict)
    name: str = "fake"
    fetched: int = 0

    def missing(self):
        return self.reason

    def fetch(self):
        self.fetched += 1
        if isinstance(self.error, BackendUnavailable):
            raise self.error

    def run(self, kit, batch):
        if self.error:
            raise self.error
        outputs = {k: v + (self.off if batch == 1 else 0) for k, v in kit.golden.outputs.items()}
        if kit.golden.labels is not None:
            outputs["label"] = kit.golden.labels
        return Answers(outputs=outputs | self.change, version="1.0", first_answer_s=0.1)


@pytest.fixture(params=KITS)
def kit(request, tmp_path):
    return KITS[request.param](tmp_path)


SLOW = {"onnxruntime-web": [pytest.mark.slow]}
"""Compiling its WebAssembly takes seconds a process."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=SLOW.get(n, ())) for n in sorted(runtimes())])
def test_every_runtime_gives_the_golden_answers_and_is_caught_with_a_wrong_model(name, kit):
    runtime = runtimes()[name]
    if reason := runtime.missing():
        pytest.skip(reason)
    row = tried(runtime, kit)
    assert row.passed, row.reason
    assert row.samples == 8
    assert row.version[0].isdigit()
    assert row.first_answer_s > 0
    assert row.labels_right == (None if kit.golden.labels is None else 8)
    damage(kit.app.path)
    wrong = tried(runtime, kit)
    assert wrong.passed is False
    assert "allowed are" in wrong.reason


def test_a_file_that_is_no_model_fails_in_the_runtimes_own_words(tmp_path):
    kit = vector_kit(tmp_path)
    (tmp_path / "app.onnx").write_bytes(b"nothing")
    for name, runtime in runtimes().items():
        if runtime.missing() is None:
            row = tried(runtime, kit)
            assert row.passed is False, name
            assert row.reason
            assert "\n" not in row.reason


def test_a_process_that_dies_is_a_row(tmp_path):
    with pytest.raises(BackendFailed, match="cannot be started"):
        ask_python("fake", "onnxruntime", vector_kit(tmp_path), 1, "/nowhere/python")
    with pytest.raises(BackendFailed, match=r"the process ended \(exit status 1\)"):
        ask_python("fake", "onnxruntime", vector_kit(tmp_path), 1, "/bin/false")


def test_an_answer_just_inside_passes_and_just_outside_fails(kit):
    assert tried(Fake(off=0.9 * TOLERANCE), kit).passed
    row = tried(Fake(off=1.1 * TOLERANCE), kit)
    assert row.passed is False
    assert "off one by one, allowed are 1e-05" in row.reason
    (distance,) = row.distances
    assert distance.error == pytest.approx(1.1 * TOLERANCE, rel=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_fails(kit, value):
    assert tried(Fake(off=value), kit).passed is False


def test_another_shape_fails(tmp_path):
    assert tried(Fake(change={"value": np.zeros((8, 2))}), vector_kit(tmp_path)).passed is False


def test_a_wrong_label_fails_unless_float64_itself_is_undecided(tmp_path):
    kit = image_kit(tmp_path)
    other = kit.golden.labels.copy()
    other[3] = (other[3] + 1) % 3
    row = tried(Fake(change={"label": other}), kit)
    assert (row.passed, row.labels_right) == (False, 7)
    assert "label of sample 3 is wrong" in row.reason
    scores = np.array(kit.golden.outputs["probabilities"])
    scores[3] = 0.0
    scores[3, [kit.golden.labels[3], other[3]]] = 0.5 + TOLERANCE / 2, 0.5 - TOLERANCE / 2
    close = replace(kit.golden, outputs={"probabilities": scores})
    answers = Answers(outputs={"probabilities": scores, "label": other}, version="1", first_answer_s=0.1)
    assert judged("fake", close, {"all at once": answers}).passed


def test_labels_of_another_shape_fail(tmp_path):
    row = tried(Fake(change={"label": np.zeros((8, 1), np.int64)}), image_kit(tmp_path))
    assert (row.passed, row.labels_right) == (False, 0)


def test_what_is_absent_is_a_row_and_fails_only_where_it_was_asked_for(tmp_path, monkeypatch):
    kit = vector_kit(tmp_path)
    present, absent = Fake(name="here"), Fake(name="gone", reason="not installed: install it")
    monkeypatch.setattr(_check, "runtimes", lambda: {"here": present, "gone": absent})
    monkeypatch.setattr(_check, "entry", lambda package, kind, name: {"here": present, "gone": absent}[name])
    found = check(kit, (), Silent())
    assert [(r.runtime, r.passed) for r in found.rows] == [("here", True), ("gone", None)]
    found.raise_for_failures()
    assert (present.fetched, absent.fetched) == (0, 0)
    with pytest.raises(BackendUnavailable, match="gone: not installed: install it"):
        check(kit, ("gone", "here"), Silent()).raise_for_failures()
    assert absent.fetched == 1


def test_what_is_wrong_ends_the_command(tmp_path):
    kit = vector_kit(tmp_path)
    row = tried(Fake(off=1.0), kit)
    with pytest.raises(VerdictFailed, match="tiny: fake: value is 1 off"):
        Check(model="tiny", app_sha256="", rows=(row,)).raise_for_failures()
    unfetched = tried(Fake(error=BackendUnavailable("npm ci failed: no network")), kit, fetch=True)
    assert (unfetched.passed, unfetched.reason) == (None, "npm ci failed: no network")
    broke = tried(Fake(error=BackendFailed("fake: no such operator")), kit)
    assert (broke.passed, broke.reason) == (False, "no such operator")


def test_an_unknown_runtime_lists_the_known(tmp_path):
    with pytest.raises(UnknownName, match="did you mean 'openvino'"):
        check(vector_kit(tmp_path), ("openvin",), Silent())


def test_lock_files_pin_every_package_by_digest_and_name_no_host():
    import json

    from serve_bench.embed.runtimes.node import ENTRIES, LOCKS

    for package in ENTRIES:
        lock = json.loads((LOCKS / package.name / "package-lock.json").read_text())
        for path, entry in lock["packages"].items():
            if path:
                assert entry["integrity"].startswith("sha512-"), path
                assert "resolved" not in entry
