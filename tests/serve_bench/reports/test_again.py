"""What a report names to take its figures again is what the command line takes."""

import shlex
from dataclasses import replace

import pytest
from report_records import CELLS, FakeBundle, measurement, whole
from test_scenario_section import HELD, record
from test_sweep_reports import BATCH, THREADS

from serve_bench.latency.scenarios._base import GIVEN
from serve_bench.reports.summary import summarise


def test_scenarios_are_grouped_by_what_was_asked_and_sweeps_are_one_command():
    given = {"latency_bound_ns": 3_000_000, "bound_from": GIVEN, "trials": HELD}
    bundle = FakeBundle({"scenario": [record("SingleStream"), record("Offline"), record("Server", **given)]})
    plain, server = summarise(bundle).commands
    assert plain.startswith("pipeline bench artifacts/cnn --scenario SingleStream --scenario Offline --min-duration ")
    assert server.endswith("--latency-bound 3ms --backend onnxruntime-cpu --precision float32 --device cpu")


def test_sweeps_that_were_asked_for_otherwise_are_commands_of_their_own():
    batch, threads = summarise(whole(sweep=[*BATCH, *THREADS])).commands
    assert batch == (
        "pipeline bench artifacts/cnn --sweep batch --backend eager --backend onnxruntime-cpu --precision float32 "
        "--device cpu --sweep-limit 4 --budget 15 --replicates 2 --threads 1 --seed 0"
    )
    assert threads.startswith("pipeline bench artifacts/cnn --sweep threads ")
    assert threads.endswith("--device cpu --budget 15 --replicates 2 --batch 1 --batch 64 --seed 0")


@pytest.mark.parametrize("kind", ["scenario", "sweep"])
def test_the_command_line_takes_them(kind):
    from pipeline.cli import main

    bundle = FakeBundle({"scenario": [record("Offline")]}) if kind == "scenario" else whole(sweep=BATCH)
    (command,) = summarise(bundle).commands
    bench = main.commands["bench"]
    parsed = bench.make_context("bench", shlex.split(command)[2:])
    assert parsed.params[f"{kind}s"]


def test_the_interleaved_run_is_repeated_as_it_was_taken():
    """Its forms and no others, its order, and no peak where none was measured."""
    alone = [measurement(of, backend, 1, [[100] * 11] * 2) for of, backend in CELLS[:2]]
    command = summarise(whole(measurement=[replace(r, facts=r.facts | {"cells": 2}) for r in alone])).command
    assert command == (
        "pipeline bench artifacts/cnn --batch 1 --budget 15 --replicates 2 --precision-of-ratio 0 --threads 1 "
        "--no-peak --seed 7 --backend eager --backend onnxruntime-cpu --precision float32 --device cpu"
    )


def test_a_report_without_them_names_none():
    assert summarise(whole()).commands == ()
