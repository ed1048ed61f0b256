"""The options of the command line, in the groups that commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def stack(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


COMMON = stack(
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
    click.option("--quiet", "-q", is_flag=True, help="No progress on stderr."),
    click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document on stdout."),
)
DATA = stack(
    click.option("--data-dir", type=click.Path(path_type=Path), help="Data sets; default $PIPELINE_DATA or a cache."),
    click.option("--dataset", help="Data set by name: never replaced by another."),
)
TRAINING = stack(
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="A parameter of the model: see `models`.",
    ),
    click.option(
        "--recipe",
        default="fast",
        show_default=True,
        help="fast: ours; published: as the source of the published figure has it (`pipeline models` names it).",
    ),
    click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's; recorded."),
    click.option("--seed", type=int, help="Instead of the recipe's; same seed, same machine, same weights."),
    click.option(
        "--compile",
        "compile_mode",
        type=click.Choice(["auto", "on", "off"]),
        default="auto",
        show_default=True,
        help="torch.compile while training; auto: on CUDA, not on the CPU, where it did not pay.",
    ),
)
DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="cpu or cuda alone; auto: both, and training on the GPU, where there is one.",
)
OUT = click.option(
    "--out", type=click.Path(path_type=Path), default=Path("artifacts"), show_default=True, help="Bundles go here."
)
TARGET = stack(
    click.option(
        "--target",
        default="a100",
        show_default=True,
        help="GPU to build TensorRT engines for: a100, sm80, sm86, current.",
    ),
    click.option(
        "--with",
        "with_formats",
        multiple=True,
        metavar="NAME",
        help="Make this form too, by its format's name (`doctor` lists them): aotinductor, which takes long to compile "
        "and runs on such a CPU alone; repeatable.",
    ),
    click.option(
        "--max-metric-drop",
        type=click.FloatRange(0),
        default=0.5,
        show_default=True,
        metavar="POINTS",
        help="Accuracy (of a regression: R²) that an int8 form may lose and still be kept.",
    ),
)
JUDGING = stack(
    click.option("--backend", "backends", multiple=True, metavar="NAME", help="Only this backend; repeatable."),
    click.option(
        "--precision",
        "precisions",
        multiple=True,
        metavar="NAME",
        help="Only this one: float32, float16, and bfloat16 and int8, which are made on request; repeatable.",
    ),
    click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of each backend."),
    click.option("--fresh", is_flag=True, help="Verify and measure again even where records exist."),
    click.option("--trust", is_flag=True, help="Open executable forms of a bundle that was not made here."),
)
MEASURING = stack(
    click.option(
        "--batch",
        "batches",
        multiple=True,
        type=click.IntRange(1),
        default=(1, 8, 64, 512),
        show_default=True,
        help="Samples in one run; repeatable, instead of the default.",
    ),
    click.option(
        "--budget",
        "budget_s",
        type=click.FloatRange(0.1),
        default=15.0,
        show_default=True,
        metavar="S",
        help="Seconds of timed runs in all, shared by backends and batches; set-up comes on top.",
    ),
    click.option(
        "--replicates",
        type=click.IntRange(2),
        default=10,
        show_default=True,
        help="Times that every session is made anew; fewer give wider intervals.",
    ),
    click.option("--isolate", is_flag=True, help="A process of its own for each torch backend too, started anew."),
)


NO_BENCH = click.option("--no-bench", is_flag=True, help="Export and verify, without measuring.")


def words_of(context: click.Context, without: tuple[str, ...]) -> list[str]:
    """What was given on the command line, as words again, for the same command in a process of its own."""
    words: list[str] = []
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE
        if not given or parameter.name in without or not isinstance(parameter, click.Option):
            continue
        value, name = context.params[parameter.name or ""], parameter.opts[0]
        if parameter.is_flag:
            words.append(name)
        else:
            for one in value if parameter.multiple else [value]:
                words += [name, str(one)]
    return words
