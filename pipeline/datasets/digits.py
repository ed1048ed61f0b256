"""scikit-learn's bundled 8×8 digits, brought into MNIST's 28×28 frame: the stand-in where MNIST cannot be had.

As in MNIST, the ink's bounding box is scaled to 20 pixels on its longer side and its centre of mass is put in the
middle of the frame. The file is read from the installed package, without importing it (that takes a second).
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.bundle.errors import DataError
from export.bundle.types import DatasetFacts
from export.progress import Progress
from pipeline.datasets._base import Data, Split, digest_of_splits

_SPLIT_SEED = 1234
TEST = 360
LICENCE = "CC BY 4.0"
"""UCI, Optical Recognition of Handwritten Digits."""
HELD_OUT = 137
_FRAME, _BOX = 28, 20
_LARGEST_VALUE = 16


class Digits:
    name = "digits"
    licence = LICENCE

    def fingerprint(self, root: Path) -> str | None:
        try:
            return self._splits()[3]
        except DataError:
            return None

    def fetch(self, root: Path, progress: Progress) -> str | None:
        self._splits()
        return None

    def load(self, root: Path, progress: Progress) -> Data:
        train, validation, test, digest = self._splits()
        facts = DatasetFacts(
            name=self.name,
            digest=digest,
            train=len(train),
            validation=len(validation),
            test=len(test),
        )
        return Data(train=train, validation=validation, test=test, facts=facts)

    @staticmethod
    def _splits() -> tuple[Split, Split, Split, str]:
        """Train, validation and test as the document splits them: scikit-learn's shuffled 80/20, random_state 1234."""
        values = table()
        frames = np.stack([in_frame(row.reshape(8, 8)) for row in values[:, :-1]])[:, None]  # (1797, 1, 28, 28)
        labels = values[:, -1].astype(np.int64)
        order = shuffled_order(len(values))
        test, rest = order[:TEST], order[TEST:]
        whole = Split(stored={"image": frames}, targets=labels)
        parts = [whole.rows(part) for part in (rest[HELD_OUT:], rest[:HELD_OUT], test)]
        return parts[0], parts[1], parts[2], digest_of_splits(*parts)


def shuffled_order(size: int) -> npt.NDArray[np.int64]:
    """The order of scikit-learn's train_test_split(shuffle=True, random_state=1234): the test samples first."""
    return np.random.RandomState(_SPLIT_SEED).permutation(size)


def table() -> npt.NDArray[np.float32]:
    """(1797, 65): 64 values 0–16 row by row, then the class."""
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise DataError("digits: scikit-learn, which holds them, is not installed; pip install '.[train]' in the clone")
    path = Path(found.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    try:
        values = gzip.decompress(path.read_bytes()).decode().replace("\n", ",").strip(",").split(",")
        return np.array(values, np.float32).reshape(-1, 65)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path}: broken ({error}); install scikit-learn again") from error


def in_frame(image: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """An (8, 8) image of values 0–16 with some ink → (28, 28), 0–255."""
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    ink = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = _BOX / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    box = _resampling(ink.shape[0], height) @ ink @ _resampling(ink.shape[1], width).T  # (height, width)
    top = _start(box.sum(1))
    left = _start(box.sum(0))
    frame = np.zeros((_FRAME, _FRAME), np.float32)
    frame[top : top + height, left : left + width] = box
    return np.rint(frame * (255 / _LARGEST_VALUE)).astype(np.uint8)


def _resampling(source: int, target: int) -> npt.NDArray[np.float32]:
    """(target, source): linear interpolation between pixel centres, edges held."""
    centre = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    return np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(source))).astype(np.float32)


def _start(profile: npt.NDArray[np.float32]) -> int:
    """First pixel of a box in the frame that puts its centre of mass nearest to the middle."""
    mass = float(profile @ (np.arange(len(profile)) + 0.5) / profile.sum())
    return int(np.clip(round(_FRAME / 2 - mass), 0, _FRAME - len(profile)))


ENTRIES = (Digits(),)
