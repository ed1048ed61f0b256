"""An image file as the one-channel input of a model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import DataError
from export.bundle.types import Preprocess, TensorSpec
from serve_bench.backends._helpers import first_line

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
BRIGHT = 127
"""A border whose median is above this is paper: the image is turned to light on dark, as MNIST is."""
ORIENTATION = 0x0112
"""The EXIF tag of how a camera was held; 1 is upright."""


def takes_images(inputs: tuple[TensorSpec, ...]) -> bool:
    """Whether a model has exactly one input and that is (N, 1, height, width)."""
    return len(inputs) == 1 and inputs[0].is_grey_image


def image_as_stored(path: Path, height: int, width: int) -> tuple[npt.NDArray[np.uint8], str]:
    """(height, width) grey values 0–255, light on dark, and what was done to get there.

    Raises DataError where the file is no readable image, or has more pixels than Pillow takes for harmless.
    """
    from PIL import Image

    image, done = _upright(path)
    grey = _grey(path, image, done)
    if grey.size != (width, height):
        done.append(f"resized from {grey.width}×{grey.height} to {width}×{height}")
        grey = grey.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(grey, dtype=np.uint8)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if np.median(border) > BRIGHT:
        done.append("inverted, since its border is bright and the model was trained on light on dark")
        pixels = 255 - pixels
    return pixels, "; ".join(done)


def _upright(path: Path) -> tuple[Any, list[str]]:
    """The first picture of a file as a camera's tag turns it, and what was done."""
    from PIL import Image, ImageOps

    done = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                frames = getattr(file, "n_frames", 1)
                file.load()
                turned = file.getexif().get(ORIENTATION, 1) in range(2, 9)
                image = ImageOps.exif_transpose(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = f"{(Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} million"
        raise DataError(
            f"{path}: has more than {most} pixels, perhaps a decompression bomb; make it smaller first"
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        raise DataError(f"{path}: no readable image: {first_line(error)}") from error
    if frames > 1:
        done.append(f"taken from the first of its {frames} pictures")
    if turned:
        done.append("turned upright as its EXIF data say")
    return image, done


def _grey(path: Path, image: Any, done: list[str]) -> Any:
    """The image in 8-bit grey, what is transparent laid on white; says in `done` what it was before."""
    from PIL import Image

    if image.mode in ("L", "1"):
        return image.convert("L")
    if image.mode.startswith("I;16"):
        done.append("converted from 16 to 8 bits")
        return Image.fromarray(np.rint(np.asarray(image, dtype=np.uint16) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DataError(f"{path}: holds numbers of no known range (mode {image.mode}); save it in 8-bit grey")
    done.append(f"converted from {image.mode} to grey")
    if not image.has_transparency_data:
        return image.convert("RGB").convert("L")
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    return paper.convert("L")


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
