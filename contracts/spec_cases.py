"""A trigger spec's own tests: short made-up drives and the fires that they must bring.

One YAML file a spec, `tests/<id>.yaml` beside it, written by hand, so unknown keys are errors.
A signal is a number, steps (`{0s: 0, 2s: -4}`: each value holds until the next, nothing before
the first) or a ramp (`{ramp: {0s: 20, 5s: 0}}`: straight lines between). `null` is absent.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from contracts.ids import Name
from contracts.quantities import DurationNs, parse_duration_ns
from contracts.signals import CATALOGUE, SIGNAL_INDEX, nearest_name
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from contracts.trigger_spec import Strict

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Series:
    """A value over time: points in rising order of `times_ns`, NaN for absent."""

    times_ns: tuple[int, ...]
    values: tuple[float, ...]
    ramp: bool = False

    def at(self, now_ns: int) -> float:
        """The value at a time; NaN before the first point. The last one holds for ever."""
        i = bisect_right(self.times_ns, now_ns) - 1
        if i < 0:
            return NAN
        if not self.ramp or i + 1 == len(self.times_ns):
            return self.values[i]
        t0, t1 = self.times_ns[i : i + 2]
        v0, v1 = self.values[i : i + 2]
        return v0 + (v1 - v0) * (now_ns - t0) / (t1 - t0)


def _value(raw: Any) -> float:
    if raw is None:
        return NAN
    if not isinstance(raw, int | float) or not math.isfinite(raw):
        raise ValueError(f"{raw!r} is not a number or null")
    return float(raw)


def _read_series(raw: Any) -> Series:
    if not isinstance(raw, dict):
        return Series((0,), (_value(raw),))
    ramp = set(raw) == {"ramp"}
    points = raw["ramp"] if ramp else raw
    if not isinstance(points, dict) or not points:
        raise ValueError("a series is a number, steps {0s: 0, 2s: 1} or {ramp: {0s: 0, 2s: 1}}")
    times = tuple(parse_duration_ns(key) for key in points)
    if any(b <= a for a, b in pairwise(times)):
        raise ValueError("times must rise from point to point")
    return Series(times, tuple(_value(value) for value in points.values()), ramp)


SeriesField = Annotated[Series, BeforeValidator(_read_series)]


class Frames(Strict):
    """The perception frames of a made-up drive: when they come, what they score."""

    every: Annotated[DurationNs, Field(gt=0)] = 100_000_000
    classes: dict[Name, SeriesField] = Field(
        default_factory=dict, description="highest probability of each class"
    )
    similarity: SeriesField | None = Field(
        None, description="cosine of the angle to the spec's reference"
    )


class ExpectedFire(Strict):
    """A fire that must come, give or take `within`."""

    at: DurationNs
    within: DurationNs = 40_000_000
    text: str | None = Field(None, description="the evidence in words: a cause, a class")


class SpecCase(Strict):
    """One made-up drive and all of its fires; none is `fires: []`."""

    name: str = Field(min_length=1, max_length=200)
    duration: Annotated[DurationNs, Field(gt=0, le=3600 * 10**9)]
    signals: dict[str, SeriesField] = Field(default_factory=dict)
    frames: Frames | None = None
    horizon: DurationNs = Field(0, description="over which the planner's divergence is measured")
    drive: str = Field("test/boot", description="vehicle and boot: they seed the random baseline")
    fires: tuple[ExpectedFire, ...]

    @model_validator(mode="after")
    def _catalogued(self) -> SpecCase:
        for name, series in self.signals.items():
            if name not in SIGNAL_INDEX:
                raise ValueError(f"no signal is called {name!r}{nearest_name(name, SIGNAL_INDEX)}")
            signal = CATALOGUE[SIGNAL_INDEX[name]]
            if any(not signal.low <= v <= signal.high for v in series.values if not math.isnan(v)):
                raise ValueError(
                    f"{name} is between {signal.low:g} and {signal.high:g} {signal.unit}"
                )
        return self


class SpecCases(Strict):
    """A test file. `id` is that of the spec."""

    apiVersion: Literal["longtail/v1"]
    kind: Literal["spec_tests"]
    id: Name
    cases: tuple[SpecCase, ...]

    @model_validator(mode="after")
    def _some(self) -> SpecCases:
        # Not min_length: pydantic would tell a bad case as one that is missing.
        if not self.cases:
            raise ValueError("a test file has at least one case")
        return self


def parse_cases(text: str, source: str) -> SpecCases:
    """Parse and check a test file. Raises `InputError` with `source:line:column`."""
    return validate_located(SpecCases, parse_yaml(text, source))


def load_cases(path: Path) -> SpecCases:
    """Read a test file. Raises `InputError` with its name and position."""
    return parse_cases(read_text(path), str(path))
