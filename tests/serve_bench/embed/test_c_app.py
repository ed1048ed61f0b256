"""The C app as it is written: whole, its data escaped, and refused where the program could not ask the model."""

from __future__ import annotations

import pytest
from small_bundles import KINDS, bundle

from export.bundle.errors import BackendUnavailable
from export.bundle.types import TensorSpec
from serve_bench.embed import _c_build, c
from serve_bench.embed._base import EmbedOptions, kit_of
from serve_bench.embed._write import embed


@pytest.fixture(scope="module", autouse=True)
def _own_state(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def kits(tmp_path_factory):
    return {kind: kit_of(bundle(kind, tmp_path_factory.mktemp(kind) / "b")) for kind in KINDS}


def test_strings_are_escaped_whatever_they_hold():
    assert c.literal("a 1") == '"a 1"'
    assert c.literal('"\\?\n') == '"\\042\\134\\077\\012"'
    assert c.literal("é1") == '"\\303\\2511"'
    assert c.literal("\0" + "7") == '"\\0007"'


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ([("x", "float16", ("batch", 2))], [("value", "float32", ("batch", 1))], "x has a type"),
        ([("x", "float32", ("batch", 2))], [("value", "float64", ("batch", 1))], "value has a type"),
        ([("x", "float32", ("batch", "n"))], [("value", "float32", ("batch", 1))], "of a known shape"),
        ([("x", "float32", (1, 2))], [("value", "float32", (1, 1))], "of a known shape"),
        ([("x", "float32", ("batch", 2)), ("y", "float32", ("batch", 2))], [], "or texts with their lengths"),
    ],
)
def test_a_model_that_the_program_cannot_ask_is_refused(inputs, outputs, said):
    def specs(rows):
        return tuple(TensorSpec(name=n, dtype=d, shape=s) for n, d, s in rows)

    assert said in c.why_not(specs(inputs), specs(outputs))


@pytest.mark.parametrize("kind", KINDS)
def test_the_app_is_whole_and_its_readme_escapes_data(kind, kits, tmp_path):
    kit = kits[kind]
    said = embed(kit.bundle, "c", EmbedOptions(), tmp_path / "app")
    made = {str(p.relative_to(tmp_path / "app")) for p in (tmp_path / "app").rglob("*") if p.is_file()}
    assert {*c.SOURCES, "app.onnx", "bundle.c", "README.md", "golden/input0.bin", "golden/output0.bin"} <= made
    readme = (tmp_path / "app/README.md").read_text()
    assert "75.00 % (95 % interval 50.00 % to 90.00 %)" in readme
    assert "CC0 \\<b\\>" in readme
    assert "@" not in readme
    assert ("\\*bold\\* \\<i\\>" in readme) == (kind != "vectors")
    assert "cmake" in said


def test_missing_tools_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ONNXRUNTIME_INCLUDE", str(tmp_path))
    monkeypatch.setattr(_c_build.shutil, "which", lambda _: "/bin/true")
    with pytest.raises(BackendUnavailable, match=r"onnxruntime_c_api\.h was not found"):
        _c_build.toolchain()
    monkeypatch.setattr(_c_build.shutil, "which", lambda _: None)
    with pytest.raises(BackendUnavailable, match="cmake is not installed"):
        _c_build.toolchain()
