"""What was asked for, once for every command."""

import pytest

from pipeline.options import REPEATABLE, Options


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("backends", ("eager", "onnxruntime-cpu", "eager"), ("eager", "onnxruntime-cpu")),
        ("precisions", ("float16", "float32", "float16"), ("float16", "float32")),
        ("with_formats", ("aotinductor", "aotinductor"), ("aotinductor",)),
        ("batches", (8, 1, 8, 8), (8, 1)),
        ("sweeps", ("threads", "batch", "threads"), ("threads", "batch")),
        ("scenarios", ("Offline", "Offline"), ("Offline",)),
    ],
)
def test_what_is_asked_for_twice_is_asked_for_once_in_its_first_place(name, given, kept):
    assert getattr(Options(**{name: given}), name) == kept


def test_every_option_that_may_be_repeated_is_looked_at():
    from pipeline.cli import main

    repeated = {p.name for c in main.commands.values() for p in c.params if getattr(p, "multiple", False)}
    assert repeated & set(vars(Options())) == set(REPEATABLE)
