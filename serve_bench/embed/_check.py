"""Does app.onnx give the golden answers on every runtime at hand?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from export.app import LABEL, PROBABILITIES
from export.bundle.errors import BackendFailed, BackendUnavailable, VerdictFailed
from export.progress import Progress
from export.registry import entries, entry
from serve_bench.embed._base import Golden, Kit
from serve_bench.embed.runtimes._base import PACKAGE, Answers, Runtime


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far one output is from float64's."""

    output: str
    error: float
    """The largest distance over all golden samples and both ways of asking; NaN where an answer is not finite."""
    tolerance: float

    @property
    def inside(self) -> bool:
        return self.error <= self.tolerance


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One runtime."""

    runtime: str
    passed: bool | None
    """None where it could not be tried here."""
    reason: str = ""
    """Why it is wrong or could not be tried; empty where it passed."""
    version: str = ""
    samples: int = 0
    distances: tuple[Distance, ...] = ()
    labels_right: int | None = None
    """Samples whose label is float64's; None where the model does not classify."""
    first_answer_s: float | None = None
    """As in Answers, of one sample alone."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was seen of one bundle."""

    model: str
    app_sha256: str
    rows: tuple[Checked, ...]
    asked: tuple[str, ...] = field(default=())
    """Runtimes that the user named; all at hand where empty."""

    def raise_for_failures(self) -> None:
        """Raises VerdictFailed where a runtime is wrong, BackendUnavailable where none, or not all named, was tried."""
        if wrong := [row for row in self.rows if row.passed is False]:
            raise VerdictFailed(f"app.onnx of {self.model}: {wrong[0].runtime}: {wrong[0].reason}")
        absent = [row for row in self.rows if row.passed is None]
        if absent and (self.asked or len(absent) == len(self.rows)):
            raise BackendUnavailable(f"{absent[0].runtime}: {absent[0].reason}")


def runtimes() -> dict[str, Runtime]:
    return cast("dict[str, Runtime]", entries(PACKAGE))


def check(kit: Kit, names: Sequence[str], progress: Progress) -> Check:
    """Tries the runtimes `names` (all where empty) on the golden pairs, all at once and one by one.

    What is named is fetched where it can be. Raises UnknownName.
    """
    chosen = [cast(Runtime, entry(PACKAGE, "runtime", name)) for name in dict.fromkeys(names)]
    candidates = chosen or list(runtimes().values())
    rows: list[Checked] = []
    with progress.stage(f"app.onnx of {kit.manifest.title}") as bar:
        for runtime in candidates:
            bar.advance(len(rows), len(candidates), note=runtime.name)
            rows.append(tried(runtime, kit, fetch=bool(chosen)))
            tell(rows[-1], progress)
        right = sum(row.passed is True for row in rows)
        absent = sum(row.passed is None for row in rows)
        said = f"right on {right} of {len(rows) - absent} runtimes" + (f", {absent} not here" if absent else "")
        bar.advance(len(rows), len(candidates), note=said)
    return Check(model=kit.manifest.title, app_sha256=kit.app.sha256, rows=tuple(rows), asked=tuple(names))


def tell(row: Checked, progress: Progress) -> None:
    """One runtime's line of progress."""
    if row.passed is None:
        progress.done(row.runtime, row.reason)
    else:
        progress.finished(row.runtime, row.reason or f"{row.version} is right", well=row.passed)


def tried(runtime: Runtime, kit: Kit, *, fetch: bool = False) -> Checked:
    """One runtime on the golden pairs: judged, or the reason why it could not be."""
    try:
        fetched: Any = getattr(runtime, "fetch", None)
        if fetch and fetched is not None:
            fetched()
        if reason := runtime.missing():
            return Checked(runtime=runtime.name, passed=None, reason=reason)
        answers = {word: runtime.run(kit, size) for word, size in ways(kit.golden).items()}
    except BackendUnavailable as error:
        return Checked(runtime=runtime.name, passed=None, reason=str(error))
    except BackendFailed as error:
        return Checked(runtime=runtime.name, passed=False, reason=str(error).removeprefix(f"{runtime.name}: "))
    return judged(runtime.name, kit.golden, answers)


def ways(golden: Golden) -> dict[str, int]:
    """How the samples are asked → the batch."""
    return {"one by one": 1, "all at once": golden.samples}


def judged(name: str, golden: Golden, answers: Mapping[str, Answers]) -> Checked:
    """The verdict on what a runtime answered, by the way in which it was asked."""
    distances, reasons, right = [], [], []
    for output, wanted in golden.outputs.items():
        found = {way: _distance(wanted, a.outputs[output]) for way, a in answers.items()}
        worst = max(found, key=lambda way: (np.isnan(found[way]), found[way]))
        row = Distance(output=output, error=found[worst], tolerance=golden.tolerance[output])
        distances.append(row)
        if not row.inside:
            reasons.append(f"{output} is {row.error:.2g} off {worst}, allowed are {row.tolerance:.2g}")
    if golden.labels is not None:
        close = close_calls(golden)
        for way, a in answers.items():
            given = np.asarray(a.outputs[LABEL])
            same = given == golden.labels if given.shape == golden.labels.shape else np.zeros(golden.samples, bool)
            right.append(int(same.sum()))
            if (wrong := np.flatnonzero(~same & ~close)).size:
                reasons.append(f"label of sample {wrong[0]} is wrong {way}")
    first = next(iter(answers.values()))
    return Checked(
        runtime=name,
        passed=not reasons,
        reason="; ".join(reasons),
        version=first.version,
        samples=golden.samples,
        distances=tuple(distances),
        labels_right=min(right) if right else None,
        first_answer_s=first.first_answer_s,
    )


def close_calls(golden: Golden) -> Any:
    """(N,) bool: samples whose two largest probabilities lie within twice the tolerance: either may be answered."""
    scores = np.sort(golden.outputs[PROBABILITIES], axis=1)
    return scores[:, -1] - scores[:, -2] < 2 * golden.tolerance[PROBABILITIES]


def _distance(wanted: Any, found: Any) -> float:
    """max|found − wanted|; infinite where the shapes differ."""
    if np.shape(found) != wanted.shape:
        return float("inf")
    return float(np.abs(np.asarray(found, np.float64) - wanted).max())
