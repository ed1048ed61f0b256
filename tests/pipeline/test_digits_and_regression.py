"""Digits and regressions against the figures of their documents and of a pencil."""

import dataclasses

import numpy as np
import pytest
import torch

from export.bundle.errors import UsageError
from export.progress import Silent
from export.registry import entry
from pipeline import train
from pipeline.datasets._base import data_root
from pipeline.variants import variants, with_params

SEEDS = range(5)
FIVE_OF_360 = 5 / 360


@pytest.fixture(autouse=True)
def one_thread():
    """So small a network gains nothing from a second thread, and loses much where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fitted(model, recipe, folder, *, seed=0, dataset=None, **params):
    spec = with_params(entry("pipeline.models", "model", model), params)
    found = entry("pipeline.datasets", "data set", dataset or spec.dataset)
    found = found.drawn(seed) if hasattr(found, "drawn") else found
    return train.train(
        spec,
        next(r for r in spec.recipes if r.name == recipe),
        found.load(data_root(None), Silent()),
        seed=seed,
        device="cpu",
        compile_mode="off",
        checkpoints=folder / f"{recipe}-{seed}",
        progress=Silent(),
    )


def weights(made):
    return {name: value.flatten().tolist() for name, value in made.module.state_dict().items()}


@pytest.mark.parametrize(("step", "entry_of_x"), [(0.5, 1.0), (0.1, 1 - 0.8**9)])
def test_linear_system_is_where_nine_updates_lead(tmp_path, step, entry_of_x):
    made = fitted("linear-system", "published", tmp_path, step=step)
    # AᵀA = 1: each update leaves 1 − 2·step of the error, and step ½ nothing
    exact = 0 if step == 0.5 else 1e-6
    assert weights(made)["unknown.weight"] == pytest.approx([entry_of_x] * 2, abs=exact)
    assert made.metrics["test_mse"] == pytest.approx((1 - entry_of_x) ** 2, abs=1e-6)
    assert len(made.history) == 9


@pytest.mark.parametrize("recipe", ["published", "fast"])
def test_unit_sum_shares_one_out_equally(tmp_path, recipe):
    assert weights(fitted("unit-sum", recipe, tmp_path))["unknown.weight"] == pytest.approx([0.2] * 5, abs=1e-6)


def descended(x, steps):
    """The document's own descent in float64: loss before the last step, parameters after it."""
    a, y, loss = np.array([1.3, 1.0]), np.sin(x), 0.0
    for _ in range(steps):
        error = a[0] * np.sin(a[1] * x) - y
        loss = float(error @ error)
        gradient = 2 * np.array([error @ np.sin(a[1] * x), error @ (a[0] * x * np.cos(a[1] * x))])
        a = a - 0.1 * gradient / (1 + np.linalg.norm(gradient))
    return loss, a


def test_the_sine_jumps_about_the_documents_figures(tmp_path):
    losses = []
    for seed in SEEDS:
        made = fitted("sine", "published", tmp_path, seed=seed)
        drawn = entry("pipeline.datasets", "data set", "sine").drawn(seed).load(tmp_path, Silent())
        loss, (amplitude, frequency) = descended(drawn.train.stored["x"][:, 0].astype(np.float64), 40)
        assert made.metrics["train_loss"] == pytest.approx(loss, rel=1e-3)
        found = weights(made)
        assert (found["amplitude"], found["frequency"]) == (
            pytest.approx([amplitude], abs=1e-4),
            pytest.approx([frequency], abs=1e-4),
        )
        assert (amplitude, frequency) == (pytest.approx(0.983, abs=0.005), pytest.approx(0.943, abs=0.006))
        losses.append(loss)
    assert min(losses) < 13.45 < max(losses)


def test_the_fast_sine_is_a_sine(tmp_path):
    made = fitted("sine", "fast", tmp_path)
    assert made.metrics["train_loss"] < 13.45 / 5
    points = np.array(made.facts["fit"])
    assert points.shape == (250, 3)
    assert (np.diff(points[:, 0]) >= 0).all()
    assert points[:, 1] == pytest.approx(np.sin(points[:, 0]), abs=1e-5)
    assert np.abs(points[:, 2] - points[:, 1]).max() < 0.2


def test_a_line_through_the_points_is_that_of_least_squares(tmp_path):
    made = fitted("gp-linear", "fast", tmp_path, dataset="gp-draws")
    data = entry("pipeline.datasets", "data set", "gp-draws").load(tmp_path, Silent())
    x, y = data.train.stored["x"][:, 0], data.train.targets[:, 0]
    _, (squares,), *_ = np.linalg.lstsq(np.stack([x, np.ones_like(x)], 1).astype(float), y, rcond=None)
    assert made.metrics["test_mse"] == pytest.approx(squares / 250, rel=1e-3)


@pytest.mark.parametrize(
    ("model", "params", "shapes"),
    [
        ("digits-logistic", {}, [(10, 64), (10,)]),
        ("digits-fnn2", {"activation": "tanh"}, [(64, 64), (64,), (64, 64), (64,), (10, 64), (10,)]),
        ("digits-cnn", {}, [(8, 1, 3, 3), (8,), (10, 128), (10,)]),
        ("gp-relu", {"hidden": 7}, [(7, 1), (7,), (1, 7), (1,)]),
        ("gp-relu5", {}, [(100, 1), (100,), *[(100, 100), (100,)] * 3, (1, 100), (1,)]),
        ("sine", {}, [(), ()]),
    ],
)
def test_layers_are_the_documents(model, params, shapes):
    module = with_params(entry("pipeline.models", "model", model), params).build()
    assert [tuple(p.shape) for p in module.parameters()] == shapes


def test_an_activation_is_what_it_is_called():
    for name, kind in (("relu", torch.nn.ReLU), ("tanh", torch.nn.Tanh)):
        module = with_params(entry("pipeline.models", "model", "digits-fnn"), {"activation": name}).build()
        assert [type(layer) for layer in module][2] is kind


def test_the_logistic_start_is_a_standard_normal():
    torch.manual_seed(0)
    start = entry("pipeline.models", "model", "digits-logistic").build().fc.weight.detach()
    assert (float(start.mean()), float(start.std())) == (pytest.approx(0, abs=0.1), pytest.approx(1, abs=0.1))


@pytest.mark.parametrize(
    ("model", "params", "said"),
    [
        ("digits-fnn", {"activation": "foo"}, "digits-fnn: activation=foo cannot be; it is one of relu, tanh"),
        ("gp-relu", {"hidden": 0}, "gp-relu: hidden=0 cannot be; it is a whole number from 1 to 100000"),
        ("gp-tanh", {"hidden": "ten"}, "gp-tanh: hidden=ten cannot be"),
        ("linear-system", {"step": "-0.5"}, "linear-system: step=-0.5 cannot be; it is a number from 1e-06 to 1"),
        ("sine", {"step": 1}, "sine has no parameter 'step'; it has none"),
        ("digits-cnn", {"activation": "tanh"}, "digits-cnn has no parameter 'activation'; it has none"),
    ],
)
def test_what_cannot_be_set_is_said_with_what_can(model, params, said):
    with pytest.raises(UsageError) as error:
        with_params(entry("pipeline.models", "model", model), params)
    assert str(error.value).startswith(said)


def test_a_step_that_is_too_long_ends_in_words(tmp_path):
    spec = with_params(entry("pipeline.models", "model", "unit-sum"), {})
    recipe = dataclasses.replace(spec.recipes[1], learning_rate=1e6)
    with pytest.raises(train.TrainingError, match=r"unit-sum: the loss is not finite in epoch \d+, step 1"):
        train.train(
            spec,
            recipe,
            entry("pipeline.datasets", "data set", "unit-sum").load(tmp_path, Silent()),
            seed=0,
            device="cpu",
            compile_mode="off",
            checkpoints=tmp_path,
            progress=Silent(),
        )


def mean_accuracy(model, recipe, folder, params):
    made = [fitted(model, recipe, folder, seed=seed, **params) for seed in SEEDS]
    return float(np.mean([m.metrics["test_accuracy"] for m in made]))


def digits(*models):
    found = [spec for model in models for spec in variants(entry("pipeline.models", "model", model)) if spec.published]
    return pytest.mark.parametrize("spec", found, ids=lambda spec: "-".join([spec.id, *spec.variant.split()]))


def reproduced(spec, folder):
    mean = mean_accuracy(spec.id, "published", folder, dict(spec.params))
    assert mean == pytest.approx(spec.published.figure, abs=FIVE_OF_360)


@digits("digits-logistic", "digits-linear")
def test_published_recipes_give_the_documents_figures(spec, tmp_path):
    reproduced(spec, tmp_path)


@pytest.mark.slow
@digits("digits-fnn", "digits-fnn2", "digits-cnn")
def test_published_recipes_give_the_documents_figures_of_the_deeper_networks(spec, tmp_path):
    reproduced(spec, tmp_path)


@digits("digits-logistic", "digits-linear", "digits-fnn", "digits-fnn2", "digits-cnn")
def test_fast_recipes_reach_the_documents_figures(spec, tmp_path):
    assert mean_accuracy(spec.id, "fast", tmp_path, dict(spec.params)) >= spec.published.figure
