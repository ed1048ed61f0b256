"""What a process that dies costs `verify`: the row of its form, and no other."""

import os
import signal
from dataclasses import replace

import pytest
from fake_bundle import CELL, FakeBundle, artifact, write_truth

from export.progress import Silent
from serve_bench.cells import Cell, backend_named
from serve_bench.equivalence.verdict import verify_bundle
from serve_bench.worker import Workers


class Bundle(FakeBundle):
    """Its graph is a file that processes open, written once."""

    def file(self, name):
        path = self.folder / name
        return path if path.exists() else super().file(name)

    def resolve(self, found):
        return replace(found, path=str(self.file(found.path)))


class Killing(Workers):
    """The forking process of the first form ends when that has its own."""

    spawned = 0

    def spawn(self, family, preload, fresh=False):
        worker = super().spawn(family, preload, fresh)
        self.spawned += 1
        if self.spawned == 1:
            (zygote,) = self._zygotes.values()
            os.kill(zygote._process.pid, signal.SIGKILL)
            zygote._process.wait()
        return worker


@pytest.fixture(autouse=True)
def _one_at_a_time(monkeypatch):
    monkeypatch.setattr("serve_bench.equivalence.verdict.available_cores", lambda: 1)


def test_a_forking_process_that_is_killed_is_one_row_and_the_next_form_is_judged(tmp_path):
    write_truth(tmp_path / "truth.npz")
    bundle = Bundle(tmp_path)
    cells = [CELL, Cell(replace(artifact(sha256="b" * 64), target="another"), "onnxruntime-cpu", "cpu")]
    with Killing() as workers:
        first, second = verify_bundle(bundle, workers, cells, 1, "here", Silent())
    assert first.settings["broke"]
    preload = " ".join(backend_named("onnxruntime-cpu").preload)
    assert first.reason.startswith(
        f"onnxruntime-cpu: its process ended: the process that imports {preload} ended: killed by SIGKILL"
    )
    assert second.passed, second.reason
    assert len(bundle.records) == 2
