"""Arrays of the user's own, from an .npz. Pickles are never read."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.bundle.errors import DataError

SAVE = "save it with numpy.savez(path, name=array)"


def read_npz(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays by name, in their order, none of them pickled; raises DataError, which names the remedy."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; {SAVE}")
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            bare = file.read(6) == b"\x93NUMPY"
        raise DataError(f"{path}: {'holds one bare array' if bare else 'is not a whole .npz'}; {SAVE}")
    with zipfile.ZipFile(path) as members:
        other = next((name for name in members.namelist() if not name.endswith(".npy")), None)
    if other is not None:
        raise DataError(f"{path}: is not an .npz: it holds {other}; {SAVE}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except ValueError as error:
        raise DataError(f"{path}: holds something other than arrays of numbers, a pickle perhaps; {SAVE}") from error
    except Exception as error:
        raise DataError(f"{path}: is damaged; {SAVE}") from error
