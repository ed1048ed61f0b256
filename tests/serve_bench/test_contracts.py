"""What every backend promises, checked over every entry of the registry: a new one is tested by being there."""

import importlib.util
import json
import re

import numpy as np
import pytest

from export.bundle import environment
from export.bundle.errors import BackendFailed
from export.bundle.types import to_json
from serve_bench.backends import _helpers
from serve_bench.cells import backends, plan
from serve_bench.exchange import write_arrays
from serve_bench.worker import Workers

EVERY = sorted(backends().items())
REMEDY = re.compile(r"pip install|install g\+\+|run it on|ask for --device")


@pytest.fixture
def with_gpu(monkeypatch):
    gpu = environment.Gpu(name="NVIDIA A100", compute_capability="8.0", memory="80 GB", driver="1", clocks="1")
    _helpers.gpu_names.cache_clear()
    monkeypatch.setattr(environment, "gpus", lambda: (gpu,))
    yield
    _helpers.gpu_names.cache_clear()


@pytest.mark.parametrize(("name", "backend"), EVERY)
def test_is_what_the_seam_asks_for(name, backend):
    assert backend.name == name
    assert backend.reads in (None, "exported_program", "torchscript", "aotinductor", "onnx", "tensorrt")
    assert backend.family
    assert set(backend.devices()) <= {"cpu", "cuda"}
    assert backend.devices()
    for device in backend.devices():
        assert backend.boundaries(device)[0] == "host"
    for module in backend.preload:
        assert importlib.util.find_spec(module) is not None or backend.missing(backend.devices()[0])


@pytest.mark.parametrize(("name", "backend"), EVERY)
@pytest.mark.parametrize("device", ["cpu", "cuda", "tpu"])
def test_says_in_one_line_why_it_is_missing_and_what_to_do(name, backend, device):
    reason = backend.missing(device)
    if device not in backend.devices():
        assert reason is not None
    if reason is not None:
        assert "\n" not in reason
        assert REMEDY.search(reason), reason


@pytest.mark.parametrize(("name", "backend"), EVERY)
def test_names_the_package_that_is_not_installed(name, backend, monkeypatch, with_gpu):
    if backend.reads is None:
        pytest.skip("needs nothing")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for device in backend.devices():
        assert "pip install" in backend.missing(device)


def test_backends_of_one_family_share_their_preload():
    by_family = {}
    for _, backend in EVERY:
        by_family.setdefault(backend.family, set()).add(backend.preload)
    assert all(len(preloads) == 1 for preloads in by_family.values())


def test_nothing_heavy_is_imported_to_ask():
    import subprocess
    import sys

    code = (
        "import sys; from serve_bench.doctor import examine; from serve_bench import worker; examine();"
        "heavy = ('torch', 'onnx', 'onnxruntime', 'openvino', 'matplotlib', 'polygraphy');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_ready_backend_answers_as_the_reference_does(tiny, packaged, tmp_path):
    """Whole sample sets in batches that do not divide them, one worker a family, settings that JSON can hold."""
    cells, _ = plan([*tiny.artifacts.values(), packaged], None, "cpu")
    assert {c.backend for c in cells} >= {"eager", "torchscript", "onnxruntime-cpu", "aotinductor"}
    file = write_arrays(tmp_path / "inputs.safetensors", {"image": tiny.images})
    with Workers() as workers:
        made = {}
        for cell in cells:
            backend = backends()[cell.backend]
            if backend.family not in made:
                made[backend.family] = workers.spawn(backend.family, backend.preload)
            worker = made[backend.family]
            opened = worker.open(cell.key, cell.backend, cell.artifact, cell.device, 1)
            assert json.loads(json.dumps(to_json(opened.settings))) == opened.settings
            assert opened.precision in ("float32", "float16", "bfloat16", "tf32")
            assert opened.precision_evidence
            assert opened.open_ns > 0
            bound = 1e-2 if cell.artifact.precision == "float16" else 1e-5
            for batch in (1, 2, 7, 64):
                scores = worker.answer(cell.key, file, batch)["scores"]
                assert scores.shape == (23, 5), cell.label
                assert np.abs(scores - tiny.truth).max() < bound, (cell.label, batch)
            with pytest.raises(BackendFailed, match="'image' is missing"):
                worker.answer(cell.key, {"picture": tiny.images}, 4)
            worker.close(cell.key)
