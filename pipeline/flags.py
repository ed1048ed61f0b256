"""The options of the command line, in the groups that commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipeline.flag_types import Latency, Number, Percent
from serve_bench.latency.schedule import BUDGET_S

LONGEST_S = 7 * 86400
"""Most that --budget takes: a week."""


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
PUBLIC_KEY = click.option(
    "--public-key",
    type=click.Path(path_type=Path),
    metavar="PEM",
    help="Check the signature of payload/ by this key first, offline.",
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
        type=Number(0),
        default=0.5,
        show_default=True,
        metavar="POINTS",
        help="Accuracy (of a regression: R²) that an int8 form may lose and still be kept.",
    ),
)
JUDGING = stack(
    click.option(
        "--backend", "backends", multiple=True, metavar="NAME", help="Only this backend, all its forms; repeatable."
    ),
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
        type=Number(0.1, LONGEST_S),
        default=BUDGET_S,
        show_default=True,
        metavar="S",
        help="Seconds of runs in all, shared by backends and batches; set-up of the first replicates comes on top, "
        "up to a third of this or 10 s.",
    ),
    click.option(
        "--replicates",
        type=click.IntRange(2),
        default=10,
        show_default=True,
        help="Least times that every session is made anew; fewer give wider intervals.",
    ),
    click.option(
        "--precision-of-ratio",
        type=Percent(),
        default="2%",
        show_default=True,
        metavar="SHARE",
        help="Measure until every ratio's interval is within ± this, or the budget ends; 0: no more than --replicates.",
    ),
    click.option(
        "--twin",
        is_flag=True,
        help="Time eager (or else the first form) twice, under two names: the report says what it is against itself.",
    ),
    click.option("--isolate", is_flag=True, help="A new interpreter for each session, none forked or shared."),
    click.option(
        "--no-peak", is_flag=True, help="Without the machine's own peak: saves seconds, leaves out the ceiling."
    ),
)

ORDER = click.option(
    "--seed",
    "order_seed",
    type=click.IntRange(0),
    metavar="N",
    help="Of the random order in which forms take turns; drawn anew for each run unless given, and recorded.",
)

SWEEPING = stack(
    click.option(
        "--sweep",
        "sweeps",
        multiple=True,
        metavar="NAME",
        help="Along one axis, instead of the interleaved run: batch, threads, precision, length or concurrency; "
        "repeatable. --budget is for each; --replicates is 3 and --batch 1 and 64 unless given.",
    ),
    click.option(
        "--sweep-limit", type=click.IntRange(1), metavar="N", help="Largest batch of --sweep batch; default 4096."
    ),
    click.option(
        "--concurrency",
        "processes",
        type=click.IntRange(1),
        metavar="N",
        help="Most processes of --sweep concurrency; default one a core.",
    ),
    lambda function: told_what_was_given(function),
)


def told_what_was_given(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hands the command `given` too: names of the parameters that stood on the command line, defaults not."""

    @functools.wraps(function)
    def told(*arguments: Any, **values: Any) -> Any:
        context = click.get_current_context()
        from_line = click.core.ParameterSource.COMMANDLINE
        names = (name for name in context.params if context.get_parameter_source(name) is from_line)
        return function(*arguments, given=frozenset(names), **values)

    return told


COLD = click.option(
    "--cold-start",
    "cold_starts",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Also start every form N times in a fresh process: time to the first answer, memory.",
)


SCENARIOS = stack(
    click.option(
        "--scenario",
        "scenarios",
        multiple=True,
        metavar="NAME",
        help="Through LoadGen, instead of interleaved: SingleStream, MultiStream, Offline, Server; repeatable.",
    ),
    click.option(
        "--min-duration",
        "min_duration_s",
        type=Number(0.05, 600),
        default=2.0,
        show_default=True,
        metavar="S",
        help="Shortest run of a scenario that is valid.",
    ),
    click.option(
        "--samples-per-query",
        type=click.IntRange(1),
        default=8,
        show_default=True,
        help="Of MultiStream.",
    ),
    click.option(
        "--latency-bound",
        "latency_bound_ns",
        type=Latency(),
        metavar="TIME",
        help="Of Server's p99: 10ms, 500us; default 10 times the median of a pilot.",
    ),
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
