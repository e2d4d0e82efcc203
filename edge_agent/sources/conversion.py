"""From a number on a bus or in a message to a catalogued signal, in the catalogue's unit.

One value goes through: invalid? -> state, threshold or number -> unit -> `scale` and `offset`.
Units are compared, not assumed: where the source tells its unit it must fit the catalogue's, and
a rule that contradicts it is refused unless it says so (`force_unit`).

A value that is invalid (not finite, listed, or a state that no rule names) gives nothing, so the
signal grows stale and no trigger sees it; it is never replaced by a guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import Field, model_validator

from contracts.errors import InputError
from contracts.geometry import Finite
from contracts.signals import Signal, nearest_name
from contracts.trigger_spec import Strict

_DEG = math.pi / 180.0
_UNITS: dict[str, tuple[str, float]] = {
    "m/s": ("speed", 1.0), "km/h": ("speed", 1 / 3.6), "mph": ("speed", 0.44704),
    "kn": ("speed", 1852 / 3600),
    "m/s^2": ("acceleration", 1.0), "g": ("acceleration", 9.80665),
    "m/s^3": ("jerk", 1.0),
    "rad": ("angle", 1.0), "deg": ("angle", _DEG),
    "rad/s": ("turn rate", 1.0), "deg/s": ("turn rate", _DEG),
    "m": ("length", 1.0), "km": ("length", 1000.0), "cm": ("length", 0.01), "mm": ("length", 0.001),
    "s": ("time", 1.0), "ms": ("time", 0.001),
    "": ("ratio", 1.0), "%": ("ratio", 0.01),
    "bool": ("yes or no", 1.0),
}  # fmt: skip
_ALIASES = {
    "kph": "km/h", "kmh": "km/h", "kmph": "km/h", "mps": "m/s", "m/sec": "m/s", "miles/h": "mph",
    "mi/h": "mph", "knots": "kn", "knot": "kn",
    "m/s2": "m/s^2", "m/s²": "m/s^2", "m/s/s": "m/s^2", "m/sec^2": "m/s^2", "m/s3": "m/s^3",
    "°": "deg", "degree": "deg", "degrees": "deg", "radian": "rad", "radians": "rad",
    "°/s": "deg/s", "deg/sec": "deg/s", "degree/s": "deg/s", "degrees/s": "deg/s",
    "dps": "deg/s", "rad/sec": "rad/s", "meter": "m", "metre": "m", "sec": "s", "second": "s",
    "percent": "%", "1": "", "-": "", "none": "", "unitless": "",
}  # fmt: skip


def unit_named(text: str) -> str | None:
    """A unit in the catalogue's spelling (`Km/h` is `km/h`); None for one not known here."""
    lower = text.strip().lower()
    name = _ALIASES.get(lower, lower)
    return name if name in _UNITS else None


class ConversionRule(Strict):
    """How a number becomes a signal's value; all keys optional."""

    unit: str | None = Field(None, description="unit of the source's value; default: as it tells")
    force_unit: bool = Field(False, description="`unit` holds even where the source tells another")
    scale: Finite = Field(1.0, description="factor after the unit is converted; -1 turns a sign")
    offset: Finite = Field(0.0, description="added last, in the signal's unit")
    states: dict[str, Finite] = Field(
        default_factory=dict, description="value of each state, by its label or raw number"
    )
    otherwise: Finite | None = Field(None, description="value of states not named; none: no value")
    above: Finite | None = Field(
        None, description="1 when the source's value is above this, else 0: for bool signals"
    )
    invalid: tuple[int | float | str, ...] = Field(
        (), description="raw numbers or state labels that mean: not available"
    )

    @model_validator(mode="after")
    def _is_one_way(self) -> ConversionRule:
        if self.scale == 0:
            raise ValueError("scale must not be 0")
        if self.states and self.above is not None:
            raise ValueError("give states or above, not both")
        if self.otherwise is not None and not self.states:
            raise ValueError("otherwise needs states")
        if self.states and (self.scale != 1 or self.offset != 0):
            raise ValueError("states give the value itself: leave scale and offset out")
        return self


@dataclass(frozen=True, slots=True)
class SourceValue:
    """What is known of the source's number before it comes.

    `unit` as the source tells it, None where it tells none; `labels` its states by raw number;
    `is_flag` for a value that is 0 or 1 by its type (one bit, a boolean).
    """

    name: str
    unit: str | None = None
    labels: Mapping[int, str] | None = None
    is_flag: bool = False


@dataclass(frozen=True, slots=True)
class Conversion:
    """A checked rule: `factor` and `offset` of numbers, or `states` by raw number."""

    factor: float
    offset: float
    states: Mapping[int, float] | None
    otherwise: float | None
    above: float | None
    invalid: frozenset[float]

    def value(self, raw: float, physical: float) -> float | None:
        """The signal's value, or None when there is none.

        Args:
            raw: as transmitted: what states and invalid values are compared with.
            physical: after the source's own scaling; the same as `raw` where it has none.
        """
        if not math.isfinite(physical) or raw in self.invalid:
            return None
        if self.states is not None:
            return self.states.get(int(raw), self.otherwise)
        if self.above is not None:
            return float(physical > self.above)
        return physical * self.factor + self.offset


def bind(
    rule: ConversionRule, source: SourceValue, signal: Signal, place: Callable[[str], str]
) -> Conversion:
    """Check a rule against both ends. Raises `InputError` at the key that is wrong.

    Args:
        place: where a key of the rule stands in its file.
    """
    numbers = {label: raw for raw, label in (source.labels or {}).items()}
    invalid = frozenset(
        float(_number(item, numbers, source, place("invalid"))) for item in rule.invalid
    )
    if rule.states:
        states = {
            int(_number(label, numbers, source, place("states"))): value
            for label, value in rule.states.items()
        }
        for value in (*states.values(), *(() if rule.otherwise is None else (rule.otherwise,))):
            _check_range(value, signal, place("states"))
        return Conversion(1.0, 0.0, states, rule.otherwise, None, invalid)
    if rule.above is not None:
        if signal.unit != "bool":
            raise InputError(f"{signal.name} is in {signal.unit}, not bool", place("above"))
        return Conversion(1.0, 0.0, None, None, rule.above, invalid)
    return Conversion(
        _factor(rule, source, signal, place) * rule.scale, rule.offset, None, None, None, invalid
    )


def _check_range(value: float, signal: Signal, place: str) -> None:
    if not signal.low <= value <= signal.high:
        raise InputError(
            f"{value:g} is outside of {signal.name}: {signal.low:g} to {signal.high:g}", place
        )


def _number(
    item: float | str, numbers: Mapping[str, int], source: SourceValue, place: str
) -> float:
    """The raw number of a state's label, or the number itself."""
    if not isinstance(item, str):
        return item
    if item in numbers:
        return numbers[item]
    try:
        return float(int(item, 0))
    except (ValueError, OverflowError):
        known = f"; known: {', '.join(numbers)}" if numbers else ", which has no named states"
        raise InputError(
            f"{item!r} is no state of {source.name}{nearest_name(item, numbers)}{known}", place
        ) from None


def _factor(
    rule: ConversionRule, source: SourceValue, signal: Signal, place: Callable[[str], str]
) -> float:
    if signal.unit == "bool":
        if not source.is_flag:
            raise InputError(
                f"{signal.name} is 0 or 1, but {source.name} is not a single bit: "
                "say when it holds with states or above",
                place("unit"),
            )
        return 1.0
    told = unit_named(source.unit) if source.unit else None
    if rule.unit is None:
        if told is None:
            what = f"unit {source.unit!r}, which is not known here" if source.unit else "no unit"
            raise InputError(f"{source.name} has {what}: give unit, such as km/h", place("unit"))
        unit = told
    else:
        given = unit_named(rule.unit)
        if given is None:
            hint = nearest_name(rule.unit, _UNITS)
            raise InputError(f"unknown unit {rule.unit!r}{hint}", place("unit"))
        if told is not None and given != told and not rule.force_unit:
            raise InputError(
                f"{source.name} is in {source.unit}, not {rule.unit}; "
                "where the source is wrong, add force_unit: true",
                place("unit"),
            )
        unit = given
    kind, size = _UNITS[unit]
    wanted_kind, wanted_size = _UNITS[signal.unit]
    if kind != wanted_kind:
        raise InputError(
            f"{source.name} is in {unit or 'no unit'} ({kind}), "
            f"{signal.name} in {signal.unit or 'no unit'} ({wanted_kind})",
            place("unit"),
        )
    return size / wanted_size
