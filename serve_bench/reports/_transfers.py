"""What copying in and out takes on a GPU: the whole of a run less the same run with its inputs there already."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from export.bundle.types import Artifact, Measurement
from serve_bench.cells import label
from serve_bench.latency import stats
from serve_bench.reports import _format as show

TITLE = "Transfers"
HEADINGS = ("backend", "batch", "copying in and out", "of the whole run")
LEGEND = (
    "What a run takes from host memory to host memory less what it takes with its inputs on the GPU already, within "
    "each replicate: the middle of those differences (Hodges and Lehmann) with its 95 % interval. Copies that overlap "
    "computing are no part of it. It is of the run above."
)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Copying of one form at one batch size."""

    label: str
    """As a subject has it."""
    artifact: str
    """Its name in the bundle."""
    backend: str
    """Name of the backend, without precision and device."""
    device: str
    """ "cuda"."""
    batch: int
    """Samples in one run."""
    copying_ns: float
    """Boundary host less boundary device; below 0 where it cannot be told from none."""
    low_ns: float
    """Lower end of its 95 % interval."""
    high_ns: float
    """Upper end."""
    share: float
    """Of the median run from host memory to host memory."""


def of_run(run: Sequence[Measurement], artifacts: Mapping[str, Artifact]) -> Iterator[Transfer]:
    """Of every form and batch that was timed at both boundaries in two replicates or more."""
    found: dict[tuple[str, str, str, int], dict[str, Measurement]] = {}
    for record in run:
        if record.latencies_ns and not record.error:
            key = record.artifact_sha256, record.backend, record.device, record.batch
            found.setdefault(key, {})[record.boundary] = record
    for (sha, backend, device, batch), by in found.items():
        if not {"host", "device"} <= by.keys():
            continue
        host, inside = (stats.medians_by_replicate(by[b].latencies_ns, by[b].replicates) for b in ("host", "device"))
        differences = [host[r] - inside[r] for r in sorted(host.keys() & inside.keys())]
        if len(differences) < 2:
            continue
        value, low, high = stats.centre(differences)
        yield Transfer(
            label=label(artifacts.get(sha), backend, device),
            artifact=by["host"].artifact,
            backend=backend,
            device=device,
            batch=batch,
            copying_ns=value,
            low_ns=low,
            high_ns=high,
            share=value / statistics.median(host.values()),
        )


def cells(found: Transfer) -> tuple[str, ...]:
    """One row under `HEADINGS`."""
    unit, size = show.unit_of(max(abs(found.copying_ns), abs(found.low_ns), abs(found.high_ns)))
    value, low, high = (_signed(ns / size) for ns in (found.copying_ns, found.low_ns, found.high_ns))
    return found.label, f"{found.batch:,}", f"{value} {unit} [{low}, {high}]", show.percent(found.share)


def _signed(value: float) -> str:
    return f"−{show.significant(-value)}" if value < 0 else show.significant(value)
