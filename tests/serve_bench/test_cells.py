"""Which rows a table gets."""

import pytest

from export.bundle import environment
from export.bundle.errors import BackendUnavailable, UnknownName, UsageError
from serve_bench.backends import _helpers
from serve_bench.cells import label, plan
from serve_bench.doctor import examine


@pytest.fixture
def gpus(monkeypatch):
    """Calling it puts GPUs of these compute capabilities into the machine."""

    def put(*capabilities):
        found = tuple(
            environment.Gpu(name=f"NVIDIA {c}", compute_capability=c, memory="80 GB", driver="1", clocks="1")
            for c in capabilities
        )
        _helpers.gpu_names.cache_clear()
        monkeypatch.setattr(environment, "gpus", lambda: found)

    put()
    yield put
    _helpers.gpu_names.cache_clear()


@pytest.fixture
def made(tiny_onnx, tmp_path):
    from tiny_network import artifact

    facts = {"flavour": "tensorrt_rtx", "version": "0.0", "compute_capability": "8.0"}
    return [
        artifact(tmp_path / "model.pt2", "exported_program"),
        artifact(tmp_path / "model.pt", "torchscript"),
        *tiny_onnx.named("onnx", "onnx float16"),
        artifact(tmp_path / "model.engine", "tensorrt", target="sm80", facts=facts),
        artifact(tmp_path / "weights.safetensors", "weights"),
    ]


def labels(rows):
    return [row.label for row in rows]


def test_without_a_gpu_every_cpu_backend_runs_and_the_others_have_a_reason(made, gpus):
    cells, missing = plan(made, None, "auto")
    assert {"eager", "torchscript", "onnxruntime-cpu", "onnxruntime-cpu float16"} <= set(labels(cells))
    assert "null" not in labels(cells)
    assert len({c.key for c in cells}) == len(cells)
    assert all(c.device == "cpu" for c in cells)
    assert {m.backend for m in missing} >= {"onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt", "tensorrt-rtx"}
    assert "tensorrt-rtx sm80" in labels(missing)
    assert not {"eager", "torchscript"} & {m.backend for m in missing}
    assert all(m.reason and not m.named for m in missing)


def test_cpu_means_no_row_for_gpus_unless_one_is_named(made, gpus):
    _, missing = plan(made, None, "cpu")
    assert not [m for m in missing if m.device == "cuda"]
    cells, missing = plan(made, ["onnxruntime-cpu", "onnxruntime-cuda"], "cpu")
    assert labels(cells) == ["onnxruntime-cpu", "onnxruntime-cpu float16"]
    assert {m.backend for m in missing} == {"onnxruntime-cuda"}
    assert all(m.named and "--device cuda" in m.reason for m in missing)


def test_cuda_without_a_gpu_is_an_error(made, gpus):
    with pytest.raises(BackendUnavailable, match=r"--device cuda: no NVIDIA GPU found"):
        plan(made, None, "cuda")


def test_with_a_gpu_auto_takes_both_and_cuda_only_that(made, gpus):
    gpus("8.0")
    pytest.importorskip("torch")
    cells, _ = plan(made, ["eager"], "auto")
    assert labels(cells) == ["eager", "eager cuda"]
    cells, _ = plan(made, ["eager", "onnxruntime-cpu"], "cuda")
    assert labels(cells) == ["eager cuda"]


def test_an_engine_is_read_by_its_flavour_and_refused_before_it_is_opened(made, gpus):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    gpus("9.0")
    cells, missing = plan(made, ["tensorrt-rtx"], "auto")
    assert cells == []
    assert [m.artifact.format for m in missing] == ["tensorrt"]
    assert "0.0" in missing[0].reason


def test_unknown_words_are_usage_errors(made, gpus):
    with pytest.raises(UnknownName, match="did you mean 'eager'"):
        plan(made, ["eagre"], "auto")
    with pytest.raises(UsageError, match="known are auto, cpu, cuda"):
        plan(made, None, "gpu")


def test_a_backend_without_anything_to_read_says_so(made, gpus):
    pytest.importorskip("torch")
    cells, missing = plan(made[2:3], ["eager"], "cpu")
    assert cells == []
    assert missing[0].artifact is None
    assert (
        missing[0].reason == "nothing that was asked for is in a form that eager reads: export it with exported_program"
    )
    assert missing[0].label == "eager"


def test_a_form_that_only_its_name_asks_for_is_missed_only_by_name(made, gpus):
    pytest.importorskip("torch")
    assert "aotinductor" not in labels(plan(made, None, "cpu")[1])
    _, missing = plan(made, ["aotinductor"], "cpu")
    assert [m.label for m in missing] == ["aotinductor"]
    assert "export it with --with aotinductor" in missing[0].reason


def test_null_runs_once_and_only_when_named(made, gpus):
    cells, _ = plan(made, ["null"], "auto")
    assert labels(cells) == ["null"]


def test_labels_say_only_what_the_backend_does_not(made):
    assert label(made[3], "onnxruntime-cpu", "cpu") == "onnxruntime-cpu float16"
    assert label(made[0], "eager", "cuda") == "eager cuda"
    assert label(made[2], "onnxruntime-cuda", "cuda") == "onnxruntime-cuda"


def test_doctor_lists_every_backend_on_every_device(gpus):
    rows = {(s.name, s.device): s for s in examine("auto")}
    assert rows["null", "cpu"].ready
    assert not rows["onnxruntime-cuda", "cuda"].ready
    assert "no NVIDIA GPU found" in rows["onnxruntime-cuda", "cuda"].reason
    assert all(s.ready == (s.reason is None) for s in rows.values())
    assert {s.device for s in examine("cpu")} == {"cpu"}
