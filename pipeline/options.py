"""What the user asked for, once for every command."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from export.bundle.errors import UnknownName, UsageError
from export.bundle.types import Value
from export.formats._engine_facts import canonical_target
from export.registry import entries, entry
from serve_bench.cells import backend_named
from serve_bench.latency.schedule import BUDGET_S

if TYPE_CHECKING:
    from serve_bench.latency.scenarios._base import Asked

BATCHES = (1, 8, 64, 512)
REPEATABLE = ("backends", "precisions", "with_formats", "batches", "sweeps", "scenarios")
"""A batch that stood twice was measured twice, and had two baselines."""
SCENARIO_OPTIONS = {
    "min_duration_s": "--min-duration",
    "samples_per_query": "--samples-per-query",
    "latency_bound_ns": "--latency-bound",
}


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
    """Of training."""
    order_seed: int | None = None
    """Of the random order in which forms take turns; None: drawn anew for each run, and recorded."""
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
    budget_s: float = BUDGET_S
    """Seconds of timed rounds."""
    replicates: int = 10
    precision_of_ratio: float = 0.02
    """Half-width of every ratio's interval, a fraction, at which measuring may end before its budget."""
    isolate: bool = False
    no_peak: bool = False
    """Measure without what the machine can do at most: the report then has no ceiling."""
    twin: bool = False
    """Time eager a second time, as another form would be: an A/A check of the run."""
    cold_starts: int = 0
    """Fresh processes of each form, after measuring."""
    shown: bool = True
    """The report goes on showing a run that is taken now: not where `compare --alternate` takes it."""
    sweeps: tuple[str, ...] = ()
    """Measured instead of the interleaved run."""
    sweep_limit: int | None = None
    """Largest batch of the batch sweep."""
    processes: int | None = None
    """Most of the concurrency sweep."""
    given: frozenset[str] = frozenset()
    """Names of what was asked for and is not a default, where the command tells."""
    fresh: bool = False
    """Verify and measure again even where records of this environment exist."""
    trust: bool = False
    scenarios: tuple[str, ...] = ()
    """LoadGen scenarios, instead of the interleaved run; empty: none."""
    min_duration_s: float = 2.0
    """Of a scenario's run."""
    samples_per_query: int = 8
    """Of MultiStream."""
    latency_bound_ns: int | None = None
    """Of Server's p99; None: a multiple of the pilot's median."""
    params: Mapping[str, Value] = field(default_factory=dict)
    """Of the model; text is read as the parameter's own type."""

    def __post_init__(self) -> None:
        """Raises UnknownName before any work is done; what was asked for twice is asked for once."""
        for name in REPEATABLE:
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
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
        if self.scenarios:
            self.check_scenarios()
        if self.sweeps or self.sweep_limit or self.processes:
            self._check_sweeps()
        if not self.scenarios:
            self._refuse_without_scenario()
        if self.scenarios and self.sweeps:
            raise UsageError("--sweep and --scenario: each measures in a way of its own; ask for one at a time")

    def check_scenarios(self) -> None:
        """Raises UnknownName or UsageError where what is asked of LoadGen's scenarios cannot be run."""
        from serve_bench.latency.scenarios._base import named

        names = [named(name).name for name in self.scenarios]
        if self.latency_bound_ns is not None and "Server" not in names:
            raise UsageError("--latency-bound is a bound on Server's p99: add --scenario Server, or leave it out")
        _ = self.asked

    @property
    def drawn_seed(self) -> int:
        """Of one run's random order: a fixed one would give every run, and both sides of a comparison, one order."""
        return secrets.randbelow(1 << 31) if self.order_seed is None else self.order_seed

    @property
    def asked(self) -> Asked:
        """Of LoadGen's scenarios. Offline's batch is the largest of those given, `OFFLINE_BATCH` where none was."""
        from serve_bench.latency.scenarios._base import OFFLINE_BATCH, Asked

        return Asked(
            min_duration_s=self.min_duration_s,
            samples_per_query=self.samples_per_query,
            offline_batch=OFFLINE_BATCH if self.batches == BATCHES else max(self.batches),
            latency_bound_ns=self.latency_bound_ns,
        )

    def _refuse_without_scenario(self) -> None:
        for name, option in SCENARIO_OPTIONS.items():
            if name in self.given:
                raise UsageError(f"{option}: is for --scenario, which was not asked for")

    def _check_sweeps(self) -> None:
        from serve_bench.latency.sweeps._run import sweep_named

        for name in self.sweeps:
            sweep_named(name)
        for option, asked, name in (
            ("--sweep-limit", self.sweep_limit, "batch"),
            ("--concurrency", self.processes, "concurrency"),
        ):
            if asked and name not in self.sweeps:
                raise UsageError(f"{option}: is for --sweep {name}, which was not asked for")
