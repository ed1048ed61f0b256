"""Floating-point operations of one ONNX operator, from the shapes of its inputs and outputs.

A multiply-add is two operations; a bias is one more for each element it is added to; padding is counted as if it were
data; one operation an element for every other function of one element (a sum, a maximum, a comparison, an exponential).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

Shape = tuple[int, ...]


class Unknown(Exception):
    """The operator has no rule here, or a shape that its rule needs is not known."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One node with what shape inference found."""

    kind: str
    """Its operator type."""
    inputs: tuple[Shape | None, ...]
    """None where the shape is not known or an optional input is left out."""
    outputs: tuple[Shape | None, ...]
    given: tuple[bool, ...]
    """Whether each input is there."""
    attributes: Mapping[str, Any]
    floating: bool
    """Whether it computes on floating-point numbers: integers are bookkeeping and count nothing."""

    def input(self, index: int) -> Shape:
        """Raises Unknown where its shape is not known."""
        return _known(self.inputs, index)

    def output(self, index: int = 0) -> Shape:
        """Raises Unknown where its shape is not known."""
        return _known(self.outputs, index)

    def has(self, index: int) -> bool:
        """Whether the optional input of this number is given."""
        return index < len(self.given) and self.given[index]


def _known(shapes: tuple[Shape | None, ...], index: int) -> Shape:
    shape = shapes[index] if index < len(shapes) else None
    if shape is None:
        raise Unknown
    return shape


VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
"""The same numbers under another shape: their output is no tensor of its own."""
FREE = VIEWS | frozenset(
    {
        *("Shape", "Size", "Constant", "ConstantOfShape", "Cast", "CastLike", "Transpose", "Concat", "Split", "Slice"),
        *("Gather", "GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND", "Expand", "Tile", "Pad"),
        *("Where", "Not", "And", "Or", "Xor", "BitShift", "IsNaN", "IsInf", "Range", "OneHot", "NonZero", "EyeLike"),
        *("DepthToSpace", "SpaceToDepth", "Trilu", "Compress", "ReverseSequence", "Unique", "Optional"),
        *("SequenceConstruct", "SequenceAt", "SequenceEmpty", "SequenceInsert", "SequenceLength", "SplitToSequence"),
    }
)
"""No arithmetic: they move, select or make numbers."""
ELEMENTWISE = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "PRelu", "Equal", "Greater", "GreaterOrEqual", "Less"),
        *("LessOrEqual", "Abs", "Neg", "Sign", "Reciprocal", "Ceil", "Floor", "Round", "Sqrt", "Exp", "Log", "Erf"),
        *("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Asinh", "Acosh", "Atanh", "Sigmoid"),
        *("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Mish", "Swish", "HardSigmoid", "HardSwish", "Softplus"),
        *("Softsign", "ThresholdedRelu", "Shrink", "Clip"),
    }
)
"""One operation for each element of the output."""
REDUCTIONS = {
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1"), 1),
    **dict.fromkeys(("ReduceLogSum", "ArgMax", "ArgMin", "CumSum", "GlobalAveragePool", "GlobalMaxPool"), 1),
    **dict.fromkeys(("ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "GlobalLpPool", "BatchNormalization"), 2),
    **dict.fromkeys(("LpNormalization",), 3),
    **dict.fromkeys(("Softmax", "LogSoftmax", "RMSNormalization"), 5),
    **dict.fromkeys(
        ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization"), 7
    ),
}
"""Operations for each element of the first input. Softmax: maximum, difference, exponential, sum, quotient (LogSoftmax:
difference); batch normalisation: folded scale and shift; layer normalisation and its like: mean, difference, square,
sum, quotient, scale, shift. Roots and logarithms of whole rows are not counted."""


def _elementwise(call: Call) -> int:
    return prod(call.output())


def _variadic(call: Call) -> int:
    """Sum, Max, Min, Mean of n tensors: n - 1 operations an element, and Mean's division."""
    return prod(call.output()) * (len(call.given) - 1 + (call.kind == "Mean"))


def _convolution(call: Call) -> int:
    """Weight (C_out, C_in / groups, kernel…): each output element is a dot product with one filter."""
    size = prod(call.output())
    return 2 * size * prod(call.input(1)[1:]) + (size if call.has(2) else 0)


def _transposed(call: Call) -> int:
    """Weight (C_in, C_out / groups, kernel…): each input element is multiplied into a kernel of each output channel."""
    return 2 * prod(call.input(0)) * prod(call.input(1)[1:]) + (prod(call.output()) if call.has(2) else 0)


def _gemm(call: Call) -> int:
    """2MNK, and MN where a third matrix is added; the scalar factors are not counted."""
    rows = call.input(0)
    inner = rows[0] if call.attributes.get("transA") else rows[1]
    size = prod(call.output())
    return 2 * size * inner + (size if call.has(2) else 0)


def _matmul(call: Call) -> int:
    return 2 * prod(call.output()) * call.input(0)[-1]


def _pool(call: Call) -> int:
    """k - 1 operations for each window of k, and the division of an average."""
    window: int = prod(call.attributes["kernel_shape"])
    return prod(call.output()) * (window - (call.kind == "MaxPool"))


POINTWISE = {"RNN": 1, "GRU": 8, "LSTM": 9}
"""Operations for each hidden unit and step beside the matrices: activations, gates, state."""


def _recurrent(call: Call) -> int:
    """X (steps, batch, I) or (batch, steps, I), W (directions, gates · H, I), R (directions, gates · H, H): all steps,
    whatever `sequence_lens` says."""
    steps = prod(call.input(0)[:2])
    directions, gates, width = call.input(1)
    hidden = call.input(2)[2]
    one = 2 * gates * (width + hidden) + POINTWISE[call.kind] * hidden
    one += 2 * gates if call.has(3) else 0
    one += 6 * hidden if call.has(7) else 0
    return steps * directions * one


def _einsum(call: Call) -> int:
    """Two operands: a multiply-add for each combination of all letters, a product alone where none is summed."""
    terms, _, result = call.attributes["equation"].decode().replace(" ", "").partition("->")
    names = terms.split(",")
    if len(names) != 2 or not result or "." in terms:
        raise Unknown
    sizes = {
        letter: size for index, term in enumerate(names) for letter, size in zip(term, call.input(index), strict=True)
    }
    return prod(sizes.values()) * (2 if set(sizes) - set(result) else 1)


def _resize(call: Call) -> int:
    if call.attributes.get("mode", b"nearest") != b"nearest":
        raise Unknown
    return 0


RULES: dict[str, Callable[[Call], int]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
    "Resize": _resize,
    "Upsample": _resize,
    **dict.fromkeys(("MaxPool", "AveragePool"), _pool),
    **dict.fromkeys(POINTWISE, _recurrent),
}
ARITHMETIC: dict[str, Callable[[Call], int]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(("Sum", "Max", "Min", "Mean"), _variadic),
    **dict.fromkeys(REDUCTIONS, lambda call: REDUCTIONS[call.kind] * prod(call.input(0))),
}


def operations(call: Call) -> int:
    """Floating-point operations of one node; raises Unknown where there is no rule for it or a shape is not known."""
    if call.kind in FREE:
        return 0
    if call.kind in ARITHMETIC:
        return ARITHMETIC[call.kind](call) if call.floating else 0
    if call.kind not in RULES:
        raise Unknown
    return RULES[call.kind](call)
