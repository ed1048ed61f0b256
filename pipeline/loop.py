"""One training under way: an epoch at a time, every draw of it from (seed, epoch)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from export.bundle.environment import environment, versions
from export.bundle.errors import TrainingError, UsageError
from export.bundle.files import digest_of
from export.bundle.types import EpochRecord, ModelSpec, Precision, Recipe, to_json
from export.progress import Bar, Progress
from pipeline import checkpoint
from pipeline.augment import AUGMENTATIONS
from pipeline.batches import SAMPLERS, Population, class_shares, steps
from pipeline.datasets._base import Data
from pipeline.evaluate import evaluate, model_inputs, torch_from_split
from pipeline.objectives import LOSSES

VERSION = 2
"""Raised when the same recipe now gives other weights."""

_REPORT_EVERY_STEPS = 20
_BF16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}


def one_cycle(done: float, warm_up: float, last: float) -> float:
    """Share of the peak rate after the share `done` of all steps: a line up from a tenth, a cosine down to `last`."""
    if done < warm_up:
        return 0.1 + 0.9 * done / warm_up
    return last + (1 - last) * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up))) / 2


class Loop:
    """One training under way: module, optimiser, data on the device, and what the checkpoint keeps."""

    def __init__(self, spec: ModelSpec, recipe: Recipe, data: Data, seed: int, device: str) -> None:
        import torch

        self.spec, self.recipe, self.data, self.seed, self.device = spec, recipe, data, seed, device
        split = data.train if recipe.held_out else data.train.joined(data.validation)
        self.stored, self.targets = torch_from_split(split, [s.name for s in spec.inputs], device)
        self.population = Population(targets=self.targets, lengths=self._lengths())
        self.sampler, self.loss = SAMPLERS[recipe.sampling], LOSSES[recipe.loss]
        if recipe.loss == "uniform_cross_entropy":
            shares = class_shares(self.targets, recipe, len(spec.labels))
            self.loss = partial(self.loss, log_shares=shares.log().float())
        self.steps = steps(self.population, recipe)
        self.epochs = _epochs(spec, recipe, self.steps)
        self.precision = _precision(recipe, device)
        torch.manual_seed(seed)
        self.module = spec.build().to(device, memory_format=torch.channels_last).train()
        _set_dropout(self.module, recipe.options)
        if hasattr(self.module, "begin"):
            self.module.begin(recipe.options)
        self.forward: Callable[..., Any] = self.module
        self.optimizer = _optimizer(recipe, self.module, device)
        self.compiled = False
        self._whole: list[Any] | None = None
        self.state = checkpoint.State(key="", history=(), seconds=0.0)

    def _lengths(self) -> Any:
        return next((v for s, v in zip(self.spec.inputs, self.stored, strict=True) if s.name == "lengths"), None)

    def facts(self) -> dict[str, Any]:
        import torch

        trained_s = sum(record.seconds for record in self.state.history)
        images = min(self.recipe.batch_size, len(self.population)) * self.steps * len(self.state.history)
        return {
            "device": self.device,
            "threads": torch.get_num_threads(),
            "precision": self.precision,
            "tf32": self.device == "cuda" and bool(torch.backends.cudnn.allow_tf32),
            "memory_format": "channels_last",
            "compiled": self.compiled,
            "epochs": self.epochs,
            "steps_per_epoch": self.steps,
            "images_per_second": images / trained_s if trained_s else 0.0,
        }

    def compile(self, mode: str, progress: Progress) -> float:
        """Compiles the forward and backward pass where `mode` says so; gives the seconds that it took."""
        import torch

        if mode == "off" or (mode == "auto" and self.device != "cuda"):
            return 0.0
        started = time.perf_counter()
        with progress.stage("torch.compile") as bar:
            # "reduce-overhead" replays CUDA graphs: this network's kernels are shorter than their launches.
            options = {"mode": "reduce-overhead"} if self.device == "cuda" else {}
            self.forward, self.compiled = torch.compile(self.module, **options), True
            try:
                generator = self._generator(0)
                self._backward(next(self.sampler(self.population, self.recipe, generator)), generator)
            except Exception as error:
                self._without_compiler(mode, error, progress)
            self.optimizer.zero_grad()
            bar.advance(1, 1)
        return time.perf_counter() - started

    def _without_compiler(self, mode: str, error: Exception, progress: Progress) -> None:
        words = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        remedy = (
            "install a C++ compiler (Debian, Ubuntu: apt-get install g++), or " if "compiler" in words.lower() else ""
        )
        told = f"torch.compile failed ({words})"
        if mode == "on":
            raise TrainingError(f"{told}; {remedy}use --compile off") from error
        progress.note(f"{told}; training goes on without it")
        self.forward, self.compiled = self.module, False

    def resume(self, path: Path, progress: Progress) -> int:
        """Takes up the checkpoint of the same training; gives its last epoch, 0 where there is none."""
        key = digest_of(
            {
                "model": self.spec.id,
                "params": self.spec.params,
                "recipe": to_json(self.recipe),
                "seed": self.seed,
                "data": self.data.facts.digest,
                "torch": versions().get("torch", ""),
                "version": VERSION,
                "facts": {n: v for n, v in self.facts().items() if n != "images_per_second"},
            }
        )
        found = checkpoint.load(path, key, self.module, self.optimizer, progress)
        self.state = found or replace(self.state, key=key)
        if found:
            progress.note(f"training resumes after epoch {len(found.history)} of {self.epochs}")
        return len(self.state.history)

    def _generator(self, epoch: int) -> Any:
        """For the draws of one epoch; dropout draws from the global generators, seeded alike."""
        import torch

        drawn = int(digest_of([self.seed, epoch])[:8], 16)
        torch.manual_seed(drawn)
        return torch.Generator(self.device).manual_seed(drawn)

    def epoch(self, bar: Bar) -> None:
        import torch

        started, done = time.perf_counter(), len(self.state.history)
        generator = self._generator(done + 1)
        losses = torch.empty(self.steps, device=self.device)
        drawn = self.sampler(self.population, self.recipe, generator)
        for step, chosen in zip(range(self.steps), drawn, strict=False):
            rate = self._set_rate((done + step / self.steps) / self.epochs)
            losses[step] = self._backward(chosen, generator)
            self.optimizer.step()
            if step % _REPORT_EVERY_STEPS == 0:
                bar.advance(done + step / self.steps, self.epochs)
        loss = self._mean(losses, done + 1)
        if hasattr(self.module, "settle"):
            self.module.settle(self.recipe.options)
        trained_s = time.perf_counter() - started
        held = evaluate(self.module, self.data.validation, self.spec) if self.recipe.held_out else {}
        record = EpochRecord(
            epoch=done + 1, loss=loss, validation_accuracy=held.get("accuracy"), seconds=trained_s, learning_rate=rate
        )
        self.state = replace(
            self.state,
            history=(*self.state.history, record),
            seconds=self.state.seconds + time.perf_counter() - started,
        )
        said = f"held out {held['accuracy']:.2%}" if "accuracy" in held else f"loss {loss:.4g}"
        bar.advance(done + 1, self.epochs, said)

    def _set_rate(self, done: float) -> float:
        options = self.recipe.options
        share = 1.0
        if self.recipe.schedule == "one-cycle":
            share = one_cycle(done, float(options["warm_up"]), float(options["last_rate"]))
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * share
        return self.recipe.learning_rate * share

    def _backward(self, chosen: Any, generator: Any) -> Any:
        """Gradients of the loss over the training samples `chosen`; gives that loss, not waited for."""
        import torch

        inputs = self._inputs(chosen, generator)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bfloat16"):
            answers = self.forward(*inputs)
        loss = self.loss(answers, self.targets[chosen], self.spec.outputs[0].name)
        self.optimizer.zero_grad()
        loss.backward()
        if self.recipe.options.get("gradient") == "over_one_plus_norm":
            _shorten([p.grad for p in self.module.parameters() if p.grad is not None])
        return loss.detach()

    def _inputs(self, chosen: Any, generator: Any) -> list[Any]:
        """What the model takes of the samples `chosen`: augmented, preprocessed, cut to the longest sequence."""
        import torch

        if self._whole is not None:
            return self._whole
        stored = [values[chosen] for values in self.stored]
        if self.population.lengths is not None:
            stored = _cut(stored, self.spec, int(self.population.lengths[chosen].max()))
        if self.recipe.augmentation != "none":
            stored[0] = AUGMENTATIONS[self.recipe.augmentation](stored[0].float(), generator, self.recipe.options)
        ready = model_inputs(stored, self.spec)
        ready = [v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v for v in ready]
        if isinstance(chosen, slice) and self.recipe.augmentation == "none":
            self._whole = ready
        return ready

    def _mean(self, losses: Any, epoch: int) -> float:
        """Mean of an epoch's losses; looked at once an epoch, so that a GPU is not waited for at each step."""
        import torch

        bad = torch.nonzero(~torch.isfinite(losses))
        sound = all(bool(torch.isfinite(p).all()) for p in self.module.parameters())
        if len(bad) or not sound:
            step = int(bad[0]) + 1 if len(bad) else self.steps
            kept = f"the checkpoint of epoch {epoch - 1} is kept" if epoch > 1 else "there is no checkpoint yet"
            raise TrainingError(
                f"{self.spec.id}: the loss is not finite in epoch {epoch}, step {step} ({kept}); "
                "try a smaller learning rate or another --seed"
            )
        return float(losses.mean())

    def finished(self) -> Any:
        import torch

        module = self.spec.build()
        module.load_state_dict({n: v.detach().cpu() for n, v in self.module.state_dict().items()})
        return module.to(torch.float32).eval()


def _epochs(spec: ModelSpec, recipe: Recipe, steps: int) -> int:
    """The recipe's epochs; more on a small data set, where its own number would be too few steps to learn anything.

    A number of epochs that the user chose stands.
    """
    chosen = all(known.name != recipe.name or known.epochs != recipe.epochs for known in spec.recipes)
    least = int(recipe.options.get("least_steps", 0))
    return recipe.epochs if chosen else max(recipe.epochs, math.ceil(least / steps))


def _precision(recipe: Recipe, device: str) -> Precision:
    """bfloat16 only where the machine has instructions for it: elsewhere it is slower than float32."""
    import torch

    if recipe.precision != "bfloat16":
        return recipe.precision
    if device == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability() >= (8, 0) else "float32"
    return "bfloat16" if _BF16_INSTRUCTIONS & set(environment().cpu_flags) else "float32"


def _cut(stored: list[Any], spec: ModelSpec, longest: int) -> list[Any]:
    """Every axis "length" down to the longest sequence of the batch."""
    return [
        value.narrow(tensor.shape.index("length"), 0, longest) if "length" in tensor.shape else value
        for tensor, value in zip(spec.inputs, stored, strict=True)
    ]


def _shorten(gradients: list[Any]) -> None:
    """g → g / (1 + ‖g‖), the norm over all parameters: a step is never longer than the rate."""
    import torch

    torch._foreach_div_(gradients, 1 + torch.nn.utils.get_total_norm(gradients))


def _set_dropout(module: Any, options: Mapping[str, Any]) -> None:
    from torch import nn

    for layer in module.modules():
        if isinstance(layer, nn.Dropout2d):
            layer.p = float(options.get("dropout2d", layer.p))
        elif isinstance(layer, nn.Dropout):
            layer.p = float(options.get("dropout", layer.p))


def _optimizer(recipe: Recipe, module: Any, device: str) -> Any:
    import torch

    options, parameters = recipe.options, list(module.parameters())
    decay = float(options.get("weight_decay", 0.0))
    if recipe.optimizer in ("adam", "adamw"):
        betas = (float(options.get("beta1", 0.9)), float(options.get("beta2", 0.999)))
        kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
        return kind(parameters, recipe.learning_rate, betas=betas, weight_decay=decay, fused=True)
    if recipe.optimizer == "sgd":
        momentum, nesterov = float(options.get("momentum", 0.0)), bool(options.get("nesterov", False))
        return torch.optim.SGD(
            parameters, recipe.learning_rate, momentum=momentum, nesterov=nesterov, weight_decay=decay, fused=True
        )
    raise UsageError(f"recipe {recipe.name!r} names the optimiser {recipe.optimizer!r}; known are adam, adamw, sgd")
