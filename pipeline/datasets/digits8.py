"""scikit-learn's bundled digits as they are, 8×8 with values 0–16, split as the document splits them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from export.bundle.errors import DataError
from export.bundle.types import DatasetFacts
from export.progress import Progress
from pipeline.datasets._base import Data, Split, digest_of_splits
from pipeline.datasets.digits import HELD_OUT, LICENCE, TEST, shuffled_order, table


class Digits8:
    name = "digits-8x8"
    licence = LICENCE

    def fingerprint(self, root: Path) -> str | None:
        try:
            return digest_of_splits(*_splits())
        except DataError:
            return None

    def fetch(self, root: Path, progress: Progress) -> str | None:
        table()
        return None

    def load(self, root: Path, progress: Progress) -> Data:
        train, validation, test = _splits()
        facts = DatasetFacts(
            name=self.name,
            digest=digest_of_splits(train, validation, test),
            train=len(train),
            validation=len(validation),
            test=len(test),
        )
        return Data(train=train, validation=validation, test=test, facts=facts)


def _splits() -> tuple[Split, Split, Split]:
    """Train, validation, test; validation then train are the document's 1437 training images in its order."""
    values = table()
    images = values[:, :-1].astype(np.uint8).reshape(-1, 1, 8, 8)
    whole = Split(stored={"image": images}, targets=values[:, -1].astype(np.int64))
    order = shuffled_order(len(values))
    test, rest = order[:TEST], order[TEST:]
    return whole.rows(rest[HELD_OUT:]), whole.rows(rest[:HELD_OUT]), whole.rows(test)


ENTRIES = (Digits8(),)
