"""Cold starts: every start is a fresh process, in random order; a failure is one row and is not repeated."""

from types import SimpleNamespace

import numpy as np
import pytest
from latency_fakes import FakeBundle, FakeWorkers, artifact

from export.bundle.errors import UsageError, WorkerDied
from export.bundle.types import from_json
from export.progress import Silent
from serve_bench.cells import Cell
from serve_bench.exchange import read_arrays
from serve_bench.latency import cold
from serve_bench.reports import _sections

CELLS = (
    Cell(artifact("exported_program"), "eager", "cpu"),
    Cell(artifact("onnx"), "onnxruntime-cpu", "cpu"),
)


class Workers(FakeWorkers):
    """Workers that answer and tell their memory."""

    def spawn(self, family, preload, fresh=False):
        if not fresh:
            return SimpleNamespace(stop=lambda: None)
        worker = super().spawn(family, preload, fresh)
        worker.hung_up = True

        def answer(key, inputs, batch):
            worker._meet("answer", key, batch)
            assert read_arrays(inputs)["x"].shape == (1, 2)
            return {}, 77

        worker.timed_answer = answer
        worker.peak_memory = lambda: {"peak_resident": 1000 * self.spawned}
        return worker


@pytest.fixture(autouse=True)
def _seams(monkeypatch):
    found = SimpleNamespace(family="f", preload=("heavy",))
    monkeypatch.setattr(cold, "backend_named", lambda name: found)
    monkeypatch.setattr(cold, "real_samples", lambda bundle, limit: {"x": np.ones((limit, 2), np.float32)})


def starts(workers, bundle=None, **more):
    given = {"starts": 3, "environment_id": "here", "seed": 0, "progress": Silent()} | more
    return cold.cold_starts(bundle or FakeBundle(), workers, CELLS, **given)


def test_every_start_is_a_fresh_process_and_one_value():
    bundle, workers = FakeBundle(), Workers()
    records = starts(workers, bundle)
    assert [from_json(cold.ColdStart, r) for r in bundle.read("cold")] == records
    assert len(workers.made) == 6
    assert all(fresh and worker.stopped for worker, _, fresh in workers.made)
    for record in records:
        lengths = {len(v) for v in (record.total_ns, record.open_ns, record.first_run_ns, record.peak_bytes)}
        assert lengths == {3}
        assert record.first_run_ns == (77, 77, 77), "what the process itself timed"
    assert {b for r in records for b in r.peak_bytes} == {1000 * n for n in range(1, 7)}


def test_nothing_is_asked_of_a_start_but_to_open_and_to_answer():
    """Finding out what it computes in may open a second session and import onnx: that is no part of a cold start."""
    workers = Workers()
    starts(workers)
    assert [what for (what, _, _), _ in workers.calls] == ["open", "answer"] * 6


def test_a_form_that_fails_is_one_row_and_is_not_started_again():
    workers = Workers(dies=[("answer", "eager", 1)])
    broken, sound = starts(workers)
    assert "SIGSEGV" in broken.error
    assert (broken.total_ns, len(sound.total_ns)) == ((), 3)
    assert len(workers.made) == 4


def test_no_process_at_all_is_one_row_too():
    class Nothing(Workers):
        def spawn(self, family, preload, fresh=False):
            raise WorkerDied("eager: its process ended: no memory")

    assert {r.error for r in starts(Nothing())} == {"eager: its process ended: no memory"}


def test_none_is_no_measurement():
    with pytest.raises(UsageError, match="ask for --cold-start 3"):
        starts(Workers(), starts=0)


def test_the_report_shows_the_last_run_with_the_quickest_first():
    bundle = FakeBundle()
    bundle.artifacts = [cell.artifact for cell in CELLS]
    starts(Workers(), bundle)
    records = starts(Workers(dies=[("open", "eager", None)]), bundle)
    (section,) = _sections.cold_start(bundle, ())
    assert [row[0] for row in section.rows] == ["onnxruntime-cpu", "eager"]
    assert section.rows[1][1].startswith("not started: ")
    assert {r["run"] for r in section.data} == {records[0].run}
    assert list(_sections.cold_start(FakeBundle(), ())) == []
