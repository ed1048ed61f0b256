"""What `make bench-equivalence` tries beside self-tests: benign variants, and whether a fault's place is found."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.store import Bundle
from export.bundle.types import Artifact, Verification
from export.formats.onnx import graphs
from serve_bench.equivalence import benign, bisect, cell_verdict, constants, judge, selftest, selftest_judge, structure
from serve_bench.equivalence.records import VERDICTS
from serve_bench.equivalence.truth import Truth

LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
BATCHES = (1, 2, 7, 64, 256)
PLACED = 24
"""Faults of one file whose place is looked for."""


@dataclass(frozen=True, kw_only=True)
class Benign:
    """One benign variant and what the verdict said of it; empty where it passed."""

    model: str
    artifact: str
    variant: str
    reason: str


def benign_trials(bundle: Bundle) -> Iterator[Benign]:
    """Every variant of every ONNX file and of the torch forms, judged as an export is."""
    whole = Truth.load(bundle.file("truth.npz"), bundle.manifest.preprocess)
    truth, told, task = selftest_judge.few(whole), structure.told_of(bundle.manifest), bundle.manifest.task
    weights = next(bundle.file(a.path) for a in bundle.artifacts if a.format == "weights")
    program = bundle.file(bundle.program.path) if bundle.program else None
    for artifact in bundle.artifacts:
        if artifact.format != "onnx" or artifact.precision == "int8":
            continue
        path = Path(bundle.resolve(artifact).path)

        def said(name: str, reason: str, artifact: Artifact = artifact) -> Benign:
            return Benign(model=bundle.manifest.model, artifact=artifact.name, variant=name, reason=reason)

        for level in LEVELS:
            for threads in (1, 2):
                for batch in BATCHES:
                    name = f"{level}, {threads} threads, batch {batch}"
                    yield said(name, judged(truth, artifact, task, session(path, level, threads), batch))
        with tempfile.TemporaryDirectory() as folder:
            for variant in benign.variants(path):
                copy = Path(folder) / "variant.onnx"
                variant.write(copy)
                promised = replace(artifact, facts={**artifact.facts, **variant.promises})
                reasons = [
                    structure.why(structure.check(copy, promised, told)),
                    constants.why(constants.compare(weights, copy, "onnx", artifact.precision, program)),
                    judged(truth, artifact, task, session(copy, LEVELS[-1], 1), 64),
                ]
                yield said(variant.name, next((r for r in reasons if r), ""))
    yield from _torch_variants(bundle, truth)


def session(path: Path, level: str, threads: int) -> Any:
    """A function from inputs by name to outputs by name, by ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    opened = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in opened.get_outputs()]
    return lambda inputs: dict(zip(names, opened.run(names, inputs), strict=True))


def _torch_variants(bundle: Bundle, truth: Truth) -> Iterator[Benign]:
    """The program and TorchScript with other memory layouts, thread counts, batch sizes and kernels."""
    import torch

    from export.program import leaves, load_program, module_of

    by_format = {a.format: a for a in bundle.artifacts}
    names = [s.name for s in bundle.manifest.outputs]
    program = bundle.program
    if program is None:
        return
    modules = {"exported_program": module_of(load_program(Path(bundle.resolve(program).path)))}
    if "torchscript" in by_format:
        path = bundle.resolve(by_format["torchscript"]).path
        modules["torchscript"] = torch.jit.load(path)
        modules["torchscript, frozen"] = torch.jit.freeze(torch.jit.load(path).eval())
    before = torch.get_num_threads()
    for form, module in modules.items():
        for layout in ("contiguous", "channels last"):
            for onednn in (True, False):
                for threads in (1, 2):
                    for batch in (1, 7, 256):

                        def call(inputs: Any, module: Any = module, layout: str = layout, onednn: bool = onednn) -> Any:
                            tensors = [torch.from_numpy(inputs[s.name]) for s in bundle.manifest.inputs]
                            if layout == "channels last":
                                tensors = [
                                    t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t
                                    for t in tensors
                                ]
                            with torch.inference_mode(), torch.backends.mkldnn.flags(enabled=onednn):
                                return dict(zip(names, (y.numpy() for y in leaves(module(*tensors))), strict=True))

                        torch.set_num_threads(threads)
                        kernels = "oneDNN" if onednn else "torch's own kernels"
                        name = f"{layout}, {kernels}, {threads} threads, batch {batch}"
                        reason = judged(truth, program, bundle.manifest.task, call, batch)
                        yield Benign(model=bundle.manifest.model, artifact=form, variant=name, reason=reason)
    torch.set_num_threads(before)


def judged(truth: Truth, artifact: Artifact, task: str, call: Any, batch: int) -> str:
    """Why the numbers speak against it; empty where they do not."""
    answered = {probe: in_batches(truth, truth.inputs(probe), call, batch) for probe in truth.probes}
    return judge.why_numbers(truth, task, artifact.precision, answered)


def in_batches(truth: Truth, inputs: Any, call: Any, batch: int) -> dict[str, Any]:
    axes = truth.meta["input_axes"]
    first = next(iter(inputs))
    total = inputs[first].shape[axes[first]]
    parts: list[dict[str, Any]] = []
    for start in range(0, total, batch):
        rows = range(start, min(start + batch, total))
        parts.append(call({n: np.ascontiguousarray(a.take(rows, axis=axes[n])) for n, a in inputs.items()}))
    return {n: np.concatenate([p[n] for p in parts], axis=truth.output_axis(n)) for n in parts[0]}


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How near a sound form comes to its band: the largest error over its reference, of all probes."""

    model: str
    backend: str
    precision: str
    """The one whose band applies."""
    probe: str
    ratio: float


def ratios(bundle: Bundle) -> Iterator[Ratio]:
    """Of the latest verdict on each form, for the calibration of the factors."""
    latest: dict[tuple[str, str, str], Verification] = {}
    for record in VERDICTS.read(bundle):
        latest[record.artifact_sha256, record.backend, record.device] = record
    for record in latest.values():
        if record.probes:
            worst = max(record.probes, key=lambda p: p.ratio)
            precision = cell_verdict.judged_in(record.precision_asked, record.precision_found)
            yield Ratio(
                model=bundle.manifest.title,
                backend=record.backend,
                precision=precision,
                probe=worst.probe,
                ratio=worst.ratio,
            )


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One fault of a single tensor that the numbers caught, and the node that is said to be the first wrong one."""

    model: str
    artifact: str
    fault: str
    tensor: str
    said: str
    """Bisect's sentence; empty where it found no node."""
    right: bool
    """Whether the node that it names takes the tensor that was changed."""


def placed(bundle: Bundle, trials: Sequence[selftest.Trial]) -> Iterator[Placed]:
    """Looks for the place of single-tensor faults of each typed ONNX file that the numbers caught, evenly drawn."""
    if bundle.program is None:
        return
    truth = selftest_judge.few(Truth.load(bundle.file("truth.npz"), bundle.manifest.preprocess))
    program = Path(bundle.resolve(bundle.program).path)
    for artifact in bundle.artifacts:
        if artifact.format != "onnx" or artifact.precision not in ("float32", "float16"):
            continue
        resolved = bundle.resolve(artifact)
        numbers = {t.fault for t in trials if t.artifact_sha256 == artifact.sha256 and t.caught.get("numbers")}
        faults = [f for f in selftest.faults_of(bundle, artifact) if f.tensor and f.name in numbers]
        chosen = (
            [faults[i] for i in sorted({int(i) for i in np.linspace(0, len(faults) - 1, PLACED)})] if faults else []
        )
        inputs = {probe: truth.inputs(probe) for probe in truth.probes}
        order = [s.name for s in artifact.inputs]
        known = {
            probe: bisect.values_of(program, [given[name] for name in order], artifact.precision)
            for probe, given in inputs.items()
        }
        with tempfile.TemporaryDirectory() as folder:
            for fault in chosen:
                copy = replace(resolved, path=str(Path(folder) / "copy.onnx"))
                fault.write(Path(copy.path))
                place = _place(copy, inputs, known, Path(folder))
                yield Placed(
                    model=bundle.manifest.title,
                    artifact=artifact.name,
                    fault=fault.name,
                    tensor=fault.tensor,
                    said=place.sentence if place else "",
                    right=place is not None and fault.tensor in _taken(Path(copy.path), place, known["test"]),
                )


def _place(
    copy: Artifact, inputs: Mapping[str, Any], known: Mapping[str, Mapping[str, bisect.Value]], folder: Path
) -> bisect.Place | None:
    """By the first probe that shows anything, as the verdict's own search does."""
    for probe, given in inputs.items():

        def answer(artifact: Artifact, given: Any = given) -> Any:
            found = session(Path(artifact.path), LEVELS[-1], 1)(given)
            return {s.name: found[s.name] for s in artifact.outputs}

        place = bisect.first_wrong(copy, known[probe], copy.precision, answer, folder)
        if place is not None:
            return place
    return None


def _taken(path: Path, place: bisect.Place, compared: Collection[str]) -> set[str]:
    """The constants that the node named takes, by itself or by nodes before it that no value is compared of.

    Of a node without any (a pooling, a Scan's selection) those of the nearest before it; a body's are its node's.
    """
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    makers = {o: node for node in graph.node for o in node.output}
    given = {i.name for i in graph.input} - {w.name for w in graph.initializer}
    todo, seen = [place.value], set[str]()
    found: set[str] = set()
    for value in todo:
        if value in seen or value not in makers:
            continue
        seen.add(value)
        operands = _operands(makers[value])
        own = {name for i in operands for name in _constants(i, makers, given)}
        found |= own
        todo += [i for i in operands if not own or i not in compared]
    return found


def _operands(node: Any) -> list[str]:
    """What a node takes, and what the graphs inside it take from outside or hold themselves."""
    inner = [g for a in node.attribute for top in (a.g, *a.graphs) if top.node for g in graphs(top)]
    made = {o for g in inner for n in g.node for o in n.output} | {i.name for g in inner for i in g.input}
    used = [i for g in inner for n in g.node for i in n.input if i not in made]
    return [i for i in (*node.input, *used) if i]


def _constants(name: str, makers: Mapping[str, Any], given: Collection[str]) -> set[str]:
    """A constant, and those that a value is made of by casts and the like; empty where an input is in it."""
    if name in given:
        return set()
    if name not in makers or makers[name].op_type == "Constant":
        return {name}
    parts = [_constants(i, makers, given) for i in makers[name].input if i]
    return {name}.union(*parts) if all(parts) and parts else set()
