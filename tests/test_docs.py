"""What the documents show is true: commands exist and have help, blocks run, every command is documented."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

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


def leaves(command):
    """The command, or of a group the commands in it."""
    return list(command.commands.values()) if isinstance(command, click.Group) else [command]


def parsed(words):
    """Parses a whole command line, of a group down to its command."""
    command = main.commands[words[0]]
    with click.Context(command) as context:
        if not isinstance(command, click.Group):
            command.parse_args(context, words[1:])
            return
        command.parse_args(context, words[1:])
        rest = [*context._protected_args, *context.args]
        _, inner, rest = command.resolve_command(context, rest)
        with click.Context(inner) as below:
            inner.parse_args(below, rest)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name):
    options = [p for c in leaves(main.commands[name]) for p in c.params if isinstance(p, click.Option)]
    assert options
    assert [o.opts[0] for o in options if not o.help] == []


@pytest.mark.parametrize("shown", shown_commands())
def test_every_command_shown_parses(shown):
    parsed(shlex.split(shown)[1:])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_help_parse(name):
    lines = [line.strip() for line in (main.commands[name].help or "").splitlines()]
    shown = [line for line in lines if line.startswith("pipeline ")]
    assert shown
    for line in shown:
        parsed(line.split("  ")[0].split()[1:])


def test_the_network_of_the_readme_builds(tmp_path):
    net = next(block for block in blocks("python") if block.startswith("# net.py"))
    (tmp_path / "net.py").write_text(net)
    code = "import net; print(sum(p.numel() for p in net.build().parameters()))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "11689512"


@pytest.fixture
def beside_artifacts(made):
    """A folder in which the made bundle is artifacts/cnn, as the README has it."""
    folder = made.root.parent.parent
    (folder / "artifacts").unlink(missing_ok=True)
    (folder / "artifacts").symlink_to(made.root.parent)
    return folder


def needs(target, folder):
    """What a block of the README takes besides Python: what is added to the environment; skips where it is not here."""
    if target in ("web", "node"):
        if shutil.which("node") is None:
            pytest.skip("node is not installed")
        from serve_bench.embed import _web_runtime
        from serve_bench.embed.runtimes import node

        package = next(entry for entry in node.ENTRIES if entry.name == "onnxruntime-node")
        if target == "web" and _web_runtime.wrong_in(_web_runtime.cache_folder()):
            pytest.skip("onnxruntime-web is not in the cache, and tests use no network")
        if target == "node" and package.missing():
            pytest.skip("onnxruntime-node is not in the cache, and tests use no network")
        return {"PACKAGES": str(package.cache / "node_modules")}
    if target == "triton":
        pytest.importorskip("tritonclient", reason="tritonclient is not installed")
    if target == "c":
        from export.bundle.errors import BackendUnavailable
        from serve_bench.embed import _c_build

        try:
            include, library = _c_build.toolchain()
        except BackendUnavailable as error:
            pytest.skip(str(error))
        return {"ONNXRUNTIME_INCLUDE": str(include), "ONNXRUNTIME_LIB": str(library)}
    return {}


@pytest.mark.parametrize("target", ["python", "web", "node", "c", "triton"])
def test_the_apps_of_the_readme_pass_their_tests(target, beside_artifacts, tmp_path):
    block = next(block for block in blocks("sh") if f"--target {target} " in block)
    more = needs(target, tmp_path)
    lines = [line for line in block.splitlines() if "http.server" not in line]
    linked = 'ln -s "$PACKAGES" digits-node/node_modules'
    lines = [linked if line.startswith("npm i ") else line for line in lines]
    (tmp_path / "artifacts").symlink_to(beside_artifacts / "artifacts")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = "\n".join(["set -eu", *lines])
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, env=os.environ | more | {"PATH": path}
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_the_embedding_of_the_readme_runs(beside_artifacts):
    code = next(block for block in blocks("python") if "onnxruntime" in block)
    folder = beside_artifacts
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
