"""What a report says first: how fast, and whether it is the same model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from serve_bench.reports import _format as show

if TYPE_CHECKING:
    from serve_bench.reports.summary import Row, Subject


def headline(rows: Sequence[Row]) -> str:
    """The fastest backend against eager at the smallest and at the largest batch, in one sentence."""
    if not any(row.quantiles for row in rows):
        return "Nothing was measured yet."
    batches = sorted({row.batch for row in rows})
    ends = [e for e in (_at(rows, batches[0]), _at(rows, batches[-1]) if len(batches) > 1 else None) if e]
    if not ends and any(row.word == "baseline" for row in rows):
        return "Only eager was measured: there is nothing to compare it with."
    if not ends:
        return "There is no eager baseline in this run: latencies stand alone."
    sentence = _claim(rows, *ends[0])
    for batch, row in ends[1:]:
        claim, same = _claim(rows, batch, row), f"{ends[0][1].subject.label} is "
        repeated = row.word == "faster" and sentence.startswith(same) and claim.startswith(same)
        sentence += f" and {claim.removeprefix(same)}" if repeated else f". {claim}"
    return f"{sentence}."


def _at(rows: Sequence[Row], batch: int) -> tuple[int, Row] | None:
    """The row to speak of at a batch, over the whole of a run (host): the fastest that is called faster; without one
    the nearest that cannot be told from eager; else the nearest. Of a backend's forms that cannot be told apart from
    it, the one in float32."""
    compared = [(r.ratio, r) for r in rows if r.batch == batch and r.boundary == "host" and r.ratio]
    for word in ("faster", "indistinguishable", "slower"):
        called = [(ratio, row) for ratio, row in compared if row.word == word]
        if called:
            best, fastest = max(called, key=lambda pair: pair[0].value)
            kind = fastest.subject.backend, fastest.subject.device, "float32"
            alike = (
                row
                for ratio, row in called
                if ratio.high >= best.low
                and (row.subject.backend, row.subject.device, row.subject.precision_asked) == kind
            )
            return batch, next(alike, fastest)
    return None


def _claim(rows: Sequence[Row], batch: int, row: Row) -> str:
    assert row.ratio is not None
    figure = show.ratio(row.ratio)
    if row.word == "faster":
        return f"{row.subject.label} is {figure} as fast as eager at batch {batch}"
    words = {r.word for r in rows if r.batch == batch and r.boundary == "host" and r.ratio}
    nearest = f"the nearest, {row.subject.label}, runs at {figure}"
    if words == {"indistinguishable"}:
        return f"No backend can be told from eager at batch {batch}: {nearest}"
    untold = " and cannot be told from it" if row.word == "indistinguishable" else ""
    return f"No backend is faster than eager at batch {batch}: {nearest}{untold}"


def verdict(subjects: Sequence[Subject]) -> str:
    """How many of the verified forms are the same model, and which are not."""
    judged = [s for s in subjects if s.verdict != "not checked"]
    failed = [s for s in judged if s.verdict == "not the same"]
    if not judged:
        return "Nothing was verified yet."
    if failed:
        names = ", ".join(s.label for s in failed)
        return f"{len(failed)} of {len(judged)} verified forms are not the same model: {names}."
    if any(s.precision_asked == "int8" for s in judged):
        return (
            f"All {len(judged)} verified forms pass: as close to float64 as their bands ask; int8 forms to their own "
            "quantised graph, which costs the metric no more than was allowed."
        )
    if len(judged) == 1:
        return "The one verified form is the same model: as close to float64 as its band asks."
    return f"All {len(judged)} verified forms are the same model: as close to float64 as their bands ask."
