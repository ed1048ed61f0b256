"""One replicate: processes and sessions made anew in random order, warmed up, then taking turns.

Set-up is done for several processes at a time, each on a core of its own; what is timed is timed one at a time, after
all of them are warm and idle. Every random choice is drawn in the caller's thread, so that a seed repeats it.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from export.bundle.errors import PipelineError, WorkerDied, WorkerHung
from export.bundle.types import to_json
from serve_bench.latency import cores
from serve_bench.latency.clock import calibrate, calibrate_copy
from serve_bench.latency.conditions import Conditions, Seconds
from serve_bench.latency.hanging import hangs_after_s, limit_after
from serve_bench.latency.schedule import allot, cost_ns, plan_rounds
from serve_bench.latency.subject import Subject, Taken

if TYPE_CHECKING:
    from serve_bench.worker import Worker, Workers

WARM_UP_LIMIT_S = 0.2
"""Of one subject in one replicate; a first run that compiles may take longer, it is one run."""


class Lost(Exception):
    """A process died: the replicate is void. `culprits` are the subjects that were in its hands."""

    def __init__(self, culprits: Sequence[int], reason: str) -> None:
        super().__init__(reason)
        self.culprits, self.reason = culprits, reason


@dataclass
class Replicate:
    """Steps of one replicate; a subject that fails is left out from there on, the others go on."""

    number: int
    subjects: Mapping[int, Subject]
    """Those still in the race, by their index in the run."""
    conditions: Conditions
    rng: random.Random
    seconds: Seconds
    before: Mapping[int, Taken] = field(default_factory=dict)
    """What earlier replicates took of these subjects; those that have none yet may be left out."""
    runs: Mapping[int, int] = field(default_factory=dict)
    """Timed runs of each subject, as an earlier replicate had them; without them as many as fit the budget."""
    planned: dict[int, int] = field(default_factory=dict)
    """Timed runs that each subject was to have."""
    planned_ns: float = 0.0
    """What they were to take, untimed runs included."""
    taken: dict[int, Taken] = field(default_factory=dict)
    over_ns: float = 0.0
    gpu_rounds: list[dict[str, Any]] = field(default_factory=list)
    """State of the GPUs in each round: at its beginning and after each visit of a GPU's cell, when it has just run."""
    calibration: list[list[int]] = field(default_factory=list)
    """Replicate, round, and nanoseconds of the calibration loop and of the calibration copy at its beginning."""
    cores: tuple[int, ...] = ()
    """Those that everything on the CPU was timed on; none where the system moves processes as it likes."""
    _hosts: dict[str, Worker] = field(default_factory=dict)
    _run_ns: dict[int, float] = field(default_factory=dict)
    _home: tuple[int, ...] = ()

    def run(self, workers: Workers, budget_ns: float) -> None:
        """Fills `taken`; raises Lost where a process died."""
        self.taken = {i: Taken() for i in self.subjects}
        where, threads = self.conditions.where, self.conditions.threads
        self._home = self.rng.choice(where.homes(threads)) if where else ()
        try:
            with self.seconds.of("set-up"):
                early = any(s.keeps_cores and s.cell.device == "cpu" for s in self.subjects.values())
                if early:
                    self._draw()
                self._set_up(workers)
                if not early:
                    self._draw()
                self._bind()
            with self.seconds.of("measuring"), cores.bound(self.cores):
                self._measure(budget_ns)
            with self.seconds.of("set-up"):
                self._examine()
        finally:
            with self.seconds.of("ending"):
                self._end()

    def _end(self) -> None:
        """All are told before any is waited for: giving back their memory takes them some time."""
        hosts = list(self._hosts.values())
        for worker in hosts:
            worker.hang_up()
        for worker in hosts:
            with suppress(PipelineError):
                worker.stop()

    def _group(self, subject: Subject) -> str:
        """The process of a subject: its session's own, but on a GPU one of a family, as opening a GPU takes seconds
        and memory there."""
        alone = self.conditions.isolate or subject.cell.device == "cpu"
        return subject.session if alone else f"{subject.family} on {subject.cell.device}"

    def _worker(self, index: int) -> Worker:
        return self._hosts[self._group(self.subjects[index])]

    def _alive(self) -> list[int]:
        return [i for i, taken in self.taken.items() if not taken.error]

    @contextmanager
    def _guard(self, indices: Sequence[int]) -> Iterator[None]:
        """Books an error on the subjects that met it; the death of a process voids the replicate, and one that hung is
        the fault of all subjects of its session, since each would wait as long."""
        try:
            yield
        except WorkerHung as error:
            session = {self.subjects[i].session for i in indices}
            raise Lost([i for i, s in self.subjects.items() if s.session in session], str(error)) from error
        except WorkerDied as error:
            raise Lost(indices, str(error)) from error
        except PipelineError as error:
            for i in indices:
                self.taken[i].error = str(error)

    def _shuffled(self, values: Sequence[Any]) -> list[Any]:
        return self.rng.sample(values, len(values))

    def _set_up(self, workers: Workers) -> None:
        """Processes in random order, and in each its sessions in random order; raises Lost for the first that died."""
        groups: dict[str, dict[str, list[int]]] = {}
        for i, subject in self.subjects.items():
            groups.setdefault(self._group(subject), {}).setdefault(subject.session, []).append(i)
        plans = [
            (group, [groups[group][session] for session in self._shuffled(sorted(groups[group]))])
            for group in self._shuffled(sorted(groups))
        ]
        pool = ThreadPoolExecutor(self.conditions.lanes)
        try:
            futures = [pool.submit(self._prepare, workers, group, sessions) for group, sessions in plans]
            wait(futures)
            for future in futures:
                future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, workers: Workers, group: str, sessions: Sequence[Sequence[int]]) -> None:
        """One process: its sessions opened, then each warmed up."""
        self._spawn(workers, group, [i for indices in sessions for i in indices])
        for indices in sessions:
            self._open(indices)
        for indices in sessions:
            self._warm_up([i for i in indices if not self.taken[i].error])

    def _spawn(self, workers: Workers, group: str, indices: Sequence[int]) -> None:
        members = [self.subjects[i] for i in indices]
        preload = tuple(dict.fromkeys(module for subject in members for module in subject.preload))
        with self._guard(indices):
            worker = workers.spawn(members[0].family, preload, self.conditions.isolate)
            self._hosts[group] = worker
            where = self.conditions.where
            if where and members[0].cell.device == "cpu":
                if members[0].keeps_cores:
                    self._bind_to(self.cores, [group])
                elif len(self._home) < len(where.cores):
                    self._bind_to(self._home, [group])
            worker.load_inputs(self.conditions.inputs)

    def _draw(self) -> None:
        """Draws the cores of this replicate, while all its processes are idle: before its set-up where one must be
        opened on them."""
        where, threads = self.conditions.where, self.conditions.threads
        if where and any(s.cell.device == "cpu" for s in self.subjects.values()):
            others = cores.watched() if len(self._home) > threads else ()
            self.cores = cores.draw(where, self._home, others, threads, self.rng)

    def _bind(self) -> None:
        """Binds the processes that compute on cores to those that were drawn."""
        groups = {self._group(s) for s in self.subjects.values() if s.cell.device == "cpu"} & self._hosts.keys()
        if self.cores and not self._bind_to(self.cores, sorted(groups)):
            self.cores = ()

    def _bind_to(self, chosen: Sequence[int], groups: Sequence[str]) -> bool:
        """False where the system refuses: then they stay where it puts them."""
        try:
            for group in groups:
                self._hosts[group].bind(chosen)
        except OSError:
            return False
        return True

    def _open(self, indices: Sequence[int]) -> None:
        """The session that `indices` share."""
        if self.taken[indices[0]].error:
            return
        subject = self.subjects[indices[0]]
        with self._guard(indices):
            facts = self._worker(indices[0]).start(
                subject.session,
                subject.cell.backend,
                subject.artifact,
                subject.cell.device,
                self.conditions.threads,
                limit_after(self._before(indices[0]).open_ns),
            )
            for i in indices:
                self.taken[i].open_ns.append(int(facts.open_ns))
                self.taken[i].settings = facts.settings

    def _before(self, index: int) -> Taken:
        return self.before.get(index) or Taken()

    def _examine(self) -> None:
        """Finds out what the sessions of a subject's first replicate compute in: once their runs are timed, since it
        may open another session beside them."""
        first: dict[str, list[int]] = {}
        for i in self._alive():
            if self._before(i).precision is None:
                first.setdefault(self.subjects[i].session, []).append(i)
        for session, indices in first.items():
            with self._guard(indices):
                found = self._worker(indices[0]).examine(session)
                for i in indices:
                    self.taken[i].precision = found.precision

    def _warm_up(self, indices: Sequence[int]) -> None:
        """One session from its smallest batch to its largest: its first run is then the session's very first, and what
        a compiler adds for larger batches is booked on the same batch in every replicate."""
        for i in sorted(indices, key=lambda i: self.subjects[i].batch):
            subject, taken = self.subjects[i], self.taken[i]
            with self._guard([i]):
                limit_s = limit_after(self._before(i).first_run_ns)
                warm = self._worker(i).warm_up(
                    subject.session, subject.batch, subject.boundary, WARM_UP_LIMIT_S, limit_s
                )
                self._run_ns[i] = float(warm.median_ns)
                taken.first_run_ns.append(int(warm.first_run_ns))
                taken.warm_up_runs.append(warm.runs)
                taken.unsettled += not warm.settled

    def _note_machine(self, number: int) -> None:
        """At the beginning of a round."""
        if self.calibration and self.calibration[-1][1] == number:
            return
        self.calibration.append([self.number, number, calibrate(), calibrate_copy()])
        self._note_gpus(number)

    def _note_gpus(self, number: int) -> None:
        if not (gpus := to_json(self.conditions.gpus())):
            return
        if not self.gpu_rounds or self.gpu_rounds[-1]["round"] != number:
            self.gpu_rounds.append({"replicate": self.number, "round": number, "gpus": []})
        self.gpu_rounds[-1]["gpus"] += gpus

    def _measure(self, budget_ns: float) -> None:
        alive = self._alive()
        # As earlier replicates measured them: what was warmed up beside another process took longer.
        run_ns = [median(self._before(i).latencies_ns) or self._run_ns[i] for i in alive]
        share = allot(run_ns, budget_ns, self.conditions.least, self.conditions.most)
        self.over_ns = share.over_ns
        kept = [self.runs.get(i, 0) for i in alive]
        runs = tuple(kept) if alive and all(kept) else share.runs
        self.planned = dict(zip(alive, runs, strict=True))
        self.planned_ns = sum(cost_ns(t, n) for t, n in zip(run_ns, runs, strict=True))
        offsets = dict.fromkeys(alive, self.number * self.conditions.most)
        for visit in plan_rounds(runs, run_ns, self.rng):
            i = alive[visit.cell]
            self._note_machine(visit.round)
            subject, taken = self.subjects[i], self.taken[i]
            if taken.error:
                continue
            wanted = visit.discarded + visit.runs
            with self._guard([i]):
                limit_s = hangs_after_s(wanted * run_ns[visit.cell] / 1e9)
                worker = self._worker(i)
                before = worker.page_faults()
                latencies = worker.measure(
                    subject.session, subject.batch, subject.boundary, wanted, offsets[i], limit_s
                )[visit.discarded :]
                after = worker.page_faults()
                if before is not None and after is not None:
                    taken.page_faults.append((after - before) / wanted)
                offsets[i] += wanted
                taken.latencies_ns += latencies
                taken.replicates += [self.number] * len(latencies)
                taken.rounds += [visit.round] * len(latencies)
            if subject.cell.device != "cpu":
                self._note_gpus(visit.round)


def median(values: Sequence[float]) -> float:
    """Median, 0 for none: a subject that failed has no cold start."""
    return float(statistics.median(values)) if values else 0.0
