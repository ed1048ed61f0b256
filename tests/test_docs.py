"""What the documents show is true: commands exist and have help, blocks run, every command is documented."""

from __future__ import annotations

import re
import subprocess
import sys

import click
import pytest

from pipeline.cli import main
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = sorted(main.commands)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def shown_commands():
    inline = re.findall(r"`(pipeline [^`]+)`", README)
    fenced = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("pipeline ")]
    return sorted({c for c in inline + fenced if "COMMAND" not in c and c != "pipeline --help"})


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme_and_has_help_with_an_example(name):
    assert f"pipeline {name}" in README
    command = main.commands[name]
    assert command.help
    assert f"pipeline {name}" in command.help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name):
    options = [p for p in main.commands[name].params if isinstance(p, click.Option)]
    assert options
    assert [o.opts[0] for o in options if not o.help] == []


@pytest.mark.parametrize("shown", shown_commands())
def test_every_command_shown_parses(shown):
    words = shown.split()[1:]
    command = main.commands[words[0]]
    with click.Context(command) as context:
        command.parse_args(context, words[1:])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_help_parse(name):
    lines = [line.strip() for line in (main.commands[name].help or "").splitlines()]
    shown = [line for line in lines if line.startswith("pipeline ")]
    assert shown
    for line in shown:
        words = line.split()[1:]
        with click.Context(main.commands[words[0]]) as context:
            main.commands[words[0]].parse_args(context, words[1:])


def test_the_network_of_the_readme_builds(tmp_path):
    net = next(block for block in blocks("python") if block.startswith("# net.py"))
    (tmp_path / "net.py").write_text(net)
    code = "import net; print(sum(p.numel() for p in net.build().parameters()))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "11689512"


def test_the_embedding_of_the_readme_runs(made):
    code = next(block for block in blocks("python") if "onnxruntime" in block)
    folder = made.root.parent.parent
    (folder / "artifacts").unlink(missing_ok=True)
    (folder / "artifacts").symlink_to(made.root.parent)
    answer = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    ours, truth = answer.stdout.split()
    assert ours == truth


def test_the_makefile_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", README):
        if target not in ("and",):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_files_named_in_the_methodology_exist():
    text = (ROOT / "METHODOLOGY.md").read_text()
    names = re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", text)
    assert names
    for name in names:
        assert list(ROOT.glob(name)) or list(ROOT.glob(f"*/**/{name}")), name


def test_constraints_name_versions_and_no_addresses():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert "torch==2.14.1" in lines
