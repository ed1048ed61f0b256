"""`make bench-equivalence`: deliberate faults, benign variants and the search for a fault's place, over many bundles.

Every trial is kept in its bundle, so that what has been done is not done again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from export.bundle.errors import PipelineError
from export.bundle.files import write_atomic
from export.bundle.store import Bundle
from export.bundle.types import from_json, to_json
from pipeline.console import Terminal
from pipeline.trials import Benign, Placed, Ratio, benign_trials, placed, ratios
from serve_bench.equivalence import bands, selftest
from serve_bench.equivalence import selftest_summary as summary
from serve_bench.worker import Workers

RESULTS = Path(__file__).resolve().parent.parent / "results" / "equivalence.json"
RULES = [8, 7, 2]
"""Of benign variants and of places: what was tried by other rules is tried again."""
Kind = TypeVar("Kind", Benign, Placed)


def kept_or_made(bundle: Bundle, name: str, kind: type[Kind], make: Callable[[], Iterable[Kind]]) -> list[Kind]:
    """The trials that the bundle's records hold, else made now, all of them, and kept."""
    for record in bundle.read(name):
        if record.get("rules") == RULES:
            return [from_json(kind, value) for value in record["trials"]]
    made = list(make())
    bundle.append(name, {"rules": RULES, "trials": to_json(made)})
    return made


def markdown(document: dict[str, Any], trials: Sequence[selftest.Trial]) -> str:
    """The tables of README and METHODOLOGY."""
    rows, models = document["faults"], sorted(document["models"])
    whole = next(row for row in rows if row.name == "all")
    found = document["places"]
    lines = [
        "# What the verdict catches",
        "",
        f"{whole.faults:,} deliberate faults in copies of the exported forms of {len(models)} models "
        f"({', '.join(models)}); {document['benign']:,} benign variants of them, {len(document['false_alarms'])} false "
        f"alarms; of {found['tried']:,} single-tensor faults that the numbers caught, the node was named in "
        f"{found['right']:,}.",
        "",
        "| " + " | ".join(summary.HEADINGS) + " |",
        "|" + " --- |" * len(summary.HEADINGS),
        *("| " + " | ".join(summary.cells(row)) + " |" for row in rows),
        "",
        "| " + " | ".join(summary.OTHER_HEADINGS) + " |",
        "|" + " --- |" * len(summary.OTHER_HEADINGS),
        *("| " + " | ".join(cells) + " |" for cells in summary.other_cells(whole, trials)),
        "",
        "The same faults by the form they were made in.",
        "",
        "| form" + " | ".join(("", *summary.HEADINGS[1:])) + " |",
        "|" + " --- |" * len(summary.HEADINGS),
        *("| " + " | ".join(summary.cells(row)) + " |" for row in document["forms"]),
        "",
        "How near the sound forms come to their bands: error over reference, largest of all probes.",
        "",
        "| backend | computes in | models | median | largest | of | probe | allowed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *calibration(document["ratios"]),
        "",
        *(f"- missed: {t.artifact} of {m}: {t.kind}: {t.fault}" for m, t in document["missed"]),
    ]
    return "\n".join([*lines, ""])


def calibration(found: Sequence[Ratio]) -> Iterator[str]:
    """A row for each backend and precision."""
    groups: dict[tuple[str, str], list[Ratio]] = {}
    for ratio in found:
        groups.setdefault((ratio.backend, ratio.precision), []).append(ratio)
    for (backend, precision), some in sorted(groups.items()):
        worst = max(some, key=lambda r: r.ratio)
        median = statistics.median(r.ratio for r in some)
        cells = [backend, precision, str(len(some)), f"{median:.2f}", f"{worst.ratio:.2f}", worst.model, worst.probe]
        yield "| " + " | ".join([*cells, f"{bands.FACTOR[precision]:g}"]) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is missing over the bundles named, prints the tables and keeps them; exit status 0 either way."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench_equivalence", description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    end = time.monotonic() + 60 * chosen.minutes
    trials: list[selftest.Trial] = []
    missed: list[tuple[str, selftest.Trial]] = []
    variants: list[Benign] = []
    places: list[Placed] = []
    models: set[str] = set()
    near: list[Ratio] = []
    left = 0
    for path in chosen.bundles:
        try:
            bundle = Bundle.open(path)
            with Workers() as workers:
                result = selftest.run(bundle, workers, max(end - time.monotonic(), 0.0), Terminal())
        except PipelineError as error:
            print(f"{path}: {error}", file=sys.stderr)
            continue
        title = bundle.manifest.title
        models.add(title)
        near += ratios(bundle)
        trials += result.trials
        missed += [(title, t) for t in result.missed]
        left += result.left
        if result.left or time.monotonic() > end:
            left += 1
            continue
        made = kept_or_made(bundle, "benign", Benign, partial(benign_trials, bundle))
        found = kept_or_made(bundle, "placed", Placed, partial(placed, bundle, result.trials))
        variants, places = variants + made, places + found
        print(
            f"{title}: {len(result.trials)} trials, {len(result.missed)} missed; {len(made)} benign variants, "
            f"{sum(bool(b.reason) for b in made)} false alarms; {sum(p.right for p in found)} of {len(found)} placed",
            flush=True,
        )
    document = {
        "models": sorted(models),
        "faults": summary.rows(trials),
        "forms": summary.shares(trials, lambda t: t.artifact),
        "missed": missed,
        "benign": len(variants),
        "false_alarms": [b for b in variants if b.reason],
        "places": {"tried": len(places), "right": sum(p.right for p in places)},
        "misplaced": [p for p in places if not p.right],
        "ratios": near,
        "left": left,
    }
    text = markdown(document, trials)
    print(text)
    print(f"{left} trials are left: run it again" if left else "every trial is there", file=sys.stderr)
    written = json.dumps(to_json(document), indent=1, ensure_ascii=False) + "\n"
    write_atomic(chosen.results, written.encode())
    write_atomic(chosen.results.with_suffix(".md"), text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
