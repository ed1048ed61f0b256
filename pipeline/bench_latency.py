"""`make bench-latency`: can two latencies be told apart, and only where they differ? In pieces, each trial kept.

Every trial is a line of a file that is not committed; what has been done by the same rules on the same machine is not
done again. The machine must be otherwise idle: what loads it, does so as part of a trial. `--calm` waits for the host
too: a trial begins only in a calm spell, and counts only where the host was calm behind it as well, and in whole runs
meanwhile.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from export.bundle.environment import environment
from export.bundle.errors import PipelineError
from export.bundle.files import locked, write_atomic
from export.bundle.store import Bundle
from export.bundle.types import from_json, to_json
from pipeline import latency_trials as trials
from pipeline.calm import WITHIN, is_calm, probe, wait
from pipeline.latency_figures import IDLE, LOADED, REPEAT, RUNS, Done, document, markdown, rows
from pipeline.results import ROOT
from serve_bench.worker import Workers

RESULTS = ROOT / "results" / "latency.json"
WORK = ROOT / "results" / ".work" / "latency.jsonl"
RULES = 4


def key_of(bundle: Bundle) -> str:
    return f"{RULES} {environment().id} {bundle.digest}"


def kept(path: Path, key: str) -> list[Done]:
    """What the file holds under `key`; a line that a kill cut short is passed over."""
    found = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            done = from_json(Done, json.loads(line))
        except ValueError:
            continue
        if done.key == key:
            found.append(done)
    return found


def in_calm(done: Sequence[Done]) -> list[Done]:
    """Those of a calm host, by the best it has shown in any of them: before and behind each, and, of whole runs, which
    time the machine in every round, meanwhile too."""
    known = [p for d in done for p in d.host]
    least: dict[str, float] = {}
    for d in done:
        least |= {name: min(ns, least.get(name, ns)) for name, ns in _meanwhile(d).items()}
    return [
        d
        for d in done
        if d.host
        and all(is_calm(p, known) for p in d.host)
        and all(ns <= WITHIN * least[name] for name, ns in _meanwhile(d).items())
    ]


def _meanwhile(done: Done) -> Mapping[str, float]:
    """What the machine alone took in the trial, in ns."""
    return done.value["machine"] if done.name == REPEAT and done.host else {}


def jobs(bundle: Bundle, workers: Workers, folder: Path) -> dict[str, Callable[[int], Any]]:
    """What makes trial number n of each name."""

    def loaded(seed: int) -> Any:
        with trials.loaded():
            return trials.same_twice(bundle, workers, LOADED, seed)

    return {
        IDLE: lambda seed: trials.same_twice(bundle, workers, IDLE, seed),
        LOADED: loaded,
        "delay +5 %": partial(_delayed, bundle, workers, 0.05),
        "delay +0.3 %": partial(_delayed, bundle, workers, 0.003),
        "extra nodes": lambda seed: trials.with_extra_node(bundle, workers, folder, seed),
        REPEAT: lambda seed: trials.ratios(bundle, workers, seed),
        "agreement": lambda seed: trials.agreement(bundle, workers, folder, seed),
        "bench": lambda _: trials.whole_bench(bundle),
        "overhead": lambda _: trials.overhead(),
    }


def _delayed(bundle: Bundle, workers: Workers, share: float, seed: int) -> Any:
    return trials.delayed(bundle, workers, share, seed)


def order() -> Iterator[tuple[str, int]]:
    """Names and numbers of all trials, evenly mixed: runs of one kind lie an interval of time apart."""
    places = [((n + 0.5) / runs, name, n) for name, runs in RUNS.items() for n in range(runs)]
    yield from ((name, n) for _, name, n in sorted(places))


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what is missing, prints the table and keeps it; exit status 0 either way."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench_latency", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", action="append", choices=list(RUNS), help="this kind of trial; repeatable")
    parser.add_argument("--calm", action="store_true", help="wait for a calm host; count only trials of one")
    chosen = parser.parse_args(arguments)
    end = time.monotonic() + 60 * chosen.minutes
    WORK.parent.mkdir(parents=True, exist_ok=True)
    try:
        bundle = Bundle.open(chosen.bundle)
        with locked(WORK.parent / "latency"), Workers() as workers, tempfile.TemporaryDirectory() as folder:
            _work(bundle, workers, Path(folder), end, chosen.only or list(RUNS), chosen.calm)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    every = [d for d in kept(WORK, key_of(bundle)) if d.name in RUNS]
    done = in_calm(every) if chosen.calm else every
    found = list(rows(done))
    text = markdown(found, done, len(every) - len(done))
    print(text)
    write_atomic(chosen.results, document(found, done).encode())
    write_atomic(chosen.results.with_suffix(".md"), text.encode())
    return 0


def _work(bundle: Bundle, workers: Workers, folder: Path, end: float, names: Sequence[str], calm: bool) -> None:
    key = key_of(bundle)
    every = kept(WORK, key)
    known = [p for d in every for p in d.host]
    there = {(d.name, d.number) for d in (in_calm(every) if calm else every)}
    make = jobs(bundle, workers, folder)
    for name, number in order():
        if (name, number) in there or name not in names:
            continue
        before = wait(known, end) if calm else None
        if time.monotonic() > end:
            return
        started = time.monotonic()
        value = to_json(make[name](number))
        seconds = time.monotonic() - started
        host = (before, probe()) if before else ()
        known += host[1:]
        done = Done(name=name, number=number, seconds=seconds, value=value, key=key, host=host)
        with WORK.open("a") as stream:
            stream.write(json.dumps(to_json(done)) + "\n")
        every.append(done)
        said = f"{name} {number + 1} of {RUNS[name]}: {seconds:.0f} s"
        if calm and in_calm(every)[-1:] != [done]:
            said += ", the host did not stay calm"
        print(said, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
