"""From weights to a published bundle: every stage keyed by its inputs, so that what has not changed is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from export.bundle.environment import environment, versions
from export.bundle.errors import ExportError, PipelineError
from export.bundle.files import digest_of
from export.bundle.store import SCHEMA, Bundle, Manifest, StageRecord, Training
from export.bundle.types import Artifact, DatasetFacts, TrainedModel, from_json, to_json
from export.bundle.workspace import Workspace
from export.formats._base import ExportOptions, Format, Source
from export.progress import Progress
from export.registry import entries, entry
from export.run import NotBuilt, applies, key_of, not_built, order, path_of, write_one
from pipeline.options import Options
from pipeline.origins import Origin, model_inputs, weights_facts
from pipeline.told import told

_EXAMPLE_SAMPLES = 8
CALIBRATION_SAMPLES = 512


def _on_request(kind: Format) -> bool:
    return bool(getattr(kind, "on_request", False))


def _by_name(kind: Format) -> bool:
    return bool(getattr(kind, "by_name", False))


def _after_truth(name: str) -> bool:
    return bool(getattr(entry("export.formats", "format", name), "after_truth", False))


@dataclass(frozen=True, kw_only=True)
class Built:
    bundle: Bundle
    not_built: tuple[NotBuilt, ...]


class _Build:
    """One run over the stages of one bundle."""

    def __init__(
        self, place: Workspace, origin: Origin, options: Options, progress: Progress, on_change: Callable[[], None]
    ) -> None:
        self.place, self.origin, self.options, self.progress = place, origin, options, progress
        self.on_change = on_change
        self.stages: dict[str, StageRecord] = {}
        self.not_built: list[NotBuilt] = []
        self._trained: TrainedModel | None = None

    @property
    def trained(self) -> TrainedModel:
        if self._trained is None:
            weights = self.place.find("weights.safetensors")
            self._trained = self.origin.restore(weights, self.stages["weights"])
        return self._trained

    @property
    def artifacts(self) -> dict[str, Artifact]:
        """Format's entry name → record, of what was built."""
        found = {n: s.facts["artifact"] for n, s in self.stages.items() if "artifact" in s.facts}
        return {name: from_json(Artifact, value) for name, value in found.items()}

    def weights(self) -> None:
        key = self.origin.key()
        record = self.place.reuse("weights", key)
        if record is None:
            self._trained = self.origin.make(self.place.checkpoints, self.progress)
            self.stages.pop("weights", None)
            artifact, names = self._write("weights")
            record = self.place.commit("weights", key, names, weights_facts(self.trained) | {"artifact": artifact})
        else:
            self.progress.done("weights", "up to date")
        self.stages["weights"] = record

    def _write(self, name: str) -> tuple[Any, list[str]]:
        filename = path_of(name, self.export_options)
        destination = self.place.payload / filename
        destination.parent.mkdir(parents=True, exist_ok=True)
        artifact = replace(write_one(name, self._source(), destination), path=filename)
        sidecar = destination.with_name(destination.name + ".json")
        return to_json(artifact), [filename, *([f"{filename}.json"] if sidecar.is_file() else [])]

    def _source(self) -> Source:
        test = self.origin.test_set()
        return Source(
            trained=self.trained,
            example=model_inputs(test.stored, self.trained.spec, _EXAMPLE_SAMPLES),
            files={name: (self.place.find(artifact.path), artifact) for name, artifact in self.artifacts.items()},
            options=self.export_options,
            program=self.origin.program,
            calibration=lambda: model_inputs(self.origin.calibration_set(), self.trained.spec, CALIBRATION_SAMPLES),
            stored={name: values.dtype.name for name, values in test.stored.items()},
            told=told(self.trained, self.origin.licence, self._truth()) if "truth" in self.stages else {},
        )

    @property
    def export_options(self) -> ExportOptions:
        return ExportOptions(
            target=self.options.target,
            max_batch=max(512, *self.options.batches),
            cache_dir=self.place.root / "cache",
            max_metric_drop=self.options.max_metric_drop,
        )

    def formats(self) -> None:
        """Every form that is asked for, but those that wait for the truth."""
        known, chosen = entries("export.formats"), self._chosen()
        for name in chosen:
            if not _after_truth(name):
                self._format(name, known[name])
        for name in order():
            if name not in self.stages and name not in chosen:
                self._keep(name, known[name])

    def _chosen(self) -> list[str]:
        """Names of what is asked for and of what that needs, each after what it needs."""
        known: dict[str, Format] = entries("export.formats")
        asked = self.options.precisions
        usual = [n for n, f in known.items() if (f.precision in asked if asked else not _on_request(f))]
        wanted = [n for n in usual if not _by_name(known[n])]
        found = order(["exported_program", *wanted, *self.options.with_formats])
        return [name for name in found if name != "weights" and applies(name, self.trained.spec)]

    def after_truth(self) -> None:
        """The forms that wait for the truth: what apps embed, and what is kept only where the model's metric holds."""
        known = entries("export.formats")
        for name in self._chosen():
            if _after_truth(name):
                self._format(name, known[name])

    def _keep(self, name: str, kind: Format) -> None:
        """A form that was not asked for stays in the bundle where it is up to date."""
        parent = self.artifacts.get(kind.needs or "weights")
        record = self.place.reuse(name, self._key(name, parent)) if parent else None
        if record is not None and "failed" not in record.facts:
            self.stages[name] = record

    def _format(self, name: str, kind: Format) -> None:
        needs = kind.needs or "weights"
        parent = self.artifacts.get(needs)
        reason = kind.missing() if parent else f"it is made from {needs}, which was not built"
        if reason is not None or parent is None:
            self.progress.done(f"export {name}", f"not built: {reason}")
            self.not_built.append(replace(not_built(name, self.export_options, str(reason)), failed=False))
            return
        self.stages[name] = self._reuse_or_write(name, kind, parent)
        failed = self.stages[name].facts.get("failed")
        if failed is not None:
            self.not_built.append(not_built(name, self.export_options, str(failed)))

    def _key(self, name: str, parent: Artifact) -> str:
        facts = self.stages["weights"].facts
        shapes = {"inputs": facts["inputs"], "outputs": facts["outputs"]}
        given = {"data": self.origin.data_digest, "licence": self.origin.licence} if _after_truth(name) else {}
        made = {"format": name, "parent": parent.content, **shapes, **given}
        return digest_of({**made, **key_of(name, self.export_options)})

    def _reuse_or_write(self, name: str, kind: Format, parent: Artifact) -> StageRecord:
        key = self._key(name, parent)
        record = self.place.reuse(name, key)
        if record is not None and "failed" not in record.facts and not self._fallen(record):
            self.progress.done(f"export {name}", "up to date")
            return record
        self.on_change()
        try:
            with self.progress.stage(f"export {name}") as bar:
                artifact, names = self._write(name)
                said = self._held(artifact) if kind.precision == "int8" else ""
                bar.advance(1, 1, f"{artifact['bytes'] / 1e3:,.0f} kB{said}")
        except ExportError as error:
            (self.place.payload / path_of(name, self.export_options)).unlink(missing_ok=True)
            return self.place.commit(name, key, [], {"failed": str(error)})
        return self.place.commit(name, key, names, {"artifact": artifact})

    def _fallen(self, record: StageRecord) -> bool:
        """Whether a form that was kept costs more than is allowed now."""
        from serve_bench.equivalence import quantised

        change = record.facts["artifact"]["facts"].get("metric_change") or {}
        return bool(quantised.why_fallen(change, self.options.max_metric_drop))

    def _held(self, artifact: dict[str, Any]) -> str:
        """Notes what the form just written costs the metric, and says it; raises ExportError for too much."""
        from serve_bench.equivalence import quantised

        form = from_json(Artifact, artifact)
        resolved = replace(form, path=str(self.place.payload / form.path))
        try:
            change = quantised.metric_change(resolved, self._truth(), self.trained.spec.task)
        except PipelineError as error:
            raise ExportError(f"its metric could not be measured: {error}") from error
        if why := quantised.why_fallen(change, self.options.max_metric_drop):
            raise ExportError(why)
        artifact["facts"]["metric_change"] = change
        return f", {quantised.change_text(change)}"

    def _truth(self) -> Any:
        from serve_bench.equivalence.truth import Truth

        return Truth.load(self.place.find("truth.npz"), self.trained.spec.preprocess)

    def truth(self) -> None:
        from serve_bench.equivalence import truth

        program = self.artifacts.get("exported_program")
        if program is None:
            failed = next(n.reason for n in self.not_built if n.format == "exported_program")
            raise ExportError(f"model.pt2 could not be made, and everything else is judged by it: {failed}")
        key = digest_of(
            {
                "program": program.content,
                "data": self.origin.data_digest,
                "preprocess": to_json(self.origin.preprocess),
                "torch": versions().get("torch", ""),
                "version": truth.VERSION,
            }
        )
        record = self.place.reuse("truth", key)
        if record is None:
            record = self._make_truth(key)
        else:
            self.progress.done("truth in float64", "up to date")
        self.stages["truth"] = record

    def _make_truth(self, key: str) -> StageRecord:
        from serve_bench.equivalence import truth

        test, spec = self.origin.test_set(), self.trained.spec
        with self.progress.stage("truth in float64") as bar:
            with self.place.writing("truth.npz") as destination:
                facts = truth.make(
                    self.place.find(self.artifacts["exported_program"].path),
                    test.stored,
                    test.targets,
                    spec.preprocess,
                    spec.inputs,
                    spec.outputs,
                    destination,
                    bar,
                    axes=spec.axes,
                )
            with self.place.writing("golden.npz") as destination:
                truth.golden_from_truth(self.place.payload / "truth.npz", destination)
        return self.place.commit("truth", key, ["truth.npz", "golden.npz"], facts)

    def publish(self) -> Bundle:
        return self.place.publish(self.stages, self._manifest)

    def _manifest(self, stages: dict[str, StageRecord]) -> Manifest:
        spec = self.trained.spec
        facts = stages["weights"].facts
        dataset = from_json(DatasetFacts, facts["dataset"])
        return Manifest(
            schema=SCHEMA,
            model=spec.id,
            task=spec.task,
            description=spec.description,
            inputs=spec.inputs,
            outputs=spec.outputs,
            preprocess=spec.preprocess,
            labels=spec.labels,
            published=spec.published if dataset.name == spec.dataset else None,
            dataset=dataset,
            training=from_json(Training, facts["training"]),
            artifacts=tuple(self.artifacts.values()),
            stages=to_json(stages),
            environment=environment(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            variant=spec.variant,
        )


def build(
    place: Workspace, origin: Origin, options: Options, progress: Progress, on_change: Callable[[], None]
) -> Built:
    """Runs the stages that are not up to date and publishes the payload; `on_change` is called before each export.

    Raises ExportError where the exported program itself cannot be made; any other format that cannot be written is
    listed in `not_built` with its reason, and the rest stands.
    """
    run = _Build(place, origin, options, progress, on_change)
    run.weights()
    run.formats()
    run.truth()
    run.after_truth()
    bundle = run.publish()
    return Built(bundle=bundle, not_built=tuple(run.not_built))


def weights_stage(place: Workspace, origin: Origin, options: Options, progress: Progress) -> Training:
    """The weights stage alone: trains, or finds that nothing changed."""
    run = _Build(place, origin, options, progress, lambda: None)
    run.weights()
    return from_json(Training, run.stages["weights"].facts["training"])
