"""Processes: made anew, silent, typed in their errors, and gone when they should be."""

import mmap
import os
import select
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest

from export.bundle.errors import BackendFailed, BackendUnavailable, PipelineError, UnknownName, WorkerDied, WorkerHung
from serve_bench import worker as module
from serve_bench._processes import how_it_ended
from serve_bench.cells import backend_named
from serve_bench.latency.scenarios._base import Load
from serve_bench.worker import Workers

ORT = "onnxruntime-cpu"


def spawn(workers, name=ORT, **more):
    backend = backend_named(name)
    return workers.spawn(backend.family, backend.preload, **more)


@pytest.fixture
def workers():
    with Workers() as made:
        yield made


def gone(pid, seconds=10.0):
    """Whether a process that is no child of ours ends in time; waits on the process itself."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def test_a_replicate_is_a_process_made_anew(workers, tiny_onnx):
    pids = []
    for fresh in (False, False, True):
        worker = spawn(workers, fresh=fresh)
        worker.open("k", ORT, tiny_onnx.artifacts["onnx"], "cpu", 1)
        scores = worker.answer("k", {"image": tiny_onnx.images}, 8)["scores"]
        assert np.abs(scores - tiny_onnx.truth).max() < 1e-5
        pids.append(worker.pid)
        worker.stop()
        assert gone(worker.pid)
    assert len({*pids, os.getpid()}) == 4


def test_a_native_crash_is_one_error_that_names_backend_and_signal(workers, tiny_onnx):
    worker = spawn(workers)
    worker.open("k", ORT, tiny_onnx.artifacts["onnx"], "cpu", 1)
    os.kill(worker.pid, signal.SIGSEGV)
    with pytest.raises(WorkerDied, match=r"onnxruntime-cpu: its process ended: killed by SIGSEGV"):
        worker.answer("k", {"image": tiny_onnx.images}, 8)
    with pytest.raises(WorkerDied, match="process is gone"):
        worker.peak_memory()
    worker.stop()
    another = spawn(workers)
    another.open("k", ORT, tiny_onnx.artifacts["onnx"], "cpu", 1)


def test_a_worker_that_says_nothing_is_killed(tiny_onnx):
    with Workers(limit_s=0.3) as workers:
        worker = spawn(workers, "null")
        os.kill(worker.pid, signal.SIGSTOP)
        with pytest.raises(WorkerDied, match=r"no answer to 'peak_memory' within 0\.3 s"):
            worker.peak_memory()
        assert gone(worker.pid)


LOAD = Load(scenario="SingleStream", min_duration_s=0.05, min_queries=64, expected_s=0.05, expected_ns=2000)
LIMITED = {
    "measure": lambda worker: worker.measure("k", 1, "host", 3, 0, 0.2),
    "warm_up": lambda worker: worker.warm_up("k", 1, "host", 0.05, 0.2),
    "measure_between": lambda worker: worker.measure_between("k", 1, 0, 1, 0, 0.2),
    "load": lambda worker: worker.load("k", LOAD, 0.2),
    "open": lambda worker: worker.open("l", "null", None, "cpu", 1, 0.2),
}


@pytest.mark.parametrize("what", LIMITED)
def test_a_turn_has_a_limit_of_its_own(workers, tiny_onnx, what):
    worker = spawn(workers, "null")
    worker.load_inputs({"image": tiny_onnx.images})
    worker.open("k", "null", tiny_onnx.artifacts["onnx"], "cpu", 1)
    assert len(worker.measure("k", 1, "host", 3, 0, 30.0)) == 3
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(WorkerHung, match=rf"null: its process ended: no answer to '{what}' within 0\.2 s"):
        LIMITED[what](worker)


def test_an_output_of_another_shape_than_was_promised_is_one_line(tiny_onnx):
    from dataclasses import replace

    from serve_bench._child import _check_shapes

    artifact = tiny_onnx.artifacts["onnx"]
    name, width = artifact.outputs[0].name, artifact.outputs[0].shape[1]
    _check_shapes(artifact, 4, {name: np.zeros((4, width))})
    for shape in ((3, width), (4, width + 1), (4,)):
        with pytest.raises(BackendFailed, match=r"has shape \[.*\] at batch 4, \[4, 5\] was promised"):
            _check_shapes(artifact, 4, {name: np.zeros(shape)})
    with pytest.raises(BackendFailed, match="gives no output"):
        _check_shapes(artifact, 4, {})
    free = replace(artifact, outputs=(replace(artifact.outputs[0], shape=("batch", "length")),))
    _check_shapes(free, 4, {name: np.zeros((4, 9))})


def test_memory_that_does_not_suffice_is_an_error_of_that_batch_and_the_process_goes_on(workers, tiny_onnx):
    """The inputs of this batch alone are 256 TB."""
    worker = spawn(workers, "null")
    worker.load_inputs({"image": tiny_onnx.images})
    worker.open("k", "null", tiny_onnx.artifacts["onnx"], "cpu", 1)
    with pytest.raises(BackendFailed, match=r"not enough memory: ask for a smaller batch"):
        worker.warm_up("k", 1 << 40, "host", 0.05)
    assert worker.warm_up("k", 4, "host", 0.05).runs >= 2


def test_a_kill_from_outside_names_memory(workers):
    worker = spawn(workers, "null")
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match=r"killed by SIGKILL, as the system does where memory runs out: ask for a sm"):
        worker.peak_memory()


def test_errors_come_back_typed_and_in_one_line(workers, tiny_onnx, tmp_path):
    from tiny_network import artifact

    (tmp_path / "broken.onnx").write_bytes(b"no model")
    worker = spawn(workers)
    with pytest.raises(BackendFailed, match=r"onnxruntime-cpu: .*broken\.onnx cannot be opened") as caught:
        worker.open("k", ORT, artifact(tmp_path / "broken.onnx", "onnx"), "cpu", 1)
    assert "\n" not in str(caught.value)
    with pytest.raises(UnknownName, match="did you mean 'onnxruntime-cpu'"):
        worker.open("k", "onnxruntime-cpq", tiny_onnx.artifacts["onnx"], "cpu", 1)
    assert worker.peak_memory()["peak_resident"] > 0


def test_inputs_that_are_no_file_of_ours_are_one_line(workers, tiny_onnx, tmp_path):
    np.savez(tmp_path / "bad.npz", image=np.array([{"a": 1}], dtype=object))
    worker = spawn(workers)
    worker.open("k", ORT, tiny_onnx.artifacts["onnx"], "cpu", 1)
    for name in ("bad.npz", "none.safetensors"):
        with pytest.raises(BackendFailed, match=rf"{name}: its arrays cannot be read") as caught:
            worker.answer("k", tmp_path / name, 8)
        assert "\n" not in str(caught.value)


def test_answers_are_read_without_pythons_parser(workers, tiny_onnx, monkeypatch):
    """In threads of Python before 3.11.9 it raises "AST constructor recursion depth mismatch" (cpython #106905)."""
    worker = spawn(workers)
    worker.open("k", ORT, tiny_onnx.artifacts["onnx"], "cpu", 1)
    monkeypatch.setattr("ast.parse", lambda *_, **__: pytest.fail("an answer was read by Python's parser"))
    scores = worker.answer("k", {"image": tiny_onnx.images}, 8)["scores"]
    assert np.abs(scores - tiny_onnx.truth).max() < 1e-5


def test_a_provider_that_falls_back_is_refused_and_its_banner_stays_off_stdout(workers, tiny_onnx, capfd):
    if backend_named("onnxruntime-cuda").missing("cuda") is None:
        pytest.skip("the CUDA provider works here")
    worker = spawn(workers, "onnxruntime-cuda")
    with pytest.raises((BackendUnavailable, BackendFailed), match="onnxruntime-cuda: "):
        worker.open("k", "onnxruntime-cuda", tiny_onnx.artifacts["onnx"], "cuda", 1)
    worker.stop()
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_two_threads_run_in_a_forked_child(workers, tiny):
    """The zygote never enters a parallel region and has one thread, so that its children may start their own."""
    worker = spawn(workers, "eager")
    (zygote,) = workers._zygotes.values()
    assert len(os.listdir(f"/proc/{zygote._process.pid}/task")) == 1
    opened = worker.open("k", "eager", tiny.artifacts["exported_program"], "cpu", 2)
    assert opened.settings["threads"] == 2
    images = np.resize(tiny.images, (512, 1, 8, 8))
    assert worker.answer("k", {"image": images}, 512)["scores"].shape == (512, 5)
    assert len(os.listdir(f"/proc/{worker.pid}/task")) > 1
    with pytest.raises(BackendFailed, match="this process has 2 threads, not 1"):
        worker.open("other", "torchscript", tiny.artifacts["torchscript"], "cpu", 1)


def test_measures_with_the_one_clock(workers, tiny_onnx):
    worker = spawn(workers, "null")
    worker.open("k", "null", tiny_onnx.artifacts["onnx"], "cpu", 1)
    with pytest.raises(BackendFailed, match="no inputs are loaded"):
        worker.measure("k", 4, "host", 3, 0)
    worker.load_inputs({"image": tiny_onnx.images})
    warm = worker.warm_up("k", 4, "host", 0.05)
    assert warm.runs >= 2
    latencies = worker.measure("k", 4, "host", 100, 1)
    assert len(latencies) == 100
    assert all(0 < ns < 1e7 for ns in latencies)
    with pytest.raises(BackendFailed, match="no device events"):
        worker.measure("k", 4, "compute", 1, 0)


def test_page_faults_and_cores_are_those_of_the_process(workers):
    worker = spawn(workers, "null")
    before = worker.page_faults()
    if before is None:
        pytest.skip("this system has no /proc")
    worker.load_inputs({"image": np.ones((2048, 1024), np.float32)})
    assert worker.page_faults() - before >= (8 << 20) / mmap.PAGESIZE
    one = min(os.sched_getaffinity(0))
    worker.bind([one])
    assert os.sched_getaffinity(worker.pid) == {one}
    worker.stop()
    assert worker.page_faults() is None


def test_files_are_private_and_removed():
    with Workers() as workers:
        folder = workers._directory
        spawn(workers, "null")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_a_preload_that_does_not_import_is_an_error_with_its_words(workers):
    with pytest.raises(WorkerDied, match=r"imports no_such_module ended: .*No module named 'no_such_module'"):
        workers.spawn("x", ("no_such_module",))


def test_a_file_in_the_current_folder_is_not_imported_in_a_librarys_stead(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    with Workers() as workers:
        assert spawn(workers, "null").peak_memory()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (signal.SIGSEGV, "killed by SIGSEGV"),
        (3 << 8, "exit status 3"),
        (0, "exit status 0"),
    ],
)
def test_how_it_ended(status, words):
    assert how_it_ended(status) == words


def test_every_error_kind_survives_the_way_back():
    for kind in (UnknownName, BackendUnavailable, WorkerDied):
        error = module.error_from(kind.__name__, "the words")
        assert type(error) is kind
        assert str(error) == "the words"
    assert type(module.error_from("SomethingElse", "x")) is BackendFailed
    assert isinstance(module.error_from("run", "x"), PipelineError)


PARENT = """
import sys
from serve_bench.worker import Workers
with Workers() as workers:
    pids = [workers.spawn("null", ()).pid, workers.spawn("null", (), fresh=True).pid]
    worker = workers.spawn("onnxruntime-cpu", ("numpy",))
    pids += [worker.pid] + [z._process.pid for z in workers._zygotes.values()]
    print(*pids, workers._directory, flush=True)
    import os, signal
    os.kill(worker.pid, signal.SIGSTOP)
    worker.peak_memory()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_orphan_is_left_behind(how):
    """Ctrl-C reaches the whole group of processes; a kill reaches the parent alone."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    *pids, folder = parent.stdout.readline().split()
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)
    else:
        parent.kill()
    _, said = parent.communicate(timeout=30)
    assert all(gone(int(pid)) for pid in pids)
    assert not os.path.exists(folder)
    if how == signal.SIGINT:
        assert said.count("Traceback") == 1
        assert said.rstrip().endswith("KeyboardInterrupt")
