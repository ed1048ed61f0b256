"""`predict` for several inputs: one that cannot be read does not stop the others. Needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export.bundle.errors import DataError
from export.bundle.store import Bundle
from export.progress import Progress
from serve_bench.predict import predict

if TYPE_CHECKING:
    from serve_bench.predict import Answer


def answers(bundle: Path, inputs: Sequence[str], batch: int, progress: Progress) -> Iterator[Answer]:
    """The answers for every input that can be read, each other's error on stderr; then raises DataError for them."""
    refused = 0

    def told(error: DataError) -> None:
        nonlocal refused
        refused += 1
        print(f"error: {error}", file=sys.stderr)

    yield from predict(Bundle.open(bundle), inputs, batch, progress, told if len(inputs) > 1 else None)
    if refused:
        raise DataError(f"{refused} of {len(inputs)} inputs could not be answered")
