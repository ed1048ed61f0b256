"""Random changes of a batch of images, for the whole batch at once and where the batch lies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Options = Mapping[str, float | int | str | bool]


def none(images: Any, generator: Any, options: Options) -> Any:
    return images


def affine(images: Any, generator: Any, options: Options) -> Any:
    """Each image turned, scaled in each direction, sheared and shifted by its own uniform draws.

    `images` (B, C, S, S) float, background 0. Options, each the largest change either way: `rotation_degrees`,
    `scale` (a share), `shear` (columns a row), `shift_pixels`. Bilinear; what comes in from outside is background.
    """
    import torch
    from torch.nn import functional

    size, side = len(images), images.shape[-1]
    degrees, scale, bend, pixels = (float(options[n]) for n in ("rotation_degrees", "scale", "shear", "shift_pixels"))
    draw = torch.rand(6, size, generator=generator, device=images.device) * 2 - 1  # (6, B), −1 to 1
    angle = draw[0] * math.radians(degrees)
    across, down = 1 + draw[1:3] * scale
    shear = draw[3] * bend
    # grid_sample counts half images, −1 to 1
    right, low = draw[4:6] * (2 * pixels / side)
    cosine, sine = angle.cos(), angle.sin()
    line = torch.linspace(-1 + 1 / side, 1 - 1 / side, side, device=images.device)  # centres of the pixels
    # Position in the answer → position in the image, as one term a column and one a row: affine_grid's product of
    # matrices takes longer than the sampling itself.
    x = (
        torch.outer(cosine * across, line)[:, None, :]
        + (torch.outer(shear - sine * down, line) + right[:, None])[:, :, None]
    )
    y = torch.outer(sine * across, line)[:, None, :] + (torch.outer(cosine * down, line) + low[:, None])[:, :, None]
    grid = torch.stack((x, y), -1)  # (B, S, S, 2)
    return functional.grid_sample(images, grid, align_corners=False)


AUGMENTATIONS: Mapping[str, Callable[[Any, Any, Options], Any]] = {"none": none, "affine": affine}
