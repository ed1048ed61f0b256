"""AOTInductor packages: what they hold, what they are refused for, and what opening one leaves behind."""

import json
import os
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_network import artifact, source_of

from export.bundle import environment
from export.bundle.errors import BackendFailed, BackendUnavailable, ExportError
from export.formats import aotinductor
from serve_bench.cells import backend_named, plan
from serve_bench.worker import Workers

BACKEND = backend_named("aotinductor")
FORMAT = aotinductor.AotInductor()


def test_says_what_it_was_compiled_with_and_for(packaged):
    facts = packaged.facts
    assert facts["torch"] == environment.versions()["torch"]
    assert facts["compiler"] == aotinductor.compiler_version()
    assert facts["built_for"] == list(environment.instruction_set())
    assert facts["check"]["sizes"] == ["batch 1", "batch 2", "batch 7"]
    assert packaged.producers == {"torch": facts["torch"]}
    assert json.loads(json.dumps(facts)) == facts
    assert BACKEND.refuses(packaged) is None


def test_holds_code_alone_and_no_path_of_this_machine(packaged):
    import torch

    with zipfile.ZipFile(packaged.path) as archive:
        kept = {name.rpartition("/")[2] for name in archive.namelist() if "/data/" in name}
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert kept == {"model.wrapper.so", "model.wrapper_metadata.json"}
    folders = [Path(torch.__file__).parent.parent, Path.home(), tempfile.gettempdir(), environment.inductor_cache()]
    assert [f for f in folders if str(f).encode() + b"/" in content] == []


@pytest.fixture(scope="module")
def worker(packaged, tmp_path_factory):
    """A process for this backend, and the folder that it takes for temporary files."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        with Workers() as workers:
            yield workers.spawn(BACKEND.family, BACKEND.preload), folder


def test_opens_in_a_worker_and_leaves_nothing_behind(packaged, tiny, worker):
    process, folder = worker
    opened = process.open("k", "aotinductor", packaged, "cpu", 1)
    assert list(folder.glob("**/*.so")) == []
    assert np.abs(process.answer("k", {"image": tiny.images}, 7)["scores"] - tiny.truth).max() < 1e-5
    assert opened.precision == "float32"
    assert "kept 1+2^-12" in opened.precision_evidence
    assert opened.settings["threads"] == 1
    assert opened.settings["compiler"] == packaged.facts["compiler"]
    assert opened.settings["vector_isa"] == packaged.facts["vector_isa"]
    process.close("k")


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"torch": "2.0.0"}, r"was compiled with torch 2\.0\.0, here is .*--with aotinductor"),
        (
            {"built_for": ["x86_64", "avx4096"]},
            r"was compiled for a CPU with avx4096, which this one has not.*--with aotinductor",
        ),
        ({"built_for": ["pdp11", "fpp", "eis"]}, r"was compiled for a CPU with pdp11 and 2 more"),
        ({"built_for": []}, r"does not say what CPU it was compiled for"),
        ({"torch": None}, r"was compiled with torch of unknown version, here is"),
    ],
)
def test_a_package_of_another_torch_or_cpu_is_a_row_and_is_not_loaded(tmp_path, monkeypatch, facts, reason):
    pytest.importorskip("torch")
    known = {"torch": environment.versions()["torch"], "built_for": ["x86_64"]}
    monkeypatch.setattr(aotinductor, "instruction_set", lambda: ("x86_64", "avx2"))
    made = artifact(tmp_path / "model.aoti.pt2", "aotinductor", facts=known | facts)
    cells, missing = plan([made], ["aotinductor"], "cpu")
    assert cells == []
    assert len(missing) == 1
    with pytest.raises(BackendUnavailable, match=r"^aotinductor: the package " + reason) as caught:
        BACKEND.open(made, "cpu", 1)
    assert str(caught.value) == f"aotinductor: {missing[0].reason}"
    assert "\n" not in missing[0].reason


def test_a_package_of_a_plainer_cpu_is_taken(monkeypatch):
    monkeypatch.setattr(aotinductor, "instruction_set", lambda: ("x86_64", "avx2", "avx512f"))
    known = {"torch": environment.versions().get("torch"), "built_for": ["x86_64", "avx2"]}
    assert aotinductor.not_for_here(known) is None


def test_a_damaged_package_is_one_line(packaged, worker, tmp_path):
    damaged = tmp_path / "model.aoti.pt2"
    damaged.write_bytes(Path(packaged.path).read_bytes()[:5000])
    with pytest.raises(BackendFailed, match=r"^aotinductor: .*cannot be opened: .*; export it again$"):
        worker[0].open("damaged", "aotinductor", replace(packaged, path=str(damaged)), "cpu", 1)


def test_no_compiler_is_one_line_with_the_remedy(monkeypatch, tmp_path):
    pytest.importorskip("torch")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert FORMAT.missing() == aotinductor.NO_COMPILER
    assert "install g++" in aotinductor.NO_COMPILER


def test_a_compiler_that_fails_is_one_line(tiny, tmp_path, monkeypatch):
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho 'g++ 12'\ncase \"$*\" in *--version*) exit 0;; esac\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(aotinductor, "_ask_for_vector_instructions", lambda: None)
    source = source_of(tiny.artifacts["exported_program"], tiny.images)
    with pytest.raises(ExportError, match=r"^aotinductor: ") as caught:
        FORMAT.write(source, tmp_path / "model.aoti.pt2")
    assert "\n" not in str(caught.value)


def test_an_environment_variable_is_put_back(monkeypatch):
    monkeypatch.delenv("TMPDIR", raising=False)
    with aotinductor._variable("TMPDIR", "/a"):
        assert os.environ["TMPDIR"] == "/a"
    assert "TMPDIR" not in os.environ
    monkeypatch.setenv("TMPDIR", "/b")
    with pytest.raises(ZeroDivisionError), aotinductor._variable("TMPDIR", "/a"):
        _ = 1 / 0
    assert os.environ["TMPDIR"] == "/b"
