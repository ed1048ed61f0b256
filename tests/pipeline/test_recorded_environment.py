"""A record holds its environment's id alone: what that machine was stands in the bundle once."""

from dataclasses import replace

from export.bundle.environment import environment
from export.bundle.store import Bundle
from pipeline import judge
from pipeline.compare_sides import side_of
from serve_bench.latency.records import whole_runs
from serve_bench.reports.summary import summarise


def test_another_machine_is_recorded_once_and_reports_and_comparisons_know_it(copy, monkeypatch):
    bundle = Bundle.open(copy)
    judge.record_environment(bundle)
    assert bundle.read("environment") == [], "the manifest has it"
    other = replace(environment(), id="feedbeef0123", cpu="Another CPU")
    monkeypatch.setattr(judge, "environment", lambda: other)
    for _ in range(2):
        assert judge.record_environment(bundle) == other
    assert len(bundle.read("environment")) == 1
    for record in whole_runs(bundle)[-1]:
        bundle.append("measurement", judge.to_json(replace(record, run="there", environment=other.id)))
    assert summarise(bundle).environment == other
    assert side_of(copy).where["cpu"] == "Another CPU"
