"""What breaks is a row with its reason, and the rest stands: real processes that break in a known way."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from latency_fakes import FakeBundle, FakeCell
from preloads import write_preload
from tiny_network import INPUTS, OUTPUTS

from export.progress import Silent
from serve_bench.cells import backend_named
from serve_bench.latency import rounds
from serve_bench.worker import Workers

AT_BATCH_8 = """
from serve_bench.backends import null
outputs = null.NullSession.outputs
def broken(self):
    if self._batch == 8:
        {does}
    return outputs(self)
null.NullSession.outputs = broken
"""
NO_MEMORY = "ask for a smaller batch"


class TinyBundle(FakeBundle):
    manifest = SimpleNamespace(inputs=INPUTS, outputs=OUTPUTS)


@pytest.fixture
def measured(tiny_onnx, monkeypatch):
    """Records by backend and batch of two replicates, where processes of the null backend import `preload` first."""
    monkeypatch.setattr(rounds, "topology", lambda: None)
    monkeypatch.setattr("serve_bench.latency.conditions.available_cores", lambda: 1)
    monkeypatch.setattr(rounds, "real_samples", lambda bundle: {"image": tiny_onnx.images})
    cells = [FakeCell(tiny_onnx.artifacts["onnx"], name) for name in ("null", "onnxruntime-cpu")]

    def run(preload=(), workers=Workers):
        def named(name):
            known = backend_named(name)
            more = preload if name == "null" else ()
            return SimpleNamespace(family=known.family, preload=(*known.preload, *more), boundaries=known.boundaries)

        monkeypatch.setattr(rounds, "backend_named", named)
        with workers() as made:
            records = rounds.measure_bundle(
                TinyBundle(),
                made,
                cells,
                batches=(1, 8),
                budget_s=0.2,
                replicates=2,
                precision_of_ratio=0.0,
                peak=False,
                environment_id="here",
                seed=0,
                progress=Silent(),
            )
        assert len(records) == 4
        return {(r.backend, r.batch): r for r in records}

    return run


@pytest.mark.parametrize(
    ("does", "said", "void"),
    [
        (
            f"__import__('os').kill(__import__('os').getpid(), {signal.SIGKILL:d})",
            f"null: its process ended: killed by SIGKILL, as the system does where memory runs out: {NO_MEMORY}",
            1,
        ),
        (
            "return {name: value[:-1] for name, value in outputs(self).items()}",
            "null: onnx: output 'scores' has shape [7, 5] at batch 8, [8, 5] was promised",
            0,
        ),
        ("raise MemoryError", f"null: not enough memory: {NO_MEMORY}", 0),
    ],
    ids=("killed", "shape", "memory"),
)
def test_what_breaks_at_one_batch_is_its_row_and_the_rest_stands(measured, tmp_path, monkeypatch, does, said, void):
    records = measured((write_preload(tmp_path, monkeypatch, AT_BATCH_8.format(does=does)),))
    broken = records.pop(("null", 8))
    assert (broken.error, broken.latencies_ns) == (said, ())
    assert [r.error for r in records.values()] == [""] * 3
    assert {tuple(sorted(set(r.replicates))) for r in records.values()} == {(0, 1)}
    assert broken.facts["void_replicates"] == void


def test_a_process_that_dies_as_it_forks_is_the_rows_of_its_backend_alone(measured, tmp_path, monkeypatch):
    source = "import os, signal\nos.fork = lambda: os.kill(os.getpid(), signal.SIGSEGV)"
    name = write_preload(tmp_path, monkeypatch, source)
    records = measured((name,))
    said = f"the process that imports {name} ended: killed by SIGSEGV"
    assert {key: r.error for key, r in records.items()} == {
        ("null", 1): said,
        ("null", 8): said,
        ("onnxruntime-cpu", 1): "",
        ("onnxruntime-cpu", 8): "",
    }


def test_a_forking_process_that_is_killed_between_replicates_costs_nothing(measured):
    class Killing(Workers):
        spawned = 0

        def spawn(self, family, preload, fresh=False):
            self.spawned += 1
            if self.spawned == 3:
                for zygote in self._zygotes.values():
                    os.kill(zygote._process.pid, signal.SIGKILL)
                    zygote._process.wait()
            return super().spawn(family, preload, fresh)

    records = measured(workers=Killing)
    assert not any(r.error for r in records.values())
    assert all(np.unique(r.replicates).tolist() == [0, 1] for r in records.values())
