"""What specs would cost and bring, from their replay over drives.

Rates are extrapolated from what was driven, so their sample stands beside them. Bytes need the
size of real clips: without any they are unknown, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.clip import Cause
from contracts.clock import NS_PER_S
from contracts.trigger_spec import LoadedSpec, TriggerSpec
from kernels.backtest.replay import ReplayedDrive, ReplayedFire

MAX_CLIP_NS = 120 * NS_PER_S
"""No clip grows beyond this; a fire that would stretch it starts the next."""

NOT_LIVE = frozenset({"cooldown", "expired"})


@dataclass(frozen=True, slots=True)
class LiveComparison:
    """Replay against what the vehicle itself recorded, where this very spec ran."""

    same: int
    only_replayed: int
    only_recorded: int


@dataclass(frozen=True, slots=True)
class SpecFigures:
    """One spec over all drives.

    `hours` are those driven; `clips` merges fires whose windows overlap. Ratios are of the
    spec's own daily budget. None where it cannot be known: rates of no driving, bytes without
    clips to go by, `live` where the spec never ran. `overlap` counts, for each other trigger
    that was live, this spec's fires in whose window one of its fires lies.
    """

    trigger_id: str
    trigger_version: int
    digest: str
    hours: float
    fires: int
    in_cooldown: int
    expired: int
    clips: int
    fires_per_hour: float | None
    clips_per_day: float | None
    clip_bytes: int | None
    bytes_per_day: float | None
    clips_budget_ratio: float | None
    bytes_budget_ratio: float | None
    overlap: dict[str, int]
    live: LiveComparison | None


def figures_of(
    loaded: LoadedSpec,
    drives: Sequence[ReplayedDrive],
    hours_per_day: float,
    clip_bytes: Mapping[str, int],
) -> SpecFigures:
    """Figures of one spec.

    Args:
        hours_per_day: how long a vehicle drives in a day.
        clip_bytes: median size of real clips by trigger id, "" for all of them.
    """
    spec = loaded.spec
    mine = [f for drive in drives for f in drive.fires if f.cause.trigger_id == spec.id]
    fires = sum(f.outcome == "fire" for f in mine)
    hours = sum(drive.driven_s for drive in drives) / 3600.0
    clips = sum(_clips(spec, drive) for drive in drives)
    per_day = clips / hours * hours_per_day if hours > 0 else None
    size = clip_bytes.get(spec.id, clip_bytes.get(""))
    day_bytes = per_day * size if per_day is not None and size is not None else None
    return SpecFigures(
        trigger_id=spec.id,
        trigger_version=spec.version,
        digest=loaded.digest,
        hours=hours,
        fires=fires,
        in_cooldown=sum(f.outcome == "cooldown" for f in mine),
        expired=sum(f.outcome == "expired" for f in mine),
        clips=clips,
        fires_per_hour=fires / hours if hours > 0 else None,
        clips_per_day=per_day,
        clip_bytes=size,
        bytes_per_day=day_bytes,
        clips_budget_ratio=_ratio(per_day, spec.budget.clips_per_day),
        bytes_budget_ratio=_ratio(day_bytes, spec.budget.bytes_per_day),
        overlap=_overlap(spec, drives),
        live=_live(loaded, drives),
    )


def _ratio(used: float | None, budget: int) -> float | None:
    return used / budget if used is not None and budget > 0 else None


def window_of(spec: TriggerSpec, cause: Cause) -> tuple[int, int]:
    """Begin and end, in monotonic nanoseconds, of the clip that a fire asks for."""
    return cause.start_mono_ns - spec.capture.pre, cause.end_mono_ns + spec.capture.post


def _firing(spec: TriggerSpec, drive: ReplayedDrive) -> list[ReplayedFire]:
    return [f for f in drive.fires if f.outcome == "fire" and f.cause.trigger_id == spec.id]


def _clips(spec: TriggerSpec, drive: ReplayedDrive) -> int:
    """How many clips a spec's fires on a drive make, as the agent merges windows."""
    clips: list[tuple[int, int]] = []
    for fire in _firing(spec, drive):
        start, end = window_of(spec, fire.cause)
        for i, (first, last) in enumerate(clips):
            merged = min(start, first), max(end, last)
            if start <= last and first <= end and merged[1] - merged[0] <= MAX_CLIP_NS:
                clips[i] = merged
                break
        else:
            clips.append((start, end))
    return len(clips)


def _overlap(spec: TriggerSpec, drives: Sequence[ReplayedDrive]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for drive in drives:
        others: dict[str, list[int]] = {}
        for recorded in drive.recorded:
            if recorded.outcome not in NOT_LIVE and recorded.cause.trigger_id != spec.id:
                others.setdefault(recorded.cause.trigger_id, []).append(
                    recorded.cause.fired_mono_ns
                )
        for fire in _firing(spec, drive):
            start, end = window_of(spec, fire.cause)
            for name, times in others.items():
                if any(start <= at <= end for at in times):
                    counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def _live(loaded: LoadedSpec, drives: Sequence[ReplayedDrive]) -> LiveComparison | None:
    """Fires of this very digest while it ran on the vehicle, replayed against recorded."""
    digest = loaded.digest
    ran = [
        drive for drive in drives
        if any(drive.ran(digest, stretch.start_mono_ns) for stretch in drive.stretches)
    ]  # fmt: skip
    if not ran:
        return None
    same = only_replayed = only_recorded = 0
    for drive in ran:
        replayed = {
            (f.cause.fired_mono_ns, f.outcome) for f in drive.fires
            if f.cause.spec_digest == digest and drive.ran(digest, f.cause.fired_mono_ns)
        }  # fmt: skip
        recorded = {
            (f.cause.fired_mono_ns, f.outcome if f.outcome in NOT_LIVE else "fire")
            for f in drive.recorded if f.cause.spec_digest == digest
        }  # fmt: skip
        same += len(replayed & recorded)
        only_replayed += len(replayed - recorded)
        only_recorded += len(recorded - replayed)
    return LiveComparison(same, only_replayed, only_recorded)
