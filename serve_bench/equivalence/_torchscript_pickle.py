"""The pickle inside a TorchScript file, read by an unpickler that knows no class but inert ones."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

STORAGES = {
    "ByteStorage": "u1",
    "CharStorage": "i1",
    "ShortStorage": "i2",
    "IntStorage": "i4",
    "LongStorage": "i8",
    "HalfStorage": "f2",
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "BoolStorage": "?",
    "BFloat16Storage": "bf16",
}


@dataclass(frozen=True)
class Storage:
    dtype: str
    key: str


@dataclass(frozen=True)
class StoredTensor:
    storage: Storage
    offset: int
    sizes: list[int]
    strides: list[int]


class _Inert:
    """Stands for any class or function of a pickle: takes everything, does nothing, remembers its state."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **_: Any) -> None:
        self.held: list[Any] = list(arguments)

    def __setstate__(self, state: Any) -> None:
        self.held = [state]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.held.append({key: value})

    def append(self, value: Any) -> None:
        self.held.append(value)

    def extend(self, values: Any) -> None:
        self.held.extend(values)


def _rebuild(storage: Storage, offset: int, sizes: Any, strides: Any, *_: Any) -> StoredTensor:
    return StoredTensor(storage, int(offset), [int(n) for n in sizes], [int(s) for s in strides])


class _Reader(pickle.Unpickler):
    """Resolves no name to anything that could act."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in STORAGES:
            return name
        return _Inert

    def persistent_load(self, pid: Any) -> Any:
        return Storage(STORAGES[str(pid[1])], str(pid[2]))


def tensors_in(stream: IO[bytes], where: str) -> Iterator[tuple[str, StoredTensor]]:
    """Every tensor that the pickle holds, by its path in it, which begins with `where`."""
    yield from _tensors(_Reader(stream).load(), where, set())


def _tensors(value: Any, where: str, seen: set[int]) -> Iterator[tuple[str, StoredTensor]]:
    if isinstance(value, StoredTensor):
        yield where, value
        return
    if not isinstance(value, (dict, list, tuple, _Inert)) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, _Inert):
        items: Any = [("", v) for v in (*value.held, *vars(value).values())]
    else:
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, inner in items:
        yield from _tensors(inner, f"{where}.{key}".strip("."), seen)
