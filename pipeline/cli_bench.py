"""`pipeline bench`: measure bundles again, in one interleaved run, along an axis or through LoadGen's scenarios."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.flags import COLD, COMMON, DEVICE, JUDGING, MEASURING, ORDER, PUBLIC_KEY, SCENARIOS, SWEEPING, stack


@click.command(short_help="measure again")
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@PUBLIC_KEY
@DEVICE
@stack(JUDGING, MEASURING, ORDER, COLD, SWEEPING, SCENARIOS, COMMON)
def bench(bundles: tuple[Path, ...], public_key: Path | None, quiet: bool, as_json: bool, **given: Any) -> None:
    """Measure BUNDLES again: what has no verdict here is verified first, what failed is not measured.

    With --sweep, one axis is measured point by point instead; with --scenario, LoadGen's scenarios run instead:
    --batch then sets Offline's batch alone, --budget and --replicates play no part.

    Exit status 0: what could be measured was, and what could not is a row with its reason. 1: a form is not the same
    model (the others were measured), or the run broke. 2: what was asked for cannot be done here.

    \b
    pipeline bench artifacts/cnn --budget 60
    pipeline bench artifacts/cnn --backend eager --backend onnxruntime-cpu --batch 1
    pipeline bench artifacts/cnn --cold-start 5
    pipeline bench artifacts/cnn --sweep batch --sweep threads
    pipeline bench artifacts/cnn --scenario SingleStream --scenario Server --latency-bound 10ms
    """
    from export.bundle.errors import UsageError
    from pipeline.cli import _options, _progress
    from pipeline.cli_verify import signer_of
    from pipeline.run import bench_paths
    from pipeline.scenario_table import print_scenario_outcome
    from pipeline.sweep_table import print_sweeps
    from pipeline.table import print_outcome, print_outcomes

    if given["twin"] and (given["sweeps"] or given["scenarios"]):
        raise UsageError("--twin: is of an interleaved run; --sweep and --scenario take none")
    signed = public_key is not None and all(signer_of(bundle, public_key) for bundle in bundles)
    options = _options(**given | {"trust": given["trust"] or signed})
    show = print_sweeps if options.sweeps else print_scenario_outcome if options.scenarios else print_outcome
    print_outcomes(bench_paths(bundles, options, _progress(quiet)), as_json=as_json, show=show)
