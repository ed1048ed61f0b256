"""A small convolutional network and an LSTM, exported once for all tests of the formats."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from export.bundle.errors import ExportError
from export.bundle.types import DatasetFacts, ModelSpec, TensorSpec, TrainedModel
from export.formats._base import ExportOptions, Source
from export.registry import entries, entry
from export.run import applies, not_built, order, path_of, write_one

SAMPLES = 9


def small_cnn():
    """Convolution, BatchNorm with statistics of its own, dropout, and a reshape by the batch's size."""
    import torch
    from torch import nn

    class SmallCnn(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 6, 3)
            self.norm = nn.BatchNorm2d(6)
            self.drop = nn.Dropout(0.5)
            self.head = nn.Linear(6 * 5 * 5, 4)

        def forward(self, image):
            features = torch.relu(torch.max_pool2d(self.norm(self.conv(image)), 2))  # (B, 6, 5, 5)
            return torch.log_softmax(self.head(self.drop(features.view(image.size(0), -1))), 1)  # (B, 4)

    torch.manual_seed(1)
    module = SmallCnn()
    with torch.no_grad():
        module.norm.running_mean.uniform_(-0.5, 0.5)
        module.norm.running_var.uniform_(0.5, 2)
    return module.eval()


def trained(module, inputs, outputs, name="small"):
    spec = ModelSpec(
        id=name,
        task="classification",
        dataset="user",
        build=lambda: module,
        inputs=inputs,
        outputs=outputs,
        labels=("a", "b", "c", "d"),
    )
    facts = DatasetFacts(name="user", digest="0", train=0, validation=0, test=SAMPLES)
    return TrainedModel(spec=spec, module=module, recipe=None, metrics={}, seconds=0.0, seed=1, dataset=facts)


@pytest.fixture(scope="session")
def small():
    image = TensorSpec(name="image", dtype="float32", shape=("batch", 1, 12, 12))
    answer = TensorSpec(name="log_probabilities", dtype="float32", shape=("batch", 4))
    return trained(small_cnn(), (image,), (answer,))


@pytest.fixture(scope="session")
def example():
    return {"image": np.random.default_rng(0).standard_normal((SAMPLES, 1, 12, 12)).astype("float32")}


def write_formats(source, names, place):
    """Writes the formats in order, as `pipeline.build` does: those that cannot be written are given as rows."""
    artifacts, missing = [], {}
    for name in [n for n in order(names) if applies(n, source.trained.spec)]:
        destination = place(path_of(name, source.options))
        needed = entry("export.formats", "format", name).needs
        try:
            if needed in missing:
                raise ExportError(f"{name}: is made from {needed}, which could not be written")
            artifact = write_one(name, source, destination)
        except ExportError as error:
            missing[name] = not_built(name, source.options, str(error))
            continue
        artifacts.append(artifact)
        source = dataclasses.replace(source, files={**source.files, name: (destination, artifact)})
    return artifacts, list(missing.values())


class Built:
    """Every form of one model, on disk, but those that only their name asks for."""

    def __init__(self, trained, example, folder: Path, options=None, program=None):
        self.trained, self.example, self.folder = trained, example, folder
        self.source = Source(
            trained=trained, example=example, files={}, options=options or ExportOptions(), program=program
        )
        usual = [n for n, form in entries("export.formats").items() if not hasattr(form, "by_name")]
        artifacts, self.missing = write_formats(self.source, usual, folder.joinpath)
        self.artifacts = {a.name: a for a in artifacts}

    def path(self, name) -> Path:
        return self.folder / self.artifacts[name].path

    def truth(self, arrays):
        """float64 answers of the source module, as a list."""
        import copy

        import torch

        from export.program import leaves

        module = copy.deepcopy(self.trained.module).double()
        values = [torch.from_numpy(a.astype("float64") if a.dtype.kind == "f" else a) for a in arrays.values()]
        with torch.inference_mode():
            return [leaf.numpy() for leaf in leaves(module(*values))]


@pytest.fixture(scope="session")
def built(small, example, tmp_path_factory):
    return Built(small, example, tmp_path_factory.mktemp("built"))
