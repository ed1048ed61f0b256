"""Operations and bytes from the graph, against values derived by hand beside each test."""

import numpy as np
import pytest

from export.bundle.errors import BundleCorrupt, UsageError
from serve_bench.latency._operations import ELEMENTWISE, FREE, REDUCTIONS
from serve_bench.latency.work import Work, count, dynamic_axes, load

onnx = pytest.importorskip("onnx")
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
make = onnx.helper


def info(name, shape, kind=FLOAT):
    return make.make_tensor_value_info(name, kind, shape)


def weight(name, *shape):
    return onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)


def whole(name, *values):
    return onnx.numpy_helper.from_array(np.array(values, np.int64), name)


@pytest.fixture
def work_of(tmp_path):
    """The work of nodes between inputs (x by default) and the float output y of any shape."""

    def counted(nodes, x, weights=(), batch=1, axes=None, opset=17, inputs=(), outputs=("y",)) -> Work:
        ends = [info("x", x), *inputs]
        graph = make.make_graph(nodes, "g", ends, [info(name, None) for name in outputs], list(weights))
        imports = [make.make_opsetid("", opset), make.make_opsetid("mine", 1)]
        path = tmp_path / "model.onnx"
        onnx.save(make.make_model(graph, opset_imports=imports, ir_version=9), path)
        return count(path, batch, axes)

    return counted


def test_a_convolution_and_its_bytes(work_of):
    """24 × 24 outputs of 20 filters: 5 · 5 multiply-adds and a bias each."""
    node = make.make_node("Conv", ["x", "w", "b"], ["y"])
    found = work_of([node], ["batch", 1, 28, 28], [weight("w", 20, 1, 5, 5), weight("b", 20)], batch=3)
    assert found.flops == 3 * 20 * 24 * 24 * (2 * 25 + 1) == 1_762_560
    assert found.operators == {"Conv": found.flops}
    assert found.weight_bytes == 4 * (500 + 20)
    assert (found.input_bytes, found.output_bytes) == (4 * 3 * 784, 4 * 3 * 20 * 576)
    assert found.bytes == found.weight_bytes + found.input_bytes + found.output_bytes
    assert found.intensity == found.flops / found.bytes
    assert found.intermediate_bytes == 0
    assert found.unknown == {}


def test_groups_strides_and_dilations_of_a_convolution(work_of):
    """Height (9 + 2 - 2 · 2 - 1) // 2 + 1 = 4, width 9 + 2 - 3 + 1 = 9; each of 8 filters sees 4 / 2 channels."""
    node = make.make_node("Conv", ["x", "w"], ["y"], group=2, strides=[2, 1], dilations=[2, 1], pads=[1, 1, 1, 1])
    found = work_of([node], ["batch", 4, 9, 9], [weight("w", 8, 2, 3, 3)], batch=5)
    assert found.flops == 5 * 8 * (4 * 9) * 2 * (2 * 9)


def test_a_transposed_convolution(work_of):
    """Each of 6 · 7 · 7 inputs is multiplied into 3 · 3 of 4 / 2 channels; the output is 15 × 15."""
    node = make.make_node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[2, 2], group=2)
    found = work_of([node], ["batch", 6, 7, 7], [weight("w", 6, 2, 3, 3), weight("b", 4)])
    assert found.flops == 2 * (6 * 49) * (2 * 9) + 4 * 15 * 15


@pytest.mark.parametrize(("turned", "shape"), [(1, (60, 480)), (0, (480, 60))])
def test_a_linear_layer(work_of, turned, shape):
    node = make.make_node("Gemm", ["x", "w", "b"], ["y"], transB=turned)
    found = work_of([node], ["batch", 480], [weight("w", *shape), weight("b", 60)], batch=64)
    assert found.flops == 64 * 60 * (2 * 480 + 1)


def test_a_batched_matrix_product_broadcasts(work_of):
    found = work_of([make.make_node("MatMul", ["x", "w"], ["y"])], ["batch", 3, 7, 5], [weight("w", 5, 11)], batch=2)
    assert found.flops == 2 * (2 * 3 * 7 * 11) * 5


def test_pooling(work_of):
    """Of a window of 4 a maximum takes 3 comparisons, a mean 3 sums and a division."""
    for kind, each in (("MaxPool", 3), ("AveragePool", 4)):
        node = make.make_node(kind, ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])
        assert work_of([node], ["batch", 5, 8, 8]).flops == 5 * 16 * each


@pytest.mark.parametrize(
    ("kind", "each"),
    [("Relu", 1), ("Exp", 1), ("ReduceSum", 1), ("ReduceL2", 2), ("Softmax", 5), ("Transpose", 0)],
)
def test_operations_of_an_element(work_of, kind, each):
    assert work_of([make.make_node(kind, ["x"], ["y"])], ["batch", 12], batch=7).flops == 7 * 12 * each


def test_a_sum_of_three(work_of):
    assert work_of([make.make_node("Sum", ["x", "x", "x"], ["y"])], ["batch", 4]).flops == 2 * 4


@pytest.mark.parametrize(("kind", "gates", "pointwise"), [("LSTM", 4, 9), ("GRU", 3, 8), ("RNN", 1, 1)])
def test_recurrent_layers(work_of, kind, gates, pointwise):
    """11 steps of 2 samples in 2 directions: 5 inputs and 3 hidden units into `gates` · 3 rows, two biases each."""
    node = make.make_node(kind, ["x", "w", "r", "b"], ["y"], hidden_size=3, direction="bidirectional")
    weights = [weight("w", 2, gates * 3, 5), weight("r", 2, gates * 3, 3), weight("b", 2, 2 * gates * 3)]
    found = work_of([node], ["length", "batch", 5], weights, batch=2, axes={"length": 11})
    assert found.flops == 11 * 2 * 2 * (2 * gates * 3 * (5 + 3) + 2 * gates * 3 + pointwise * 3)


def test_einsum(work_of):
    node = make.make_node("Einsum", ["x", "w"], ["y"], equation="bij,jk->bik")
    assert work_of([node], ["batch", 3, 5], [weight("w", 5, 7)], batch=2).flops == 2 * (2 * 3 * 5 * 7)


def scan(length_axis=0):
    """A state (batch, 4) that is multiplied with a captured matrix and added to one step of the sequence."""
    nodes = [make.make_node("MatMul", ["h", "w"], ["m"]), make.make_node("Add", ["m", "step"], ["next"])]
    ends = [info("h", None), info("step", None)]
    body = make.make_graph(nodes, "body", ends, [info("next", None)])
    return make.make_node("Scan", ["start", "x"], ["y"], body=body, num_scan_inputs=1, scan_input_axes=[length_axis])


def test_a_scan_counts_its_body_as_often_as_its_sequence_is_long(work_of):
    given = [info("start", ["batch", 4])]
    found = work_of([scan()], ["length", "batch", 4], [weight("w", 4, 4)], 3, {"length": 19}, inputs=given)
    assert found.flops == 19 * (2 * 3 * 4 * 4 + 3 * 4)
    assert found.operators == {"Add": 19 * 12, "MatMul": 19 * 96}
    assert found.weight_bytes == 4 * 16
    assert found.intermediate_bytes == 19 * 4 * 3 * 4


def test_a_scan_over_another_axis(work_of):
    given = [info("start", ["batch", 4])]
    found = work_of([scan(1)], ["batch", "length", 4], [weight("w", 4, 4)], 3, {"length": 2}, inputs=given)
    assert found.flops == 2 * (2 * 3 * 4 * 4 + 3 * 4)


def loop(turns):
    body = make.make_graph(
        [make.make_node("Relu", ["h"], ["next"]), make.make_node("Identity", ["going"], ["on"])],
        "body",
        [info("i", [], INT64), info("going", [], onnx.TensorProto.BOOL), info("h", None)],
        [info("on", [], onnx.TensorProto.BOOL), info("next", None)],
    )
    return make.make_node("Loop", [turns, "", "x"], ["y"], body=body)


def test_a_loop_of_a_constant_number_of_turns(work_of):
    turns = onnx.numpy_helper.from_array(np.array(6, np.int64), "turns")
    assert work_of([loop("turns")], ["batch", 4], [turns]).flops == 6 * 4


def test_a_loop_whose_turns_the_graph_computes_is_named(work_of):
    found = work_of([loop("n")], ["batch", 4], inputs=[info("n", [], INT64)])
    assert (found.flops, found.unknown) == (0, {"Loop": 1})


def test_of_an_if_the_cheaper_branch_counts(work_of):
    def branch(*kinds):
        names = ["x", *(f"{kinds[0]}{i}" for i in range(len(kinds)))]
        nodes = [make.make_node(k, [names[i]], [names[i + 1]]) for i, k in enumerate(kinds)]
        return make.make_graph(nodes, "branch", [], [info(names[-1], None)])

    node = make.make_node("If", ["c"], ["y"], then_branch=branch("Exp", "Relu"), else_branch=branch("Neg"))
    assert work_of([node], ["batch", 4], inputs=[info("c", [], onnx.TensorProto.BOOL)]).operators == {"Neg": 4}


def test_what_has_no_rule_is_named_and_the_rest_counts(work_of):
    nodes = [
        make.make_node("Relu", ["x"], ["r"]),
        make.make_node("Own", ["r"], ["o"], domain="mine"),
        make.make_node("Det", ["o"], ["y"]),
    ]
    found = work_of(nodes, ["batch", 4])
    assert found.flops == 4
    assert found.unknown == {"Det": 1, "mine::Own": 1}


def test_arithmetic_on_a_shape_that_is_not_known_is_named(work_of):
    nodes = [make.make_node("NonZero", ["x"], ["n"]), make.make_node("Cast", ["n"], ["f"], to=FLOAT)]
    found = work_of([*nodes, make.make_node("Relu", ["f"], ["y"])], ["batch", 4])
    assert (found.flops, found.unknown) == (0, {"Relu": 1})


def test_arithmetic_on_shapes_is_no_floating_point_operation(work_of):
    nodes = [make.make_node("Shape", ["x"], ["s"]), make.make_node("Mul", ["s", "s"], ["y"])]
    found = work_of(nodes, ["batch", 4])
    assert (found.flops, found.unknown) == (0, {})


def test_of_a_table_only_what_is_gathered_is_read(work_of):
    """3 rows of 8 of a table of 100 rows; of a table of 2 rows no more than the table."""
    node = make.make_node("Gather", ["table", "rows"], ["y"])
    for rows, read in ((100, 3), (2, 2)):
        given = [info("rows", ["batch"], INT64)]
        found = work_of([node], ["batch", 1], [weight("table", rows, 8)], batch=3, inputs=given)
        assert found.weight_bytes == 4 * 8 * read


def test_shapes_follow_a_reshape_by_a_constant_and_a_local_function(tmp_path):
    """What the exporter leaves of `flatten`, and a function of the model's own: 2 · 3 · 4 multiply-adds and a ReLU."""
    twice = make.make_function(
        "mine", "Dense", ["a", "b"], ["c"], [make.make_node("MatMul", ["a", "b"], ["c"])], [make.make_opsetid("", 17)]
    )
    nodes = [
        make.make_node("Reshape", ["x", "to"], ["flat"]),
        make.make_node("Dense", ["flat", "w"], ["d"], domain="mine"),
        make.make_node("Relu", ["d"], ["y"]),
    ]
    graph = make.make_graph(
        nodes, "g", [info("x", ["batch", 2, 2])], [info("y", None)], [whole("to", -1, 4), weight("w", 4, 3)]
    )
    imports = [make.make_opsetid("", 17), make.make_opsetid("mine", 1)]
    onnx.save(make.make_model(graph, opset_imports=imports, functions=[twice], ir_version=9), tmp_path / "m.onnx")
    found = count(tmp_path / "m.onnx", 2)
    assert found.operators == {"MatMul": 2 * 2 * 4 * 3, "Relu": 2 * 3}
    assert found.intermediate_bytes == 4 * 2 * 3


def test_a_dynamic_axis_needs_a_size(work_of):
    node = make.make_node("Relu", ["x"], ["y"])
    with pytest.raises(UsageError, match="input 'x' has a dynamic axis 'length': its size is needed"):
        work_of([node], ["batch", "length"])
    assert work_of([node], ["batch", "length"], axes={"length": 5}).flops == 5


def test_dynamic_axes_are_named_with_their_place(work_of, tmp_path):
    work_of([make.make_node("Relu", ["x"], ["y"])], ["length", "batch", 4, "more"], axes={"length": 1, "more": 1})
    assert dynamic_axes(load(tmp_path / "model.onnx")) == {"length": ("x", 0), "more": ("x", 3)}


def test_a_batch_that_is_fixed_stays(work_of):
    assert work_of([make.make_node("Relu", ["x"], ["y"])], [3, 4], batch=64).flops == 12


def test_what_is_no_onnx_is_one_line(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(BundleCorrupt, match="cannot be read as onnx"):
        count(path, 1)


def test_every_operator_of_a_rule_is_one_of_onnx():
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    newer = {"RMSNormalization", "Swish"}
    assert (FREE | ELEMENTWISE | set(REDUCTIONS)) - known <= newer
    assert not FREE & ELEMENTWISE


def test_the_zoo_cnn(made):
    """20 filters of 5 × 5 on 28 × 28, pooled by 2, 30 of 20 × 5 × 5 on 12 × 12, pooled, 480 → 60 → 10, log-softmax."""
    found = count(made.root / "payload/model.onnx", 2)
    convolutions = 20 * 24 * 24 * (2 * 25 + 1) + 30 * 8 * 8 * (2 * 20 * 25 + 1)
    linear = 60 * (2 * 480 + 1) + 10 * (2 * 60 + 1)
    pools = 3 * (20 * 12 * 12 + 30 * 4 * 4)
    relus = 20 * 12 * 12 + 30 * 4 * 4 + 60
    assert found.flops == 2 * (convolutions + linear + pools + relus + 5 * 10) == 2 * 2_581_860
    assert found.weight_bytes == 4 * (20 * 26 + 30 * 501 + 60 * 481 + 10 * 61)
    assert (found.input_bytes, found.output_bytes, found.unknown) == (2 * 4 * 784, 2 * 4 * 10, {})
