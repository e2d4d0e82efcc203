"""Is what comes in still what it was; and how simulation compares with the real."""

from __future__ import annotations

import math
from html import escape

from offline.health.records import (
    DriftReport,
    HealthReport,
    MountHealth,
    SelectionBias,
)
from offline.loop_report.html import (
    folded,
    heading,
    ids,
    legend,
    missing,
    paragraph,
    pill,
    section,
    table,
)
from offline.loop_report.plots.mounts import mount_plot
from offline.loop_report.plots.sets import COLOURS, sets_plot
from offline.loop_report.plots.strip import strip_plot
from offline.loop_report.words import interval, number, percent, plural
from offline.sim_to_real.records import OneSet, SimToReal

_MOUNTS_SHOWN, _SHARES_SHOWN = 6, 12


def health_section(health: HealthReport | None) -> str | None:
    """Drift, selection bias, mounts."""
    if health is None:
        return None
    parts = [heading("Drift of the input distribution")]
    parts += [missing() if health.drift is None else _drift(health.drift)]
    parts += [heading("Triggered clips against the random stream")]
    parts += [missing() if health.selection is None else _selection(health.selection)]
    parts += [heading("Mounts of sensors")]
    parts += [_mounts(health.mounts) if health.mounts else missing()]
    rows = [(escape(name), escape(why)) for name, why in sorted(health.unmeasured.items())]
    if rows:
        parts.append(folded("what was not measured, and why", table(("", "why"), rows)))
    return section("health", "Health of the flywheel", "", *parts)


def _drift(drift: DriftReport) -> str:
    found = drift.drifted
    told = "No cohort is told as drifted"
    if found:
        names = ", ".join(f"{each.cohort} ({each.measure})" for each in found[:4])
        told = f"{plural(len(found), 'test')} of {len(drift.tests)} tell of drift: {names}"
        told += ", …" if len(found) > 4 else ""
    blind = sum(each.p_value is None for each in drift.tests)
    unsure = f"; {blind} could not be told for want of drives" if blind else ""
    lead = (
        f"{told}{unsure}. {drift.clips:,} clips against {drift.reference_clips:,} of the random"
        f" stream; of what is told at most {percent(drift.level, 0)} is so by chance. A cell is the"
        " darker, the further both distributions are apart; what is outlined is told as drifted."
    )
    rows = [
        (escape(each.cohort), escape(each.measure), str(each.clips), str(each.reference_clips),
         "" if each.before is None else number(each.before),
         "" if each.now is None else number(each.now), number(each.size, 2),
         number(each.p_value, 2), number(each.adjusted, 2),
         pill("drifted", "bad") if each.drifted else "")
        for each in drift.tests
    ]  # fmt: skip
    head = ("cohort", "measure", "clips", "reference", "before", "now", "size", "p", "adjusted", "")
    missed = [(escape(each.cohort), escape(each.reason)) for each in drift.not_tested]
    return "".join([
        paragraph(lead), strip_plot(drift) if drift.tests else "",
        folded("all tests", table(head, rows, numbers=(2, 3, 4, 5, 6, 7, 8))),
        folded("cohorts that were not tested", table(("cohort", "why"), missed)) if missed else "",
    ])  # fmt: skip


def _selection(bias: SelectionBias) -> str:
    lead = (
        f"{bias.triggered:,} triggered clips beside {bias.random:,} random ones, which are worth"
        f" {number(bias.effective)} of equal weight. Embeddings lie {number(bias.size, 2)} apart"
        " (0 alike, 1 wholly apart)."
    )
    shares = sorted(bias.shares, key=lambda each: -abs(each.triggered - each.fleet))
    rows = [
        (escape(f"{each.tag}={each.value}"), percent(each.triggered), percent(each.fleet),
         interval(each.low, each.high), "∞" if each.ratio is None else number(each.ratio, 2))
        for each in shares[:_SHARES_SHOWN]
    ]  # fmt: skip
    head = ("slice", "among triggered", "in the fleet", "95 %", "times as often")
    unreached = ""
    if bias.unreached:
        told = ", ".join(bias.unreached)
        unreached = paragraph(f"The random stream does not hold: {told}. No figure of the fleet"
                              " speaks of these.")  # fmt: skip
    return paragraph(lead) + table(head, rows, numbers=(1, 2, 3, 4)) + unreached


def _mounts(mounts: tuple[MountHealth, ...]) -> str:
    def degrees(value: float | None) -> str:
        return "" if value is None else f"{math.degrees(value):+.2f}°"

    rows = [
        (escape(each.vehicle_id), escape(each.sensor), str(each.clips), degrees(each.roll_rad),
         degrees(each.pitch_rad), degrees(each.yaw_rad), f"{100 * each.height_m:+.1f} cm",
         pill(", ".join(dict.fromkeys(a.angle for a in each.alarms)), "bad") if each.alarms
         else pill("steady", "good"))
        for each in sorted(mounts, key=lambda m: (-len(m.alarms), m.vehicle_id, m.sensor))
    ]  # fmt: skip
    head = ("vehicle", "sensor", "clips", "roll", "pitch", "yaw", "height", "")
    alarmed = [each for each in mounts if each.alarms][:_MOUNTS_SHOWN]
    return table(head, rows, numbers=(2, 3, 4, 5, 6)) + "".join(mount_plot(m) for m in alarmed)


def sim_to_real_section(report: SimToReal | None) -> str | None:
    """The same figures on the real and on the simulated."""
    if report is None:
        return None
    sets = report.sets
    keys = dict.fromkeys((f.group, f.range_m) for each in sets for f in each.figures if f.truths)
    rows = [
        [escape(group), escape(reach), *(_figures(each, group, reach) for each in sets)]
        for group, reach in keys
    ]
    return section(
        "sim-to-real", "Simulation and the real",
        f"{report.model_name} as it is; nothing was tuned on these recordings. AP at 2 m.",
        legend((COLOURS[k % len(COLOURS)], each.name) for k, each in enumerate(sets)),
        sets_plot(sets),
        folded("AP / recall (boxes) as a table",
               table(["group", "range, m", *(each.name for each in sets)], rows,
                     numbers=range(2, len(sets) + 2))),
        heading("What comes in"), _inputs(sets),
        *(paragraph(f"{each.name}: {note}.") for each in sets for note in each.notes),
        ids(model=report.model),
    )  # fmt: skip


def _figures(one: OneSet, group: str, reach: str) -> str:
    found = next((f for f in one.figures if (f.group, f.range_m) == (group, reach)), None)
    if found is None or not found.truths:
        return "–"
    ap, recall = ("–" if value is None else f"{value:.3f}" for value in (found.ap, found.recall))
    return f"{ap} / {recall} ({found.truths:,})"


def _inputs(sets: tuple[OneSet, ...]) -> str:
    def row(name: str, values: list[float | None]) -> list[str]:
        return [escape(name), *("–" if value is None else number(value) for value in values)]

    reaches = dict.fromkeys(reach for each in sets for reach in each.inputs.points)
    kinds = dict.fromkeys(kind for each in sets for kind in each.inputs.points_per_object)
    rows = [
        ["sensors", *(escape(", ".join(each.sensors)) for each in sets)],
        row("frames", [each.frames for each in sets]),
        *(row(f"lidar points a frame, {r} m", [e.inputs.points.get(r) for e in sets])
          for r in reaches),
        row("intensity, mean", [each.inputs.intensity for each in sets]),
        row("filled cells a frame", [each.inputs.filled_cells for each in sets]),
        row("objects a frame", [each.inputs.objects for each in sets]),
        *(row(f"points on a {kind}", [e.inputs.points_per_object.get(kind) for e in sets])
          for kind in kinds),
        row("calibration error", [each.calibration_error for each in sets]),
        row("false alarms a frame", [each.false_per_frame for each in sets]),
    ]  # fmt: skip
    return table(["", *(each.name for each in sets)], rows, numbers=range(1, len(sets) + 1))
