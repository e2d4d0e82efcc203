"""What a whole fleet would spend with a spec added to those that run.

Before: the clips that the vehicles kept on the logged drives. After: those, and the clips of the
new specs' fires that touch none of them. One that touches a kept clip would make it longer, which
is not reckoned. Extrapolated to days of a given length; budgets are compared, not replayed, so a
figure above a limit says that something will be cut off, not what.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.trigger_spec import LoadedSpec
from kernels.backtest.figures import MAX_CLIP_NS, window_of
from kernels.backtest.replay import ReplayedDrive

DEFAULT_MARGIN_NS = 5 * 10**9
"""Window on both sides of a fire whose own spec is not at hand: the format's default."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FleetSpend:
    """A day of the fleet, before and after. None where it cannot be known.

    `vehicles` is how many the figures are for, `sampled` how many the logs are of.
    `vehicles_over` counts sampled vehicles whose day would be above their own limit of clips or
    bytes.
    """

    vehicles: int
    sampled: int
    hours: float
    clips_per_day_before: float | None
    clips_per_day_after: float | None
    bytes_per_day_before: float | None
    bytes_per_day_after: float | None
    vehicles_over: int


def fleet_spend(
    added: Sequence[LoadedSpec],
    drives: Sequence[ReplayedDrive],
    live: Sequence[LoadedSpec],
    hours_per_day: float,
    clip_bytes: Mapping[str, int],
    vehicles: int | None = None,
) -> FleetSpend:
    """Spending of `vehicles` (None: those of the logs) with `added` beside what ran.

    Args:
        live: specs whose windows are known by digest.
        clip_bytes: median size of real clips, "" for all of them.
    """
    windows = {loaded.digest: loaded for loaded in live}
    size = clip_bytes.get("")
    before: dict[str, int] = defaultdict(int)
    after: dict[str, int] = defaultdict(int)
    hours: dict[str, float] = defaultdict(float)
    over = 0
    for drive in drives:
        vehicle = drive.header.vehicle_id
        kept = _merged(_kept(drive, windows))
        before[vehicle] += len(kept)
        asked = _merged(_asked(added, drive))
        after[vehicle] += len(kept) + sum(not _touches(span, kept) for span in asked)
        hours[vehicle] += drive.driven_s / 3600.0
    limits = {drive.header.vehicle_id: drive.header.limits for drive in drives}
    for vehicle, spent in hours.items():
        if spent <= 0:
            continue
        clips = after[vehicle] / spent * hours_per_day
        limit = limits[vehicle]
        heavy = size is not None and clips * size > limit.bytes_per_day
        over += clips > limit.clips_per_day or heavy
    total_h = sum(hours.values())
    scale = (vehicles or len(hours)) * hours_per_day / total_h if total_h > 0 else None
    per_day = [None if scale is None else sum(n.values()) * scale for n in (before, after)]
    weights = [None if n is None or size is None else n * size for n in per_day]
    return FleetSpend(
        vehicles=vehicles or len(hours),
        sampled=len(hours),
        hours=total_h,
        clips_per_day_before=per_day[0],
        clips_per_day_after=per_day[1],
        bytes_per_day_before=weights[0],
        bytes_per_day_after=weights[1],
        vehicles_over=over,
    )


def _touches(span: Span, others: Sequence[Span]) -> bool:
    return any(span[0] <= end and start <= span[1] for start, end in others)


def _kept(drive: ReplayedDrive, windows: Mapping[str, LoadedSpec]) -> list[Span]:
    spans = []
    for fire in drive.recorded:
        if fire.outcome != "kept":
            continue
        known = windows.get(fire.cause.spec_digest)
        if known is not None:
            spans.append(window_of(known.spec, fire.cause))
        else:
            spans.append(
                (fire.cause.start_mono_ns - DEFAULT_MARGIN_NS,
                 fire.cause.end_mono_ns + DEFAULT_MARGIN_NS)
            )  # fmt: skip
    return spans


def _asked(added: Sequence[LoadedSpec], drive: ReplayedDrive) -> list[Span]:
    by_digest = {loaded.digest: loaded for loaded in added}
    return [
        window_of(by_digest[fire.cause.spec_digest].spec, fire.cause)
        for fire in drive.fires
        if fire.outcome == "fire" and fire.cause.spec_digest in by_digest
    ]


def _merged(spans: Sequence[Span]) -> list[Span]:
    """Clips that windows make, as the agent merges them."""
    clips: list[Span] = []
    for start, end in sorted(spans):
        if clips:
            first, last = clips[-1]
            merged = (min(start, first), max(end, last))
            if start <= last and merged[1] - merged[0] <= MAX_CLIP_NS:
                clips[-1] = merged
                continue
        clips.append((start, end))
    return clips
