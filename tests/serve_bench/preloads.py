"""Modules that are imported before a process forks, to let it misbehave in a known way."""

import itertools
import os

_NUMBERS = itertools.count(1)


def write_preload(folder, monkeypatch, source):
    """The name of a new module with this source, which the processes that fork find: for `preload`."""
    name = f"preload_{os.getpid()}_{next(_NUMBERS)}"
    (folder / f"{name}.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))
    return name
