"""The processes that fork: one that dies, or cannot fork, costs a row and not the command."""

import errno
import os
import signal
import socket

import pytest
from preloads import write_preload

from export.bundle.errors import WorkerDied
from serve_bench import _zygote
from serve_bench._processes import Channel, child_environment
from serve_bench.worker import Workers


@pytest.fixture
def workers():
    with Workers() as made:
        yield made


def killed(zygote):
    os.kill(zygote._process.pid, signal.SIGKILL)
    zygote._process.wait()


def test_a_zygote_that_was_killed_is_made_anew_for_the_next_process(workers):
    first = workers.spawn("a", ("json",))
    (dead,) = workers._zygotes.values()
    killed(dead)
    with pytest.raises(WorkerDied, match=r"a: its process ended: the process that imports json ended: killed by SIGK"):
        first.peak_memory()
    second = workers.spawn("a", ("json",))
    assert second.peak_memory()
    first.stop()
    assert second.peak_memory()
    (living,) = workers._zygotes.values()
    assert living is not dead


def test_stopping_the_child_of_a_dead_zygote_says_nothing(workers):
    child = workers.spawn("a", ("json",))
    (dead,) = workers._zygotes.values()
    killed(dead)
    child.hang_up()
    child.stop()
    child.stop()
    with pytest.raises(WorkerDied, match="a: its process is gone: it was stopped"):
        child.peak_memory()


def test_what_was_asked_of_a_child_that_hung_up_is_its_death_and_no_oserror(workers):
    child = workers.spawn("a", ("json",))
    child.hang_up()
    with pytest.raises(WorkerDied, match="a: its process ended: exit status 0"):
        child.peak_memory()


def test_a_zygote_that_does_not_answer_is_killed_and_leaves_the_files_of_the_others(workers):
    living = workers.spawn("a", ("json",))
    workers.spawn("b", ("csv",))
    silent = workers._zygotes["csv",]
    os.kill(silent._process.pid, signal.SIGSTOP)
    with pytest.raises(WorkerDied, match=r"the process that imports csv ended: no answer within 0\.1 s"):
        silent.ask({"do": "reap", "pid": 0, "limit_s": 0.0}, limit_s=0.1)
    assert silent._process.returncode == -signal.SIGKILL
    assert workers._directory.is_dir()
    assert living.peak_memory()
    assert workers.spawn("b", ("csv",)).peak_memory()


def test_a_preload_that_cannot_be_imported_says_so_every_time(workers):
    for number in (1, 2):
        with pytest.raises(WorkerDied, match=r"imports no_such_module ended: .*No module named 'no_such_module'"):
            workers.spawn("x", ("no_such_module",))
        assert len(list(workers._directory.glob("zygote-*.log"))) == number


def test_a_head_start_that_fails_is_left_to_what_needs_it(workers, monkeypatch):
    def refused(*_, **__):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr("serve_bench._processes.subprocess.Popen", refused)
    workers.prepare(("json",))
    with pytest.raises(WorkerDied, match="the process that imports json cannot be started: Cannot allocate memory"):
        workers.spawn("x", ("json",))


def test_a_zygote_that_cannot_fork_says_why_and_lives_on(workers, tmp_path, monkeypatch):
    name = write_preload(
        tmp_path,
        monkeypatch,
        """
import errno, os
real, refusals = os.fork, [errno.EAGAIN, errno.ENOMEM]
def fork():
    if refusals:
        number = refusals.pop(0)
        raise OSError(number, os.strerror(number))
    return real()
os.fork = fork
""",
    )
    with pytest.raises(WorkerDied, match=rf"imports {name} cannot make another: Resource temporarily unavailable"):
        workers.spawn("x", (name,))
    with pytest.raises(WorkerDied, match="cannot make another: Cannot allocate memory"):
        workers.spawn("x", (name,))
    (zygote,) = workers._zygotes.values()
    assert workers.spawn("x", (name,)).peak_memory()
    assert workers._zygotes[(name,)] is zygote


def test_a_zygote_that_can_open_no_log_answers_with_its_words_and_keeps_no_file_open(tmp_path):
    ours, theirs = socket.socketpair()
    (tmp_path / "files").mkdir()
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    channel = Channel(ours)
    message = {"do": "spawn", "log": str(tmp_path / "none" / "worker.log"), "fresh": False}
    assert channel.send(message, [theirs.fileno()])
    ours.shutdown(socket.SHUT_WR)
    _zygote._listen(theirs, tmp_path / "files")
    assert channel.receive(1.0) == {"error": "cannot make another: No such file or directory"}
    assert not before or set(os.listdir("/proc/self/fd")) <= before
    theirs.close()
    channel.close()


def test_no_pool_computes_through_the_turns_of_others(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000000000")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = child_environment()
    assert found.keys().isdisjoint({"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"})
    assert found["OMP_NUM_THREADS"] == "3"
