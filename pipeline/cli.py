"""The command line: a command parses, calls one function, prints."""

from __future__ import annotations

import atexit
import gc
from pathlib import Path
from typing import Any

import click

from pipeline import __version__
from pipeline.cli_bench import bench
from pipeline.cli_card import card
from pipeline.cli_compare import compare
from pipeline.cli_embed import embed
from pipeline.cli_pack import pack, unpack
from pipeline.cli_predict import predict
from pipeline.cli_sign import sign
from pipeline.cli_verify import verify
from pipeline.flags import COMMON, DATA, DEVICE, JUDGING, MEASURING, NO_BENCH, OUT, TARGET, TRAINING, stack
from pipeline.group import Group

# What torch leaves behind is given back with the process: collecting it first takes 1.4 s.
atexit.register(gc.freeze)

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=Group, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="pipeline")
def main() -> None:
    """From a trained PyTorch model to a verified, measured, deployable bundle.

    \b
    pipeline train-export cnn          train, export, verify, measure, report
    pipeline verify artifacts/cnn      is what is deployed the same model?
    pipeline bench artifacts/cnn       how much faster is it?
    pipeline predict artifacts/cnn digit.png
    pipeline embed artifacts/cnn --target web --out digits
    pipeline doctor                    which backends can run here
    """


def _options(**given: Any) -> Any:
    from pipeline.options import Options

    for ours in ("debug", "quiet", "as_json"):
        given.pop(ours, None)
    if "settings" in given:
        from pipeline.variants import set_from_words

        given["params"] = set_from_words(given.pop("settings"))
    return Options(**given)


def _progress(quiet: bool) -> Any:
    from pipeline.console import Terminal

    return Terminal(quiet=quiet)


def _finish(outcome: Any, as_json: bool) -> None:
    from pipeline.table import print_outcomes

    print_outcomes([outcome], as_json=as_json)


@main.command("train-export", short_help="train, export, verify, measure, report")
@click.argument("models", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every model of the zoo, at its defaults.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of several models, so many at once; measuring stays one at a time, after all else.",
)
@NO_BENCH
@stack(OUT, DEVICE, DATA, TRAINING, TARGET, JUDGING, MEASURING, COMMON)
@click.pass_context
def train_export(
    context: click.Context,
    /,
    models: tuple[str, ...],
    everything: bool,
    jobs: int,
    no_bench: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train MODELS, export them, build their engines, verify every form and measure it.

    What is up to date is not done again; an interrupted run continues where it stopped. Several models run in a
    process each, one that fails does not stop the others, and a table of published figures and ours is written.

    \b
    pipeline train-export cnn
    pipeline train-export cnn --recipe published --dataset mnist
    pipeline train-export cnn --budget 60 --batch 1 --batch 32
    pipeline train-export mlp1 --set width=5000
    pipeline train-export --all
    """
    options, progress = _options(**given), _progress(quiet)
    if len(models) == 1 and not everything:
        from pipeline.origins import ZooOrigin
        from pipeline.run import run_all

        origin = ZooOrigin(models[0], options, progress)
        return _finish(run_all(origin, options, progress, bench=not no_bench), as_json)
    from pipeline.flags import words_of
    from pipeline.many import train_export_many
    from pipeline.zoo_tables import print_reproduction

    words = words_of(context, without=("everything", "jobs", "no_bench", "quiet", "as_json"))
    outcome = train_export_many(models, everything, words, jobs, options, progress, bench=not no_bench)
    print_reproduction(outcome, as_json=as_json)
    return outcome.raise_for_failures()


@main.command(short_help="the weights alone")
@click.argument("model")
@stack(OUT, DEVICE, DATA, TRAINING, COMMON)
def train(model: str, quiet: bool, as_json: bool, **given: Any) -> None:
    """Train MODEL only; `train-export` then continues from these weights.

    \b
    pipeline train cnn --seed 1
    """
    from pipeline.origins import ZooOrigin
    from pipeline.run import train_only
    from pipeline.table import print_training

    options, progress = _options(**given), _progress(quiet)
    print_training(train_only(ZooOrigin(model, options, progress), options, progress), as_json=as_json)


@main.command(short_help="a network of your own, or given weights")
@click.argument("target_model", metavar="MODEL|FILE.py:FACTORY|FILE.pt2")
@click.option("--weights", type=click.Path(path_type=Path), help="A safetensors file.")
@click.option("--inputs", type=click.Path(path_type=Path), help="Real samples: an .npz with one array for each input.")
@click.option("--dynamic", multiple=True, type=click.Choice(["batch"]), help="Axis 0 may have any length.")
@click.option("--name", help="Name of the bundle; default from the file.")
@NO_BENCH
@stack(OUT, DEVICE, DATA, TARGET, JUDGING, MEASURING, COMMON)
def export(quiet: bool, as_json: bool, **given: Any) -> None:
    """Export a network of your own, or a zoo model with given weights, into the same verified bundle.

    \b
    pipeline export net.py:build --weights net.safetensors --inputs samples.npz --dynamic batch
    pipeline export model.pt2 --inputs samples.npz
    pipeline export cnn --weights cnn.safetensors
    """
    from pipeline.run import export_own

    progress = _progress(quiet)
    own = {n: given.pop(n) for n in ("target_model", "weights", "inputs", "dynamic", "name", "no_bench")}
    _finish(export_own(options=_options(**given), progress=progress, **own), as_json)


@main.command(short_help="the report, from the records")
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "report_format", help="markdown, html, json or csv; default by the suffix of --output.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="A file; default stdout.")
@click.option("--run", "run", metavar="NAME", help="Of one bundle: show this kept run until another is measured.")
@COMMON
def report(
    bundles: tuple[Path, ...],
    report_format: str | None,
    output: Path | None,
    run: str | None,
    quiet: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Write the report of BUNDLES from their records; nothing is run again.

    Every whole run of `bench` is kept, and the report shows the last. --run brings an earlier one back, in the bundle's
    own reports too; a name that is not kept lists those that are.

    \b
    pipeline report artifacts/cnn
    pipeline report artifacts/cnn --run 5c1e7f02
    pipeline report artifacts/cnn --format html -o cnn.html
    """
    from export.bundle.errors import UsageError
    from pipeline.run import report_text, show_run

    if output is not None and (output.is_dir() or not output.name):
        raise UsageError(f"{output}: is a folder; name a file with --output")
    suffixes = {"": "markdown", ".md": "markdown", ".txt": "markdown", ".html": "html", ".json": "json", ".csv": "csv"}
    suffix = output.suffix.lower() if output else ""
    chosen = report_format or ("json" if as_json else suffixes.get(suffix))
    if chosen is None:
        raise UsageError(f"{output}: no report has the suffix {suffix}; name its format with --format")
    if run is not None:
        if len(bundles) != 1:
            raise UsageError(f"--run {run}: is of one bundle, {len(bundles)} are named")
        show_run(bundles[0], run)
    text = report_text(bundles, chosen, _progress(quiet))
    if output is None:
        click.echo(text)
    else:
        from export.bundle.files import write_atomic

        write_atomic(output, text.encode())


@main.command(short_help="what can be trained")
@COMMON
def models(as_json: bool, **_: Any) -> None:
    """List the models that can be trained, with their published figures.

    \b
    pipeline models
    """
    from pipeline.zoo_tables import print_models

    print_models(as_json=as_json)


@main.command(short_help="what can run here, what cannot and why")
@DEVICE
@COMMON
def doctor(device: str, as_json: bool, **_: Any) -> None:
    """Say of each backend and format: ready, or why not and what to do.

    \b
    pipeline doctor --json
    """
    from pipeline.table import print_doctor
    from serve_bench.doctor import examine, remarks

    statuses = examine(device)
    print_doctor(statuses, as_json=as_json)
    if not as_json:
        click.echo("\n".join(remarks(statuses)))


main.add_command(bench)
main.add_command(compare)
main.add_command(verify)
main.add_command(sign)
main.add_command(pack)
main.add_command(unpack)
main.add_command(card)
main.add_command(embed)
main.add_command(predict)
if __name__ == "__main__":
    main()
