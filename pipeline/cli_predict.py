"""`pipeline predict`: the answers of a bundle's model to images, tables, arrays and texts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pipeline.flags import COMMON, stack

READING = stack(
    click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Samples answered at once."),
    click.option(
        "--ignore", multiple=True, metavar="COLUMN", help="A column of a CSV that is not the model's; repeatable."
    ),
    click.option("--recursive", is_flag=True, help="The images in a folder's own folders too."),
    click.option(
        "--strict",
        is_flag=True,
        help="Refuse what would have to be changed to fit: images of another size, in colour, dark on light; accents.",
    ),
)
WRITING = stack(
    click.option(
        "--top",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        metavar="K",
        help="Of a classifier: the K most probable classes, or as many as there are.",
    ),
    click.option(
        "--format",
        "answer_format",
        type=click.Choice(["table", "jsonl", "csv"]),
        help="table: a line an answer, for people; jsonl: a JSON object a line; default by the suffix of --output, "
        "else table.",
    ),
    click.option("--output", "-o", type=click.Path(path_type=Path), help="A file; default stdout."),
)


@click.command(short_help="answers, without torch")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@stack(READING, WRITING, COMMON)
def predict(
    bundle: Path,
    inputs: tuple[str, ...],
    answer_format: str | None,
    output: Path | None,
    quiet: bool,
    as_json: bool,
    debug: bool,
    **reading: Any,
) -> None:
    """Answer each INPUT (image, folder, .csv, .npy, .npz, text) with the bundle's ONNX model. Needs no torch.

    Integer arrays are taken as stored (pixels 0 to 255) and go through the model's preprocessing; floating-point arrays
    are taken as model-ready. How each was understood is said on stderr, and with --json in `read_as`.

    A CSV holds values as stored, under a header: `x` for an input x of one number, `x0`, `x1`, … or `x[0]`, `x[1]`, …
    for several, `pixel0`, `pixel1`, … for an image row by row, `name` or `text` for a text. A model of texts also takes
    a .txt of one text a line, and any other word as the text itself. `-` is standard input: one text a line for such a
    model, CSV for others; with --batch 1 each is answered as it comes.

    What cannot be read does not stop the others; the exit status is 1 then.

    \b
    pipeline predict artifacts/cnn digit.png
    pipeline predict artifacts/cnn scans --recursive --top 3 --output answers.csv
    pipeline predict artifacts/cnn samples.npz --json
    pipeline predict artifacts/cnn train.csv --ignore label --output answers.csv
    pipeline predict artifacts/sine points.csv --format jsonl
    pipeline predict artifacts/names-rnn Satoshi
    """
    from pipeline.answer_formats import chosen, stream_to
    from pipeline.answers import Answers, write_answers
    from pipeline.cli import _progress

    _check(output, inputs)
    make, progress = chosen(answer_format, output, as_json=as_json), _progress(quiet)
    answers = Answers(bundle, inputs, progress, **reading)
    shown = output is not None or as_json or not sys.stdout.isatty()
    many = len(inputs) > reading["batch"] or any(map(_holds_many, inputs))
    with stream_to(output, sys.stdout) as stream:
        writer = make(stream)
        write_answers(answers, writer, progress if many and shown else None)
        writer.end()
    answers.raise_for_refused()


def _holds_many(given: str) -> bool:
    import os

    return given == "-" or Path(given).suffix.lower() in (".csv", ".txt") or os.path.isdir(given)


def _check(output: Path | None, inputs: tuple[str, ...]) -> None:
    """Raises UsageError for an --output that is a folder or one of the inputs."""
    from export.bundle.errors import UsageError

    if output is None:
        return
    if output.is_dir() or not output.name:
        raise UsageError(f"{output}: is a folder; name a file with --output")
    if output.exists() and any(Path(given).exists() and output.samefile(given) for given in inputs):
        raise UsageError(f"{output}: is one of the inputs; choose another --output")
