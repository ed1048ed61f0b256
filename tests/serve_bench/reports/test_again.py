"""What a report names to take its figures again is what the command line takes."""

import shlex

import pytest
from report_records import FakeBundle, whole
from test_scenario_section import HELD, record
from test_sweep_reports import BATCH, THREADS

from serve_bench.latency.scenarios._base import GIVEN
from serve_bench.reports.summary import summarise


def test_scenarios_are_grouped_by_what_was_asked_and_sweeps_are_one_command():
    given = {"latency_bound_ns": 3_000_000, "bound_from": GIVEN, "trials": HELD}
    bundle = FakeBundle({"scenario": [record("SingleStream"), record("Offline"), record("Server", **given)]})
    plain, server = summarise(bundle).commands
    assert plain.startswith("pipeline bench artifacts/cnn --scenario SingleStream --scenario Offline --min-duration ")
    assert server.endswith("--latency-bound 3ms --backend onnxruntime-cpu")


def test_sweeps_that_were_asked_for_otherwise_are_commands_of_their_own():
    batch, threads = summarise(whole(sweep=[*BATCH, *THREADS])).commands
    assert batch == (
        "pipeline bench artifacts/cnn --sweep batch --backend eager --backend onnxruntime-cpu --sweep-limit 4 "
        "--budget 15 --replicates 2 --threads 1"
    )
    assert threads.startswith("pipeline bench artifacts/cnn --sweep threads ")
    assert threads.endswith("--backend onnxruntime-cpu --budget 15 --replicates 2 --batch 1 --batch 64")


@pytest.mark.parametrize("kind", ["scenario", "sweep"])
def test_the_command_line_takes_them(kind):
    from pipeline.cli import main

    bundle = FakeBundle({"scenario": [record("Offline")]}) if kind == "scenario" else whole(sweep=BATCH)
    (command,) = summarise(bundle).commands
    bench = main.commands["bench"]
    parsed = bench.make_context("bench", shlex.split(command)[2:])
    assert parsed.params[f"{kind}s"]


def test_a_report_without_them_names_none():
    assert summarise(whole()).commands == ()
