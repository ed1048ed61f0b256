"""What `pipeline compare` found: rows, and what closes a gate."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from export.bundle.errors import PipelineError, UsageError, some
from serve_bench.latency import compare
from serve_bench.latency.stats import Interval

BLIND = 2
"""Times the share of a gate: one that first closes beyond does not see what it is there for."""
MOST_PAIRS = 50
"""That are spoken of."""


class Slower(PipelineError):
    """The interval of a ratio says that the new one is slower than was allowed."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell on both sides."""

    backend: str
    batch: int
    boundary: str
    base_ns: float
    """A geometric mean over replicates and runs."""
    new_ns: float
    ratio: Interval
    """How many times as fast the new one is: base_ns / new_ns."""
    word: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    base: str
    new: str
    rows: tuple[Row, ...]
    only_base: tuple[str, ...]
    """Cells that the new side has not, or not in every one of its runs."""
    only_new: tuple[str, ...]
    notes: tuple[str, ...]
    unjudged: tuple[str, ...] = ()
    """Cells of both sides with fewer than two replicates on one of them: they have no ratio."""
    pairs: int = 0
    """Of runs that took turns; 0 where the sides were measured apart."""

    def raise_if_slower(self, share: float | None) -> None:
        """Raises Slower where any interval lies below 1 / (1 + share), else UsageError where nobody can vouch for a
        cell of the base: the new side lacks it, or one of them has too few replicates; does nothing for None."""
        if share is None:
            return
        if wrong := self._slower(share):
            worst = min(wrong, key=lambda row: row.ratio.value)
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise Slower(
                f"{worst.backend} at batch {worst.batch} runs at {worst.ratio.value:.3f}× "
                f"[{worst.ratio.low:.3f}, {worst.ratio.high:.3f}] of {self.base}: slower by more than "
                f"{100 * share:g}%{more}"
            )
        if self.only_base:
            raise UsageError(
                f"{self.new} lacks {some(self.only_base)}, which {self.base} holds: no gate can pass them; "
                "measure them, or name what counts with --backend and --batch"
            )
        if self.unjudged:
            raise UsageError(
                f"{some(self.unjudged)}: fewer than two replicates on a side give no interval, and no gate can pass "
                "that; measure again, or name what counts with --backend and --batch"
            )

    def gate(self, share: float | None) -> dict[str, Any] | None:
        """What closes the gate at `share`, for machines; None without one."""
        if share is None:
            return None
        slower = [[row.backend, row.batch, row.boundary] for row in self._slower(share)]
        lacking = [*self.only_base, *self.unjudged]
        return {"share": share, "passed": not slower and not lacking, "slower": slower, "lacking": lacking}

    def _slower(self, share: float) -> list[Row]:
        return [row for row in self.rows if compare.slower_by(row.ratio, share)]

    def seen_from(self, share: float) -> str:
        """From what slowdown on a gate at `share` closes, in words: at the median of the cells, and at worst. Where
        that is more than `BLIND` times the share it is a warning, with what would see more."""
        least = [compare.least_seen(row.ratio, share) for row in self.rows]
        if not least:
            return ""
        worst = max(range(len(least)), key=least.__getitem__)
        where = f"{self.rows[worst].backend} at batch {self.rows[worst].batch}"
        middle = statistics.median(least)
        told = (
            f"the gate at {100 * share:g}% closes only where a form has become slower by {middle:.1%} or more (median "
            f"of {len(least)} row{'s' if len(least) != 1 else ''}; {least[worst]:.1%} for {where})"
        )
        return f"! {told}; {self._finer(share)}" if middle > BLIND * share else told

    def _finer(self, share: float) -> str:
        """What would let a gate at `share` see a slowdown of `BLIND` times that."""
        if not self.pairs:
            return "--alternate measures both in turns, so that what the machine does alone is no part of an interval"
        seen = f"to see {100 * BLIND * share:g}%, take"
        for pairs in range(self.pairs + 1, MOST_PAIRS + 1):
            least = (compare.least_seen(compare.of_pairs(row.ratio, self.pairs, pairs), share) for row in self.rows)
            if statistics.median(least) <= BLIND * share:
                return f"{seen} --alternate {pairs} if pairs go on differing as these {self.pairs} did"
        return f"{seen} a quieter machine or a larger --budget: {MOST_PAIRS} pairs like these would not do"
