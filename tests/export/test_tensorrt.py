"""Engines: built in a child without a GPU, described beside the file, and a crash is one line."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
import time

import pytest

from export.bundle.environment import gpus
from export.bundle.errors import ExportError, UnknownName
from export.bundle.files import sha256_of_file
from export.formats import tensorrt
from export.formats._base import ExportOptions
from export.formats._engine_facts import engine_mismatch
from export.run import write_one

has_rtx = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")


@dataclasses.dataclass(frozen=True)
class Gpu:
    name: str
    compute_capability: str

    @property
    def sm(self):
        return "sm" + self.compute_capability.replace(".", "")


A100, H100, T4 = Gpu("A100", "8.0"), Gpu("H100", "9.0"), Gpu("T4", "7.5")


def source_of(built, **options):
    files = {"onnx": (built.path("onnx"), built.artifacts["onnx"])}
    return dataclasses.replace(built.source, files=files, options=ExportOptions(**options))


@has_rtx
@pytest.mark.parametrize("name", ["tensorrt sm80", "tensorrt float16 sm80"])
def test_engines_for_the_a100_lie_in_the_bundle_with_their_facts(built, name):
    path = built.path(name)
    sidecar = json.loads(path.with_name(path.name + ".json").read_text())
    onnx = built.artifacts["onnx float16" if "float16" in name else "onnx"]
    assert built.artifacts[name].path.startswith("engines/sm80/")
    assert sidecar["sha256"] == sha256_of_file(path)
    assert sidecar["parent"] == built.artifacts[name].parent == onnx.content
    assert (sidecar["target"], sidecar["compute_capability"], sidecar["tf32"]) == ("sm80", "8.0", False)
    shapes = {"min": [1, 1, 12, 12], "opt": [64, 1, 12, 12], "max": [512, 1, 12, 12]}
    assert sidecar["profile"] == {"image": shapes}
    if sidecar["flavour"] == "tensorrt_rtx":
        assert engine_mismatch(sidecar, [A100], {"tensorrt_rtx": sidecar["version"]}) is None
        assert "H100" in engine_mismatch(sidecar, [H100], {"tensorrt_rtx": sidecar["version"]})


@has_rtx
def test_another_target_gives_another_engine(built, tmp_path):
    artifact = write_one("tensorrt", source_of(built, target="sm89", max_batch=16), tmp_path / "model.engine")
    assert (artifact.target, artifact.facts["compute_capability"]) == ("sm89", "8.9")
    assert artifact.facts["profile"]["image"]["opt"] == [16, 1, 12, 12]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.engine", "model.engine.json"]


@has_rtx
def test_an_engine_of_a_faulty_graph_is_built_as_the_sound_one_was(built, tmp_path):
    import numpy as np

    from serve_bench.equivalence import stored

    sound, engine = built.path("onnx"), built.artifacts["tensorrt sm80"]
    arrays = stored.read(sound, "onnx")
    name = max((n for n in arrays if arrays[n].dtype == np.float32), key=lambda n: arrays[n].size)
    stored.replace_tensors(sound, "onnx", {name: arrays[name] * np.float32(1.5)}, tmp_path / "faulty.onnx")
    for onnx, out in ((sound, "sound"), (tmp_path / "faulty.onnx", "faulty")):
        tensorrt.build_again(engine, onnx, tmp_path / out)
    assert (tmp_path / "sound").stat().st_size > 1000
    assert (tmp_path / "sound").read_bytes() != (tmp_path / "faulty").read_bytes()
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(ExportError, match="tensorrt"):
        tensorrt.build_again(engine, tmp_path / "broken.onnx", tmp_path / "none")


def test_an_unknown_target_is_named(built, tmp_path):
    with pytest.raises(UnknownName, match="unknown target 'sm81': did you mean"):
        write_one("tensorrt", source_of(built, target="sm81"), tmp_path / "model.engine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("here", "installed", "target", "expected"),
    [
        ((), {"tensorrt", "tensorrt_rtx"}, "sm80", ("tensorrt_rtx", "8.0", "none")),
        ((A100,), {"tensorrt", "tensorrt_rtx"}, "sm80", ("tensorrt", "8.0", "none")),
        ((H100,), {"tensorrt", "tensorrt_rtx"}, "sm80", ("tensorrt", "8.0", "ampere_plus")),
        ((H100,), {"tensorrt"}, "current", ("tensorrt", "9.0", "none")),
        ((T4,), {"tensorrt", "tensorrt_rtx"}, "sm80", ("tensorrt_rtx", "8.0", "none")),
        ((A100,), {"tensorrt", "tensorrt_rtx"}, "sm75", ("tensorrt_rtx", "7.5", "none")),
        ((A100,), {"tensorrt_rtx"}, "current", ("tensorrt_rtx", "8.0", "none")),
    ],
)
def test_the_flavour_follows_what_is_here(monkeypatch, here, installed, target, expected):
    monkeypatch.setattr(tensorrt, "gpus", lambda: here)
    monkeypatch.setattr(tensorrt, "_installed", lambda package: package in installed)
    flavour = tensorrt.flavour_for(target)
    assert (flavour.package, flavour.compute_capability, flavour.hardware_compatibility) == expected


@pytest.mark.parametrize(
    ("here", "installed", "target", "words"),
    [
        ((), set(), "sm80", "neither tensorrt nor tensorrt_rtx is installed: pip install"),
        ((), {"tensorrt"}, "sm80", "none is visible: pip install"),
        ((T4,), {"tensorrt"}, "sm80", "cannot build for sm80 on this T4"),
        ((), {"tensorrt_rtx"}, "current", "there is no GPU; name one: --target"),
        ((H100,), {"tensorrt_rtx"}, "current", "H100 is not one of its GPUs"),
    ],
)
def test_what_cannot_build_says_why_and_what_to_do(monkeypatch, here, installed, target, words):
    monkeypatch.setattr(tensorrt, "gpus", lambda: here)
    monkeypatch.setattr(tensorrt, "_installed", lambda package: package in installed)
    with pytest.raises(ExportError, match=words):
        tensorrt.flavour_for(target)


def child(monkeypatch, code):
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _, **words: real([sys.executable, "-c", code], **words))


def test_a_native_crash_names_its_signal(monkeypatch):
    child(monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(
        ExportError, match=r"^tensorrt: tensorrt_rtx crashed while it built \(SIGSEGV; it said nothing\)$"
    ):
        tensorrt.run_build({"flavour": "tensorrt_rtx"}, "tensorrt")


def test_a_child_that_ends_early_gives_its_last_words(monkeypatch):
    child(monkeypatch, "import sys; sys.stderr.write('a\\nno libcudart\\n'); sys.exit(3)")
    with pytest.raises(ExportError, match=r"tensorrt_rtx ended with status 3 while it built \(no libcudart\)"):
        tensorrt.run_build({"flavour": "tensorrt_rtx"}, "tensorrt")


@has_rtx
def test_a_graph_that_the_parser_refuses_is_one_line(built, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(built.path("onnx").read_bytes()[:200])
    source = source_of(built)
    source = dataclasses.replace(source, files={"onnx": (broken, built.artifacts["onnx"])})
    with pytest.raises(ExportError, match=r"^tensorrt: tensorrt_rtx: ") as caught:
        write_one("tensorrt", source, tmp_path / "model.engine")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["broken.onnx"]


def test_the_child_imports_neither_torch_nor_numpy():
    code = "import sys, export.formats._tensorrt_build; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


NATIVE = pytest.mark.skipif(
    not gpus() or importlib.util.find_spec("tensorrt") is None,
    reason="needs an NVIDIA GPU and `tensorrt`: never run yet",
)


@pytest.mark.gpu
@NATIVE
@pytest.mark.parametrize("target", ["current", "sm80"])
def test_native_builds_use_the_timing_cache(built, tmp_path, target):
    source = source_of(built, target=target, cache_dir=tmp_path / "cache")
    artifact = write_one("tensorrt", source, tmp_path / "model.engine")
    assert artifact.facts["flavour"] == "tensorrt"
    assert artifact.facts["timing_cache"] is True
    assert len(list((tmp_path / "cache").iterdir())) == 1
    started = time.perf_counter()
    write_one("tensorrt", source, tmp_path / "again.engine")
    assert time.perf_counter() - started < 2 * artifact.build_seconds + 5
