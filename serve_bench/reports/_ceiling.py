"""How close a run comes to the machine's ceiling: a roofline (Williams, Waterman, Patterson, CACM 52(4), 2009)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from export.bundle.errors import PipelineError
from export.bundle.types import Measurement
from serve_bench.cells import NAMED_ONLY
from serve_bench.reports import _format as show

if TYPE_CHECKING:
    from export.bundle.store import Bundle
    from serve_bench.latency.work import Work
    from serve_bench.reports._types import Row

TITLE = "How close to the machine's ceiling?"
HEADINGS = ("batch", "best reaches", "eager reaches", "ceiling", "operations", "least bytes", "op/byte", "bound by")
LEGEND = (
    "Ceiling: the larger of operations over peak rate and least bytes over peak bandwidth (roofline: Williams, "
    "Waterman, Patterson, CACM 52(4), 2009); reached is ceiling over p50, of float32 forms on the CPU, host boundary. "
    "Operations are counted from model.onnx, a multiply-add as two; least bytes are weights and inputs read once and "
    "outputs written once. A small working set stays in cache, so that memory's ceiling may be beaten."
)
CUDA = "The ceiling of rows on CUDA is left out: the peak of a GPU is not measured."
NO_MODEL = "The bundle holds no model.onnx in float32 to count operations from."
NO_PEAK = "The machine's peak was recorded as 0"
NONE = "–"


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """Of one batch size."""

    batch: int
    """Samples in one run."""
    flops: int
    """Floating-point operations of one run."""
    bytes: int
    """Compulsory traffic of one run."""
    intermediate_bytes: int
    """Tensors between nodes, which `bytes` leaves out."""
    intensity: float
    """Operations a byte."""
    latency_ns: float
    """What one run takes at least, by the peaks of this run."""
    bound: Literal["compute", "memory"]
    """Which of the two peaks the ceiling follows from."""
    best: str
    """The form with the smallest p50; empty where none has one."""
    best_share: float | None
    """Of the ceiling: 1.0 where p50 is the ceiling."""
    eager_share: float | None
    """Of the ceiling, that eager reaches."""


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """The peaks of a run and the ceilings that follow from them."""

    flops_per_s: float
    """The larger of the peaks before and after the run; 0 where none was measured."""
    bytes_per_s: float
    """Of a copy, read plus written; the larger of those before and after the run."""
    peaks: tuple[Mapping[str, Any], ...]
    """As they were measured: before the first replicate, after the last."""
    ceilings: tuple[Ceiling, ...]
    """By batch."""
    unknown: Mapping[str, int]
    """Operator types that were not counted, and how many of their nodes."""
    notes: tuple[str, ...]
    """What is left out and why, a sentence each."""


def roofline(bundle: Bundle, run: Sequence[Measurement], rows: Sequence[Row]) -> Roofline | None:
    """The ceilings of a run's batches; None for a run that measured no peak on the CPU, nor anything on CUDA."""
    notes = [CUDA] if any(record.device == "cuda" for record in run) else []
    peaks = tuple(run[0].facts.get("peak", ())) if run else ()
    whole = [peak for peak in peaks if _told(peak)]
    notes += list(dict.fromkeys(f"{peak.get('error', NO_PEAK)}." for peak in peaks if not whole))
    chosen = [row for row in rows if _counts(row)]
    works: dict[int, Work] = {}
    if whole and chosen:
        try:
            works = _works(bundle, sorted({row.batch for row in chosen}))
        except PipelineError as error:
            notes.append(f"Operations were not counted: {error}.")
        if not works and not notes:
            notes.append(NO_MODEL)
    if not works and not notes:
        return None
    flops_per_s, bytes_per_s = (max((p[n] for p in whole), default=0.0) for n in ("flops_per_s", "bytes_per_s"))
    ceilings = [_ceiling(b, w, flops_per_s, bytes_per_s, [r for r in chosen if r.batch == b]) for b, w in works.items()]
    return Roofline(
        flops_per_s=flops_per_s,
        bytes_per_s=bytes_per_s,
        peaks=peaks,
        ceilings=tuple(ceilings),
        unknown=next(iter(works.values())).unknown if works else {},
        notes=tuple(notes),
    )


def _told(peak: Mapping[str, Any]) -> bool:
    """Whether a peak was measured, and is one that a run can be held against."""
    return "error" not in peak and min(peak["flops_per_s"], peak["bytes_per_s"]) > 0


def _counts(row: Row) -> bool:
    """Whether a row computes in float32 on the CPU with everything in it, and has a median."""
    subject = row.subject
    plain = subject.precision_asked == "float32" and subject.precision_found in ("", "float32")
    here = subject.device == "cpu" and row.boundary == "host" and subject.backend not in NAMED_ONLY
    return plain and here and "p50" in row.quantiles


def _works(bundle: Bundle, batches: Sequence[int]) -> dict[int, Work]:
    """The work of each batch; other dynamic axes are as long as those of the real samples that were measured."""
    from serve_bench.latency import work
    from serve_bench.latency.rounds import real_samples

    if bundle.graph is None:
        return {}
    path = bundle.file(bundle.graph.path)
    model = work.load(path)
    dynamic = work.dynamic_axes(model)
    samples = real_samples(bundle, limit=1) if dynamic else {}
    sizes = {name: int(samples[end].shape[axis]) for name, (end, axis) in dynamic.items()}
    return {batch: work.work_of(model, batch, sizes, path) for batch in batches}


def _ceiling(batch: int, work: Work, flops_per_s: float, bytes_per_s: float, rows: Sequence[Row]) -> Ceiling:
    compute, memory = work.flops / flops_per_s, work.bytes / bytes_per_s
    latency_ns = max(compute, memory) * 1e9
    best = min(rows, key=lambda row: row.quantiles["p50"].value, default=None)
    eager = next((row for row in rows if row.word == "baseline"), None)
    return Ceiling(
        batch=batch,
        flops=work.flops,
        bytes=work.bytes,
        intermediate_bytes=work.intermediate_bytes,
        intensity=work.intensity,
        latency_ns=latency_ns,
        bound="compute" if compute >= memory else "memory",
        best=best.subject.label if best else "",
        best_share=latency_ns / best.quantiles["p50"].value if best else None,
        eager_share=latency_ns / eager.quantiles["p50"].value if eager else None,
    )


def lines(roof: Roofline) -> list[tuple[str, ...]]:
    """The table, under HEADINGS."""
    return [
        (
            f"{c.batch}",
            f"{share_text(c.best_share)} ({c.best})" if c.best else NONE,
            share_text(c.eager_share),
            show.latency(c.latency_ns),
            show.prefixed(c.flops, "FLOP"),
            show.size(c.bytes),
            show.significant(c.intensity),
            c.bound,
        )
        for c in roof.ceilings
    ]


def share_text(share: float | None) -> str:
    """ "37 %", "0.12 %"."""
    return NONE if share is None else f"{show.significant(100 * share, 2)} %"


def sentences(roof: Roofline) -> Iterator[str]:
    """What stands above the table: the peaks, and what is left out."""
    whole = [peak for peak in roof.peaks if _told(peak)]
    if whole and roof.ceilings:
        best = max(whole, key=lambda peak: peak["flops_per_s"])
        threads = f"{best['threads']} thread{'s' if best['threads'] != 1 else ''}"
        rates = " and ".join(show.prefixed(peak["flops_per_s"], "FLOP/s") for peak in whole)
        widths = " and ".join(f"{show.size(int(peak['bytes_per_s']))}/s" for peak in whole)
        when = " before and after this run, the larger of which counts" if len(whole) > 1 else ""
        yield (
            f"Peak of {threads}{when}: {rates} in a product of two float32 matrices (at best {best['matrix']} rows, "
            f"{best['library']}), {widths} in a copy of {show.size(best['copy_bytes'])}, bytes read plus written."
        )
    if roof.unknown:
        names = ", ".join(f"{name} ({count})" for name, count in roof.unknown.items())
        yield f"Not counted: {names}; the true ceiling is a longer time, and the shares are larger than shown."
    yield from _above(roof)
    yield from roof.notes


def _above(roof: Roofline) -> Iterator[str]:
    """Why a share is above 100 %."""
    above = [c for c in roof.ceilings if max(c.best_share or 0.0, c.eager_share or 0.0) > 1]
    cache = max((int(peak.get("cache_bytes", 0)) for peak in roof.peaks), default=0)
    held = (
        f"from one run to the next the weights stay in the cache, whose last level holds {show.size(cache)}, and "
        "memory is not waited for"
    )
    reasons = [
        (held, [c for c in above if c.bound == "memory" and c.bytes <= cache]),
        (
            "weights are read faster than memory is copied, as a copy writes what it reads",
            [c for c in above if c.bound == "memory" and c.bytes > cache],
        ),
        (
            "the runtime needs fewer operations than the graph states (as Winograd's convolution does), or other work "
            "slowed the peak while it was measured",
            [c for c in above if c.bound == "compute"],
        ),
    ]
    for reason, found in reasons:
        if found:
            yield f"Above 100 % at batch {', '.join(str(c.batch) for c in found)}: {reason}."
