"""pipeline → serve_bench → export is the only direction of imports, read from the source text."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = {"pipeline/models/_rnn_cells.py"}
"""Classes that TorchScript compiles stand in a module of their own, which is imported where one is built."""
FLOORS = ("export", "serve_bench", "pipeline")
HEAVY = {
    "torch",
    "torchvision",
    "onnx",
    "onnxruntime",
    "matplotlib",
    "sklearn",
    "tensorrt",
    "tensorrt_rtx",
    "polygraphy",
}


def imported(source: str) -> set[str]:
    """Top-level names that a source imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def upward(floor: str, source: str) -> set[str]:
    return imported(source) & set(FLOORS[FLOORS.index(floor) + 1 :])


def sources(floor: str) -> list[Path]:
    return sorted((ROOT / floor).rglob("*.py"))


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_go_down_only(floor):
    assert sources(floor)
    wrong = {str(p.relative_to(ROOT)): up for p in sources(floor) if (up := upward(floor, p.read_text()))}
    assert wrong == {}


@pytest.mark.parametrize(
    ("floor", "source", "caught"),
    [
        ("export", "def f():\n    from serve_bench.worker import Workers\n", {"serve_bench"}),
        ("export", "import pipeline.cli as c", {"pipeline"}),
        ("serve_bench", "from pipeline import run", {"pipeline"}),
        ("serve_bench", "from export.registry import entry", set()),
        ("pipeline", "import export, serve_bench", set()),
    ],
)
def test_the_layer_test_can_fail(floor, source, caught):
    assert upward(floor, source) == caught


def test_no_heavy_library_is_imported_at_the_top_of_a_module():
    wrong = {}
    for floor in FLOORS:
        for path in sources(floor):
            top = {
                name.split(".")[0]
                for node in ast.parse(path.read_text()).body
                if isinstance(node, ast.Import | ast.ImportFrom)
                for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
            }
            if top & HEAVY and str(path.relative_to(ROOT)) not in NETWORKS:
                wrong[str(path.relative_to(ROOT))] = top & HEAVY
    assert wrong == {}


def test_the_command_line_imports_nothing_heavy():
    code = "import sys, pipeline.cli; print(sorted({m.split('.')[0] for m in sys.modules}))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(ast.literal_eval(answer.stdout))
    assert loaded & (HEAVY | {"numpy", "rich"}) == set()
    assert "click" in loaded
