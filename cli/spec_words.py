"""Trigger specs in words: fields with their units, conditions with their bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from contracts.clip import Cause
from contracts.signals import CATALOGUE, SIGNAL_INDEX
from contracts.trigger_spec import TriggerSpec

KEY_ORDER = (
    "apiVersion", "kind", "id", "version", "status", "owner", "description", "when", "for", "mode",
    "cooldown", "capture", "budget", "upload", "target", "rate",
)  # fmt: skip
"""A spec's keys as the documentation shows them."""

UNITS = {
    "_mps3": "m/s³", "_mps2": "m/s²", "_mps": "m/s", "_radps": "rad/s", "_rad": "rad",
    "_deg": "°", "_s": "s", "_m": "m",
}  # fmt: skip

# kind → (evidence, comparison, the bound's field in `when`). Where a kind fires on any of
# several, each stands here and those that hold are told.
CHECKS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "hard_brake": (("decel_mps2", ">", "decel_mps2"),),
    "hard_accel": (("accel_mps2", ">", "accel_mps2"),),
    "swerve": (
        ("lat_accel_mps2", "|x| >", "lat_accel_mps2"),
        ("reversal_s", "<=", "reversal_s"),
        ("yaw_rate_radps", "|x| >", "yaw_rate_radps"),
    ),
    "jerk": (("jerk_mps3", "|x| >", "jerk_mps3"),),
    "low_confidence": (
        ("uncertainty", ">", "uncertainty"),
        ("margin", "<", "margin"),
        ("objects", ">=", "min_objects"),
        ("frames", ">=", "frames"),
    ),
    "rare_class": (("probability", ">=", "probability"), ("frames", ">=", "frames")),
    "similar_to": (("similarity", ">=", "similarity"), ("frames", ">=", "frames")),
    "novelty": (("distance", ">", "distance"), ("frames", ">=", "frames")),
    "track_flicker": (("flickers", ">=", "flickers"), ("frames", ">=", "frames")),
    "unknown_object": (
        ("points", ">=", "points"),
        ("unknown_probability", ">=", "probability"),
        ("frames", ">=", "frames"),
    ),
    "sensor_disagreement": (
        ("missed", ">=", "missed"),
        ("drift_rad", ">=", "drift_rad"),
        ("frames", ">=", "frames"),
    ),
    "shadow_disagreement": (
        ("disagreement", ">=", "disagreement"),
        ("frames", ">=", "frames"),
    ),
    "ttc": (("ttc_s", "<", "ttc_s"), ("speed_mps", ">", "min_speed_mps")),
    "planner_divergence": (
        ("ade_m", ">", "ade_m"),
        ("fde_m", ">", "fde_m"),
        ("speed_mps", ">", "min_speed_mps"),
    ),
}


def unit_of(name: str) -> str:
    """The unit that a name carries, '' when it carries none."""
    if name in SIGNAL_INDEX:
        unit = CATALOGUE[SIGNAL_INDEX[name]].unit
        return "" if unit == "bool" else unit.replace("^2", "²").replace("^3", "³")
    return next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")


def quantity(value: float, name: str) -> str:
    """A number with the unit that its name carries."""
    return f"{value:.4g} {unit_of(name)}".rstrip()


def word(value: Any, name: str) -> str:
    """Any field's value as people write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return quantity(value, name)
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{k}: {v}" for k, v in value.items()) or "none"
    return str(value)


@dataclass(frozen=True, slots=True)
class Check:
    """One measured value against its bound."""

    measured: float
    name: str
    comparison: str
    bound: float
    holds: bool

    def text(self) -> str:
        """`decel_mps2 3.4 m/s² > 3 m/s²`."""
        shown = f"|{quantity(self.measured, self.name)}|" if "|x|" in self.comparison else (
            quantity(self.measured, self.name)
        )  # fmt: skip
        sign = self.comparison.removeprefix("|x| ")
        return f"{self.name} {shown} {sign} {quantity(self.bound, self.name)}"


def checks_of(spec: TriggerSpec, cause: Cause) -> list[Check]:
    """The evidence of a fire beside the bounds of its spec."""
    found = []
    for name, comparison, bound_field in CHECKS.get(spec.kind, ()):
        measured = cause.evidence.get(name)
        if measured is None or isinstance(spec.when, str):
            continue
        given = getattr(spec.when, bound_field)
        if given is None:
            continue
        bound = bound_in_use(spec, bound_field, float(given), cause.evidence.get("threshold"))
        found.append(Check(measured, name, comparison, bound, _holds(measured, comparison, bound)))
    return found


def bound_in_use(spec: TriggerSpec, name: str, bound: float, threshold: float | None) -> float:
    """A bound as it stood at a fire: an adaptive threshold is a multiple of the spec's own."""
    if threshold is None or name in ("frames", "min_objects"):
        return bound
    if spec.kind == "similar_to":
        return 1.0 - (1.0 - bound) / threshold
    return bound / threshold if name == "margin" else bound * threshold


def _holds(measured: float, comparison: str, bound: float) -> bool:
    value = abs(measured) if "|x|" in comparison else measured
    match comparison.removeprefix("|x| "):
        case ">":
            return value > bound
        case ">=":
            return value >= bound
        case "<":
            return value < bound
    return value <= bound


def written(value: Any) -> Any:
    """A spec's value as people write it: nothing is `0s`, not `0ns`."""
    if isinstance(value, dict):
        return {name: written(item) for name, item in value.items()}
    return "0s" if value == "0ns" else value


def fields_of(spec: TriggerSpec) -> dict[str, tuple[Any, str]]:
    """Every field by its dotted path: (value as written, what it is in words)."""
    document = written(spec.model_dump(mode="json", by_alias=True))
    return {path: (value, meaning) for path, value, meaning in _walk(document, spec, "")}


def _walk(document: Any, model: BaseModel, prefix: str) -> Iterator[tuple[str, Any, str]]:
    for name, info in type(model).model_fields.items():
        key = info.alias or name
        inner = getattr(model, name)
        path = f"{prefix}{key}"
        if isinstance(inner, BaseModel):
            yield from _walk(document[key], inner, f"{path}.")
        else:
            yield path, document[key], info.description or ""
