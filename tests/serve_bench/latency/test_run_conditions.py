"""What two runs must have in common, and what the machine alone did between them."""

from dataclasses import replace

import pytest

from serve_bench.latency.run_conditions import RunConditions, alike, felt, moved, unlike

LOOP, COPY = "a fixed loop", "a copy of 8 MiB"
QUIET = RunConditions(
    threads=1, isolate=False, cores_drawn=True, rewarm_ns=10_000_000, machine_ns={LOOP: 80e3, COPY: 200e3}
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threads": 2}, "threads: 1 and 2"),
        ({"isolate": True}, "processes: forked and a new interpreter for each session"),
        ({"cores_drawn": False}, "cores: the same for all forms and left to the system"),
        ({"rewarm_ns": 500_000}, "untimed runs of a visit: 10 ms and 0.5 ms"),
    ],
)
def test_runs_taken_otherwise_are_unlike(change, words):
    assert list(unlike(QUIET, replace(QUIET, **change))) == [words]
    assert not alike(QUIET, replace(QUIET, **change))


def test_a_slower_machine_is_another_measurement_but_not_an_unlike_one():
    busy = replace(QUIET, machine_ns={LOOP: 120e3, COPY: 200e3})
    assert alike(QUIET, busy)
    assert moved([QUIET], [busy]) == pytest.approx({LOOP: 1.5, COPY: 1.0})
    assert moved([busy, QUIET], [QUIET])[LOOP] == pytest.approx((2 / 3) ** 0.5)


def test_a_form_may_feel_the_whole_loop_and_half_of_the_copy():
    assert felt({LOOP: 1.2, COPY: 1.21}) == pytest.approx([1.2, 1.1])
    assert felt({}) == []


def test_what_was_not_timed_everywhere_is_not_compared():
    without_copy = replace(QUIET, machine_ns={LOOP: 80e3})
    assert moved([QUIET], [without_copy]) == {LOOP: 1.0}
    assert moved([QUIET], []) == {}
    assert moved([], []) == {}
