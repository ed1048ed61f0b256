"""The zoo's models, against the figures that their documents and a pencil give."""

import subprocess
import sys

import pytest

from export.registry import entries, entry
from pipeline.augment import AUGMENTATIONS

MODELS = entries("pipeline.models")


def test_cnn_has_the_weights_that_the_document_counts():
    module = entry("pipeline.models", "model", "cnn").build()
    conv1, conv2, fc1, fc2 = 20 * (25 + 1), 30 * (20 * 25 + 1), 60 * (480 + 1), 10 * (60 + 1)
    assert [p.numel() for p in module.parameters()] == [500, 20, 15000, 30, 28800, 60, 600, 10]
    assert sum(p.numel() for p in module.parameters()) == conv1 + conv2 + fc1 + fc2 == 45020


def test_cnn_is_the_layers_of_the_document_in_their_order():
    module = entry("pipeline.models", "model", "cnn").build()
    names = "Conv2d MaxPool2d ReLU Conv2d Dropout2d MaxPool2d ReLU Flatten Linear ReLU Dropout Linear LogSoftmax"
    assert " ".join(type(layer).__name__ for layer in module) == names
    assert module.drop2.p == module.drop3.p == 0.5


def test_cnn_gives_log_probabilities():
    import torch

    module = entry("pipeline.models", "model", "cnn").build().eval()
    answer = module(torch.randn(3, 1, 28, 28))
    assert answer.shape == (3, 10)
    assert answer.exp().sum(1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_cnn_states_the_range_of_its_input():
    spec = entry("pipeline.models", "model", "cnn")
    # (0 − 0.1307) / 0.3081 and (1 − 0.1307) / 0.3081
    assert spec.inputs[0].low == pytest.approx(-0.424213, abs=1e-6)
    assert spec.inputs[0].high == pytest.approx(2.821487, abs=1e-6)
    assert (spec.published.figure, spec.published.metric) == (0.9937, "test_accuracy")


@pytest.mark.parametrize("spec", MODELS.values(), ids=list(MODELS))
def test_every_model_can_be_trained_by_the_recipes_it_names(spec):
    assert len({recipe.name for recipe in spec.recipes}) == len(spec.recipes)
    assert spec.dataset in entries("pipeline.datasets")
    for recipe in spec.recipes:
        assert recipe.augmentation in AUGMENTATIONS
        assert recipe.optimizer in {"adam", "adamw", "sgd"}
        assert recipe.schedule in {"constant", "one-cycle"}


def test_naming_the_models_imports_no_heavy_library():
    code = "import sys; from export.registry import entries; entries('pipeline.models'); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
