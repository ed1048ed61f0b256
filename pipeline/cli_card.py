"""`pipeline card`: what a bundle is, for those who are to use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.flags import COMMON


@click.command(short_help="a model card, or a CycloneDX ML-BOM")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--format", "card_format", default="markdown", show_default=True, help="markdown, or cyclonedx: 1.6, as JSON."
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="A file; default stdout.")
@COMMON
def card(bundle: Path, card_format: str, output: Path | None, as_json: bool, **_: Any) -> None:
    """Write the model card of BUNDLE from its manifest and records: figures with intervals, verdicts, limits.

    Nothing is run, and the same bundle gives the same bytes. --json is --format cyclonedx.

    \b
    pipeline card artifacts/cnn -o cnn.md
    pipeline card artifacts/cnn --format cyclonedx -o cnn.cdx.json
    """
    from export.bundle.errors import UsageError
    from export.bundle.files import write_atomic
    from export.bundle.store import Bundle
    from export.registry import entry
    from serve_bench.cards._facts import card_of

    kind = entry("serve_bench.cards", "card format", "cyclonedx" if as_json else card_format)
    if output is not None and (output.is_dir() or output.resolve().is_relative_to((bundle / "payload").resolve())):
        raise UsageError(f"{output}: is a folder, or lies inside payload/; name a file elsewhere with --output")
    text = kind.render(card_of(Bundle.open(bundle)))
    if output is None:
        click.echo(text, nl=False)
    else:
        write_atomic(output, text.encode())
