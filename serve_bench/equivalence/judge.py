"""Answers against the stored truth: errors, bands, decisions and the sentence that says why not. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from export.bundle.errors import VerdictFailed
from export.bundle.types import Disagreement, ProbeResult
from serve_bench.equivalence import bands, decisions
from serve_bench.equivalence.probes import SPECIAL
from serve_bench.equivalence.truth import Truth

Array = npt.NDArray[np.generic]
DROP = ("drop", "drop_low", "drop_high")
LARGEST = float(np.finfo(np.float64).max)
"""Stands for an infinite error: JSON has no infinity."""


def probe_results(
    truth: Truth,
    probe: str,
    source: str,
    answers: Mapping[str, Array],
    precision: str,
    rows: Sequence[int] | None = None,
) -> list[ProbeResult]:
    """One result an output, of the samples `rows` of the class `source`; without them of its first ones.

    Scale and reference are those of the whole class. Raises VerdictFailed where outputs are missing or misshapen.
    """
    missing = [name for name in truth.output_names if name not in answers]
    if missing:
        raise VerdictFailed(
            f"output {missing[0]!r} is missing; it gives {', '.join(sorted(answers)) or 'none'}: export it again"
        )
    results = []
    for name, y64 in truth.outputs(source).items():
        axis = truth.output_axis(name)
        count = answers[name].shape[axis] if answers[name].ndim > axis else 0
        y64 = y64.take(range(min(count, y64.shape[axis])) if rows is None else list(rows), axis=axis)
        try:
            found = bands.error(answers[name], y64, truth.scale(source, name))
        except VerdictFailed as error:
            raise VerdictFailed(f"probe {probe!r}, output {name!r}: {error}") from error
        reference = truth.reference(source, precision, name)
        results.append(result(probe, name, count, found, precision, reference))
    return results


def result(
    probe: str, output: str, samples: int, found: bands.Error, precision: str, reference: float | None
) -> ProbeResult:
    """What an error says in the band of `precision`, whose reference is eager's own error."""
    band = bands.band(precision, reference)
    return ProbeResult(
        probe=probe,
        output=output,
        samples=samples,
        error=min(found.value, LARGEST),
        reference=reference or 0.0,
        band=band,
        ratio=min(found.value / bands.floored(precision, reference), LARGEST),
        worst_index=found.index,
        worst_value=found.answer if np.isfinite(found.answer) else None,
        worst_truth=found.truth,
        passed=bool(found.finite and found.value <= band),
    )


def why_numbers(truth: Truth, task: str, precision: str, answered: Mapping[str, Mapping[str, Array]]) -> str:
    """Why the answers to every probe speak against a form, its decisions on the test set included; empty if not."""
    results: list[ProbeResult] = []
    decided_otherwise = ""
    for probe, answers in answered.items():
        results += probe_results(truth, probe, probe, answers, precision)
        output = decided(truth, task, answers) if probe == "test" else None
        if output is not None:
            decided_otherwise = why_decisions(disagreements(truth, output, answers, results))
    return why_probes(results) or decided_otherwise


def decided(truth: Truth, task: str, answers: Mapping[str, Array]) -> str | None:
    """The output that chooses between classes: the first one that can; None where there is none."""
    for name, y64 in truth.outputs("test").items():
        if decisions.decides(task, y64):
            return name if name in answers else None
    return None


def disagreements(
    truth: Truth, output: str, answers: Mapping[str, Array], results: Sequence[ProbeResult]
) -> tuple[Disagreement, ...]:
    band = next(r.band for r in results if r.probe == "test" and r.output == output)
    scale = truth.scale("test", output)
    return decisions.disagreements(answers[output], truth.outputs("test")[output], truth.labels, scale, band)


def metric(truth: Truth, task: str, output: str | None, answers: Mapping[str, Array]) -> dict[str, float]:
    """The task's metrics on the test set: "test_accuracy", "test_calibration_error"; "test_mse" of the first output.

    Empty without targets.
    """
    if task == "regression" and truth.targets is not None:
        values = np.asarray(answers[truth.output_names[0]], np.float64)
        if values.shape != truth.targets.shape:
            return {}
        return {"test_mse": float(np.square(values - truth.targets).mean())}
    if task != "classification" or output is None or truth.labels is None:
        return {}
    return {
        "test_accuracy": decisions.accuracy(answers[output], truth.labels),
        "test_calibration_error": decisions.calibration_error(answers[output], truth.labels),
    }


def change(truth: Truth, task: str, output: str | None, answers: Mapping[str, Array]) -> dict[str, float]:
    """What a backend changes of the task's metric on the test set, beside float64; empty without labels or targets.

    "drop" is the fall of accuracy or R² as a fraction, "drop_low" and "drop_high" its 95 % interval; of a classifier
    also "lost", "gained" and "p_value" of the samples that only one of float64 and the backend answers rightly, and how
    many of all "samples" get an "other" answer than float64's.
    """
    if task == "regression" and truth.targets is not None:
        name = truth.output_names[0]
        found = decisions.squares_change(
            truth.outputs("test")[name], np.asarray(answers[name], np.float64), truth.targets
        )
        return {} if found is None else dict(zip(DROP, found, strict=True))
    if output is None or truth.labels is None:
        return {}
    lost, gained, p_value = decisions.discordant(answers[output], truth.outputs("test")[output], truth.labels)
    fallen = decisions.share_change(lost, gained, len(truth.labels))
    other = int((answers[output].argmax(axis=1) != truth.outputs("test")[output].argmax(axis=1)).sum())
    counts = {"lost": lost, "gained": gained, "p_value": p_value, "other": other, "samples": len(truth.labels)}
    return counts | dict(zip(DROP, fallen, strict=True))


def points_text(change: Mapping[str, float]) -> str:
    """ "-0.12 points [-0.20, -0.04]": by how much a metric rises, from what `change` gives."""
    middle, low, high = (0.0 - 100 * change[key] for key in ("drop", "drop_high", "drop_low"))
    return f"{middle:+.2f} points [{low:+.2f}, {high:+.2f}]"


def non_finite(truth: Truth, answers: Mapping[str, Array]) -> dict[str, str]:
    """How a backend takes NaN and infinity, in words, beside eager; nothing of it is a verdict."""
    _, finite = truth.special
    found: dict[str, str] = {}
    for i, (name, _, _) in enumerate(SPECIAL):
        lost = made = 0
        for output, eager in finite.items():
            axis = truth.output_axis(output)
            there, here = eager.take(i, axis=axis), np.isfinite(answers[output].take(i, axis=axis))
            lost, made = lost + int((here & ~there).sum()), made + int((there & ~here).sum())
        words = []
        if lost:
            words.append(f"{lost} outputs are finite where eager's are not")
        if made:
            words.append(f"{made} outputs are not finite where eager's are")
        found[name] = "; ".join(words) or "as eager"
    return found


def why_less(backend: str, asked: str, found: str, evidence: str) -> str:
    """The sentence on a backend that computes in less than it claims; empty where it does not."""
    if not bands.computes_in_less(asked, found):
        return ""
    return f"{backend} claims {asked} but computes in {found} ({evidence}): set it to {asked}"


def why_probes(results: Sequence[ProbeResult]) -> str:
    """Probe, output, index and both values of the worst result outside its band; empty where all are inside."""
    failed = [r for r in results if not r.passed]
    if not failed:
        return ""
    worst = max(failed, key=lambda r: r.ratio)
    where = f"probe {worst.probe!r}, output {worst.output!r}, index {worst.worst_index}"
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    if worst.worst_value is None:
        return f"{where}: NaN or Inf where float64 has {worst.worst_truth:.9g}, on finite input{more}"
    size = "is infinitely wrong" if worst.error >= LARGEST else f"has error {worst.error:.3g}"
    return (
        f"{where}: {worst.worst_value:.9g} where float64 has {worst.worst_truth:.9g}; "
        f"it {size}, outside its band {worst.band:.3g}{more}"
    )


def why_decisions(found: Sequence[Disagreement]) -> str:
    """The first decision that the error bound does not explain; empty where all are explained."""
    unexplained = [d for d in found if not d.explained]
    if not unexplained:
        return ""
    first = unexplained[0]
    more = f" (and {len(unexplained) - 1} more)" if len(unexplained) > 1 else ""
    return (
        f"test sample {first.sample} is answered {first.answer} where float64 answers {first.truth} "
        f"with a margin of {first.margin:.3g}, and no error inside the band explains it{more}"
    )
