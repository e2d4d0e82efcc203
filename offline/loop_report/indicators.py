"""All figures of a turn as one flat table of JSON: what a dashboard or the next turn reads.

None stands for what was not measured. Names keep their meaning; new ones are added.
"""

from __future__ import annotations

from offline.loop_report.facts import Change, Duration, FleetFacts, LoopFacts, ReviewFacts
from offline.loop_report.headline import headline

Value = float | int | str | bool | None


def indicators(facts: LoopFacts) -> dict[str, Value]:
    """By dotted name, sorted within each part."""
    gates = facts.gates
    found: dict[str, Value] = {
        "name": facts.name, "seed": facts.seed, "turn": facts.turn,
        "headline": headline(facts).told,
        "gates.passes": None if gates is None else gates.passes,
        "gates.waits_for_the_fleet": None if gates is None else gates.waits_for_the_fleet,
        "gates.stopped_by": (
            None if gates is None or gates.stopped_by is None else gates.stopped_by.gate
        ),
        "gates.failures": None if gates is None else len(gates.failures()),
        **_fleet(facts.fleet), **_funnel(facts), **_acquisition(facts), **_review(facts.review),
        "dataset.frames": None if facts.dataset is None else facts.dataset.frames,
        "dataset.replay_share": None if facts.dataset is None else facts.dataset.replay_share,
        **_shadow(facts), **_health(facts), **_times(facts),
        "wall_s": _total([each.wall_s for each in facts.stages]),
        "cpu_s": _total([each.cpu_s for each in facts.stages]),
    }  # fmt: skip
    for part, changes in (("tails", facts.tails), ("trials", facts.trials)):
        for each in changes:
            found |= _change(f"{part}.{each.metric}@{each.slice}", each)
    if gates is not None:
        found |= {f"gates.{name}": value for name, value in sorted(gates.indicators.items())}
    return found


def _fleet(fleet: FleetFacts | None) -> dict[str, Value]:
    days = None if fleet is None else fleet.vehicle_days

    def each_day(count: int | None) -> float | None:
        return None if count is None or not days else count / days

    used = None
    if fleet is not None and fleet.budget_bytes and fleet.kept_bytes is not None:
        used = fleet.kept_bytes / fleet.budget_bytes
    return {
        "fleet.vehicle_days": days,
        "fleet.fires_per_vehicle_day": each_day(None if fleet is None else fleet.fires),
        "fleet.clips_per_vehicle_day": each_day(None if fleet is None else fleet.clips),
        "fleet.uploads": None if fleet is None else fleet.uploads,
        "fleet.byte_budget_used": used,
    }


def _funnel(facts: LoopFacts) -> dict[str, Value]:
    told = {} if facts.funnel is None else facts.funnel.model_dump()
    found: dict[str, Value] = {f"funnel.{name}": value for name, value in told.items()}
    survival = None if facts.funnel is None else facts.funnel.survival
    return found | {"funnel.trained_on_of_uploaded": survival}


def _acquisition(facts: LoopFacts) -> dict[str, Value]:
    if facts.acquisition is None:
        return {"acquisition.expected_cost": None, "acquisition.actual_cost": None}
    streams = facts.acquisition.streams
    return {
        "acquisition.unit": facts.acquisition.unit,
        "acquisition.expected_cost": sum(each.expected_cost for each in streams),
        "acquisition.actual_cost": _whole([each.actual_cost for each in streams]),
        **{f"acquisition.{each.stream}.clips": each.clips for each in streams},
    }


def _review(review: ReviewFacts | None) -> dict[str, Value]:
    names = (
        "boxes", "auto_accepted", "consensus", "expert", "waiting", "kappa", "residual_error",
        "error_bound", "expected_s", "labeller_s",
    )  # fmt: skip
    found: dict[str, Value] = {
        f"review.{name}": None if review is None else getattr(review, name) for name in names
    }
    icc = {} if review is None else review.icc
    return found | {f"review.icc.{name}": value for name, value in sorted(icc.items())}


def _shadow(facts: LoopFacts) -> dict[str, Value]:
    if facts.shadow is None:
        return {"shadow.frames": None}
    told = facts.shadow.model_dump(exclude={"kind", "candidate", "active"})
    return {f"shadow.{name}": value for name, value in told.items()}


def _health(facts: LoopFacts) -> dict[str, Value]:
    health = facts.health
    drift = None if health is None else health.drift
    bias = None if health is None else health.selection
    return {
        "drift.tested": None if drift is None else len(drift.tests),
        "drift.drifted": None if drift is None else len(drift.drifted),
        "drift.largest": (
            None if drift is None else max((each.size for each in drift.tests), default=None)
        ),
        "selection.size": None if bias is None else bias.size,
        "selection.effective": None if bias is None else bias.effective,
        "selection.unreached": None if bias is None else len(bias.unreached),
        "mounts.vehicles": None if health is None or not health.mounts else len(health.mounts),
        "mounts.alarms": (
            None if health is None or not health.mounts
            else sum(len(each.alarms) for each in health.mounts)
        ),
    }  # fmt: skip


def _times(facts: LoopFacts) -> dict[str, Value]:
    def median(one: Duration | None) -> float | None:
        return None if one is None else one.median_s

    times = facts.times
    return {
        "times.clip_to_rollout_s": None if times is None else median(times.clip_to_rollout),
        "times.clip_to_canary_s": None if times is None else median(times.clip_to_canary),
        "times.log_to_curated_s": None if times is None else median(times.log_to_curated),
    }


def _change(name: str, change: Change) -> dict[str, Value]:
    bounds = change.after_bounds or (None, None)
    return {
        f"{name}.before": change.before, f"{name}.after": change.after,
        f"{name}.after_low": bounds[0], f"{name}.after_high": bounds[1],
        f"{name}.relative": change.relative, f"{name}.verdict": change.verdict,
    }  # fmt: skip


def _total(values: list[float | None]) -> float | None:
    """Of those that were told; None where none was, so that a sum is never of nothing."""
    told = [value for value in values if value is not None]
    return sum(told) if told else None


def _whole(values: list[float | None]) -> float | None:
    """None where one is missing: part of a price is no price."""
    told = [value for value in values if value is not None]
    return sum(told) if len(told) == len(values) else None
