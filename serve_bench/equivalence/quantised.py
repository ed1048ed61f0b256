"""An int8 form is judged twice: against its own graph in float64, and by what its rounding costs the model's metric.

Its graph is computed by ONNX's reference implementation on a few samples of each probe; no torch is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import BackendFailed, BackendUnavailable, VerdictFailed
from export.bundle.types import Artifact
from serve_bench._child import fixed_batch, slices
from serve_bench.backends._helpers import first_line
from serve_bench.cells import backend_named
from serve_bench.equivalence import bands, judge
from serve_bench.equivalence.truth import Truth, chosen_from, few_rows

Arrays = Mapping[str, npt.NDArray[np.generic]]
TEST, OTHERS = 192, 64
"""Samples of the test set and of each other probe."""
BATCH = 512
REFERENCE_BATCH = 32
"""Of the reference implementation, which lays out every window of a convolution."""
BACKEND = "onnxruntime-cpu"
TIE = 2.0**-14
"""Steps: four roundings in float32 of a number of up to 2^8 steps, however a quantiser orders its arithmetic."""


def truth_of(whole: Truth, artifact: Artifact) -> Truth:
    """The truth of an int8 form, whose path is absolute: its graph in float64, and the reference of its band.

    The reference is the farthest that sound float32 arithmetic may come from it: the graph in float32, and in float64
    with every quantiser's argument moved by ± `TIE` steps, which puts what lies on a tie on either side. Raises
    VerdictFailed where the reference implementation cannot run it.
    """
    rows: dict[str, Sequence[int]] = {p: range(min(whole.samples(p), OTHERS)) for p in whole.probes}
    rows["test"] = few_rows(whole, TEST)
    few = chosen_from(whole, rows)
    wide, *others = (_Graph(artifact, np.float64), _Graph(artifact, np.float32), *_beside_ties(artifact))
    arrays = dict(few.arrays)
    for probe in few.probes:
        inputs = few.inputs(probe)
        exact, near = wide(inputs), [graph(inputs) for graph in others]
        for name in few.output_names:
            y64 = exact[name].astype(np.float64)
            if not np.isfinite(y64).all():
                raise VerdictFailed(f"{artifact.name}: its own graph gives NaN or Inf in float64 on probe {probe!r}")
            scale = bands.pooled_scale(y64)
            distance = max(float(np.abs(y[name].astype(np.float64) - y64).max(initial=0.0)) for y in near)
            arrays[f"{probe}/output/{name}"] = y64
            arrays[f"{probe}/scale/{name}"] = np.array(scale)
            arrays[f"{probe}/error/int8/{name}"] = np.array(bands.relative(distance, scale))
    taken = {probe: few.samples(probe) for probe in few.probes}
    reduced = dict(few.meta.get("reduced_samples", {})) | {"int8": taken}
    return Truth(few.path, few.preprocess, arrays, dict(few.meta) | {"reduced_samples": reduced})


def _beside_ties(artifact: Artifact) -> Iterator[_Graph]:
    for shift in (TIE, -TIE):
        graph = _Graph(artifact, np.float64, shift)
        if graph.quantises:
            yield graph


class _Graph:
    """An ONNX file computed in one type throughout; `shift` steps are added to what QuantizeLinear rounds."""

    def __init__(self, artifact: Artifact, kind: type[np.floating[Any]], shift: float = 0.0) -> None:
        import onnx
        from onnx.reference import ReferenceEvaluator

        from export.formats.onnx import graphs

        self._artifact, self._kind = artifact, kind
        model = onnx.load(artifact.path, load_external_data=False)
        if kind is np.float64:
            _widen(model)
        self.quantises = any(n.op_type == "QuantizeLinear" for g in graphs(model.graph) for n in g.node)
        self._evaluator = ReferenceEvaluator(model, new_ops=_operators(shift))

    def __call__(self, inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        """Answers by output, of every sample in order."""
        specs, outputs = self._artifact.inputs, [s.name for s in self._artifact.outputs]
        parts: dict[str, list[Any]] = {name: [] for name in outputs}
        for piece, count in slices(specs, inputs, REFERENCE_BATCH):
            feeds = {n: a.astype(self._kind) if a.dtype.kind == "f" else a for n, a in piece.items()}
            try:
                with np.errstate(all="ignore"):
                    answers = self._evaluator.run(outputs, feeds)
            except Exception as error:
                raise VerdictFailed(
                    f"{self._artifact.name}: ONNX's reference implementation cannot run it: {first_line(error)}"
                ) from error
            for name, answer in zip(outputs, answers, strict=True):
                parts[name].append(answer[:count])
        return {name: np.concatenate(found) for name, found in parts.items()}


def _widen(model: Any) -> None:
    """float32 becomes float64 wherever the graph names it."""
    import onnx

    from export.formats.onnx import graphs

    single, double = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE

    def widened(tensor: Any) -> None:
        if tensor.data_type == single:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))

    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            widened(tensor)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    widened(attribute.t)
                elif attribute.name in ("to", "dtype") and attribute.i == single:
                    attribute.i = double
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type == single:
                value.type.tensor_type.elem_type = double


def _operators(shift: float = 0.0) -> list[Any]:
    """Three operators of ONNX's reference implementation in our own words.

    Its DequantizeLinear goes through float32, which does not hold every int32 bias; its MaxPool is a Python loop; and
    QuantizeLinear adds `shift` steps before it rounds to nearest even.
    """
    from onnx.reference.op_run import OpRun
    from onnx.reference.ops.op_max_pool import MaxPool as Loop

    class DequantizeLinear(OpRun):
        op_domain = ""

        def _run(self, x: Any, scale: Any, zero: Any = None, axis: int = 1, **_: Any) -> Any:
            shape = [1] * x.ndim
            if np.size(scale) > 1:
                shape[axis] = -1
            shifted = x.astype(np.float64) - (0 if zero is None else np.reshape(zero, shape).astype(np.float64))
            return ((shifted * np.reshape(scale, shape)).astype(scale.dtype),)

    class QuantizeLinear(OpRun):
        op_domain = ""

        def _run(self, x: Any, scale: Any, zero: Any = None, axis: int = 1, **_: Any) -> Any:
            shape = [1] * x.ndim
            if np.size(scale) > 1:
                shape[axis] = -1
            kind = np.dtype(np.uint8 if zero is None else zero.dtype)
            offset = 0 if zero is None else np.reshape(zero, shape if np.size(zero) > 1 else ()).astype(np.int64)
            steps = x / np.reshape(scale, shape if np.size(scale) > 1 else ())
            rounded = np.rint(steps + steps.dtype.type(shift)) + offset
            return (np.clip(rounded, np.iinfo(kind).min, np.iinfo(kind).max).astype(kind),)

    class MaxPool(Loop):
        op_domain = ""

        def _run(self, x: Any, **given: Any) -> Any:
            kernel = tuple(given.get("kernel_shape") or ())
            axes = len(kernel)
            plain = given.get("auto_pad") in (None, "", "NOTSET") and not given.get("ceil_mode")
            dilated = any(d != 1 for d in given.get("dilations") or ())
            if not plain or dilated or x.ndim != axes + 2 or x.dtype.kind != "f" or len(self.onnx_node.output) > 1:
                return super()._run(x, **given)
            pads = list(given.get("pads") or [0] * 2 * axes)
            strides = list(given.get("strides") or [1] * axes)
            edges = [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)]
            padded = np.pad(x, edges, constant_values=-np.inf)
            windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, tuple(range(2, 2 + axes)))
            every = (slice(None), slice(None), *(slice(None, None, s) for s in strides))
            return (windows[every].max(tuple(range(-axes, 0))),)

    return [DequantizeLinear, QuantizeLinear, MaxPool]


def metric_change(artifact: Artifact, truth: Truth, task: str) -> dict[str, float]:
    """What an ONNX form, whose path is absolute, changes of the model's metric over the whole test set.

    As `judge.change` has it. Empty where the samples have no labels. Raises BackendUnavailable, BackendFailed.
    """
    if truth.labels is None and truth.targets is None:
        return {}
    backend = backend_named(BACKEND)
    if reason := backend.missing("cpu"):
        raise BackendUnavailable(reason)
    session = backend.open(artifact, "cpu", 1)
    parts: dict[str, list[Any]] = {s.name: [] for s in artifact.outputs}
    try:
        for piece, count in slices(artifact.inputs, truth.inputs("test"), fixed_batch(artifact.inputs) or BATCH):
            session.bind(piece)
            session.run()
            for name, answer in session.outputs().items():
                parts[name].append(np.array(answer[:count]))
    finally:
        session.close()
    answers = {name: np.concatenate(found) for name, found in parts.items()}
    if any(answers[n].shape != y.shape for n, y in truth.outputs("test").items()):
        raise BackendFailed(f"{artifact.name}: its answers have other shapes than the model's")
    return judge.change(truth, task, judge.decided(truth, task, answers), answers)


def why_fallen(change: Mapping[str, float], most: float) -> str:
    """The sentence on a metric that falls by more than `most` points; empty where it does not."""
    if not change or 100 * change["drop"] <= most:
        return ""
    return f"{change_text(change)}, more than the {most:g} points that --max-metric-drop allows"


def change_text(change: Mapping[str, float]) -> str:
    """ "accuracy −0.12 points [−0.20, −0.04]": the change and its 95 % interval."""
    if not change:
        return "its metric is not known without labels"
    return f"{'accuracy' if 'lost' in change else 'R²'} {judge.points_text(change)}"
