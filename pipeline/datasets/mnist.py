"""MNIST: 60,000 + 10,000 handwritten digits, 28×28.

The files, their md5 sums, their mirrors and their folder are torchvision's, so that either can use the other's copy.
They are read straight from the four archives, whose sums are checked each time (0.03 s): a broken or partial file is
never used, and nothing has to be unpacked or written where a copy is at hand.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.bundle.errors import DataError
from export.bundle.types import DatasetFacts
from export.progress import Progress
from pipeline.datasets._base import Data, Split, digest_of_splits, not_whole
from pipeline.datasets._download import Unreachable, download

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
HELD_OUT = 5000
_SPLIT_SEED = 1234


class Mnist:
    name = "mnist"
    licence = "CC BY-SA 3.0"

    def __init__(self, mirrors: tuple[str, ...] = MIRRORS, md5: dict[str, str] = MD5, held_out: int = HELD_OUT) -> None:
        self._mirrors, self._md5, self._held_out = mirrors, md5, held_out

    def folder(self, root: Path) -> Path:
        """Where torchvision's `MNIST(root / "mnist")` keeps its archives."""
        return root / "mnist" / "MNIST" / "raw"

    def fingerprint(self, root: Path) -> str | None:
        contents = {name: self._intact(root, name) for name in self._md5}
        whole = {name: data for name, data in contents.items() if data is not None}
        return digest_of_splits(*self._splits(whole)) if len(whole) == len(contents) else None

    def _intact(self, root: Path, name: str) -> bytes | None:
        try:
            data = (self.folder(root) / name).read_bytes()
        except OSError:
            return None
        return data if hashlib.md5(data, usedforsecurity=False).hexdigest() == self._md5[name] else None

    def fetch(self, root: Path, progress: Progress) -> str | None:
        for name, md5 in self._md5.items():
            if self._intact(root, name) is not None:
                continue
            path = self.folder(root) / name
            if path.is_file():
                progress.note(f"{path}: broken or partial (its md5 sum is not {md5}); fetching it again")
            try:
                download([mirror + name for mirror in self._mirrors], path, md5=md5, progress=progress)
            except Unreachable as unreachable:
                return str(unreachable)
        return None

    def load(self, root: Path, progress: Progress) -> Data:
        reason = self.fetch(root, progress)
        if reason is not None:
            raise not_whole(self.name, root, reason)
        contents = {name: self._intact(root, name) for name in self._md5}
        train, test = self._splits({name: data for name, data in contents.items() if data is not None})
        # RandomState's streams are frozen by NumPy's own promise; those of its newer generators may change.
        order = np.random.RandomState(_SPLIT_SEED).permutation(len(train))
        held, kept = order[: self._held_out], order[self._held_out :]
        facts = DatasetFacts(
            name=self.name,
            digest=digest_of_splits(train, test),
            train=len(kept),
            validation=len(held),
            test=len(test),
        )
        return Data(
            train=train.rows(kept),
            validation=train.rows(held),
            test=test,
            facts=facts,
        )

    def _splits(self, archives: dict[str, bytes]) -> tuple[Split, Split]:
        arrays = {name: _array_from_idx(name, gzip.decompress(data)) for name, data in archives.items()}
        images, labels, test_images, test_labels = (arrays[name] for name in MD5)
        return _split(images, labels), _split(test_images, test_labels)


def _array_from_idx(name: str, data: bytes) -> npt.NDArray[np.uint8]:
    """The array in an IDX file: 0, 0, 8 (uint8), number of axes, each axis as a big-endian int32, then the values."""
    if data[:3] != b"\x00\x00\x08":
        raise DataError(f"{name}: is no IDX file of bytes; delete it, and it is fetched again")
    shape = np.frombuffer(data, ">i4", count=data[3], offset=4)
    return np.frombuffer(bytearray(data), np.uint8, offset=4 + 4 * data[3]).reshape(tuple(shape))


def _split(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> Split:
    return Split(stored={"image": images[:, None]}, targets=labels.astype(np.int64))  # (N, 28, 28) → (N, 1, 28, 28)


ENTRIES = (Mnist(),)
