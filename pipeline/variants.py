"""A model's parameters: from what a user sets to the spec with its network, recipes and published figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from export.bundle.errors import UsageError
from export.bundle.types import ModelSpec, Parameter, Recipe, Value, Variant


def set_from_words(words: Sequence[str]) -> dict[str, str]:
    """What `--set NAME=VALUE …` says; raises UsageError where a word is no such pair."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise UsageError(f"--set {word}: is no NAME=VALUE, such as width=5000")
        if found.get(name, value) != value:
            raise UsageError(f"--set {word}: {name} is already set to {found[name]}; a run has one value")
        found[name] = value
    return found


def with_params(spec: ModelSpec, given: Mapping[str, Value]) -> ModelSpec:
    """`spec` with the parameters `given` and its defaults for the others: its `build` needs no argument then.

    Values may be text. Its `published` is that of the variant with these very values, if there is one; its `published`
    recipe is the variant's, with the fields that parameters set. Raises UsageError.
    """
    known = {parameter.name: parameter for parameter in spec.parameters}
    for name in given:
        if name not in known:
            ranges = ", ".join(f"{p.name} ({range_of(p)})" for p in spec.parameters)
            raise UsageError(
                f"{spec.id} has no parameter {name!r}; " + (f"it has {ranges}" if ranges else "it has none")
            )
    params = {n: _value(spec, p, given[n]) if n in given else p.default for n, p in known.items()}
    variant = variant_of(spec, params)
    network = {n: v for n, v in params.items() if not known[n].sets}
    return replace(
        spec,
        build=partial(spec.build, **network),
        params=params,
        published=variant.published if variant else (None if spec.variants else spec.published),
        recipes=tuple(_recipe(spec, variant, recipe, params) for recipe in spec.recipes),
    )


def variant_of(spec: ModelSpec, params: Mapping[str, Value]) -> Variant | None:
    """The variant that has every parameter at `params`; None where no document gives it."""
    defaults = {p.name: p.default for p in spec.parameters}
    return next((v for v in spec.variants if defaults | dict(v.params) == dict(params)), None)


def variants(spec: ModelSpec) -> list[ModelSpec]:
    """Every variant of `spec` that a document gives, its default where none is named."""
    return [with_params(spec, variant.params) for variant in spec.variants or (Variant(),)]


def source_of(spec: ModelSpec) -> str:
    """The document that a variant comes from: that of its figure, else of any figure of its model."""
    figures = [spec.published, *(variant.published for variant in spec.variants)]
    return next((figure.source for figure in figures if figure), spec.source)


def _recipe(spec: ModelSpec, variant: Variant | None, recipe: Recipe, params: Mapping[str, Value]) -> Recipe:
    own = {r.name: r for r in variant.recipes} if variant else {}
    recipe = own.get(recipe.name, recipe)
    if recipe.name != "published":
        return recipe
    return replace(recipe, **_fields(spec, params))


def _fields(spec: ModelSpec, params: Mapping[str, Value]) -> dict[str, Any]:
    return {p.sets: params[p.name] for p in spec.parameters if p.sets}


def _value(spec: ModelSpec, parameter: Parameter, given: Value) -> Value:
    kind = type(parameter.default)
    try:
        value: Value = kind(given)
        sound = kind is not int or float(given) == value
    except ValueError:
        value, sound = given, False
    inside = not isinstance(value, (int, float)) or (
        (parameter.low is None or value >= parameter.low) and (parameter.high is None or value <= parameter.high)
    )
    if not sound or not inside or (parameter.choices and value not in parameter.choices):
        raise UsageError(f"{spec.id}: {parameter.name}={given} cannot be; it is {range_of(parameter)}")
    return value


def range_of(parameter: Parameter) -> str:
    """The values that a parameter may have, in words."""
    if parameter.choices:
        return "one of " + ", ".join(map(str, parameter.choices))
    kind = "a whole number" if isinstance(parameter.default, int) else "a number"
    ends = [f"{word} {end:g}" for word, end in (("from", parameter.low), ("to", parameter.high)) if end is not None]
    return " ".join([kind, *ends])
