"""What the values of options are: numbers, shares and times."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import click


class Number(click.FloatRange):
    """A finite number: a range without an upper end lets inf through, and every range nan."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


class Percent(click.ParamType):  # type: ignore[type-arg]
    """ "5%" or "0.05" as a fraction."""

    name = "percent"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        text = str(value)
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 <= share < (10 if text.endswith("%") else 1):
            self.fail(f"{text} is no share such as 5% or 0.05", param, ctx)
        return share


class Latency(click.ParamType):  # type: ignore[type-arg]
    """ "10ms", "500us", "1.5s" as whole nanoseconds."""

    name = "time"
    units: Mapping[str, float] = {"ns": 1, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9}

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+) ?([a-zµμ]+)", str(value).strip())
        size = self.units.get(found[2]) if found else None
        if found is None or size is None or not 1 <= float(found[1]) * size <= 3600e9:
            self.fail(f"{value} is no time such as 10ms, 500us or 1.5s, up to an hour", param, ctx)
        return round(float(found[1]) * size)
