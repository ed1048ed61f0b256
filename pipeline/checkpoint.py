"""Training's state after an epoch: one safetensors file, replaced whole: a kill at any moment leaves a good one.

No state of a random generator is kept: every draw of an epoch comes from a generator seeded by (seed, epoch).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.bundle.errors import TrainingError
from export.bundle.files import write_atomic
from export.bundle.types import EpochRecord, from_json, to_json
from export.progress import Progress

_MODEL, _OPTIMIZER = "model/", "optimizer/"
_SHARE = 20


@dataclass(frozen=True, kw_only=True)
class State:
    """What is kept beside the tensors."""

    key: str
    """Digest of everything that decides the weights."""
    history: tuple[EpochRecord, ...]
    seconds: float
    """Wall time of training until now, over all its runs."""


class Keeper:
    """Saves after an epoch where saving takes at most a twentieth of the training since; always after the last."""

    def __init__(self, path: Path, epochs: int) -> None:
        self._path, self._epochs = path, epochs
        self._saving_s, self._saved_at = 0.0, 0.0

    def save(self, state: State, module: Any, optimizer: Any) -> None:
        """Raises TrainingError where the file cannot be written."""
        if len(state.history) < self._epochs and state.seconds - self._saved_at < _SHARE * self._saving_s:
            return
        started = time.perf_counter()
        save(self._path, state, module, optimizer)
        self._saving_s, self._saved_at = time.perf_counter() - started, state.seconds


def save(path: Path, state: State, module: Any, optimizer: Any) -> None:
    """Raises TrainingError where the file cannot be written."""
    from safetensors.torch import save as bytes_of

    tensors = {_MODEL + name: value for name, value in module.state_dict().items()}
    for index, parameter in enumerate(module.parameters()):
        for name, value in optimizer.state[parameter].items():
            tensors[f"{_OPTIMIZER}{index}/{name}"] = value
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items() if value is not None}
    try:
        write_atomic(path, bytes_of(plain, {"state": json.dumps(to_json(state))}))
    except OSError as error:
        raise TrainingError(
            f"{path}: the checkpoint cannot be written ({error.strerror}); make room there, or choose another --out"
        ) from error


def load(path: Path, key: str, module: Any, optimizer: Any, progress: Progress) -> State | None:
    """Brings module and optimiser to the state in `path`; None where there is none for `key`.

    A file that cannot be read whole is passed over with a note.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            state = from_json(State, json.loads(file.metadata()["state"]))
            if state.key != key:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        _restore(tensors, module, optimizer)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        words = str(error).splitlines() or [type(error).__name__]
        progress.note(f"{path}: broken checkpoint ({words[0]}); training starts over")
        return None
    return state


def _restore(tensors: dict[str, Any], module: Any, optimizer: Any) -> None:
    import torch

    named = {n.removeprefix(_MODEL): t for n, t in tensors.items() if n.startswith(_MODEL)}
    parameters = list(module.parameters())
    kept: dict[Any, dict[str, Any]] = {parameter: {} for parameter in parameters}
    for name, value in tensors.items():
        if name.startswith(_OPTIMIZER):
            index, entry = name.removeprefix(_OPTIMIZER).split("/", 1)
            parameter = parameters[int(index)]
            # The fused step walks memory, not indices: a moment must lie as its parameter does.
            like = parameter if value.shape == parameter.shape else value
            kept[parameter][entry] = torch.empty_like(like, dtype=value.dtype, device=parameter.device).copy_(value)
    module.load_state_dict(named)
    optimizer.state.update(kept)
