"""Where a wrong ONNX graph first leaves its band: its intermediate tensors against those of `model.pt2` in float64.

The exporter keeps the names of the graph's values, so each node's output is compared with the very node of the program
that it was made from, and a node's weights are named as the module names them. All intermediate tensors are asked of
one run; where that run is no longer wrong (an output more can undo a fusion), one at a time is, in O(log n) runs.
Needs torch.
"""

from __future__ import annotations

import operator
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from export.bundle.types import Artifact, ProbeResult, TensorSpec
from export.program import leaves
from serve_bench.equivalence import bands, program
from serve_bench.equivalence.truth import FEW, Truth, chosen_from

if TYPE_CHECKING:
    from serve_bench.cells import Cell
    from serve_bench.worker import Worker

Array = npt.NDArray[Any]
Answer = Callable[[Artifact], Mapping[str, Array]]
"""Runs an artifact (absolute path) on the samples at hand, all in one batch; gives its outputs by name."""
Sources = tuple[bool, tuple[str, ...]]
SAMPLES = 128
"""Most samples that intermediate tensors are compared on."""
TOGETHER = "all intermediate tensors in one run"
APART = "one intermediate tensor at a time: together they undo what is wrong"


@dataclass(frozen=True, kw_only=True)
class Place:
    """The first node that is wrong."""

    node: str
    operator: str
    value: str
    """The name of its output."""
    sources: tuple[str, ...]
    """The module's tensors that it takes: "conv2.weight"; of a node without any, of the nearest before it."""
    own: bool
    """Whether it takes them itself."""
    error: float
    band: float
    index: tuple[int, ...]
    answer: float
    truth: float
    how: str

    @property
    def sentence(self) -> str:
        made = f" ({'' if self.own else 'behind '}{', '.join(self.sources)})" if self.sources else ""
        return (
            f"first wrong at {self.operator} {self.value!r}{made}, index {self.index}: {self.answer:.9g} where float64 "
            f"has {self.truth:.9g}; error {self.error:.3g}, band {self.band:.3g} ({self.how})"
        )


@dataclass(frozen=True)
class Value:
    """What the program computes at one of its nodes."""

    wide: npt.NDArray[np.float64]
    narrow: Array
    """The same by eager in the precision at hand."""
    sources: tuple[str, ...]
    own: bool
    """As in `Place`."""

    @cached_property
    def reference(self) -> float:
        """Eager's own error there."""
        distance = float(np.abs(self.narrow - self.wide).max(initial=0.0))
        error = bands.relative(distance, bands.pooled_scale(self.wide))
        return error if np.isfinite(error) else 0.0


def of_cell(
    worker: Worker, cell: Cell, truth: Truth, path: Path, failed: ProbeResult, precision: str, threads: int
) -> Place | None:
    """The first wrong node of a cell whose probe `failed`, on that probe's samples round the worst one."""
    few = chosen_from(truth, {failed.probe: _rows(truth, failed)})
    inputs = few.inputs(failed.probe)
    count = few.samples(failed.probe)

    def answer(artifact: Artifact) -> Mapping[str, Array]:
        worker.open("first wrong", cell.backend, artifact, cell.device, threads)
        try:
            return worker.answer("first wrong", inputs, count)
        finally:
            worker.close("first wrong")

    known = values_of(path, [inputs[s.name] for s in cell.artifact.inputs], precision)
    with tempfile.TemporaryDirectory(prefix="pipeline-bisect-") as folder:
        return first_wrong(cell.artifact, known, precision, answer, Path(folder))


def _rows(truth: Truth, failed: ProbeResult) -> list[int]:
    total = truth.samples(failed.probe)
    worst = failed.worst_index[truth.output_axis(failed.output)] if failed.worst_index else 0
    return sorted({*range(min(total, SAMPLES)), worst})


def values_of(path: Path, inputs: Sequence[Array], precision: str) -> dict[str, Value]:
    """Every floating-point tensor of the program at `path` by the name of its node, on `inputs` in its own order.

    Under the names of the outputs' nodes in the order of the outputs too: "output 0", …
    """
    wide, sources = _run(path, inputs, "float64")
    narrow, _ = _run(path, inputs, precision)
    found = {}
    for name, y64 in wide.items():
        y = narrow.get(name)
        if y is None or y.shape != y64.shape or not np.isfinite(y64).all():
            continue
        own, taken = sources.get(name, (True, ()))
        found[name] = Value(y64, y.astype(np.float64), taken, own)
    return found


def _run(path: Path, inputs: Sequence[Array], dtype: str) -> tuple[dict[str, Array], dict[str, Sources]]:
    import torch

    seen: dict[str, Array] = {}
    sources: dict[str, Sources] = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, node: Any) -> Any:
            result = super().run_node(node)
            if isinstance(result, torch.Tensor) and result.is_floating_point() and node.op != "get_attr":
                seen[node.name] = result.double().numpy()
            if node.op not in ("get_attr", "output"):
                own = tuple(str(n.target) for n in node.all_input_nodes if n.op == "get_attr" and _tensor(n.target))
                before = (sources.get(n.name, (True, ()))[1] for n in node.all_input_nodes)
                sources[node.name] = (bool(own), own or tuple(dict.fromkeys(s for taken in before for s in taken)))
            if node.op == "output":
                for i, (tensor, made_by) in enumerate(zip(leaves(result), node.all_input_nodes, strict=False)):
                    if tensor.is_floating_point():
                        seen[f"output {i}"] = tensor.double().numpy()
                        sources[f"output {i}"] = sources.get(made_by.name, (True, ()))
            return result

    module = program.load(path, dtype)

    def _tensor(name: Any) -> bool:
        return isinstance(operator.attrgetter(str(name))(module), torch.Tensor)

    wanted = getattr(torch, dtype)
    tensors = [torch.from_numpy(np.array(a)) for a in inputs]
    with torch.no_grad():
        Recorder(module).run(*(t.to(wanted) if t.is_floating_point() else t for t in tensors))
    return seen, sources


def first_wrong(
    artifact: Artifact, known: Mapping[str, Value], precision: str, answer: Answer, scratch: Path
) -> Place | None:
    """The first node, in the order of the graph, whose output leaves its band; None where none does.

    `artifact` is ONNX, its path absolute; copies with more outputs are written to `scratch`.
    """
    model = _load(artifact)
    outputs = {s.name: f"output {i}" for i, s in enumerate(artifact.outputs)}
    matched = [
        (node, value, known[key])
        for node in model.graph.node
        for value in node.output
        if (key := outputs.get(value, value)) in known
    ]
    specs = _specs(model, [value for _, value, _ in matched if value not in outputs])
    matched = [m for m in matched if m[1] in specs or m[1] in outputs]
    answers = answer(_exposed(artifact, list(specs.values()), scratch))
    for node, value, expected in matched:
        if _outside(answers[value], expected, precision) or _channel_outside(answers[value], expected, precision):
            return _place(node, value, expected, answers[value], precision, TOGETHER)
    return _one_by_one(artifact, matched, specs, precision, answer, scratch)


def _one_by_one(
    artifact: Artifact,
    matched: Sequence[tuple[Any, str, Value]],
    specs: Mapping[str, TensorSpec],
    precision: str,
    answer: Answer,
    scratch: Path,
) -> Place | None:
    """Binary search: what is wrong stays wrong further down."""
    low, high, found = 0, len(matched), None
    while low < high:
        middle = (low + high) // 2
        node, value, expected = matched[middle]
        extra = [specs[value]] if value in specs else []
        answers = answer(_exposed(artifact, extra, scratch))
        if _outside(answers[value], expected, precision):
            high, found = middle, _place(node, value, expected, answers[value], precision, APART)
        else:
            low = middle + 1
    return found


def _outside(answer: Array, expected: Value, precision: str) -> bool:
    if answer.shape != expected.wide.shape:
        return True
    error = bands.error(answer, expected.wide, bands.pooled_scale(expected.wide))
    return not error.finite or error.value > bands.band(precision, expected.reference)


def _channel_outside(answer: Array, expected: Value, precision: str) -> bool:
    """Whether one channel alone is wrong: beside the others a small one's error may lie inside their band.

    Against eager's own error in that channel, by twice the usual factor and no less than the unit roundoff of the
    channel's own values: fewer samples know eager's error less well.
    """
    y64 = expected.wide
    if answer.shape != y64.shape or y64.ndim < 2:
        return False
    axes = tuple(i for i in range(y64.ndim) if i != (1 if y64.ndim > 3 else y64.ndim - 1))
    if np.prod([y64.shape[i] for i in axes]) < FEW:
        return False
    scale = np.abs(y64).max(axes)
    eager = np.maximum(np.abs(expected.narrow - y64).max(axes), bands.UNIT_ROUNDOFF[precision] * scale)
    found = np.abs(answer.astype(np.float64) - y64).max(axes)
    return bool((found > 2 * bands.FACTOR[precision] * eager).any())


def _place(node: Any, value: str, expected: Value, answer: Array, precision: str, how: str) -> Place:
    where: tuple[int, ...] = ()
    found = truth = error = float("nan")
    if answer.shape == expected.wide.shape:
        worst = bands.error(answer, expected.wide, bands.pooled_scale(expected.wide))
        where, found, truth, error = worst.index, worst.answer, worst.truth, worst.value
    return Place(
        node=node.name,
        operator=node.op_type,
        value=value,
        sources=expected.sources,
        own=expected.own,
        error=error,
        band=bands.band(precision, expected.reference),
        index=where,
        answer=found,
        truth=truth,
        how=how,
    )


def _load(artifact: Artifact) -> Any:
    import onnx

    return onnx.load(artifact.path, load_external_data=False)


def _specs(model: Any, names: Sequence[str]) -> dict[str, TensorSpec]:
    """Of the values `names` whose type and batch axis are known; others cannot be asked for."""
    import onnx

    batch = {d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim[:1]} - {""}
    inferred = onnx.shape_inference.infer_shapes(model).graph
    found = {}
    for value in inferred.value_info:
        if value.name not in names:
            continue
        kind = value.type.tensor_type
        found_dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim]
        dims = tuple("batch" if d in batch else d for d in found_dims)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name if kind.elem_type else ""
        if dtype in ("float32", "float16") and dims.count("batch") == 1:
            found[value.name] = TensorSpec(name=value.name, dtype=dtype, shape=dims)
    return found


def _exposed(artifact: Artifact, extra: Sequence[TensorSpec], scratch: Path) -> Artifact:
    """A copy of the artifact that also gives the values `extra`."""
    import onnx

    model = _load(artifact)
    assert not any(s.name in {o.name for o in model.graph.output} for s in extra)
    for spec in extra:
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        model.graph.output.append(onnx.helper.make_tensor_value_info(spec.name, kind, None))
    path = scratch / "exposed.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    return replace(artifact, path=str(path), outputs=(*artifact.outputs, *extra))
