"""A bare file against a `.pt2`: for models that this pipeline did not make. Needs torch, for the float64 truth."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.environment import environment
from export.bundle.errors import DataError, PipelineError, UsageError
from export.bundle.files import sha256_of_file
from export.bundle.types import Artifact, Preprocess, TensorSpec, Verification
from export.formats.onnx import graphs
from export.npz import read_npz
from export.progress import Progress, Silent
from serve_bench.backends._helpers import first_line
from serve_bench.cells import Missing, plan
from serve_bench.equivalence import cell_verdict, constants, make_truth, program, questions, stored, structure, verdict
from serve_bench.equivalence.truth import Truth
from serve_bench.inputs import understood
from serve_bench.worker import Workers

Array = npt.NDArray[np.generic]
INTEGER = ("DequantizeLinear", "MatMulInteger", "ConvInteger")


def verify_pair(
    model: Path,
    reference: Path,
    inputs: Path,
    progress: Progress | None = None,
    threads: int | None = None,
) -> list[Verification]:
    """Verdicts on `model` (.onnx, `.pt2` or TorchScript, told apart by content) on every CPU backend that reads it.

    `inputs` is an .npz of model-ready arrays by input name (or, of one input, under any name), samples along the first
    axis; `progress` is told how they were taken. Both programs are the caller's own and are executed. Raises UsageError
    where the file is none of these, DataError where inputs do not fit, BackendUnavailable without torch, ExportError
    where the reference gives NaN.
    """
    progress = progress or Silent()
    threads = threads or program.cores()
    program.require_torch("verifying a bare file")
    form = form_of(model)
    if form == "onnx":
        _refuse(model)
    ready, specs_in, specs_out = _described(reference, inputs, progress)
    artifact = _artifact(model, form, specs_in, specs_out)
    ready = {spec.name: array for spec, array in zip(specs_in, ready.values(), strict=True)}
    cells, missing = plan([artifact], None, "cpu")
    if not cells:
        raise UsageError(f"{model}: nothing here can run it: {_reasons(missing)}")
    for row in missing:
        if row.artifact is not None:
            progress.done(f"verify {row.label}", f"not run: {row.reason}")
    with tempfile.TemporaryDirectory(prefix="pipeline-pair-") as folder, Workers() as workers:
        path = Path(folder) / "truth.npz"
        with progress.stage("float64 truth") as bar:
            make_truth.make(reference, ready, None, Preprocess(), specs_in, specs_out, path, bar)
        truth = Truth.load(path, Preprocess())
        standard = cell_verdict.Standard(
            truth,
            questions.questions_of(truth, Path(folder)),
            "unlabelled",
            threads,
            environment().id,
            program.Callers(reference),
        )
        read = cell_verdict.Read(_constants(reference, artifact, Path(folder)), tuple(structure.check(model, artifact)))
        records = []
        for cell in cells:
            with progress.stage(f"verify {cell.label}") as bar:
                record = cell_verdict.verify_cell(cell, workers, standard, read)
                bar.advance(1, 1, verdict.short(record))
            records.append(record)
    return records


def form_of(model: Path) -> str:
    """ "onnx", "exported_program" or "torchscript", from what the file holds; raises UsageError for anything else."""
    if not model.is_file():
        raise UsageError(f"{model}: no such file; name an .onnx, a .pt2 or a TorchScript file")
    if zipfile.is_zipfile(model):
        with zipfile.ZipFile(model) as archive:
            names = {n.split("/", 1)[-1] for n in archive.namelist()}
        if "models/model.json" in names:
            return "exported_program"
        if {"data.pkl", "constants.pkl"} <= names:
            return "torchscript"
        if any(n.startswith("data/aotinductor/") for n in names):
            raise UsageError(
                f"{model}: is an AOTInductor package, which does not say for what CPU and torch it was made; verify "
                "the bundle that it belongs to"
            )
    else:
        import onnx

        try:
            if onnx.load(str(model), load_external_data=False).graph.node:
                return "onnx"
        except Exception:
            pass
    raise UsageError(f"{model}: is neither ONNX nor a .pt2 nor TorchScript; export the model again")


def _refuse(model: Path) -> None:
    """Raises UsageError for an ONNX file with weights outside it, and for an int8 one."""
    import onnx

    loaded = onnx.load(str(model), load_external_data=False)
    for tensor in (t for graph in graphs(loaded.graph) for t in graph.initializer):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = next((e.value for e in tensor.external_data if e.key == "location"), "")
            away = not (model.parent / place).resolve().is_relative_to(model.parent.resolve())
            where = f"{place!r}, which leads out of its folder" if away else f"{place!r}"
            raise UsageError(f"{model}: {tensor.name!r} lies in another file, {where}; save the model as one file")
    if any(n.op_type in INTEGER for graph in graphs(loaded.graph) for n in graph.node):
        raise UsageError(
            f"{model}: computes in int8, whose rounding only a metric can judge, and these inputs have no labels; "
            "make it by `pipeline train-export` or `pipeline export` with --precision int8"
        )


def _described(
    reference: Path, inputs: Path, progress: Progress
) -> tuple[dict[str, Array], list[TensorSpec], list[TensorSpec]]:
    """Inputs by name, and the specs of both ends as one run of the reference shows them."""
    import torch

    from export.program import leaves, load_program

    arrays = _load(inputs)
    exported = load_program(reference)
    names = list(exported.graph_signature.user_inputs)
    if len(arrays) == len(names) == 1:
        arrays = {names[0]: next(iter(arrays.values()))}
    missing = [n for n in names if n not in arrays]
    if missing:
        raise DataError(f"{inputs}: input {missing[0]!r} is missing; {reference} takes {', '.join(map(str, names))}")
    if any(a.ndim == 0 or len(a) == 0 for a in arrays.values()):
        raise DataError(f"{inputs}: holds no samples; give at least one, along the first axis")
    values = [n.meta["val"] for n in exported.graph.nodes if n.op == "placeholder" and n.name in names]
    free = [not isinstance(v.shape[0], int) for v in values]
    kinds = [str(v.dtype).removeprefix("torch.") for v in values]
    for name, kind in zip(names, kinds, strict=True):
        given = arrays[name].dtype
        if given.kind not in "fiub" or (given.kind == "f" and "float" not in kind):
            raise DataError(
                f"{inputs}: {name!r} holds {given}, and {reference} takes {kind}; save numbers of that type"
            )
    ready = {n: np.ascontiguousarray(arrays[n], dtype=kind) for n, kind in zip(names, kinds, strict=True)}
    specs_in = [
        TensorSpec(name=n, dtype=kind, shape=("batch" if loose else len(ready[n]), *ready[n].shape[1:]))
        for n, kind, loose in zip(names, kinds, free, strict=True)
    ]
    for spec, value in zip(specs_in, values, strict=True):
        if spec.shape[0] != "batch" and int(value.shape[0]) != len(ready[spec.name]):
            raise DataError(
                f"{inputs}: {spec.name!r} has {len(ready[spec.name])} samples; "
                f"{reference} takes {value.shape[0]} at once: give as many"
            )
    for spec in specs_in:
        taken = understood(arrays[spec.name], ready[spec.name], spec, Preprocess(), as_stored=False)
        progress.note(f"{inputs}: {spec.name}: {taken}" if len(names) > 1 else f"{inputs}: {taken}")
    few = 2 if all(free) else None
    with torch.no_grad():
        try:
            answers = leaves(program.load(reference, "float32")(*(torch.from_numpy(ready[n][:few]) for n in names)))
        except Exception as error:
            raise DataError(f"{reference} does not take the inputs of {inputs}: {first_line(error)}") from error
    batch = "batch" if all(free) else len(ready[names[0]])
    specs_out = [
        TensorSpec(name=f"output_{i}", dtype=str(a.dtype).removeprefix("torch."), shape=(batch, *a.shape[1:]))
        for i, a in enumerate(answers)
    ]
    return ready, specs_in, specs_out


def _load(inputs: Path) -> dict[str, Array]:
    arrays = read_npz(inputs)
    if not arrays:
        raise DataError(f"{inputs}: holds no arrays; save one for each input of the reference")
    return arrays


def _artifact(model: Path, form: str, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> Artifact:
    """The file as an artifact; an ONNX graph's own names are taken, which the truth's are then asked by."""
    if form == "onnx":
        _same_names(model, inputs, outputs)
    sha256 = sha256_of_file(model)
    return Artifact(
        format=form,
        precision="float16" if form == "onnx" and _typed_half(model) else "float32",
        path=str(model.resolve()),
        sha256=sha256,
        content=sha256,
        bytes=model.stat().st_size,
        parent=None,
        producers={},
        build_seconds=0.0,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )


def _typed_half(model: Path) -> bool:
    """Whether most of an ONNX file's floating-point weights are float16."""
    sizes: dict[str, int] = {}
    for array in stored.read(model, "onnx").values():
        sizes[str(array.dtype)] = sizes.get(str(array.dtype), 0) + array.size
    return sizes.get("float16", 0) > sizes.get("float32", 0)


def _same_names(model: Path, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
    """Renames `outputs`, and a single input, in place to the graph's; raises DataError where they do not fit."""
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    weights = {w.name for w in graph.initializer}
    names = [i.name for i in graph.input if i.name not in weights]
    if len(names) == len(inputs) == 1:
        inputs[0] = replace(inputs[0], name=names[0])
    if sorted(names) != sorted(s.name for s in inputs):
        raise DataError(
            f"{model} takes {', '.join(names)}, the reference takes {', '.join(s.name for s in inputs)}: "
            "export both with the same input names"
        )
    if len(graph.output) != len(outputs):
        raise DataError(f"{model} has {len(graph.output)} outputs, the reference has {len(outputs)}: export it again")
    for i, value in enumerate(graph.output):
        outputs[i] = TensorSpec(name=value.name, dtype=outputs[i].dtype, shape=outputs[i].shape)


def _constants(reference: Path, artifact: Artifact, folder: Path) -> Mapping[str, Any]:
    """The bit check against the reference's own weights; empty where they cannot be read as a checkpoint."""
    from safetensors.numpy import save_file

    try:
        weights = folder / "weights.safetensors"
        save_file({n: a.copy() for n, a in stored.read(reference, "exported_program").items()}, weights)
        return constants.compare(weights, Path(artifact.path), artifact.format, artifact.precision, reference)
    except PipelineError:
        return {}


def _reasons(missing: list[Missing]) -> str:
    return "; ".join(dict.fromkeys(m.reason for m in missing if m.artifact is not None))
