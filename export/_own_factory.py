"""`FILE.py:factory` and its weights as a module in eval mode, in float32, on the CPU."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from typing import Any

from export.bundle.errors import DataError, ExportError, TrainingError, UnknownName, UsageError
from export.formats._write import words_of

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def module_from_factory(target: str, weights: Path | None) -> tuple[Any, str, dict[str, str]]:
    """The module, the factory's name, and where its weights came from.

    Raises UsageError where the target is misspelt, ExportError where the user's code fails or gives no module,
    TrainingError where the weights are another model's.
    """
    import torch

    file, _, factory = target.rpartition(":")
    if not file.endswith(".py") or not factory:
        raise UsageError(
            f"{target}: is neither FILE.py:factory nor a .pt2 (a factory is a function that takes nothing)"
        )
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"{path}: no such file; name it as FILE.py:factory")
    made = _attribute(path, factory)
    if not isinstance(made, torch.nn.Module):
        torch.manual_seed(0)
        made = _called(made, target)
    if not isinstance(made, torch.nn.Module):
        kind = type(made).__name__
        raise ExportError(f"{target}: returned {kind}, not a torch.nn.Module; let it return the model itself")
    module = made.cpu().float().eval()
    if weights is None:
        return module, factory, {"weights": "as the factory made them (seed 0)"}
    load_weights(module, weights)
    return module, factory, {"weights": weights.name}


def _attribute(path: Path, factory: str) -> Any:
    name = "own_" + "".join(c if c.isalnum() else "_" for c in path.stem)
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ExportError(f"{path}: fails while it is read: {_with_line(error, path)}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    if not hasattr(module, factory):
        own = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", None) == name]
        raise UnknownName(f"factory in {path.name}", factory, own or ["none: it defines no function"])
    return getattr(module, factory)


def _called(factory: Any, target: str) -> Any:
    if not callable(factory):
        raise ExportError(f"{target}: is {type(factory).__name__}, not a function that returns a torch.nn.Module")
    try:
        return factory()
    except Exception as error:
        raise ExportError(f"{target}: the factory, called without arguments, fails: {words_of(error)}") from error


def _with_line(error: Exception, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} (line {error.lineno})"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path.resolve())]
    return words_of(error) + (f" (line {lines[-1]})" if lines else "")


def forward_parameters(module: Any) -> tuple[list[str], int]:
    """Names of the positional parameters of forward, and how many of them have no default."""
    parameters = inspect.signature(module.forward).parameters.values()
    positional = [p for p in parameters if p.kind in POSITIONAL]
    if not positional:
        positional_names = [p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL]
        return [f"{name}_{i}" for name in positional_names for i in range(16)], 0
    return [p.name for p in positional], sum(p.default is inspect.Parameter.empty for p in positional)


def load_weights(module: Any, path: Path) -> None:
    """Loads a safetensors file that holds the module's tensors and no other; else TrainingError names the first."""
    tensors = _read_safetensors(path)
    state = module.state_dict()
    stored = {state[name].data_ptr() for name in tensors if name in state}
    for name, value in state.items():
        if name not in tensors and not (value.numel() and value.data_ptr() in stored):
            raise _other_model(path, f"{name!r} is missing in it")
        if name in tensors and tensors[name].shape != value.shape:
            shapes = f"{tuple(tensors[name].shape)} in it and {tuple(value.shape)} in the model"
            raise _other_model(path, f"{name!r} has shape {shapes}")
    for name in tensors:
        if name not in state:
            raise _other_model(path, f"it holds {name!r}, which the model has not")
    module.load_state_dict(tensors, strict=False)


def _other_model(path: Path, why: str) -> TrainingError:
    return TrainingError(f"{path}: weights of another model: {why}; name the weights of this factory's model")


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load

    save = "safetensors.torch.save_file(model.state_dict(), path)"
    if not path.is_file():
        raise DataError(f"{path}: no such file; save weights with {save}")
    try:
        tensors: dict[str, Any] = load(path.read_bytes())
    except Exception as error:
        raise DataError(
            f"{path}: is not whole safetensors ({words_of(error)}); a pickle is never read: save with {save}"
        ) from error
    return tensors
