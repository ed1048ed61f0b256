"""A model card as GitHub-flavoured markdown (Mitchell et al. 2019, arXiv:1810.03993, as far as a bundle knows)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from export.bundle.types import TensorSpec
from serve_bench.cards._facts import Card, Figure, subject_text
from serve_bench.reports import _format as show
from serve_bench.reports import _tables as tables
from serve_bench.reports.markdown import cell, table

NONE = tables.NONE


def _end(spec: TensorSpec) -> tuple[str, str, str, str]:
    span = NONE if spec.low is None or spec.high is None else f"{spec.low:.4g} to {spec.high:.4g}"
    return spec.name, spec.dtype, " × ".join(map(str, spec.shape)), span


def _value(metric: str, value: float) -> str:
    return show.percent(value, 2) if metric.endswith("accuracy") else f"{value:.4g}"


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return NONE
    return f"{_value(figure.metric, figure.low)} to {_value(figure.metric, figure.high)}"


def _facts(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield from (f"- **{cell(name)}**: {cell(text)}" for name, text in pairs if text)
    yield ""


def _model(card: Card) -> Iterator[str]:
    manifest = card.manifest
    yield from ("## Model", "")
    ready = "none: the model takes the data as they are stored"
    if not manifest.preprocess.identity:
        p = manifest.preprocess
        ready = f"(x × {p.scale:.6g} − {p.mean:g}) / {p.std:g}, in float32"
    labels = ", ".join(manifest.labels[:20]) + (", …" if len(manifest.labels) > 20 else "")
    yield from _facts(
        [
            ("Task", manifest.task),
            ("Architecture", card.family),
            ("Parameters", f"{card.parameters:,}" if card.parameters is not None else ""),
            ("Labels", labels),
            ("Preprocessing", ready),
            ("Made", manifest.created),
            ("Payload", card.digest),
        ]
    )
    own = (manifest.inputs, manifest.outputs)
    others = [a for a in manifest.artifacts if a.format != "weights" and (a.inputs, a.outputs) != own]
    forms = [("the model", *own), *((a.path, a.inputs, a.outputs) for a in others)]
    rows = [
        (form, kind, *_end(spec))
        for form, inputs, outputs in forms
        for kind, specs in (("input", inputs), ("output", outputs))
        for spec in specs
    ]
    yield from table(("form", "end", "name", "type", "shape", "range"), rows, 6)


def _training(card: Card) -> Iterator[str]:
    manifest = card.manifest
    data, recipe, published = manifest.dataset, manifest.training.recipe, manifest.published
    yield from ("## Data and training", "")
    counts = f"{data.train:,} training, {data.validation:,} validation, {data.test:,} test samples"
    pairs = [("Data", f"{data.name}: {counts}"), ("Licence of the data", card.licence)]
    pairs += [("Digest of the data", data.digest), ("About the data", data.note)]
    if recipe:
        steps = f"{recipe.epochs} epochs, batch {recipe.batch_size}, {recipe.optimizer}, {recipe.loss}"
        pairs += [("Recipe", f"{recipe.name}: {steps}, {recipe.schedule}, seed {manifest.training.seed}")]
        pairs += [("Augmentation", recipe.augmentation), ("About the recipe", recipe.notes)]
    if published:
        figure = _value(published.metric, published.figure)
        pairs.append(("Published", f"{tables.metric_heading(published.metric)} {figure}, by {published.source}"))
    yield from _facts(pairs)


def _figures(card: Card) -> Iterator[str]:
    yield from ("## Figures", "")
    rows = [
        (f.subject or "the trained model", tables.metric_heading(f.metric), _value(f.metric, f.value), _interval(f))
        for f in card.figures
    ]
    if rows:
        yield from table(("of", "metric", "value", "95 % interval"), rows, 2)
        yield from (
            "Intervals are over test samples: of a share exact (Clopper and Pearson), of a mean square by Student's t.",
            "",
        )
    yield from (f"- {cell(text)}" for text in card.tradeoffs)
    yield from ("",) if card.tradeoffs else ()


def _verified(card: Card) -> Iterator[str]:
    yield from ("## Is every form the same model?", "", cell(card.summary.verdict), "")
    rows = [
        (
            subject_text(s),
            tables.precision_text(s.precision_found, s.precision_asked),
            tables.error_text(s.error, s.band),
            s.verdict,
        )
        for s in card.summary.subjects
    ]
    if rows:
        yield from table(("form and backend", "computes in", tables.ERROR_HEADING, "verdict"), rows, 4)
        yield from (tables.ERROR_LEGEND, "")


class Markdown:
    name = "markdown"

    def render(self, card: Card) -> str:
        manifest = card.manifest
        lines = [f"# {cell(manifest.title)}", ""]
        lines += [cell(manifest.description), ""] if manifest.description else []
        lines += [*_model(card), *_training(card), *_figures(card), *_verified(card)]
        lines += ["## Limits", "", *(f"- {cell(text)}" for text in card.limits), ""]
        lines += ["## Files", ""]
        rows = [(f.path, f.artifact.name if f.artifact else NONE, f.sha256, show.size(f.bytes)) for f in card.files]
        lines += [*table(("file in payload/", "form", "sha256", "size"), rows, 3)]
        lines += ["## Where it was made", "", *_facts(list(tables.environment_facts(manifest.environment, "")))]
        if card.summary.subjects and card.summary.environment_id != manifest.environment.id:
            verified = tables.environment_facts(card.summary.environment, card.summary.environment_id)
            lines += ["## Where it was verified", "", *_facts(list(verified))]
        return "\n".join(lines)


ENTRIES = (Markdown(),)
