"""What every model of the zoo promises, checked over every entry: a new one is tested by being there."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from export.bundle.errors import ExportError, UsageError
from export.bundle.types import Recipe, TensorSpec
from export.bundle.workspace import workspace
from export.progress import Silent
from export.registry import entries, entry
from pipeline import train
from pipeline.build import build
from pipeline.datasets._base import _STAND_IN, data_root
from pipeline.judge import verify
from pipeline.options import Options
from pipeline.origins import ZooOrigin
from pipeline.variants import variants, with_params
from serve_bench.latency import work
from serve_bench.worker import Workers

MODELS = entries("pipeline.models")
VARIANTS = [
    pytest.param(spec, id="-".join([spec.id, *spec.variant.split()])) for m in MODELS.values() for spec in variants(m)
]
FEW = 8
BACKENDS = ("eager", "onnxruntime-cpu", "torchscript")


@functools.cache
def few_samples(name):
    """Eight samples of each split of a data set at hand or of its stand-in; None where there is neither."""
    found = entry("pipeline.datasets", "data set", name)
    if found.fingerprint(data_root(None)) is None:
        if name not in _STAND_IN:
            return None
        found = entry("pipeline.datasets", "data set", _STAND_IN[name])
    data = found.load(data_root(None), Silent())
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    return dataclasses.replace(data, **{n: s.rows(np.arange(min(FEW, len(s)))) for n, s in splits.items()})


def two_steps(recipe: Recipe) -> Recipe:
    options = {**recipe.options, "least_steps": 0}
    return dataclasses.replace(recipe, epochs=1, batch_size=4, steps_per_epoch=2, options=options)


def data_of(spec):
    data = few_samples(spec.dataset)
    if data is None:
        pytest.skip(f"{spec.dataset} is not at hand: name its folder in PIPELINE_DATA")
    return data


def trained(spec, recipe, folder):
    return train.train(
        spec,
        two_steps(recipe),
        data_of(spec),
        seed=0,
        device="cpu",
        compile_mode="off",
        checkpoints=folder,
        progress=Silent(),
    )


def batch_of(tensor: TensorSpec, size: int):
    shape = [size if axis == "batch" else 3 if isinstance(axis, str) else axis for axis in tensor.shape]
    if tensor.dtype == "float32":
        return torch.zeros(shape, device="meta")
    return torch.ones(shape, dtype=getattr(torch, tensor.dtype), device="meta")


@pytest.mark.parametrize("spec", VARIANTS)
def test_a_variant_says_what_it_is_and_builds(spec):
    assert {recipe.name for recipe in spec.recipes} == {"fast", "published"}
    assert spec.description
    assert spec.task in ("classification", "regression")
    assert spec.dataset in entries("pipeline.datasets")
    with torch.device("meta"):
        module = spec.build()
    assert list(module.parameters())
    if spec.published:
        assert spec.published.source


@pytest.mark.parametrize("spec", VARIANTS)
def test_a_variant_gives_what_its_outputs_say(spec):
    if spec.axes:
        pytest.skip("sequences: tests/pipeline/test_names.py")
    with torch.device("meta"):
        answer = spec.build().eval()(*(batch_of(tensor, 5) for tensor in spec.inputs))
    (output,) = spec.outputs
    assert answer.shape == (5, *output.shape[1:])


@pytest.mark.parametrize("spec", MODELS.values(), ids=list(MODELS))
def test_two_steps_of_both_recipes_move_the_weights(spec, tmp_path):
    spec = with_params(spec, {})
    for recipe in spec.recipes:
        made = trained(spec, recipe, tmp_path / recipe.name)
        torch.manual_seed(0)
        start = spec.build().state_dict()
        assert any(not torch.equal(start[n], v) for n, v in made.module.state_dict().items()), recipe.name
        metric = "test_accuracy" if spec.task == "classification" else "test_mse"
        assert np.isfinite(made.metrics[metric])
        assert len(made.history) == 1


class Tiny(ZooOrigin):
    """A model of the zoo after two steps on eight samples."""

    def __init__(self, spec, folder: Path):
        self.spec, self._folder = with_params(spec, {}), folder
        self._dataset = entry("pipeline.datasets", "data set", spec.dataset)
        self._weights = None
        self.data = data_of(spec)

    @property
    def data_digest(self):
        return self.data.facts.digest

    def key(self):
        return "tiny"

    def make(self, checkpoints, progress):
        return trained(self.spec, self.spec.recipes[0], self._folder)


@pytest.fixture(scope="module")
def workers():
    with Workers() as found:
        yield found


@pytest.fixture(scope="module", params=MODELS.values(), ids=list(MODELS))
def exported(request, tmp_path_factory):
    """What the build of a tiny one gave, and the options of it."""
    folder = tmp_path_factory.mktemp(request.param.id)
    options = Options(out=folder, precisions=("float32",), backends=BACKENDS)
    with workspace(folder / request.param.id) as place:
        yield build(place, Tiny(request.param, folder), options, Silent(), on_change=lambda: None), options


def test_exports_and_every_form_is_the_same_model(exported, workers):
    built, options = exported
    judged = verify(built.bundle, options, workers, Silent())
    assert [n.reason for n in built.not_built if n.failed] == []
    assert [v.reason for v in judged.verifications if not v.passed] == []
    assert {v.backend for v in judged.verifications} == set(BACKENDS)


def test_every_operator_of_an_export_is_counted(exported):
    """Else its ceiling is lower than the machine's. Work is that of a sample times the batch, beside what a run has
    to do once."""
    bundle = exported[0].bundle
    path = bundle.file(bundle.graph.path)
    model = work.load(path)
    lengths = dict.fromkeys(work.dynamic_axes(model), 7)
    one, two, three = (work.work_of(model, batch, lengths, path) for batch in (1, 2, 3))
    assert [found.unknown for found in (one, two, three)] == [{}, {}, {}]
    assert three.flops - two.flops == two.flops - one.flops > 0


def test_a_form_that_failed_is_tried_again(tmp_path, monkeypatch):
    from pipeline import build as stages

    options, whole = Options(out=tmp_path, precisions=("float32",)), stages.write_one

    def broken(name, source, destination):
        if name == "onnx":
            raise ExportError("onnx: the exporter ran out of memory")
        return whole(name, source, destination)

    def run():
        with workspace(tmp_path / "b") as place:
            return build(place, Tiny(MODELS["unit-sum"], tmp_path), options, Silent(), on_change=lambda: None)

    monkeypatch.setattr(stages, "write_one", broken)
    assert "onnx: the exporter ran out of memory" in [n.reason for n in run().not_built]
    monkeypatch.setattr(stages, "write_one", whole)
    again = run()
    assert [n for n in again.not_built if n.failed] == []
    assert "onnx" in {a.format for a in again.bundle.artifacts}


def test_a_form_that_is_not_asked_for_stays(tmp_path):
    def run(*precisions):
        options = Options(out=tmp_path, precisions=precisions)
        with workspace(tmp_path / "b") as place:
            built = build(place, Tiny(MODELS["unit-sum"], tmp_path), options, Silent(), on_change=lambda: None)
        return {artifact.name for artifact in built.bundle.artifacts}

    everything = run("float32", "float16")
    assert {"onnx", "onnx float16", "torchscript"} <= everything
    assert run("float16") == everything


def test_a_data_set_of_other_inputs_is_refused_by_name():
    from pipeline.origins import _check_fits

    cnn = with_params(MODELS["cnn"], {})
    _check_fits(cnn, "mnist", {"image": np.zeros((2, 1, 28, 28))})
    with pytest.raises(UsageError, match=r"cnn takes image \(1, 28, 28\), and names has letters \(19,\)"):
        _check_fits(cnn, "names", {"letters": np.zeros((2, 19))})
    with pytest.raises(UsageError, match=r"and digits-8x8 has image \(1, 8, 8\)"):
        _check_fits(cnn, "digits-8x8", {"image": np.zeros((2, 1, 8, 8))})


def test_a_model_of_a_fixed_batch_is_measured_at_it():
    from types import SimpleNamespace

    from pipeline.judge import batches_of

    def bundle(first):
        spec = TensorSpec(name="x", dtype="float32", shape=(first, 3))
        return SimpleNamespace(manifest=SimpleNamespace(inputs=(spec,)))

    assert batches_of(bundle(4), Options()) == (4,)
    assert batches_of(bundle(4), Options(batches=(2,))) == (2,)
    assert batches_of(bundle("batch"), Options()) == Options().batches
