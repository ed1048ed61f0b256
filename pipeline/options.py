"""What the user asked for, once for every command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from export.bundle.errors import UnknownName
from export.bundle.types import Value
from export.formats._engine_facts import canonical_target
from export.registry import entries, entry
from serve_bench.cells import backend_named

BATCHES = (1, 8, 64, 512)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Defaults are those of the command line."""

    out: Path = Path("artifacts")
    data_dir: Path | None = None
    dataset: str | None = None
    """None: the model's own, with the digits as the stated stand-in where it cannot be had."""
    recipe: str = "fast"
    epochs: int | None = None
    """Overrides the recipe's; recorded."""
    seed: int | None = None
    device: str = "auto"
    compile_mode: str = "auto"
    target: str = "a100"
    backends: tuple[str, ...] = ()
    """Empty: all that are ready."""
    precisions: tuple[str, ...] = ()
    """Empty: all that need not be asked for."""
    with_formats: tuple[str, ...] = ()
    """Forms to make besides, by the names of their formats."""
    max_metric_drop: float = 0.5
    """Points that an int8 form may lose."""
    batches: tuple[int, ...] = BATCHES
    threads: int = 1
    """Of every backend that is verified and measured."""
    budget_s: float = 15.0
    """Seconds of timed rounds."""
    replicates: int = 10
    isolate: bool = False
    fresh: bool = False
    """Verify and measure again even where records of this environment exist."""
    trust: bool = False
    params: Mapping[str, Value] = field(default_factory=dict)
    """Of the model; text is read as the parameter's own type."""

    def __post_init__(self) -> None:
        """Raises UnknownName before any work is done."""
        canonical_target(self.target)
        if self.precisions:
            known = {form.precision for form in entries("export.formats").values()}
            for precision in self.precisions:
                if precision not in known:
                    raise UnknownName("precision", precision, known)
        for name in self.with_formats:
            entry("export.formats", "format", name)
        for name in self.backends:
            backend_named(name)
