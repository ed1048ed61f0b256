"""A container's limits, as version 2 and 1 of Linux's control groups state them."""

import os

import pytest

from export.bundle.environment import available_cores, environment, memory_bytes
from export.bundle.limits import core_limit, memory_limit

NO_LIMIT_1 = 9223372036854771712
"""What version 1 says of memory without a limit: the largest multiple of a page below 2⁶³."""


def written(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def version_1(quota, period):
    return {"cpu/cpu.cfs_quota_us": f"{quota}\n", "cpu/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": ""}, None),
        ({"cpu.max": "0 100000"}, None),
        (version_1(200_000, 100_000), 2),
        (version_1(50_000, 20_000), 3),
        (version_1(-1, 100_000), None),
        ({"cpu/cpu.cfs_quota_us": "200000"}, None),
        ({}, None),
    ],
)
def test_the_time_of_so_many_cores_may_be_used(tmp_path, files, cores):
    assert core_limit(written(tmp_path, files)) == cores


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"memory.max": "2147483648\n"}, 1 << 31),
        ({"memory.max": "max\n"}, None),
        ({"memory/memory.limit_in_bytes": "2147483648\n"}, 1 << 31),
        ({"memory/memory.limit_in_bytes": f"{NO_LIMIT_1}\n"}, NO_LIMIT_1),
        ({"memory.max": "much"}, None),
        ({}, None),
    ],
)
def test_so_much_memory_may_be_used(tmp_path, files, found):
    assert memory_limit(written(tmp_path, files)) == found


@pytest.fixture
def machine(monkeypatch):
    """64 cores and 1 GiB, whatever this one has."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1 << 18}.__getitem__)


def test_the_smaller_of_the_machine_and_the_container_counts(machine, tmp_path):
    small = written(tmp_path / "small", {"cpu.max": "150000 100000", "memory.max": "1000000"})
    assert (available_cores(small), memory_bytes(small)) == (2, 1_000_000)
    large = written(tmp_path / "large", {"cpu.max": "6500000 100000", "memory.max": str(1 << 40)})
    assert (available_cores(large), memory_bytes(large)) == (64, 1 << 30)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu.max": "max 100000", "memory.max": "max"},
        version_1(-1, 100_000) | {"memory/memory.limit_in_bytes": str(NO_LIMIT_1)},
    ],
)
def test_without_limits_the_machine_is_what_it_was(machine, tmp_path, files):
    """So that the environment's id is too, and with it what was measured there."""
    root = written(tmp_path, files)
    assert (available_cores(root), memory_bytes(root)) == (64, 1 << 30)


def test_a_system_that_does_not_tell_its_memory_may_have_a_limit(machine, monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sysconf")
    assert memory_bytes(tmp_path) == 0
    assert memory_bytes(written(tmp_path, {"memory.max": "1000000"})) == 1_000_000


def test_an_environment_is_told_apart_by_them(machine, monkeypatch, tmp_path):
    import export.bundle.environment as module

    def of(files):
        root = written(tmp_path / str(len(files)), files)
        monkeypatch.setattr(module, "available_cores", lambda: available_cores(root))
        monkeypatch.setattr(module, "memory_bytes", lambda: memory_bytes(root))
        return environment()

    plain, limited = of({}), of({"cpu.max": "200000 100000"})
    assert (plain.cores, limited.cores) == (64, 2)
    assert plain.id != limited.id
