"""From counter readings to a rollout's closed intervals. Pure.

Guarantees: what a vehicle counted between its last reading before an interval and its last one in
it is counted once, in that interval, and never negative; an interval in which the slot's digest
changed, between those readings or among those in it, is dropped for that vehicle; an interval is
given only when it is over and `grace` has passed, so that what is read never changes.

Intervals lie on a grid of the service's wall time. Where the grid changed (another length of
interval was set), the first one is short. Too many at once are given over several calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from cloud_ingest.fleet.counting import Totals
from cloud_ingest.rollout.observation import Interval, VehicleCounts
from contracts.clock import NS_PER_DAY, NS_PER_S

HISTORY_NS = 30 * NS_PER_DAY
MOST_AT_ONCE = 256
_LONGEST_GRACE_NS = 30 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Mark:
    """A vehicle's last reading of an interval, or (`place` 0) before the first one.

    Args:
        place: which interval, from 1 on.
        digest: what ran in the slot by that reading; None for nothing.
        is_steady: whether all of the interval's readings told that same digest.
    """

    vehicle_id: str
    place: int
    totals: Totals
    digest: str | None
    is_steady: bool


def grace_ns(length_ns: int) -> int:
    """How long after its end an interval is closed: check-ins that are being written then."""
    return min(length_ns, _LONGEST_GRACE_NS)


def closed_bounds(
    read_until_ns: int, created_ns: int, now_ns: int, length_ns: int
) -> tuple[int, ...]:
    """The bounds of the closed intervals that were not read; fewer than two when there is none.

    Args:
        read_until_ns: end of the last interval that was read; 0 when none was. Then history
            begins `HISTORY_NS` before `created_ns`, or as far back as one call can give.
    """
    last = (now_ns - grace_ns(length_ns)) // length_ns
    if read_until_ns > 0:
        start_ns = read_until_ns
    else:
        back = min(HISTORY_NS, MOST_AT_ONCE * length_ns)
        start_ns = max(0, -(-(created_ns - back) // length_ns)) * length_ns
    first = start_ns // length_ns + 1
    ends = range(first, min(last, first + MOST_AT_ONCE - 1) + 1)
    return (start_ns, *(number * length_ns for number in ends))


def intervals_of(
    marks: Iterable[Mark], bounds_utc_ns: Sequence[int], counted: Sequence[str]
) -> list[Interval]:
    """One interval between each two bounds, also where no vehicle drove.

    Args:
        marks: at most one for each vehicle and place.
        counted: counters that the guardrails are named after.
    """
    rows: list[list[VehicleCounts]] = [[] for _ in range(len(bounds_utc_ns) - 1)]
    in_order = sorted(marks, key=lambda mark: (mark.vehicle_id, mark.place))
    for _, of_vehicle in groupby(in_order, key=lambda mark: mark.vehicle_id):
        for before, now in pairwise(of_vehicle):
            counts = _counts(before, now, counted)
            if counts is not None:
                rows[now.place - 1].append(counts)
    return [
        _interval(start, end, of_interval, counted)
        for (start, end), of_interval in zip(pairwise(bounds_utc_ns), rows, strict=True)
    ]


def _counts(before: Mark, now: Mark, counted: Sequence[str]) -> VehicleCounts | None:
    # What a reading before the interval told about changes was about the time before.
    if not now.is_steady or before.digest != now.digest:
        return None
    grown = {name: now.totals[name] - before.totals[name] for name in now.totals}
    if grown["driven_m"] <= 0 and grown["connected_driving_s"] <= 0:
        return None
    return VehicleCounts(
        vehicle_id=now.vehicle_id,
        installed_digest=now.digest,
        driven_km=grown["driven_m"] / 1000,
        connected_h=grown["connected_driving_s"] / 3600,
        events={name: grown[name] for name in counted},
    )


def _interval(
    start_ns: int, end_ns: int, rows: Sequence[VehicleCounts], counted: Sequence[str]
) -> Interval:
    # Not `from_rows`: an interval in which nobody drove names its guardrails too.
    return Interval(
        start_utc_ns=start_ns,
        end_utc_ns=end_ns,
        vehicle_ids=tuple(row.vehicle_id for row in rows),
        installed_digests=tuple(row.installed_digest for row in rows),
        driven_km=np.array([row.driven_km for row in rows], dtype=np.float64),
        connected_h=np.array([row.connected_h for row in rows], dtype=np.float64),
        events={
            name: np.array([row.events[name] for row in rows], dtype=np.float64) for name in counted
        },
    )
