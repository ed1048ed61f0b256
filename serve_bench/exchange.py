"""Arrays between a command and its worker processes, as safetensors files.

Not .npz: numpy reads the header of each array with Python's own parser, which threads of Python before 3.11.9 break for
one another ("AST constructor recursion depth mismatch"), and workers are asked from threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.bundle.errors import BackendFailed

SUFFIX = ".safetensors"


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[np.generic]]) -> Path:
    """Writes arrays of numbers by name to `path` and returns it; raises BackendFailed for text and objects."""
    from safetensors.numpy import save

    odd = next((name for name, array in arrays.items() if array.dtype.kind not in "biuf"), None)
    if odd is not None:
        raise BackendFailed(f"{odd!r} holds {arrays[odd].dtype}, not numbers")
    path.write_bytes(save({name: np.asarray(array, order="C") for name, array in arrays.items()}))
    return path


def read_arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays that `write_arrays` wrote; raises BackendFailed where the file is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise BackendFailed(f"{path}: its arrays cannot be read: {error}") from error
