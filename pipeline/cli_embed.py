"""`pipeline embed`: an app around a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.flags import COMMON


class _OrWrite(click.Group):
    """`embed BUNDLE …` is `embed write BUNDLE …`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["write", *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Shows the options of `write` too, which is what most want."""
        written = self.commands["write"]
        shown = [record for p in written.get_params(ctx) if (record := p.get_help_record(ctx)) and p.name != "help"]
        with formatter.section("Options of an app"):
            formatter.write_dl(shown)
        super().format_options(ctx, formatter)


@click.group(cls=_OrWrite, short_help="an app around the model")
def embed() -> None:
    """Write an app around a bundle's app.onnx, or check that model on the runtimes at hand.

    Targets: python (a module and a command), web (a static page), node (an ES module), c (a C11 program) and triton (a
    model repository).

    \b
    pipeline embed artifacts/cnn --target web --out digits
    pipeline embed artifacts/names-rnn --target python --out names
    pipeline embed check artifacts/cnn
    """


@embed.command(short_help="write the app (the default)")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--target", required=True, metavar="NAME", help="python, web, node, c or triton.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the app.")
@click.option("--force", is_flag=True, help="Replace the folder where it holds an app that was written before.")
@click.option("--single-file", is_flag=True, help="Of web: one HTML file that opens from disk.")
@click.option(
    "--runtime",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Of web: folder of onnxruntime-web's files, instead of fetching them with npm.",
)
@click.option(
    "--instance",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    show_default=True,
    help="Of triton: where the server runs the models; auto: it chooses. cpu leaves engines out.",
)
@click.option("--trust", is_flag=True, help="Hand on executable forms of a bundle that was not made here.")
@COMMON
def write(
    bundle: Path,
    target: str,
    out: Path,
    force: bool,
    single_file: bool,
    runtime: Path | None,
    instance: Any,
    trust: bool,
    quiet: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Write a small, complete app around BUNDLE's app.onnx to --out, with its own README and a test.

    \b
    pipeline embed artifacts/cnn --target web --out digits
    pipeline embed artifacts/cnn --target web --single-file --out digits
    pipeline embed artifacts/cnn --target triton --instance gpu --out repository
    """
    from export.bundle.store import Bundle
    from serve_bench.embed._base import EmbedOptions
    from serve_bench.embed._write import MARK, check_options
    from serve_bench.embed._write import embed as embedded

    options = EmbedOptions(single_file=single_file, runtime=runtime, instance=instance)
    check_options(target, options)
    said = embedded(Bundle.open(bundle, trust=trust), target, options, out, force=force)
    if as_json:
        import json

        files = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and p.name != MARK)
        click.echo(json.dumps({"folder": str(out), "target": target, "files": files}, indent=1))
    elif not quiet:
        click.echo(said)


@embed.command(short_help="app.onnx on the runtimes at hand")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    metavar="NAME",
    help="Only this one, fetched where it can be; repeatable. Default: every runtime that is here.",
)
@COMMON
def check(bundle: Path, runtimes: tuple[str, ...], quiet: bool, as_json: bool, **_: Any) -> None:
    """Does BUNDLE's app.onnx give the golden answers on every runtime at hand? Exit status 1 where one is wrong.

    The golden samples are asked one by one and all at once, each runtime in a process of its own. One that is not here
    is a row with its reason; named with --runtime, it must be.

    \b
    pipeline embed check artifacts/cnn
    pipeline embed check artifacts/cnn --runtime onnxruntime-node --json
    """
    from export.bundle.store import Bundle
    from pipeline.console import Terminal
    from pipeline.embed_table import print_check
    from serve_bench.embed._base import kit_of
    from serve_bench.embed._check import check as checked

    found = checked(kit_of(Bundle.open(bundle)), runtimes, Terminal(quiet=quiet))
    print_check(found, as_json=as_json)
    found.raise_for_failures()
