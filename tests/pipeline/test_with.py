"""`--with`: a form that is asked for by the name of its format."""

from types import SimpleNamespace

import pytest

from export.bundle.errors import UnknownName
from export.formats import aotinductor
from export.progress import Silent
from pipeline.build import _Build
from pipeline.options import Options
from pipeline.origins import ZooOrigin
from pipeline.run import run_all

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Runs `digits-linear` with other options; what is up to date is not done again."""
    folder = tmp_path_factory.mktemp("with")

    def run(*names, **more):
        given = {"out": folder, "epochs": 2, "data_dir": folder / "data", "backends": ("onnxruntime-cpu",)}
        options = Options(**given | {"with_formats": names, "max_metric_drop": 100.0} | more)
        return run_all(ZooOrigin("digits-linear", options, Silent()), options, Silent(), bench=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_STATE", str(folder / "state"))
        yield run


def chosen(**options):
    run = _Build(SimpleNamespace(), None, Options(**options), Silent(), lambda: None)
    run._trained = SimpleNamespace(spec=SimpleNamespace(step=None))
    return run._chosen()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        UnknownName, match=r"^unknown format 'aotinducto': did you mean 'aotinductor'\? known are aotind"
    ):
        Options(with_formats=("aotinducto",))


@pytest.mark.parametrize("precisions", [(), ("float32",), ("float32", "float16", "int8", "bfloat16")])
def test_it_is_asked_for_by_no_precision_but_by_its_name(precisions):
    assert "aotinductor" not in chosen(precisions=precisions)
    named = chosen(precisions=precisions, with_formats=("aotinductor",))
    assert set(named) == {*chosen(precisions=precisions), "aotinductor"}
    assert named.index("exported_program") < named.index("aotinductor")


def test_one_form_of_a_precision_is_made_by_name_verified_and_stays(outcome):
    made = outcome("onnx-int8", precisions=("float16",))
    assert [a.name for a in made.bundle.artifacts if a.precision == "int8"] == ["onnx int8"]
    assert {v.artifact for v in made.judged.verifications} == {"onnx float16", "onnx int8"}
    assert outcome(precisions=("float16",)).bundle.digest == made.bundle.digest


def test_without_a_compiler_it_is_a_row_with_the_remedy(outcome, monkeypatch):
    monkeypatch.setattr(aotinductor, "cxx_compiler", lambda: None)
    built = outcome("aotinductor", precisions=("float16",)).built
    assert [(n.format, n.reason, n.failed) for n in built.not_built] == [
        ("aotinductor", aotinductor.NO_COMPILER, False)
    ]
    assert outcome(precisions=("float16",)).built.not_built == ()
