"""`make bench-embed`: how a first answer is taken, and what is promised of it."""

import sys

import pytest

from export.bundle.errors import BackendFailed
from pipeline.bench_embed import Embedded, held, markdown
from pipeline.bench_integrity import Flip, Flips
from pipeline.first_answers import Started, Way, run_once
from serve_bench.embed._check import Checked, Distance

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="starts are watched by POSIX means")
ALL_FOUND = Flips(trials=10, found=10, seed=0, by_file=(), missed=())


def embedded(seconds=(0.2, 0.1, 0.4), passed=True, flips=ALL_FOUND):
    starts = tuple(Started(first_answer_s=s, memory_bytes=50_000_000) for s in seconds)
    distance = Distance(output="probabilities", error=1e-7, tolerance=1e-5)
    reason = "" if passed else "probabilities is 0.1 off"
    row = Checked(
        runtime="onnxruntime", passed=passed, reason=reason, version="1.31", samples=32, distances=(distance,)
    )
    ways = (Way(name="Python app", starts=starts), Way(name="C program", starts=(), missing="no compiler"))
    return Embedded(model="cnn", app_bytes=1234, model_bytes=1000, ways=ways, golden=(row,), flips=flips)


def test_the_most_memory_is_the_commands_own_and_not_that_of_who_started_it():
    """64 MB are touched by the one, none by the other, whatever this process holds."""
    held_here = bytearray(200_000_000)
    large = run_once([sys.executable, "-S", "-c", "x = bytearray(64_000_000); print(1)"])
    small = run_once([sys.executable, "-S", "-c", "print(1)"])
    assert 64_000_000 < large.memory_bytes < 150_000_000
    assert small.memory_bytes < 40_000_000
    assert small.first_answer_s > 0
    assert len(held_here) == 200_000_000


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; print('no such thing', file=sys.stderr); sys.exit(3)", "no such thing"),
        ("pass", "gave no answer"),
        ("import sys; print('an answer'); sys.exit(1)", "gave no answer"),
    ],
)
def test_a_command_that_gives_no_answer_is_named_with_its_last_words(code, said):
    with pytest.raises(BackendFailed, match=said):
        run_once([sys.executable, "-c", code])


def test_promises_are_held_by_the_median_by_every_runtime_and_by_every_flip():
    assert all(held(embedded()).values())
    assert not held(embedded(seconds=(0.31, 0.1, 0.4)))["Python app answers within 0.3 s"]
    assert not held(embedded(seconds=()))["Python app answers within 0.3 s"]
    assert not held(embedded(passed=False))["every runtime is inside the band"]
    missed = Flips(trials=10, found=9, seed=0, by_file=(), missed=(Flip(path="payload/x", offset=1, bit=0),))
    assert not held(embedded(flips=missed))["every flipped bit is found"]


def test_the_table_shows_the_median_with_its_ends_and_why_a_way_is_absent():
    text = markdown(embedded())
    assert "| Python app | 0.20 [0.10, 0.40] | 50 MB | 3 |" in text
    assert "| C program | not run: no compiler | | |" in text
    assert "| onnxruntime 1.31 | all 32 | 1.0e-07 of 1.0e-05 |" in text
    assert "10 of 10 single flipped bits" in text
    assert "1,234 bytes" in text
