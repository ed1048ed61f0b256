"""The user's own network as the origin of a bundle."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from export.bundle.files import digest_of
from export.bundle.store import StageRecord
from export.bundle.types import Preprocess, TrainedModel, to_json
from export.formats._base import Arrays
from export.progress import Progress
from pipeline.origins import TestSet


class OwnOrigin:
    """The user's own network: `FILE.py:factory` with weights, or a `.pt2`; inputs come as an `.npz`."""

    def __init__(
        self, target: str, weights: Path | None, inputs: Path, dynamic: tuple[str, ...], name: str | None
    ) -> None:
        from export.own import load_own

        self._own = load_own(target, weights=weights, inputs=inputs, dynamic=dynamic, name=name)

    @property
    def id(self) -> str:
        return self._own.trained.spec.id

    @property
    def licence(self) -> str:
        return ""

    @property
    def preprocess(self) -> Preprocess:
        return self._own.trained.spec.preprocess

    @property
    def data_digest(self) -> str:
        return self._own.trained.dataset.digest

    @property
    def program(self) -> Path | None:
        return self._own.program

    def key(self) -> str:
        return self._key

    @cached_property
    def _key(self) -> str:
        from export.formats._base import Source
        from export.formats.exported_program import content_of_source

        spec = self._own.trained.spec
        source = Source(trained=self._own.trained, example=self._own.example, files={}, program=self.program)
        return digest_of(
            {
                "program": content_of_source(source),
                "inputs": to_json(spec.inputs),
                "outputs": to_json(spec.outputs),
                "data": self.data_digest,
            }
        )

    def make(self, checkpoints: Path, progress: Progress) -> TrainedModel:
        return self._own.trained

    def restore(self, weights: Path, record: StageRecord) -> TrainedModel:
        return self._own.trained

    def test_set(self) -> TestSet:
        return TestSet(stored=self._own.arrays, targets=None)

    def calibration_set(self) -> Arrays:
        return self._own.arrays
