"""Verdicts as a bundle keeps them: the latest of each cell, and which cells have none yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from export.bundle.kinds import Kind, Records, need
from export.bundle.types import ProbeResult, Verification
from serve_bench.cells import Cell

Verdict = Literal["same", "not the same", "not checked"]
RULES = 8
"""Raised when the same artifact may now get another verdict: what was judged by older rules is judged again."""


def _check(record: Verification) -> None:
    """Raises ValueError where the settings do not say what was asked in a way that can be read."""
    need(isinstance(record.settings.get("asked", {}), dict), "an object of what was asked")


VERDICTS = Kind("verification", Verification, _check)


def latest(
    bundle: Records, cells: Sequence[Cell], environment_id: str, threads: int | None = None
) -> list[Verification]:
    """The last verdict of each cell in this environment, in the order of the cells; none where there is none."""
    known: dict[tuple[str, str, str], Verification] = {}
    for record in VERDICTS.read(bundle):
        asked = record.settings.get("asked", {})
        if record.environment == environment_id and threads in (None, asked.get("threads")):
            known[record.artifact_sha256, record.backend, record.device] = record
    keys = [(c.artifact.sha256, c.backend, c.device) for c in cells]
    return [known[key] for key in keys if key in known]


def pending(bundle: Records, cells: Sequence[Cell], environment_id: str, threads: int) -> list[Cell]:
    """The cells without a verdict on this very file, backend, device, environment, threads and rules.

    A failed verdict stands and is not asked for again; a backend that broke is tried again.
    """
    done = {
        (v.artifact_sha256, v.backend, v.device)
        for v in latest(bundle, cells, environment_id, threads)
        if v.settings.get("asked", {}).get("rules") == RULES and not v.settings.get("broke")
    }
    return [c for c in cells if (c.artifact.sha256, c.backend, c.device) not in done]


def worst_probe(probes: Sequence[ProbeResult]) -> ProbeResult | None:
    """The probe and output with the largest error in terms of its band; one that failed before any that passed."""
    return max(probes, key=lambda p: (not p.passed, p.error / p.band if p.band else p.error), default=None)


def verdict_of(verification: Verification | None) -> Verdict:
    """The one wording; a backend that broke was not checked."""
    if verification is None or verification.settings.get("broke"):
        return "not checked"
    return "same" if verification.passed else "not the same"
