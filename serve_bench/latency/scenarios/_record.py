"""What a bundle keeps of a scenario: records of kind "scenario", one for each form, backend and scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from export.bundle.kinds import Kind, Records, need
from export.bundle.types import Json, Precision
from serve_bench.latency.run_facts import check_finite
from serve_bench.latency.scenarios._base import GIVEN, Name, Trial


@dataclass(frozen=True, kw_only=True)
class ScenarioRecord:
    """One scenario on one form and backend, measured with LoadGen; boundary `host`, samples put together included."""

    artifact: str
    """Its name in the bundle."""
    artifact_sha256: str
    """Of its file."""
    backend: str
    """Name of the backend, without precision and device."""
    device: str
    """ "cpu" or "cuda"."""
    precision: Precision
    """What the session computes in."""
    scenario: Name
    """How queries arrive, by the name that LoadGen has for it."""
    threads: int
    """Of the session."""
    loadgen: str
    """LoadGen's version and commit."""
    valid: bool
    """LoadGen's verdict on the run that is kept; of Server, whether any rate held."""
    reasons: tuple[str, ...]
    """Why it is not valid; empty where it is."""
    seeds: Mapping[str, int]
    """That LoadGen was given, by its own names."""
    min_duration_s: float
    """Shortest run that LoadGen calls valid."""
    min_queries: int
    """Of Offline, which has one query, the samples in it."""
    samples_per_query: int
    """More than one in MultiStream; of Offline all of its one query."""
    batch: int
    """Samples in one run of the session."""
    queries: int
    """That LoadGen issued and were answered."""
    samples: int
    """Answered, over all queries."""
    distinct_samples: int
    """Real samples that queries are drawn from."""
    latencies_ns: tuple[int, ...]
    """Of each query (Server: from its scheduled arrival, at the highest rate that held); Offline: of each batch."""
    taken: int
    """Latencies taken; where that is more than are stored, every ⌈taken / 100,000⌉-th is stored."""
    duration_ns: int
    """Offline: from the arrival of the query to its last answer, so that samples / duration is its rate."""
    latency_bound_ns: int | None = None
    """Of Server's p99."""
    bound_from: str = ""
    """Of Server: "given", or how it was chosen."""
    trials: tuple[Trial, ...] = ()
    """Of Server: every rate that was tried, in turn."""
    pilot: Mapping[str, Json] = field(default_factory=dict)
    """median_ns of one run of the pilot's `batch`, runs, settled."""
    overhead_ns: float | None = None
    """LoadGen's own share of a query, in this run: `Served.overhead_ns`."""
    forms: int = 0
    """That the command asked for in this scenario; 0 where it did not say."""
    reported: Mapping[str, Json] = field(default_factory=dict)
    """LoadGen's own figures, as its detail log names them."""
    settings: Mapping[str, Json] = field(default_factory=dict)
    """The session's."""
    environment: str
    """Environment.id."""
    run: str
    """Names the command's run: all scenarios of one."""
    started: str
    """UTC, ISO 8601."""
    error: str = ""
    """Why there is no figure; empty where there is one."""

    @property
    def rate(self) -> float | None:
        """Of Server the highest rate that held, queries a second; of Offline samples a second; else None."""
        if self.scenario == "Server":
            return max((trial.rate for trial in self.trials if trial.held), default=None)
        return self.samples / self.duration_ns * 1e9 if self.scenario == "Offline" and self.duration_ns else None


def _check(record: ScenarioRecord) -> None:
    """Raises ValueError where a number is none, or a Server without an error was tried at no rate."""
    for one in (record, *record.trials):
        check_finite(one)
    need(record.scenario != "Server" or record.error or record.trials, "a rate that was tried")


KIND = Kind("scenario", ScenarioRecord, _check)


def latest(bundle: Records) -> list[ScenarioRecord]:
    """The last record of each form, backend, device and scenario: of each scenario those that were taken where and as
    its last one was. A run that was stopped does not take the place of a whole one."""
    every = KIND.read(bundle)
    sizes = Counter((record.run, record.scenario) for record in every)
    whole = [record for record in every if sizes[record.run, record.scenario] >= record.forms]
    last = {r.scenario: _as_asked(r) for r in every} | {r.scenario: _as_asked(r) for r in whole}
    alike = [record for record in every if _as_asked(record) == last[record.scenario]]
    return list({(r.scenario, r.artifact_sha256, r.backend, r.device): r for r in alike}.values())


def _as_asked(record: ScenarioRecord) -> tuple[object, ...]:
    """Where it was taken and what was asked: rows of one table have this in common."""
    bound_ns = record.latency_bound_ns if record.bound_from == GIVEN else None
    samples = record.samples_per_query if record.scenario == "MultiStream" else None
    return record.environment, record.threads, record.min_duration_s, bound_ns, samples
