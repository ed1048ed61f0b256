"""What single backends do beyond the contract: settings, placement, precision, compilers, engines."""

import ctypes
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from export.bundle.errors import BackendFailed, BackendUnavailable
from export.bundle.types import TensorSpec
from serve_bench._child import slices, whole_batches
from serve_bench.backends import (
    _engine,
    _engine_graph,
    _placement,
    compiled,
    onnxruntime,
    onnxruntime_cudagraph,
    tensorrt,
)
from serve_bench.backends._torch import TorchSession
from serve_bench.cells import backend_named


def opened(tiny_onnx, name="onnx", threads=1):
    return backend_named("onnxruntime-cpu").open(tiny_onnx.artifacts[name], "cpu", threads)


def test_onnxruntime_states_its_settings_and_where_its_nodes_run(tiny_onnx):
    settings = opened(tiny_onnx).settings
    assert settings["intra_op_threads"] == 1
    assert settings["graph_optimization"] == "all"
    assert settings["spinning"] == "none: no pool"
    assert settings["providers"] == ["CPUExecutionProvider"]
    assert settings["placement"] == {"CPUExecutionProvider": 5}
    assert opened(tiny_onnx, threads=2).settings["spinning"].startswith("inside a run only")


def test_float16_on_the_cpu_provider_is_found_to_compute_in_float32(tiny_onnx):
    precision, evidence = opened(tiny_onnx, "onnx float16").precision
    assert precision == "float32"
    assert "float32: " in evidence
    assert "on weights rounded to float16" in evidence
    assert opened(tiny_onnx).precision[0] == "float32"


def test_bound_inputs_are_copies_and_outputs_follow_the_last_run(tiny_onnx):
    session = opened(tiny_onnx)
    images = tiny_onnx.images[:4].copy()
    session.bind({"image": images})
    images[:] = 0
    session.run()
    assert np.abs(session.outputs()["scores"] - tiny_onnx.truth[:4]).max() < 1e-5
    session.bind({"image": tiny_onnx.images[4:8]})
    session.run()
    assert np.abs(session.outputs()["scores"] - tiny_onnx.truth[4:8]).max() < 1e-5
    with pytest.raises(BackendFailed, match="no device events"):
        session.elapsed_ns()


def test_a_shape_that_the_graph_refuses_is_one_line(tiny_onnx):
    session = opened(tiny_onnx)
    session.bind({"image": np.zeros((2, 1, 9, 9), np.float32)})
    with pytest.raises(BackendFailed, match=r"^onnxruntime-cpu: .*dimensions") as caught:
        session.run()
    assert "\n" not in str(caught.value)
    with pytest.raises(BackendFailed, match="input 'image' was not given"):
        opened(tiny_onnx).bind({})


class FakeOrt:
    """A session that says where its nodes are."""

    def __init__(self, providers, placed):
        self._providers, self._placed = providers, placed

    def get_providers(self):
        return self._providers

    def get_provider_graph_assignment_info(self):
        for provider, nodes in self._placed.items():
            found = [SimpleNamespace(name=n, op_type=op) for n, op in nodes]
            yield SimpleNamespace(ep_name=provider, get_nodes=lambda found=found: found)


CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def test_a_session_that_fell_back_to_the_cpu_is_unavailable(tiny_onnx):
    path = tiny_onnx.artifacts["onnx"].path
    with pytest.raises(BackendUnavailable, match=r"did not load CUDAExecutionProvider and fell back to CPU"):
        _placement.check_provider("onnxruntime-cuda", FakeOrt([CPU], {CPU: []}), CUDA, path)


def test_a_computing_node_elsewhere_gives_no_figure(tiny_onnx):
    path = tiny_onnx.artifacts["onnx"].path
    session = FakeOrt([CUDA, CPU], {CUDA: [("linear", "Gemm")], CPU: [("s", "Shape"), ("relu", "Relu")]})
    with pytest.raises(BackendFailed, match=r"1 nodes do not run on CUDAExecutionProvider: Relu 'relu'"):
        _placement.check_provider("onnxruntime-cuda", session, CUDA, path)


def test_shape_and_integer_bookkeeping_may_sit_on_the_cpu_and_is_listed(tmp_path):
    from onnx import TensorProto, helper, save

    info = helper.make_tensor_value_info
    nodes = [helper.make_node("Add", ["a", "b"], ["c"], "whole"), helper.make_node("Add", ["x", "x"], ["y"], "real")]
    inputs = [info("a", TensorProto.INT64, [1]), info("b", TensorProto.INT64, [1]), info("x", TensorProto.FLOAT, [1])]
    outputs = [info("c", TensorProto.INT64, [1]), info("y", TensorProto.FLOAT, [1])]
    save(helper.make_model(helper.make_graph(nodes, "g", inputs, outputs)), tmp_path / "g.onnx")
    path = str(tmp_path / "g.onnx")
    placed = {CUDA: [("real", "Add")], CPU: [("s", "Shape"), ("whole", "Add")]}
    facts = _placement.check_provider("onnxruntime-cuda", FakeOrt([CUDA, CPU], placed), CUDA, path)
    assert facts["elsewhere"] == ["Add", "Shape"]
    assert facts["placement"] == {CUDA: 1, CPU: 2}
    placed[CPU].append(("real", "Add"))
    with pytest.raises(BackendFailed, match="Add 'real'"):
        _placement.check_provider("onnxruntime-cuda", FakeOrt([CUDA, CPU], placed), CUDA, path)


def test_float32_on_a_gpu_asks_for_no_tf32(tiny_onnx, monkeypatch, tmp_path):
    (provider, options), _ = onnxruntime.OnnxRuntimeCuda().providers(tiny_onnx.artifacts["onnx"])
    assert provider == CUDA
    assert options["use_tf32"] == "0"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engines, behind, _ = onnxruntime.OnnxRuntimeTensorrt().providers(tiny_onnx.artifacts["onnx"])
    assert engines[1]["trt_profile_max_shapes"] == "image:512x1x8x8"
    assert engines[1]["trt_profile_min_shapes"] == "image:1x1x8x8"
    assert behind[0] == CUDA


def test_no_compiler_is_one_line_with_the_remedy(monkeypatch, tmp_path):
    pytest.importorskip("torch")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert backend_named("compiled").missing("cpu") == compiled.NO_COMPILER
    assert "install g++" in compiled.NO_COMPILER
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    assert backend_named("compiled").missing("cpu") is None


def test_torch_sessions_copy_in_and_name_their_outputs(tiny_onnx):
    torch = pytest.importorskip("torch")
    outputs = (TensorSpec(name="double", dtype="float32", shape=("batch",)),)
    artifact = tiny_onnx.artifacts["onnx"]
    made = SimpleNamespace(inputs=artifact.inputs, outputs=outputs, precision="float32")
    session = TorchSession("eager", lambda image: (2 * image.flatten(1).sum(1),), made, "cpu")
    images = tiny_onnx.images[:3].copy()
    session.bind({"image": images})
    images[:] = 0
    session.run()
    wanted = 2 * tiny_onnx.images[:3].astype(np.float64).reshape(3, -1).sum(1)
    assert np.abs(session.outputs()["double"] - wanted).max() < 1e-4
    session.close()
    with pytest.raises(BackendFailed, match="closed"):
        session.run()
    assert torch.is_inference_mode_enabled() is False


def test_batches_follow_the_axis_that_is_named_batch():
    spec = TensorSpec(name="letters", dtype="float32", shape=("length", "batch", 2))
    inputs = {"letters": np.arange(3 * 5 * 2, dtype=np.float32).reshape(3, 5, 2)}
    pieces = [(piece["letters"].shape, count) for piece, count in slices([spec], inputs, 2)]
    assert pieces == [((3, 2, 2), 2), ((3, 2, 2), 2), ((3, 1, 2), 1)]
    assert [b["letters"][0, :, 0].tolist() for b in whole_batches([spec], inputs, 2)] == [[0, 2], [4, 6]]
    assert [b["letters"][0, :, 0].tolist() for b in whole_batches([spec], inputs, 7)] == [[0, 2, 4, 6, 8, 0, 2]]


def test_a_fixed_batch_is_filled_up_with_the_last_sample():
    spec = TensorSpec(name="x", dtype="float32", shape=(4, 1))
    inputs = {"x": np.arange(6, dtype=np.float32)[:, None]}
    found = [(piece["x"][:, 0].tolist(), count) for piece, count in slices([spec], inputs, 64)]
    assert found == [([0, 1, 2, 3], 4), ([4, 5, 5, 5], 2)]


class FakeCuda:
    """polygraphy.cuda over host memory: what a device pointer points to can be read."""

    MemcpyKind = SimpleNamespace(HostToDevice=1, DeviceToHost=2)

    def __init__(self):
        self.calls = []
        self.handle = SimpleNamespace(
            **{
                name: (lambda *_, name=name: self.calls.append(name) or 0)
                for name in ("cudaEventCreate", "cudaEventRecord", "cudaEventSynchronize", "cudaEventDestroy")
            },
            cudaEventElapsedTime=self._elapsed,
        )

    def _elapsed(self, pointer, *_):
        ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float))[0] = 0.25
        return 0

    def wrapper(self):
        return self

    def check(self, status):
        assert status == 0

    def memcpy(self, dst, src, nbytes, kind, stream_ptr=None):
        ctypes.memmove(dst, src, nbytes)

    def Stream(self):
        return SimpleNamespace(ptr=5, synchronize=lambda: self.calls.append("synchronize"), free=lambda: None)

    def DeviceArray(self, shape, dtype):
        array = np.empty(shape, dtype)
        return SimpleNamespace(ptr=array.ctypes.data, array=array, free=lambda: self.calls.append("free"))


class FakeTensorRt:
    """tensorrt: an engine that doubles the sum of each image, for batches up to 8."""

    __version__ = "11.4"

    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

    class Runtime:
        def __init__(self, logger):
            self.logger = logger

        def deserialize_cuda_engine(self, data):
            if data == b"engine":
                return SimpleNamespace(create_execution_context=lambda: FakeContext(self.logger))
            self.logger.log(1, "magic tag does\nnot match")
            return None


class FakeContext:
    def __init__(self, logger):
        self.logger, self.shapes, self.addresses = logger, {}, {}

    def set_input_shape(self, name, shape):
        if shape[0] > 8:
            self.logger.log(1, "does not satisfy any optimization profiles")
            return False
        self.shapes[name] = shape
        return True

    def get_tensor_shape(self, name):
        return (self.shapes["image"][0], 5)

    def set_tensor_address(self, name, pointer):
        self.addresses[name] = pointer
        return True

    def execute_async_v3(self, stream):
        batch = self.shapes["image"][0]
        image = np.ctypeslib.as_array((ctypes.c_float * (batch * 64)).from_address(self.addresses["image"]))
        scores = np.ctypeslib.as_array((ctypes.c_float * (batch * 5)).from_address(self.addresses["scores"]))
        scores.reshape(batch, 5)[:] = 2 * image.reshape(batch, 64).sum(1, keepdims=True)
        return True


@pytest.fixture
def engine(tmp_path):
    from tiny_network import artifact

    (tmp_path / "model.engine").write_bytes(b"engine")
    facts = {"flavour": "tensorrt", "version": "11.4", "compute_capability": "8.0", "tf32": False, "profile": {}}
    return artifact(tmp_path / "model.engine", "tensorrt", target="sm80", facts=facts)


def test_an_engine_session_binds_runs_and_copies_out(engine, tiny_onnx):
    cuda = FakeCuda()
    session = _engine.EngineSession("tensorrt", FakeTensorRt, cuda, b"engine", engine)
    for batch in (3, 8):
        session.bind({"image": tiny_onnx.images[:batch]})
        session.run()
        session.sync()
        wanted = 2 * tiny_onnx.images[:batch].reshape(batch, -1).sum(1, keepdims=True)
        assert np.allclose(session.outputs()["scores"], np.broadcast_to(wanted, (batch, 5)), atol=1e-4)
    assert session.elapsed_ns() == 250_000
    assert session.precision == ("float32", "built with TF32 off; an engine cannot be read, its numbers speak for it")
    with pytest.raises(BackendFailed, match=r"shape \(9, 1, 8, 8\) is outside .*optimization profiles"):
        session.bind({"image": tiny_onnx.images[:9]})
    session.close()
    assert cuda.calls.count("free") == 4
    assert cuda.calls.count("cudaEventDestroy") == 2


def test_an_engines_run_is_recorded_once_a_shape_and_replayed(engine, tiny_onnx):
    """What CUDA would record is run again by its launch; nothing here says anything of a GPU."""
    cuda = FakeCuda()
    recorded = ("cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags", "cudaGraphDestroy")
    for name in (*recorded, "cudaGraphLaunch", "cudaGraphExecDestroy"):
        setattr(cuda.handle, name, lambda *_, name=name: cuda.calls.append(name) or 0)
    session = _engine_graph.ReplayedSession("tensorrt-cudagraph", FakeTensorRt, cuda, b"engine", engine)
    for batch, runs in ((3, 2), (8, 1)):
        session.bind({"image": tiny_onnx.images[:batch]})
        for _ in range(runs):
            session.run()
        session.sync()
        wanted = 2 * tiny_onnx.images[:batch].reshape(batch, -1).sum(1, keepdims=True)
        assert np.allclose(session.outputs()["scores"], np.broadcast_to(wanted, (batch, 5)), atol=1e-4)
    session.close()
    counts = [cuda.calls.count(name) for name in (*recorded, "cudaGraphLaunch", "cudaGraphExecDestroy")]
    assert counts == [2, 2, 2, 2, 3, 2]


def test_the_names_that_are_called_exist_in_cudas_runtime():
    from importlib.util import find_spec

    found = find_spec("nvidia")
    places = [Path(p) for p in (found.submodule_search_locations if found else ())]
    libraries = sorted(path for place in places for path in place.rglob("libcudart.so*"))
    if not libraries:
        pytest.skip("no libcudart is installed")
    runtime = ctypes.CDLL(str(libraries[-1]))
    for name in ("cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags", "cudaGraphLaunch"):
        assert hasattr(runtime, name)
    assert hasattr(runtime, "cudaGraphExecDestroy")


def test_onnx_runtime_keeps_a_graph_for_each_set_of_shapes(tiny_onnx, monkeypatch):
    """The bookkeeping, with buffers on the CPU in the place of the device's."""
    import onnxruntime as ort

    runs = []

    class Session:
        def __init__(self, real):
            self.real = real

        def io_binding(self):
            return self.real.io_binding()

        def run(self, names, feeds, options):
            runs.append(("plain", options.get_run_config_entry("gpu_graph_id")))
            return self.real.run(names, feeds)

        def run_with_iobinding(self, binding, options):
            runs.append((id(binding), options.get_run_config_entry("gpu_graph_id")))
            self.real.run_with_iobinding(binding)

    made = ort.OrtValue.ortvalue_from_shape_and_type
    on_cpu = staticmethod(lambda shape, kind, device, number: made(shape, kind))
    monkeypatch.setattr(ort.OrtValue, "ortvalue_from_shape_and_type", on_cpu)
    artifact = tiny_onnx.artifacts["onnx"]
    real = ort.InferenceSession(artifact.path, providers=["CPUExecutionProvider"])
    session = onnxruntime_cudagraph.GraphSession("onnxruntime-cudagraph", Session(real), artifact, None)
    for batch in (2, 5, 2):
        session.bind({"image": tiny_onnx.images[:batch]})
        session.run()
        assert np.abs(session.outputs()["scores"] - tiny_onnx.truth[:batch]).max() < 1e-5
    assert [graph for kind, graph in runs if kind == "plain"] == ["-1", "-1"]
    bound = [run for run in runs if run[0] != "plain"]
    assert [graph for _, graph in bound] == ["1", "2", "1"]
    assert bound[0] == bound[2]
    options = dict(onnxruntime_cudagraph.ENTRIES[0].providers(artifact)[0][1])
    assert options["enable_cuda_graph"] == "1"
    assert options["use_tf32"] == "0"


def test_a_sequence_beyond_an_engines_profile_is_said_before_it_is_bound(engine):
    letters = TensorSpec(name="letters", dtype="int64", shape=("batch", "length"))
    profile = {"letters": {"min": [1, 1], "opt": [64, 20], "max": [512, 64]}}
    artifact = replace(engine, inputs=(letters,), facts={**engine.facts, "profile": profile})
    session = _engine.EngineSession("tensorrt", FakeTensorRt, FakeCuda(), b"engine", artifact)
    with pytest.raises(BackendFailed, match=r"^tensorrt: input 'letters' has length 65; .* built for 1 to 64: cut it"):
        session.bind({"letters": np.zeros((1, 65), np.int64)})
    assert _engine.beyond_profile(letters, (512, 64), profile) == ""
    assert "batch 513; this engine was built for 1 to 512" in _engine.beyond_profile(letters, (513, 64), profile)


def test_an_engine_that_does_not_open_says_why(engine):
    with pytest.raises(BackendFailed, match=r"model\.engine cannot be opened: magic tag does not match"):
        _engine.EngineSession("tensorrt", FakeTensorRt, FakeCuda(), b"rubbish", engine)


def test_an_engine_of_another_machine_is_refused_before_anything_is_loaded(engine, monkeypatch):
    backend = backend_named("tensorrt")
    monkeypatch.setattr(type(backend), "_library", lambda _: pytest.fail("was loaded"))
    with pytest.raises(BackendUnavailable, match=r"^tensorrt: the engine "):
        backend.open(engine, "cuda", 1)


def test_the_names_that_are_called_exist_in_tensorrt():
    library = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    for name in ("set_input_shape", "get_tensor_shape", "set_tensor_address", "execute_async_v3"):
        assert hasattr(library.IExecutionContext, name)
    assert hasattr(library.Runtime, "deserialize_cuda_engine")
    assert _engine.quiet_logger(library).errors == []


@pytest.mark.gpu
@pytest.mark.parametrize(
    "name",
    [
        b.name
        for b in (*tensorrt.ENTRIES, *onnxruntime.ENTRIES, *onnxruntime_cudagraph.ENTRIES)
        if "cuda" in b.devices()
    ],
)
def test_on_a_gpu(name, tiny_onnx):
    backend = backend_named(name)
    reason = backend.missing("cuda")
    if reason is not None or backend.reads != "onnx":
        pytest.skip(reason or "engines are built in tests/export")
    from serve_bench.worker import Workers

    with Workers() as workers:
        worker = workers.spawn(backend.family, backend.preload)
        assert worker.open("k", name, tiny_onnx.artifacts["onnx"], "cuda", 1).precision == "float32"
        assert np.abs(worker.answer("k", {"image": tiny_onnx.images}, 8)["scores"] - tiny_onnx.truth).max() < 1e-5


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["eager", "compiled", "torchscript"])
def test_torch_on_a_gpu(name, tiny):
    backend = backend_named(name)
    reason = backend.missing("cuda")
    if reason is not None:
        pytest.skip(reason)
    from serve_bench.worker import Workers

    artifact = next(a for a in tiny.artifacts.values() if a.format == backend.reads)
    with Workers() as workers:
        worker = workers.spawn(backend.family, backend.preload)
        assert worker.open("k", name, artifact, "cuda", 1).precision == "float32"
        assert np.abs(worker.answer("k", {"image": tiny.images}, 8)["scores"] - tiny.truth).max() < 1e-5
        worker.load_inputs({"image": tiny.images})
        assert worker.measure("k", 4, "compute", 3, 0)[0] > 0
