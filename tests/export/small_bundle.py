"""A published bundle of a few text files, made in milliseconds: what stands on disk is a bundle, its forms are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from export.bundle.environment import environment
from export.bundle.store import SCHEMA, Bundle, Manifest, Training
from export.bundle.types import Artifact, DatasetFacts, Preprocess, TensorSpec, to_json
from export.bundle.workspace import workspace


def manifest(stages) -> Manifest:
    spec = TensorSpec(name="x", dtype="float32", shape=("batch", 2))
    artifacts = [
        Artifact(
            format=kind,
            precision="float32",
            path=path,
            sha256=sha,
            content=sha,
            bytes=1,
            parent=None,
            producers={},
            build_seconds=0.0,
            inputs=(spec,),
            outputs=(spec,),
        )
        for stage in stages.values()
        for path, sha in stage.files.items()
        for kind in [stage.facts["format"]]
    ]
    return Manifest(
        schema=SCHEMA,
        model="tiny",
        task="classification",
        description="",
        inputs=(spec,),
        outputs=(spec,),
        preprocess=Preprocess(),
        labels=(),
        published=None,
        dataset=DatasetFacts(name="user", digest="d", train=0, validation=0, test=0),
        training=Training(recipe=None, seed=0, seconds=0.0, metrics={}),
        artifacts=tuple(artifacts),
        stages=to_json(stages),
        environment=environment(),
        created="2026-01-01T00:00:00+00:00",
    )


def make(root: Path, files: dict[str, str | bytes], **changes: object) -> Bundle:
    """A published bundle with one stage a file, whose format is the file's suffix; `changes` are the manifest's."""
    with workspace(root) as place:
        stages = {}
        for name, text in files.items():
            with place.writing(name) as temporary:
                temporary.write_bytes(text if isinstance(text, bytes) else text.encode())
            stages[name] = place.commit(name, f"key of {text}", [name], {"format": name.rpartition(".")[2]})
        return place.publish(stages, lambda made: replace(manifest(made), **changes))
