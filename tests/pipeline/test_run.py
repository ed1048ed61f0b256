"""What is said before work begins: a bundle that will be replaced, a folder that cannot be written."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from export.bundle.errors import BackendUnavailable, BundleError, DataError, NoBundle, PipelineError
from export.progress import Silent
from pipeline.options import Options
from pipeline.run import bench_paths, export_own, note_replaced
from tests.export.test_store import make


class Notes(Silent):
    def __init__(self):
        self.said = []

    def note(self, text):
        self.said.append(text)


@pytest.mark.parametrize(("key", "notes"), [("key of w", 0), ("key of other weights", 1)])
def test_a_bundle_of_another_origin_is_not_replaced_without_a_word(tmp_path, monkeypatch, key, notes):
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "state"))
    make(tmp_path / "b", {"weights": "w"})
    progress = Notes()
    note_replaced(tmp_path / "b", SimpleNamespace(key=lambda: key), progress)
    assert len(progress.said) == notes
    assert all("holds a bundle of 2026-01-01" in text and "--out keeps both" in text for text in progress.said)


def test_where_nothing_stands_nothing_is_said(tmp_path):
    progress = Notes()
    note_replaced(tmp_path / "b", SimpleNamespace(key=lambda: "any"), progress)
    assert progress.said == []


def own(**changes):
    given = {"target_model": "net.py:build", "weights": None, "inputs": Path("x.npz"), "dynamic": (), "name": None}
    return export_own(**(given | changes), no_bench=True, progress=Silent())


@pytest.mark.parametrize("name", [None, "mine"])
def test_a_folder_that_cannot_be_written_is_named_before_the_model_is_loaded(tmp_path, name):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file/deeper"):
        with pytest.raises(BundleError, match=r"Not a directory\); choose another folder with --out"):
            own(options=Options(out=out), name=name)


def test_checking_a_folder_does_not_make_it(tmp_path):
    with pytest.raises(DataError, match=r"x.npz: no such file"):
        own(options=Options(out=tmp_path / "new"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "second", "error", "said"),
    [
        ({}, "missing", NoBundle, "missing: no bundle there"),
        ({"sweeps": ("batch",)}, "missing", NoBundle, "missing: no bundle there"),
        ({"precisions": ("int8",)}, "b", BackendUnavailable, "holds no int8 form"),
        ({"sweeps": ("length",)}, "b", PipelineError, "--sweep length: this model has no sequence axis"),
    ],
)
def test_what_cannot_be_measured_is_found_out_before_the_first_is(tmp_path, monkeypatch, options, second, error, said):
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "state"))
    make(tmp_path / "b", {"weights": "w"})
    for name in ("pipeline.run.judge_bundle", "pipeline.sweep.sweep"):
        monkeypatch.setattr(name, lambda *_: pytest.fail("the first was measured"))
    with pytest.raises(error, match=said):
        next(bench_paths([tmp_path / "b", tmp_path / second], Options(**options), Silent()))
