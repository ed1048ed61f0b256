"""An image file as the one-channel input of a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.bundle.errors import DataError
from export.bundle.types import Preprocess, TensorSpec
from serve_bench.backends._helpers import first_line

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"})
BRIGHT = 127
"""A border whose median is above this is paper: the image is turned to light on dark, as MNIST is."""


def takes_images(inputs: tuple[TensorSpec, ...]) -> bool:
    """Whether a model has exactly one input and that is (N, 1, height, width)."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        return False
    _, channels, height, width = inputs[0].shape
    return channels == 1 and isinstance(height, int) and isinstance(width, int)


def image_as_stored(path: Path, height: int, width: int) -> tuple[npt.NDArray[np.uint8], str]:
    """(height, width) grey values 0–255, light on dark, and what was done to get there.

    Raises DataError where the file is no readable image.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            file.load()
            image = file.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: no readable image: {first_line(error)}") from error
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image)
    grey = paper.convert("L")
    done = []
    if grey.size != (width, height):
        done.append(f"resized from {grey.width}×{grey.height} to {width}×{height}")
        grey = grey.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(grey, dtype=np.uint8)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if np.median(border) > BRIGHT:
        done.append("inverted, since its border is bright and the model was trained on light on dark")
        pixels = 255 - pixels
    return pixels, "; ".join(done)


def scaled(preprocess: Preprocess) -> bool:
    """Whether the model's own preprocessing takes values 0–255."""
    return bool(np.isclose(preprocess.scale, 1 / 255))


def image_as_input(
    pixels: npt.NDArray[np.uint8], spec: TensorSpec, preprocess: Preprocess
) -> npt.NDArray[np.generic] | None:
    """(1, 1, height, width) as the model takes it; None where nothing says what range the model expects.

    Where stored values are 0–255 they go through the model's own preprocessing, else over its documented range.
    """
    from serve_bench.equivalence.probes import model_ready

    stored = pixels[None, None]
    if scaled(preprocess):
        return model_ready(stored, preprocess, spec.dtype)
    if spec.low is None or spec.high is None:
        return None
    return (spec.low + stored / 255 * (spec.high - spec.low)).astype(spec.dtype)
