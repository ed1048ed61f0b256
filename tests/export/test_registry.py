"""A folder is a registry: nothing is lost in silence."""

from __future__ import annotations

import sys

import pytest

from export.bundle.errors import PipelineError, UnknownName
from export.registry import entries, entry


@pytest.fixture
def folder(tmp_path, monkeypatch):
    def make(name: str, **modules: str) -> str:
        package = tmp_path / name
        package.mkdir()
        (package / "__init__.py").write_text("")
        for module, text in modules.items():
            (package / f"{module}.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        return name

    yield make
    for name in [m for m in sys.modules if m.startswith("reg_")]:
        del sys.modules[name]


ONE = "class E:\n    name = {!r}\nENTRIES = (E(),)\n"


def test_each_module_adds_its_entries_and_seams_add_none(folder):
    name = folder("reg_a", b=ONE.format("beta"), a=ONE.format("alpha"), _base="raise SystemError")
    assert list(entries(name)) == ["alpha", "beta"]


def test_an_unknown_name_lists_the_known_and_the_nearest(folder):
    name = folder("reg_b", a=ONE.format("onnx"), b=ONE.format("torchscript"))
    with pytest.raises(UnknownName, match=r"unknown format 'onx': did you mean 'onnx'\? known are onnx, torchscript"):
        entry(name, "format", "onx")
    with pytest.raises(UnknownName, match=r"unknown format 'zzz': known are onnx, torchscript"):
        entry(name, "format", "zzz")


def test_names_match_exactly(folder):
    name = folder("reg_c", a=ONE.format("onnx"))
    with pytest.raises(UnknownName):
        entry(name, "format", "ONNX")


def test_two_entries_of_one_name_stop_the_program(folder):
    with pytest.raises(PipelineError, match="second entry named 'x'"):
        entries(folder("reg_d", a=ONE.format("x"), b=ONE.format("x")))


def test_a_module_without_entries_stops_the_program(folder):
    with pytest.raises(PipelineError, match="exports no ENTRIES"):
        entries(folder("reg_e", a="X = 1\n"))


def test_an_entry_that_does_not_import_is_an_error(folder):
    with pytest.raises(ImportError, match="no_such_library"):
        entries(folder("reg_f", a="import no_such_library\n"))
