"""The seam between a bundle and an app that embeds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from export.bundle.errors import BundleError
from export.bundle.store import Bundle, Manifest
from export.bundle.types import Artifact, Preprocess
from serve_bench.equivalence import bands, raw
from serve_bench.equivalence.truth import Truth
from serve_bench.inputs import formula


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Samples of the test set with the answers that every runtime has to give."""

    inputs: Mapping[str, npt.NDArray[np.generic]]
    """Raw inputs by name, as app.onnx takes them, samples along the first axis."""
    outputs: Mapping[str, npt.NDArray[np.float64]]
    """float64's answers by name: "probabilities" (N, classes), or "value"."""
    tolerance: Mapping[str, float]
    """By output: the largest distance from `outputs` that is inside the float32 band, in the output's own unit."""
    labels: npt.NDArray[np.int64] | None
    """(N,) the class that float64 answers; None where the model does not classify."""

    @property
    def samples(self) -> int:
        return len(next(iter(self.outputs.values())))


@dataclass(frozen=True, kw_only=True)
class Kit:
    """What an app is made from."""

    bundle: Bundle
    app: Artifact
    """app.onnx, its path absolute and its sha256 checked."""
    metadata: Mapping[str, str]
    """Its metadata_props."""
    golden: Golden

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """What the user chose for this app."""

    single_file: bool = False
    """Of the web page: one HTML file that opens from disk."""
    runtime: Path | None = None
    """Folder of the runtime's own files, where they shall not be fetched."""
    instance: Literal["auto", "cpu", "gpu"] = "auto"
    """Of Triton: where instances of the models run; auto leaves it to the server."""


class Target(Protocol):
    """One kind of app. Stateless; `ENTRIES` of a module in this folder are such."""

    @property
    def name(self) -> str:
        """What --target names: "web"."""
        ...

    @property
    def summary(self) -> str:
        """One line of what it writes."""
        ...

    @property
    def heeds(self) -> tuple[str, ...]:
        """The fields of EmbedOptions that mean something to it: "single_file"."""
        ...

    def missing(self, kit: Kit, options: EmbedOptions) -> str | None:
        """Why it cannot be written here or for this bundle, in one sentence with the remedy; None where it can."""
        ...

    def write(self, kit: Kit, options: EmbedOptions, folder: Path) -> None:
        """Writes every file of the app into `folder`, which is empty. Raises a PipelineError."""
        ...

    def first_steps(self, kit: Kit, options: EmbedOptions, folder: Path) -> str:
        """What to type now, a line each; `folder` is where the app lies."""
        ...


def app_of(bundle: Bundle) -> Artifact:
    """The bundle's app.onnx, checked; raises BundleError where it has none."""
    found = next((a for a in bundle.artifacts if a.format == "app"), None)
    if found is None:
        raise BundleError(f"{bundle.root}: holds no app.onnx; make it with `pipeline train-export` again")
    return bundle.resolve(found)


def kit_of(bundle: Bundle) -> Kit:
    """Raises BundleError where the bundle has no app.onnx, BundleCorrupt where a file is damaged."""
    import onnx

    app = app_of(bundle)
    model = onnx.load(app.path, load_external_data=False)
    metadata = {p.key: p.value for p in model.metadata_props}
    return Kit(bundle=bundle, app=app, metadata=metadata, golden=golden_of(bundle, app))


def golden_of(bundle: Bundle, app: Artifact) -> Golden:
    """The samples of golden.npz, asked and answered as `app` is; their bands are those of the whole test set."""
    truth = raw.truth_of(Truth.load(bundle.file("golden.npz"), bundle.manifest.preprocess), app)
    outputs = truth.outputs("test")
    tolerance = {
        name: bands.band("float32", truth.reference("test", "float32", name)) * truth.scale("test", name)
        for name in outputs
    }
    scores = outputs.get("probabilities")
    return Golden(
        inputs=truth.inputs("test"),
        outputs=outputs,
        tolerance=tolerance,
        labels=None if scores is None else scores.argmax(axis=1),
    )


def preprocess_words(preprocess: Preprocess) -> str:
    """ "(x / 255 − 0.1307) / 0.3081", for a README; "none" where nothing is done."""
    return "none" if preprocess.identity else formula(preprocess)
