"""What a reader must know before quoting a figure of a report, a sentence or two each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from export.bundle.errors import some
from export.bundle.kinds import ENVIRONMENTS, Kind
from serve_bench import absent
from serve_bench.equivalence.records import VERDICTS
from serve_bench.latency import cold, drift, gpu_state, stats, twin
from serve_bench.latency.clock import SETTLED_WITHIN
from serve_bench.latency.records import SHOWN
from serve_bench.latency.run_facts import MEASUREMENTS
from serve_bench.latency.scenarios import _record as scenarios
from serve_bench.latency.sweeps import _run as sweeps
from serve_bench.reports import _format as show

if TYPE_CHECKING:
    from export.bundle.store import Bundle
    from export.bundle.types import Measurement
    from serve_bench.reports.summary import Row

KINDS: tuple[Kind[Any], ...] = (
    MEASUREMENTS,
    VERDICTS,
    ENVIRONMENTS,
    SHOWN,
    cold.KIND,
    sweeps.KIND,
    scenarios.KIND,
    absent.KIND,
)
"""Of which a report shows the records."""
WIDE_DELTA = 0.1
MANY_UNSETTLED = 0.5


def warnings(rows: Sequence[Row]) -> Iterator[str]:
    """A δ that hides differences, a machine that drifted, and warm-ups that did not settle."""
    wide = {_where(r): r.delta for r in rows if r.delta is not None and r.delta > WIDE_DELTA}
    if wide:
        deltas = ", ".join(f"{show.percent(delta)} at {where}" for where, delta in wide.items())
        yield (
            f"The machine was not steady: δ is above {show.percent(WIDE_DELTA, 0)} ({deltas}), and a smaller "
            "difference is not told apart. "
            "Measure again on a quiet machine, or with a larger --budget: more replicates fit in it."
        )
    medians = [stats.medians_by_replicate(r.latencies_ns, r.of_replicate) for r in rows if r.of_replicate]
    found = drift.drift(medians)
    if found is not None and found.p_value < drift.LIKELY and abs(found.share) > stats.LEAST_DELTA:
        how = "slowed down" if found.share > 0 else "sped up"
        yield (
            f"The machine {how} by {show.percent(abs(found.share))} from the first replicate to the last "
            f"(Mann-Kendall p {found.p_value:.2g}). Ratios are paired by replicate and stand; "
            "latencies are those of this run alone."
        )
    yield from _order(rows)
    unsettled = [r for r in rows if not r.error and r.unsettled / r.replicates >= MANY_UNSETTLED]
    named = [text for _, text in sorted(filter(None, map(_warming, unsettled)), key=lambda pair: -pair[0])]
    if named:
        yield (
            f"Warm-up had not settled at its time limit: {some(named)}. How much longer earlier runs of a replicate "
            "took than later ones stands behind each: so much of these latencies may be warm-up."
        )


def _warming(row: Row) -> tuple[float, str] | None:
    """What an unsettled row shows of it in its timed runs, and the most that it may be; nothing where the earlier ones
    are no longer than the later: that is no warm-up."""
    where = f"{row.subject.label} at {_where(row)} ({row.unsettled} of {row.replicates} replicates"
    found = drift.still_falling(row.latencies_ns, row.of_replicate) if row.of_replicate else None
    if found is None:
        return math.inf, f"{where}; not known)"
    if found.high <= 1 + SETTLED_WITHIN:
        return None
    value, low, high = (f"{100 * (part - 1):+.1f}" for part in found)
    return found.high, f"{where}; {value} % [{low}, {high}])"


def gaps(bundle: Bundle) -> Iterator[str]:
    """Records that are left out because they are damaged or do not fit, and files of the payload that are not there."""
    damaged = bundle.damaged()
    if damaged:
        yield (
            f"Damaged records are left out: {some(damaged)}, cut short or changed. What they held is "
            "not in this report, which may show an older run instead."
        )
    unfit = [f"{count} of {kind.name}.jsonl" for kind in KINDS if (count := kind.unfit(bundle))]
    if unfit:
        yield (
            f"Records that do not fit are left out: {', '.join(unfit)}, of another version or ill-formed. What they "
            "hold is not in this report, which may show an older run instead."
        )
    missing = bundle.missing_files()
    if missing:
        yield f"Missing from the payload: {', '.join(missing)}. What stands here of it was true when it was there."


def least_runs(run: Sequence[Measurement]) -> Iterator[str]:
    """A budget that holds no more than each form's least number of runs."""
    facts = run[0].facts if run else {}
    if facts.get("over_budget_s"):
        counts = [len(r.latencies_ns) for r in run if r.latencies_ns]
        yield (
            f"The budget of {facts['budget_s']:g} s holds no more than the least number of runs ({min(counts)} of a "
            "form): intervals are as wide as so few make them. A larger --budget narrows them."
        )


def held_down(run: Sequence[Measurement]) -> Iterator[str]:
    """Rounds in which a GPU ran slower than it could."""
    if held := gpu_state.held_text(run[0].facts.get("gpu_rounds", ()) if run else ()):
        yield (
            f"The GPU held its clocks down ({held}): its latencies there are longer than they need be. "
            "Ratios are paired by replicate and stand where both sides were held alike."
        )


def unlike_itself(run: Sequence[Measurement]) -> Iterator[str]:
    """A form that was timed twice in the run and called different from itself."""
    found = [check for check in twin.checks(run) if check.ratio and check.word != "indistinguishable"]
    if found:
        said = ", ".join(f"{c.backend} {show.ratio(c.ratio)} at batch {c.batch}" for c in found if c.ratio)
        yield (
            f"A form was called different from itself ({said}): ratios of this run that are no farther from 1 say "
            "nothing. Measure again on a quiet machine."
        )


def _order(rows: Sequence[Row]) -> Iterator[str]:
    """Where the rounds of a replicate differ by more than the least δ, and not by chance."""
    found = drift.order_effect([(r.latencies_ns, r.of_replicate, r.of_round) for r in rows if r.of_round])
    if found is None or found.low <= 1 <= found.high:
        return
    if 1 / (1 + stats.LEAST_DELTA) <= found.value <= 1 + stats.LEAST_DELTA:
        return
    how = f"{show.percent(abs(found.value - 1))} {'longer' if found.value > 1 else 'shorter'}"
    yield (
        f"Within a replicate the last round took {how} than the first "
        f"(95 % interval {show.percent(found.low - 1)} to {show.percent(found.high - 1)}): "
        "the rounds of all backends are mixed alike, so ratios stand."
    )


def _where(row: Row) -> str:
    return show.place(row.batch, row.boundary)
