"""What `doctor` says beside "ready"."""

import pytest

from export.bundle.errors import ExportError
from export.formats.tensorrt import Flavour
from serve_bench.doctor import examine, remarks


def test_null_says_what_it_is_for():
    statuses = examine("cpu")
    assert {s.name for s in statuses if s.note} == {"null"}
    assert "null: computes nothing, so that it shows what measuring itself costs" in remarks(statuses)[0]


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("tensorrt_rtx", "built by tensorrt-rtx 1.7.1, without a GPU; of the backends, tensorrt-rtx alone runs them"),
        ("tensorrt", "built by tensorrt 10.9, on this machine's GPU; of the backends, tensorrt alone runs them"),
    ],
)
def test_the_library_that_builds_engines_is_named(monkeypatch, package, said):
    flavour = Flavour(package=package, compute_capability="8.0")
    monkeypatch.setattr("export.formats.tensorrt.flavour_for", lambda target: flavour)
    monkeypatch.setattr("serve_bench.doctor.versions", lambda: {"tensorrt-rtx": "1.7.1", "tensorrt": "10.9"})
    assert remarks([]) == [f"tensorrt, tensorrt-fp16: engines for a100 are {said}"]


def test_without_a_builder_the_table_itself_says_why(monkeypatch):
    def none(target):
        raise ExportError("neither is installed")

    monkeypatch.setattr("export.formats.tensorrt.flavour_for", none)
    assert remarks([]) == []
