"""A model repository for NVIDIA's Triton Inference Server, checked against the server's own schema."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.errors import ExportError
from export.bundle.files import write_atomic
from export.bundle.types import LENGTH, TensorSpec
from serve_bench.embed import _words
from serve_bench.embed._base import EmbedOptions, Kit
from serve_bench.embed._templates import copied, filled, template
from serve_bench.embed._triton_check import check_repository
from serve_bench.embed._triton_config import DTYPES, QUEUE_DELAY_US, missing_schema, preferred, write_model
from serve_bench.embed._triton_models import Served, as_answered, as_asked, dims_of, served

__all__ = ["ENTRIES", "check_repository"]

FOLDER, REPOSITORY, GOLDEN = "_triton", "models", "golden"
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Triton:
    name = "triton"
    summary = "a model repository for NVIDIA Triton, with a client that tests it"
    heeds: tuple[str, ...] = ("instance",)

    def missing(self, kit: Kit, options: EmbedOptions) -> str | None:
        return missing_schema() or why_not(kit)

    def write(self, kit: Kit, options: EmbedOptions, folder: Path) -> None:
        models, left_out = served(kit, options.instance)
        for model in models:
            write_model(model, folder / REPOSITORY)
            _write_golden(model, folder / GOLDEN / f"{model.name}.npz")
        copied(FOLDER, ("client.py",), folder)
        request = json.dumps(_request(models[0]), ensure_ascii=False)
        (folder / "request.json").write_text(request + "\n", encoding="utf-8")
        (folder / "README.md").write_text(_readme_of(kit, models, left_out), encoding="utf-8")
        if wrong := check_repository(folder / REPOSITORY):
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise ExportError(f"triton: the repository is not sound: {wrong[0]}{more}")

    def first_steps(self, kit: Kit, options: EmbedOptions, folder: Path) -> str:
        return "\n".join(
            (
                f"tritonserver --model-repository={folder / REPOSITORY}    (or with docker: {folder / 'README.md'})",
                f"python {folder / 'client.py'} --url 127.0.0.1:8001",
            )
        )


def why_not(kit: Kit) -> str | None:
    """Why Triton cannot serve this bundle as its app.onnx stands, in one sentence; None where it can."""
    specs = (*kit.app.inputs, *kit.app.outputs)
    if PLAIN_NAME.fullmatch(kit.manifest.model) is None:
        return f"the model's name {kit.manifest.model!r} is no plain file name; export it again with --name"
    if any(not s.shape or s.shape[0] != specs[0].shape[0] or isinstance(s.shape[0], int) for s in specs):
        return "not every input and output counts samples along its first axis, of any size; export it so"
    if other := next((s for s in specs if s.dtype not in DTYPES), None):
        return f"{other.name} is {other.dtype}, which Triton has no type for; export it with another"
    if any("\n" in label or "\r" in label for label in kit.manifest.labels):
        return "a label holds a line break, which Triton's label files cannot say; rename it"
    return None


def _write_golden(model: Served, path: Path) -> None:
    """input/NAME as a client sends it, output/NAME as float64 answers (N, …), tolerance/NAME: absolute."""
    arrays: dict[str, Any] = {f"input/{n}": a for n, a in as_asked(model.golden, model.inputs).items()}
    arrays |= {f"output/{n}": a for n, a in as_answered(model.golden, model.outputs).items()}
    arrays |= {f"tolerance/{n}": np.float64(t) for n, t in model.golden.tolerance.items()}
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    write_atomic(path, stream.getvalue())


def _request(model: Served) -> dict[str, Any]:
    """The first golden sample as a request of the KServe v2 protocol."""
    asked = as_asked(model.golden, model.inputs)
    inputs = [
        {
            "name": spec.name,
            "datatype": DTYPES[spec.dtype].removeprefix("TYPE_"),
            "shape": [1, *asked[spec.name].shape[1:]],
            "data": asked[spec.name][0].reshape(-1).tolist(),
        }
        for spec in model.inputs
    ]
    return {"inputs": inputs}


def _readme_of(kit: Kit, models: list[Served], left_out: list[str]) -> str:
    first = models[0]
    rows = "\n".join(
        f"| `{m.name}` | {m.platform} | {_ends(m.inputs)} | {_ends(m.outputs)} | {m.most} | {m.kind} |" for m in models
    )
    variable = any(LENGTH in s.shape or -1 in dims_of(s) for s in first.inputs)
    values = {
        "TITLE": _words.escaped(kit.manifest.title),
        "FACTS": _words.model_facts(kit),
        "ROWS": rows,
        "LEFT_OUT": _left_out(left_out),
        "NAME": first.name,
        "SAMPLES": str(first.golden.samples),
        "MOST": str(first.most),
        "PREFERRED": " or ".join(str(n) for n in preferred(first.most)),
        "DELAY": str(QUEUE_DELAY_US),
        "LENGTHS": LENGTHS_WORDS if variable else "",
        "GPUS": " --gpus all" if any(m.kind == "KIND_GPU" for m in models) else "",
        "MACHINE": "Add `--gpus all` where it has GPUs to use. " if first.kind == "KIND_AUTO" else "",
    }
    return filled(template(FOLDER, "README.md.in"), values)


def _ends(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"`{s.name}` {s.dtype} {dims_of(s)}" for s in specs)


def _left_out(sentences: list[str]) -> str:
    if not sentences:
        return ""
    return "\nLeft out:\n\n" + "\n".join(f"- {_words.escaped(s)}." for s in sentences) + "\n"


LENGTHS_WORDS = """
Sequences may have any length (-1), but Triton gathers only requests of equal shapes into one batch: those of unequal
lengths are run one after the other. Fill every sequence up to one common length with zeros, and send its true length in
the other input, shape [N, 1]: what lies beyond it is ignored, and such requests are batched. The input is not marked
`allow_ragged_batch`: that hands the model one flat tensor of all requests, which this model does not take.
"""

ENTRIES = (Triton(),)
