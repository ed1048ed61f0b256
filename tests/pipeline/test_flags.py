"""Options that no command could use are refused as they are read."""

import click
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.flag_types import Number


def numbers():
    """Every option of every command that takes a number with a fraction, in each of its commands."""
    for name, command in main.commands.items():
        for option in command.params:
            if isinstance(option.type, (click.types.FloatParamType, click.FloatRange)):
                yield name, option


def test_there_are_such_options_and_each_is_a_finite_number():
    assert {(name, option.opts[0]) for name, option in numbers()} >= {
        ("bench", "--budget"),
        ("bench", "--min-duration"),
        ("train-export", "--max-metric-drop"),
        ("verify", "--minutes"),
    }
    assert {type(option.type) for _, option in numbers()} == {Number}


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "1e999"])
@pytest.mark.parametrize(("command", "option"), [(name, option.opts[0]) for name, option in numbers()])
def test_what_is_not_finite_is_one_line_and_status_2(command, option, text):
    given = CliRunner().invoke(main, [command, "nowhere", option, text])
    assert given.exit_code == 2
    (line,) = (line for line in given.output.splitlines() if line.startswith("Error: "))
    assert line.startswith(f"Error: Invalid value for '{option}': ")
    assert any(why in line for why in (f"{text} is not a finite number", "is not in the range"))


def test_a_budget_is_a_week_at_most():
    given = CliRunner().invoke(main, ["bench", "nowhere", "--budget", "1e300"])
    assert (given.exit_code, "is not in the range 0.1<=x<=604800" in given.output) == (2, True)
