"""What stands around the figures, in words: the model, and how it was measured."""

from __future__ import annotations

import math
import mmap
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from export.bundle.types import DatasetFacts, Measurement, Recipe
from serve_bench.latency import drift, stats, twin
from serve_bench.latency.enough import FIRST_SHARE, USUAL_PACE
from serve_bench.latency.gpu_state import held_text
from serve_bench.latency.records import taken
from serve_bench.latency.run_conditions import MACHINE
from serve_bench.latency.schedule import cost_ns, most_runs, runs_within
from serve_bench.reports import _format as show

if TYPE_CHECKING:
    from export.bundle.store import Bundle

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
TAILS = "Tails"
AA = "A/A check"
MUCH_MEMORY = 1 << 20
"""Bytes that a run takes from the system anew, above which that is told."""
METRICS = {
    "test_accuracy": "Test accuracy",
    "test_mse": "Mean squared error",
    "train_loss": "Training loss of the last epoch",
}
"""Of a training, those that a report names; the last only where a document gives its figure as that."""
FIRST = ("Data", *METRICS.values())
"""Names of the facts that stand above the tables."""


def _data(data: DatasetFacts, recipe: Recipe | None) -> str:
    note = f" — {data.note}" if data.note else ""
    if data.name == "user":
        return f"{data.test:,} sample{'s' if data.test != 1 else ''} given by the user{note}"
    both = ", trained on both" if recipe and not recipe.held_out and data.validation else ""
    return f"{data.name}: {data.train:,} training, {data.validation:,} validation{both}, {data.test:,} test{note}"


def _metric(name: str, value: float) -> str:
    return show.percent(value, 2) if name.endswith("accuracy") else f"{value:.4g}"


def model_facts(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """Data, training and accuracy as the manifest has them."""
    manifest = bundle.manifest
    training = manifest.training
    yield "Data", _data(manifest.dataset, training.recipe)
    for metric, name in METRICS.items():
        published = manifest.published if manifest.published and manifest.published.metric == metric else None
        if metric in training.metrics and (metric != "train_loss" or published):
            text = _metric(metric, training.metrics[metric])
            if published:
                text += f"; published: {_metric(metric, published.figure)}, by {published.source}"
            if metric == "train_loss" and training.recipe:
                text += f" ({training.recipe.loss.replace('_', ' ')} over the training samples)"
            yield name, text
    if training.recipe:
        recipe = training.recipe
        length = f"{recipe.epochs} epoch{'s' if recipe.epochs != 1 else ''}"
        yield "Recipe", f"{recipe.name}: {length}, batch {recipe.batch_size}, {recipe.optimizer}"
        facts = training.facts
        compiled = ""
        if facts.get("compiled"):
            compiled = f", torch.compile {show.seconds(float(facts.get('compile_seconds') or 0.0))} of it apart"
        device = f" on {facts['device']}" if "device" in facts else ""
        yield "Training", f"{show.seconds(training.seconds)}{device}, seed {training.seed}{compiled}"
    sizes = ", ".join(f"{a.name} {show.size(a.bytes)}" for a in manifest.artifacts)
    yield "Files", sizes
    yield "Payload", bundle.digest[:16]


def measuring_facts(run: Sequence[Measurement], *, given: bool) -> Iterator[tuple[str, str]]:
    """How the latencies of a run were taken, on test samples or those `given` by the user; nothing without a run."""
    if not run:
        return
    first, facts = run[0], run[0].facts
    yield "Run", f"{first.run}, {first.started}"
    yield "Design", f"{taken(first)} replicates, up to {facts['rounds']} interleaved rounds each, seed {facts['seed']}"
    yield "Ended by", _ended(facts)
    over = facts.get("over_budget_s", 0)
    exceeded = f", {over:.1f} s over it for the least number of runs" if over else ""
    counted = facts.get("set_up_counted_s", 0.0)
    set_up = f", and {counted:.1f} s of set-up that counts" if counted else ""
    yield "Budget", f"{facts['budget_s']:g} s asked, {facts['spent_s']:.1f} s of runs spent{set_up}{exceeded}"
    if short := tails(run):
        yield TAILS, short
    if said := aa_text(run):
        yield AA, said
    yield "Threads", f"{first.threads} for each backend"
    if facts.get("cores") and any(r.device == "cpu" for r in run):
        yield "Cores", show.cores(facts["cores"])
    yield "Processes", _processes({r.device for r in run}, isolate=facts["isolate"])
    cycled = sorted({r.batch for r in run if r.facts.get("samples_cycled")})
    repeated = f"; repeated to fill batch {', '.join(map(str, cycled))}" if cycled else ""
    yield "Inputs", f"{facts['samples']:,} {'given' if given else 'real test'} samples{repeated}"
    names = {"host": "copy in, compute, copy out", "device": "compute", "compute": "between two device events"}
    yield "Boundary", "; ".join(f"{b}: {names[b]}" for b in dict.fromkeys(r.boundary for r in run))
    unsettled = sum(int(r.facts.get("unsettled_replicates", 0)) for r in run)
    total = sum(taken(r) for r in run if not r.error)
    yield "Warm-up", f"until the running median settled; {unsettled} of {total} ended at their time limit"
    if facts.get("calibration"):
        yield "Calibration", _calibrated(facts["calibration"])
    anew = ", ".join(_anew(run))
    if anew:
        yield "Memory", f"taken from the system anew in every run, which is part of its time: {anew}"
    if "gpu_rounds" in facts:
        yield "GPU clocks", _clocks(facts["gpu_rounds"])
    void = facts.get("void_replicates", 0)
    if void:
        yield "Void replicates", f"{void}: a process died, its replicate was taken again without the culprit"


def _processes(devices: Collection[str], *, isolate: bool) -> str:
    """Which sessions share one, and where it comes from."""
    if isolate:
        return "made anew for every replicate, a new interpreter for each session"
    forked = "forked from one that has imported its libraries"
    if devices == {"cpu"}:
        return f"made anew for every replicate, one for each session, {forked}"
    shared = "one for each session on the CPU and each family of backends on a GPU"
    return f"made anew for every replicate, {shared}, {forked}"


def _anew(run: Sequence[Measurement]) -> Iterator[str]:
    """ "eager 45.1 MB at batch 512 (11,000 page faults)" of every row that takes MUCH_MEMORY or more in a run."""
    for record in run:
        faults = float(record.facts.get("page_faults", 0.0))
        if faults * mmap.PAGESIZE >= MUCH_MEMORY:
            name = " ".join([record.backend, *record.artifact.split()[1:]])
            taken_anew = show.size(round(faults * mmap.PAGESIZE))
            yield f"{name} {taken_anew} at batch {record.batch} ({faults:,.0f} page faults)"


def _calibrated(rounds: Sequence[Sequence[int]]) -> str:
    """ "a fixed loop took 61.2 µs [60.9, 70.1], a copy of 8 MiB 1.2 ms [1.1, 1.4] over 40 rounds"."""
    replicates = [taken[0] for taken in rounds]
    loop, copy = MACHINE.values()
    parts = [_moved(f"{loop} took", [taken[2] for taken in rounds], replicates)]
    if all(len(taken) > 3 for taken in rounds):
        parts.append(_moved(copy, [taken[3] for taken in rounds], replicates))
    return f"{', '.join(parts)} over {len(rounds)} rounds"


def _moved(what: str, values: Sequence[int], replicates: Sequence[int]) -> str:
    span = show.bounded(stats.Quantile(stats.quantile(values, 0.5), min(values), max(values)))
    trend = drift.drift([stats.medians_by_replicate(values, replicates)])
    if trend is None or trend.p_value >= drift.LIKELY:
        return f"{what} {span}"
    return f"{what} {span} ({show.percent(abs(trend.share))} {'longer' if trend.share > 0 else 'shorter'} at the end)"


def _clocks(rounds: Sequence[Mapping[str, Any]]) -> str:
    """ "SM 1,410 to 1,980 MHz over 40 rounds; held down: software power cap in 3 of 40 rounds"."""
    clocks = [gpu["sm_mhz"] for taken in rounds for gpu in taken["gpus"] if gpu["sm_mhz"]]
    span = f"SM {min(clocks):,} to {max(clocks):,} MHz" if clocks else "not told"
    held = held_text(rounds)
    return f"{span} over {len(rounds)} rounds" + (f"; held down: {held}" if held else "")


def tails(run: Sequence[Measurement]) -> str:
    """Which quantiles the runs of which batches are too few for, and what it would take: `bench` of that batch alone.

    Its budget is what the runs that are wanting take at the medians of this run, with the untimed ones of each visit;
    where a precision was asked for, the first replicates, which are sure to be taken, have but a part of it.
    """
    rows = [r for r in run if r.latencies_ns and not r.error]
    said = []
    for name, p in QUANTILES.items():
        wanted = stats.least_samples(p)
        short = sorted({r.batch for r in rows if len(r.latencies_ns) < wanted})
        if not short:
            continue
        texts = []
        for batch in short:
            same = [r for r in rows if r.batch == batch]
            fewest = min(len(r.latencies_ns) for r in same)
            texts.append(f"{fewest} at batch {batch} (--batch {batch} --budget {_budget_s(same, wanted):g})")
        said.append(f"{name} asks for {wanted} runs of each form, and one has only {', '.join(texts)}")
    return "; ".join(said)


def aa_text(run: Sequence[Measurement]) -> str:
    """ "eager, timed twice under two names, against itself: 1.00× [0.99, 1.01] at batch 1 (indistinguishable)"; empty
    without a twin."""
    found: dict[str, list[str]] = {}
    for check in twin.checks(run):
        found.setdefault(check.backend, []).append(_against_itself(check))
    return "; ".join(
        f"{name}, timed twice under two names, against itself: {', '.join(s)}" for name, s in found.items()
    )


def _against_itself(check: twin.Check) -> str:
    where = f"at {show.place(check.batch, check.boundary)}"
    if check.ratio is None:
        return f"not known {where} ({check.error})"
    return f"{show.ratio(check.ratio)} {where} ({check.word})"


def _budget_s(rows: Sequence[Measurement], wanted: int) -> float:
    """Seconds, to two digits, in which each of `rows` comes to `wanted` runs where nothing else is measured: time is
    shared out equally, so that the others take as long as the slowest, or what their most runs take."""
    facts = rows[0].facts
    replicates = int(facts["replicates"])
    each, most = math.ceil(wanted / replicates), most_runs(replicates)
    medians = [statistics.median(r.latencies_ns) for r in rows]
    level = max(cost_ns(median, each) for median in medians)
    runs = [min(max(runs_within(median, level), each), most) for median in medians]
    needed_s = USUAL_PACE * replicates * sum(map(cost_ns, medians, runs)) / 1e9
    whole = needed_s / (FIRST_SHARE if facts.get("precision_of_ratio") else 1.0)
    return float(f"{1.05 * whole:.1e}") or 0.1


def _ended(facts: Mapping[str, Any]) -> str:
    asked = show.percent(facts.get("precision_of_ratio", 0.0))
    if "widest_ratio" not in facts:
        alone = "; nothing here has a ratio to eager to be made narrow" if facts.get("precision_of_ratio") else ""
        return f"the {facts['replicates']} replicates asked for{alone}"
    widest = f"the widest ±{show.percent(facts['widest_ratio'])}, {facts['widest_cell']}"
    if facts["ended_by"] == "precision":
        return f"precision: every ratio's interval is within ±{asked} ({widest})"
    wider = f"{facts['wider_ratios']} of {facts['ratios']} ratios' intervals are wider than ±{asked}"
    if facts["ended_by"] == "most":
        return f"{facts['replicates_taken']} replicates, the most of one run: {wider} ({widest})"
    return f"the budget, in which no further replicate fits with its set-up: {wider} ({widest})"
