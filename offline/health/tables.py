"""A health report as people read it in a terminal: alarms first."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.table import Table

from offline.health.records import DriftReport, HealthReport, MountHealth, SelectionBias

_SHOWN = 12


def health_tables(report: HealthReport) -> RenderableType:
    """Drift, selection bias, mounts, and what was not measured."""
    parts: list[RenderableType] = []
    if report.drift is not None:
        parts += _drift(report.drift)
    if report.selection is not None:
        parts += _selection(report.selection)
    if report.mounts:
        parts += _mounts(report.mounts)
    if report.unmeasured:
        table = Table("not measured", "why", box=None)
        for what, why in report.unmeasured.items():
            table.add_row(what, why)
        parts.append(table)
    return Group(*parts)


def _drift(drift: DriftReport) -> list[RenderableType]:
    found, blind = drift.drifted, sum(each.p_value is None for each in drift.tests)
    told = (
        f"drift: {len(found)} of {len(drift.tests)} tests alarm (at most {drift.level:.0%} of them"
        f" by chance), {blind} have too few drives to tell; {drift.clips} random clips against"
        f" {drift.reference_clips}"
    )
    table = Table("cohort", "measure", "clips", "before", "now", "size", "adjusted p", box=None)
    for each in found[:_SHOWN]:
        table.add_row(
            each.cohort, each.measure, f"{each.clips} / {each.reference_clips}",
            *("" if v is None else f"{v:.3g}" for v in (each.before, each.now)),
            f"{each.size:.2f}", "" if each.adjusted is None else f"{each.adjusted:.2g}",
        )  # fmt: skip
    return [told, table] if found else [told]


def _selection(bias: SelectionBias) -> list[RenderableType]:
    told = (
        f"triggered against random: {bias.triggered} and {bias.random} clips (these are worth"
        f" {bias.effective:.1f}); embeddings {bias.size:.2f} apart of 1"
    )
    table = Table("slice", "among triggered", "in the fleet", "95 %", box=None)
    shares = sorted(bias.shares, key=lambda each: -abs(each.triggered - each.fleet))
    for each in shares[:_SHOWN]:
        bounds = "" if each.low is None else f"{each.low:.1%} .. {each.high:.1%}"
        table.add_row(f"{each.tag}={each.value}", f"{each.triggered:.1%}", f"{each.fleet:.1%}",
                      bounds)  # fmt: skip
    parts: list[RenderableType] = [told, table]
    if bias.unreached:
        parts.append(f"the random stream does not hold: {', '.join(bias.unreached)}")
    return parts


def _mounts(mounts: tuple[MountHealth, ...]) -> list[RenderableType]:
    table = Table("vehicle", "sensor", "clips", "roll", "pitch", "yaw", "height", "", box=None)
    for each in sorted(mounts, key=lambda one: -len(one.alarms)):
        angles = (each.roll_rad, each.pitch_rad, each.yaw_rad)
        table.add_row(
            each.vehicle_id, each.sensor, str(each.clips),
            *("" if angle is None else f"{math.degrees(angle):+.2f}°" for angle in angles),
            f"{100 * each.height_m:+.1f} cm",
            ", ".join(f"{alarm.angle} left its place" for alarm in each.alarms) or "steady",
        )  # fmt: skip
    return [table]
