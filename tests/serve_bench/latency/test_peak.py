"""The machine's peak: measured once for real, and what is made of it when it cannot be."""

import subprocess
import sys
from dataclasses import replace

import pytest

from export.bundle.errors import BackendFailed
from export.bundle.types import from_json, to_json
from serve_bench.latency import peak
from serve_bench.latency.peak import Peak

SEEN = Peak(
    flops_per_s=1e11,
    library="numpy",
    matrix=512,
    bytes_per_s=2e10,
    copy_bytes=1 << 27,
    cache_bytes=1 << 25,
    threads=1,
    seconds=0.7,
)


def test_a_peak_is_measured_in_a_process_of_its_own():
    pytest.importorskip("onnxruntime")
    found = peak.measure_peak(1)
    assert found.threads == 1
    assert found.library in ("onnxruntime", "numpy")
    assert found.matrix in peak.SIZES
    assert found.flops_per_s > 1e8
    assert found.bytes_per_s > 1e8
    assert found.copy_bytes >= min(peak.LEAST_BYTES, peak.CACHES * found.cache_bytes or peak.LEAST_BYTES)
    assert from_json(Peak, to_json(found)) == found


@pytest.mark.parametrize(
    ("stdout", "stderr", "said"),
    [
        ("", "Traceback\nImportError: no onnxruntime\n", "no onnxruntime"),
        ("a banner\n", "", "exit status 3"),
        ('{"flops_per_s": 1}\n', "", "exit status 3"),
    ],
)
def test_a_process_that_fails_is_one_line(monkeypatch, stdout, stderr, said):
    done = subprocess.CompletedProcess([], 3, stdout, stderr)
    monkeypatch.setattr(subprocess, "run", lambda *words, **more: done)
    with pytest.raises(BackendFailed, match=f"the machine's peak could not be measured: .*{said}"):
        peak.measure_peak(1)


def test_a_process_that_hangs_or_cannot_start_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(BackendFailed, match="could not be measured"):
        peak.measure_peak(1)


def test_what_a_library_prints_is_no_answer(monkeypatch):
    import json

    answer = json.dumps(to_json(SEEN))
    done = subprocess.CompletedProcess([], 0, f"a banner without an end\n{answer}\n", "")
    monkeypatch.setattr(subprocess, "run", lambda *words, **more: done)
    assert peak.measure_peak(1) == SEEN


def test_both_peaks_are_facts_and_their_time_is_not_measuring(monkeypatch):
    order, rates = [], iter([1e11, 2e11])

    def measured(threads):
        order.append(threads)
        return replace(SEEN, flops_per_s=next(rates))

    def run():
        order.append("run")
        return {"spent_s": 5.0, "seconds": {"measuring": 5.0}}

    monkeypatch.setattr(peak, "measure_peak", measured)
    facts = peak.with_peaks({"cpu", "cuda"}, 2, run)
    assert order == [2, "run", 2]
    assert [p["flops_per_s"] for p in facts["peak"]] == [1e11, 2e11]
    assert facts["spent_s"] == facts["seconds"]["measuring"] == 5.0
    assert set(facts["seconds"]) == {"measuring", "peak"}


def test_a_run_stands_without_its_peak(monkeypatch):
    def fails(threads):
        raise BackendFailed("no")

    monkeypatch.setattr(peak, "measure_peak", fails)
    assert peak.with_peaks({"cpu"}, 1, dict)["peak"] == [{"error": "no"}, {"error": "no"}]


def test_nothing_is_measured_where_nothing_runs_on_the_cpu(monkeypatch):
    monkeypatch.setattr(peak, "measure_peak", None)
    assert peak.with_peaks({"cuda"}, 1, lambda: {"spent_s": 1.0}) == {"spent_s": 1.0}


def test_the_largest_cache_is_the_last(tmp_path):
    for index, size in enumerate(("48K", "1024K", "32M", "", "?")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(f"{size}\n")
    assert peak.cache_bytes(tmp_path) == 32 << 20
    assert peak.cache_bytes(tmp_path / "none") == 0


@pytest.mark.parametrize(
    ("cache", "memory", "size"),
    [
        (32 << 20, 64 << 30, 128 << 20),
        (0, 64 << 30, 64 << 20),
        (1 << 30, 64 << 30, 1 << 30),
        (32 << 20, 512 << 20, 64 << 20),
        (32 << 20, 0, 128 << 20),
    ],
)
def test_what_is_copied_is_far_larger_than_the_cache_and_fits_the_memory(cache, memory, size):
    assert peak.copied_bytes(cache, memory) == size


def test_the_shortest_repetition_counts_and_the_first_does_not(monkeypatch):
    runs, now = [], iter([0, 10, 17, 20, 25, 30, 36])
    monkeypatch.setattr(peak.time, "perf_counter_ns", lambda: next(now, 100))
    assert peak.best_s(lambda: runs.append(1), 0.0) == 5e-9
    assert len(runs) == 1 + peak.REPETITIONS
