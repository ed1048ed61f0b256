"""`pipeline compare`: the regression gate."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from pipeline.flag_types import Percent
from pipeline.flags import COMMON, DEVICE, JUDGING, MEASURING, ORDER, stack, told_what_was_given


@click.command(short_help="is the new one slower? a gate for CI")
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--fail-if-slower", type=Percent(), metavar="SHARE", help="Exit status 1 where the interval says so: 5%.")
@click.option(
    "--alternate",
    "pairs",
    type=click.IntRange(2),
    is_flag=False,
    flag_value=3,
    metavar="N",
    help="Measure both bundles N times, taking turns, instead of comparing what was measured; as the last word: 3.",
)
@click.option("--anyway", is_flag=True, help="Compare unlike environments and other models too.")
@DEVICE
@stack(JUDGING, MEASURING, ORDER, COMMON)
@told_what_was_given
def compare(
    base: Path,
    new: Path,
    fail_if_slower: float | None,
    pairs: int | None,
    anyway: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """How many times as fast is NEW as BASE? Bundles, or files that `bench --json` printed.

    Every ratio has an interval that carries how far runs of one artifact lie apart; with --alternate both are measured
    in turns, and pairs of runs carry it. Of a bundle the run counts that its report shows (`report --run` chooses), and
    earlier ones say how far runs lie apart. Where the machine alone was slower in one of the two, intervals reach as
    far as a form may feel that. Latencies are geometric means of the replicates' medians, ratios their quotients. Exit
    status 1 says "slower" and nothing else; what cannot be compared, or what the gate lacks in NEW, ends with 2.

    \b
    pipeline compare artifacts/cnn other/cnn
    pipeline compare monday.json artifacts/cnn --fail-if-slower 5%
    pipeline compare artifacts/cnn other/cnn --alternate 5 --backend onnxruntime-cpu --batch 1
    """
    from dataclasses import replace

    from export.bundle.errors import PipelineError, UsageError
    from pipeline.cli import _options, _progress
    from pipeline.compare import alternate, compared
    from pipeline.compare_sides import only, side_of
    from pipeline.table import print_comparison

    options, progress = _options(**given), _progress(quiet)
    try:
        if pairs is not None:
            found = alternate(base, new, pairs, options, progress, anyway=anyway)
        else:
            _refuse_without_alternate(options.given)
            batches = options.batches if "batches" in options.given else ()
            sides = [only(side_of(path), options.backends, batches) for path in (base, new)]
            found = compared(*sides, anyway=anyway)
    except (PipelineError, OSError, MemoryError) as error:
        raise UsageError(str(error) or "out of memory") from error
    if fail_if_slower is not None and (told := found.seen_from(fail_if_slower)):
        found = replace(found, notes=(*found.notes, told))
    print_comparison(found, gate=found.gate(fail_if_slower), as_json=as_json)
    found.raise_if_slower(fail_if_slower)


READING = {"base", "new", "fail_if_slower", "pairs", "anyway", "backends", "batches", "debug", "quiet", "as_json"}
"""Parameters that play a part where nothing is measured."""


def _refuse_without_alternate(given: Collection[str]) -> None:
    """Raises UsageError for a parameter that only measuring heeds."""
    from export.bundle.errors import UsageError

    options = {parameter.name: parameter.opts[0] for parameter in compare.params}
    if unheeded := sorted(options[name] for name in set(given) - READING):
        raise UsageError(
            f"{unheeded[0]}: is for --alternate, which measures; what was measured is chosen by --backend and --batch"
        )
