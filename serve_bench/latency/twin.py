"""The A/A check of a run: a form that is timed a second time, as a session of its own, and what it says of itself.

Whatever a ratio of the form to itself is found to be beyond δ, no other ratio of the run can be trusted to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from export.bundle.encoding import part_from_json
from export.bundle.types import Measurement
from serve_bench.cells import BASELINE
from serve_bench.latency import stats
from serve_bench.latency.stats import Interval, Word
from serve_bench.latency.subject import Subject, Taken


@dataclass(frozen=True, kw_only=True)
class Twin:
    """The second session at one batch size and boundary, as every record of its run has it."""

    artifact_sha256: str
    backend: str
    device: str
    batch: int
    boundary: str
    medians_ns: Mapping[str, float]
    """By replicate; empty where it failed."""
    runs: int
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a form was found to be against itself."""

    backend: str
    batch: int
    boundary: str
    device: str
    ratio: Interval | None
    """1 is true; None where the second session failed."""
    word: Word | str
    """By the δ of its batch; empty without a ratio."""
    error: str = ""


def twins_of(subjects: Sequence[Subject]) -> list[Subject]:
    """Of each device the subjects of the baseline, or of its first form, as sessions of their own."""
    found: list[Subject] = []
    for device in dict.fromkeys(s.cell.device for s in subjects):
        own = [s for s in subjects if s.cell.device == device]
        chosen = next((s for s in own if is_baseline(s)), own[0]).cell
        found += [replace(s, twin=True) for s in own if s.cell == chosen]
    return found


def is_baseline(subject: Subject) -> bool:
    return subject.cell.backend == BASELINE and subject.artifact.precision == "float32"


def twin_of(subject: Subject, taken: Taken) -> Twin:
    medians = {} if taken.error else stats.medians_by_replicate(taken.latencies_ns, taken.replicates)
    return Twin(
        artifact_sha256=subject.artifact.sha256,
        backend=subject.cell.backend,
        device=subject.cell.device,
        batch=subject.batch,
        boundary=subject.boundary,
        medians_ns={str(replicate): median for replicate, median in medians.items()},
        runs=len(taken.latencies_ns),
        error=taken.error,
    )


def checks(run: Sequence[Measurement]) -> Iterator[Check]:
    """Of a run that was taken with a twin; nothing of one without."""
    for told in run[0].facts.get("twins", ()) if run else ():
        twin = part_from_json(Twin, told)
        place = twin.device, twin.batch, twin.boundary
        beside = [r for r in run if (r.device, r.batch, r.boundary) == place and r.latencies_ns and not r.error]
        medians = [stats.medians_by_replicate(r.latencies_ns, r.replicates) for r in beside]
        same = [
            m
            for r, m in zip(beside, medians, strict=True)
            if (r.artifact_sha256, r.backend) == (twin.artifact_sha256, twin.backend)
        ]
        own = {int(replicate): median for replicate, median in twin.medians_ns.items()}
        ratio = stats.speed_ratio(same[0], own) if same and own else None
        yield Check(
            backend=twin.backend,
            batch=twin.batch,
            boundary=twin.boundary,
            device=twin.device,
            ratio=ratio,
            word=stats.word(ratio, stats.delta(medians)) if ratio else "",
            error=twin.error,
        )
