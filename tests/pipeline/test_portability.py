"""`pipeline.portability`: which versions are tried, what is kept, and a table that says only what was seen."""

from __future__ import annotations

import json

import pytest

from export.bundle.errors import BackendUnavailable, PipelineError
from export.bundle.types import to_json
from pipeline import portability
from pipeline.portability import OldOnnxRuntime, Trial, kept, markdown, newer, trials
from serve_bench.embed._check import Checked, Distance


def test_of_each_newer_minor_version_the_newest_patch_is_tried():
    listed = ["1.31.1", "1.31.0", "1.30.0", "1.24.2", "1.24.10", "1.23.9", "1.9.0", "1.32.0rc1", "1.32.0.dev1"]
    assert newer(listed) == ["1.24.10", "1.30.0", "1.31.1"]
    assert newer([]) == []


def test_old_versions_get_an_old_numpy():
    assert OldOnnxRuntime(version="1.18.1").wanted == ["onnxruntime==1.18.1", "numpy<2"]
    assert OldOnnxRuntime(version="1.19.2").wanted == ["onnxruntime==1.19.2", "numpy"]


def trial(runtime, bundle, passed, **more):
    seen = {"version": "1.0", "samples": 32, "labels_right": 31}
    seen |= {"distances": (Distance(output="probabilities", error=2e-7, tolerance=1e-5),)}
    if passed is None:
        seen = {"reason": "not fetched yet"}
    checked = Checked(runtime=runtime.split(" ")[0], passed=passed, **(seen | more))
    return Trial(
        bundle=bundle, app_sha256=f"sha of {bundle}", runtime=runtime, python="3.11.2", beside="", seen=checked
    )


def test_the_table_says_what_was_seen():
    found = [
        trial("onnxruntime 1.0", "cnn", True),
        trial("onnxruntime 1.0", "sine", False, reason="too far", labels_right=None),
        trial("openvino", "cnn", None),
    ]
    text = markdown({"os": "Linux", "cpu": "a CPU", "trials": to_json(found)})
    lines = text.splitlines()
    assert (
        "| onnxruntime | 1.0 | Python 3.11.2 | 2.0e-07 of 1.0e-05, 31 of 32 labels | **failed**: 2.0e-07 of 1.0e-05 |"
        in lines
    )
    assert "| openvino |  |  | not run | not run |" in lines
    assert lines[-2:] == ["- onnxruntime 1.0 on sine: too far", "- openvino: not fetched yet"]


@pytest.fixture
def one_kit():
    from types import SimpleNamespace

    return [("cnn", SimpleNamespace(app=SimpleNamespace(sha256="sha of cnn")))]


def test_what_ran_on_the_same_file_is_not_tried_again(one_kit, monkeypatch):
    from types import SimpleNamespace

    from export.progress import Silent

    names = ["onnxruntime 1.0", "openvino"]
    monkeypatch.setattr(portability, "candidates", lambda: [SimpleNamespace(name=n) for n in names])
    asked = []

    def again(runtime, name, kit):
        asked.append(runtime.name)
        return trial(runtime.name, name, True)

    monkeypatch.setattr(portability, "tried_on", again)
    done = [trial("onnxruntime 1.0", "cnn", True), trial("openvino", "cnn", None)]
    *_, last = trials(one_kit, done, Silent())
    assert asked == ["openvino"]
    assert [(t.runtime, t.seen.passed) for t in last] == [("onnxruntime 1.0", True), ("openvino", True)]


def test_the_committed_table_is_the_one_of_its_json():
    value = json.loads(portability.RESULTS.read_text())
    assert portability.RESULTS.with_suffix(".md").read_text() == markdown(value)


def test_another_file_is_not_overwritten(tmp_path):
    (tmp_path / "other.json").write_text('{"figures": 1}')
    with pytest.raises(PipelineError, match="not what this script writes"):
        kept(tmp_path / "other.json")


def test_pips_own_words_are_the_reason(monkeypatch):
    monkeypatch.setattr(OldOnnxRuntime, "missing", lambda self: "its environment is not made yet")
    monkeypatch.setattr(portability.shutil, "rmtree", lambda *a, **k: None)
    monkeypatch.setattr(portability.sys, "executable", "/bin/false")
    with pytest.raises(BackendUnavailable, match="not installed: pip said nothing"):
        OldOnnxRuntime(version="0.0.0").fetch()
