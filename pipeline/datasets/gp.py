"""gp.csv: 250 noisy points of a smooth curve, columns x and y; and a stand-in where the file is not at hand."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from export.bundle.errors import DataError
from export.progress import Progress
from pipeline.datasets._base import Data, Split, digest_of_splits, not_whole
from pipeline.datasets.generated import MADE_HERE, same_points

MD5 = "1c9641b7c6496bebb763502431dd995a"
POINTS = 250
_ABSENT = "no public address of it is known"


class Gp:
    """The lecture's file, from `ROOT/gp/gp.csv` only."""

    name = "gp"
    licence = "not stated by its source"

    def path(self, root: Path) -> Path:
        return root / "gp" / "gp.csv"

    def fingerprint(self, root: Path) -> str | None:
        try:
            split = self._read(root)
        except DataError:
            return None
        return None if split is None else digest_of_splits(split)

    def fetch(self, root: Path, progress: Progress) -> str | None:
        return _ABSENT if self._read(root) is None else None

    def load(self, root: Path, progress: Progress) -> Data:
        split = self._read(root)
        if split is None:
            raise not_whole(self.name, root, _ABSENT)
        return same_points(self.name, split)

    def _read(self, root: Path) -> Split | None:
        """None where there is no file; raises DataError where it is not the lecture's."""
        path = self.path(root)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); make it readable or remove it") from error
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != MD5:
            raise DataError(
                f"{path}: is not the lecture's file (its md5 sum is not {MD5}); put a whole copy there, "
                "or remove it and a stand-in is drawn"
            )
        return _split(np.loadtxt(data.decode().splitlines(), delimiter=",", skiprows=1))


class GpStandIn:
    """A Gaussian process of the file's size, range, length scale and noise, drawn once and for all."""

    name = "gp-draws"
    licence = MADE_HERE
    _note = "a draw from a Gaussian process, not the lecture's gp.csv"

    def fingerprint(self, root: Path) -> str:
        return digest_of_splits(_split(drawn_points()))

    def fetch(self, root: Path, progress: Progress) -> None:
        return None

    def load(self, root: Path, progress: Progress) -> Data:
        return same_points(self.name, _split(drawn_points()), self._note)


def drawn_points() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(250, 2): x in order over gp.csv's range, y with its range; variance 0.85, length 0.086 and noise 0.022 are the
    maximum likelihood's for gp.csv under a squared exponential kernel."""
    random = np.random.RandomState(1234)
    x = np.sort(random.uniform(0.00219, 0.99465, POINTS))
    apart = x[:, None] - x
    covariance = 0.85 * np.exp(-(apart**2) / (2 * 0.086**2)) + 0.022 * np.eye(POINTS)
    y = np.linalg.cholesky(covariance) @ random.standard_normal(POINTS)
    y = -0.751 + (y - y.min()) * (2.583 + 0.751) / (y.max() - y.min())
    return np.stack([x, y], 1).round(6)  # so that no library's last bit changes the digest


def _split(points: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> Split:
    values = points.astype(np.float32)
    return Split(stored={"x": values[:, :1]}, targets=values[:, 1:])


ENTRIES = (Gp(), GpStandIn())
