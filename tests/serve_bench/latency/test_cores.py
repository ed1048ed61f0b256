"""Which cores are drawn: of one memory node, idle ones first, physical cores before second hardware threads."""

import os
import random
import subprocess
import sys
from collections import Counter

import pytest

from serve_bench.latency import cores
from serve_bench.latency.conditions import lanes_of
from serve_bench.latency.cores import Topology, busy, draw, topology

PAIRS = Topology(
    physical=((0, 4), (1, 5), (2, 6), (3, 7)), nodes=((0, 1, 4, 5), (2, 3, 6, 7)), fastest=frozenset(range(8))
)
ALL = range(8)


def draws(where=PAIRS, home=ALL, taken=(), threads=1, times=200):
    return Counter(draw(where, home, taken, threads, random.Random(seed)) for seed in range(times))


def test_every_physical_core_is_drawn_about_as_often():
    found = draws()
    assert set(found) == {(0,), (1,), (2,), (3,)}
    # Bin(200, 1/4): fewer than 25 or more than 75 come with a probability below 1e-4
    assert all(25 <= count <= 75 for count in found.values())


def test_several_threads_get_physical_cores_that_stand_together_before_second_hardware_threads():
    assert set(draws(threads=2)) == {(0, 1), (1, 2), (2, 3), (0, 3)}
    assert set(draws(threads=4)) == {(0, 1, 2, 3)}
    assert all(set(one) > {0, 1, 2, 3} for one in draws(threads=5))
    assert set(draws(threads=12)) == {tuple(ALL)}


def test_a_core_that_others_use_and_its_second_hardware_thread_are_drawn_last():
    assert set(draws(taken={4})) == {(1,), (2,), (3,)}
    assert set(draws(taken={4, 1, 2}, threads=2)) == {(0, 3), (1, 3), (2, 3)}
    assert set(draws(taken=ALL)) == {(0,), (1,), (2,), (3,)}


def test_only_cores_of_the_home_are_drawn():
    assert set(draws(home=(2, 3, 6, 7))) == {(2,), (3,)}


def test_a_home_is_a_memory_node_that_has_room_or_the_whole_machine():
    assert PAIRS.homes(1) == PAIRS.homes(4) == ((0, 1, 4, 5), (2, 3, 6, 7))
    assert PAIRS.homes(5) == (tuple(ALL),)


def test_slower_cores_are_taken_only_where_the_fast_ones_do_not_suffice():
    mixed = Topology(physical=tuple((c,) for c in ALL), nodes=(tuple(ALL),), fastest=frozenset({0, 1}))
    assert mixed.homes(2) == ((0, 1),)
    assert mixed.homes(3) == (tuple(ALL),)


def test_the_topology_is_what_the_kernel_says_of_the_cores_that_may_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 5, 8}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: None, raising=False)
    for core, siblings in ((0, "0,4"), (1, "1,5"), (2, "2,6"), (5, "1,5")):
        folder = tmp_path / f"cpu/cpu{core}"
        (folder / "topology").mkdir(parents=True)
        (folder / "topology/thread_siblings_list").write_text(f"{siblings}\n")
        (folder / "cpu_capacity").write_text("1024\n" if core else "512\n")
    for node, listed in ((0, "0-1,4-5"), (1, "2-3,6-7")):
        (tmp_path / f"node/node{node}").mkdir(parents=True)
        (tmp_path / f"node/node{node}/cpulist").write_text(f"{listed}\n")
    found = topology(tmp_path)
    assert found.physical == ((0,), (1, 5), (2,), (8,))
    assert found.nodes == ((0, 1, 5), (2,), (8,))
    assert found.fastest == {1, 2, 5}
    assert found.cores == (0, 1, 2, 5, 8)


def test_where_nothing_is_told_every_core_is_a_physical_one_of_one_memory_node(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 7}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: None, raising=False)
    assert topology(tmp_path) == Topology(physical=((3,), (7,)), nodes=((3, 7),), fastest=frozenset({3, 7}))


def test_where_the_system_refuses_there_is_nothing_to_draw_from(monkeypatch):
    def refused(pid, cores):
        raise PermissionError("seccomp")

    monkeypatch.setattr(os, "sched_setaffinity", refused, raising=False)
    assert topology() is None
    monkeypatch.delattr(os, "sched_setaffinity")
    assert topology() is None


def test_a_core_is_busy_that_others_had_for_more_than_half_of_the_time():
    before, after = {0: 100, 1: 100, 2: 100}, {0: 105, 1: 102, 2: 103, 3: 7}
    assert busy(before, after, 0.05) == {1, 3}


def test_idle_ticks_are_those_of_the_kernel_file(tmp_path):
    file = tmp_path / "stat"
    file.write_text("cpu  9 9 9 9 9 9\ncpu0 10 0 5 700 20 0 0\ncpu12 1 2 3 4 5 6\nintr 5 0\n")
    assert cores.idle_ticks(file) == {0: 720, 12: 9}
    assert cores.idle_ticks(tmp_path / "none") == {}


linux = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a core")


@linux
def test_all_threads_of_a_process_are_bound_and_one_that_is_gone_is_passed_over():
    words = "import threading, sys; threading.Thread(target=sys.stdin.read).start(); print('up', flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "up\n"
        threads = [int(path.name) for path in (cores.PROCESSES / str(other.pid) / "task").iterdir()]
        one = max(os.sched_getaffinity(0))
        cores.bind(other.pid, [one])
        assert len(threads) > 1
        assert all(os.sched_getaffinity(thread) == {one} for thread in threads)
        other.stdin.close()
    cores.bind(other.pid, [one])


@linux
def test_the_caller_is_bound_for_as_long_as_it_measures():
    before = os.sched_getaffinity(0)
    with cores.bound([min(before)]):
        assert os.sched_getaffinity(0) == {min(before)}
    with cores.bound(()):
        assert os.sched_getaffinity(0) == before
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(("may_use", "threads", "lanes"), [(64, 1, 4), (64, 2, 2), (3, 1, 3), (3, 2, 1), (1, 2, 1)])
def test_no_more_processes_are_set_up_at_a_time_than_the_container_keeps_busy(monkeypatch, may_use, threads, lanes):
    """Of 8 cores in 2 memory nodes; `may_use` is what affinity and container leave."""
    monkeypatch.setattr("serve_bench.latency.conditions.available_cores", lambda: may_use)
    nodes = ((0, 1, 2, 3), (4, 5, 6, 7))
    where = Topology(physical=tuple((i,) for i in range(8)), nodes=nodes, fastest=frozenset(range(8)))
    assert lanes_of([], threads, where) == lanes
    assert lanes_of([], threads) == max(1, may_use // threads)
