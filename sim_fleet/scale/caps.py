"""`edge_agent.upload.policy` for many vehicles at once: caps on metered bytes, and what is next.

Guarantees: amounts, order and refusals are the policy's own; a test holds each against it.
"""

from __future__ import annotations

import numpy as np

from contracts.ids import PART_BYTES
from edge_agent.upload.policy import (
    OVERHEAD_BYTES,
    OVERHEAD_RATIO,
    CellularLimits,
)
from sim_fleet.scale.fleet import Bools, Floats, Ints


def wire_estimates(payload_bytes: Ints) -> Ints:
    """`policy.wire_estimate`, [n]."""
    overhead = (payload_bytes * OVERHEAD_RATIO).astype(np.int64)
    return payload_bytes + overhead + OVERHEAD_BYTES


def worth_starting(size_bytes: Ints, allowance: Ints) -> Bools:
    """Whether a clip of this size may begin under this allowance of wire bytes, [n]."""
    least = np.minimum(size_bytes, PART_BYTES)
    fits: Bools = wire_estimates(least) + 4 * OVERHEAD_BYTES <= allowance
    return fits


class CellularBooks:
    """Metered wire bytes of each vehicle's day and month."""

    def __init__(self, count: int, limits: CellularLimits) -> None:
        self._limits = limits
        self.day_bytes = np.zeros(count, np.int64)
        self.month_bytes = np.zeros(count, np.int64)

    def new_day(self) -> None:
        self.day_bytes[:] = 0

    def new_month(self) -> None:
        self.month_bytes[:] = 0

    def event_allowance(self, vehicle: Ints) -> Ints:
        """Wire bytes that event records may still take, [n]."""
        limits = self._limits
        left = np.minimum(
            limits.bytes_per_day - self.day_bytes[vehicle],
            limits.bytes_per_month - self.month_bytes[vehicle],
        )
        return np.asarray(np.maximum(0, left - limits.slack_bytes), np.int64)

    def payload_allowance(self, vehicle: Ints) -> Ints:
        """Wire bytes that all else may still take, [n]."""
        left = self.event_allowance(vehicle) - self._limits.event_reserve_bytes
        return np.asarray(np.maximum(0, left), np.int64)

    def charge(self, vehicle: Ints, payload_bytes: Ints, *, event: bool = False) -> Bools:
        """Charge an exchange each of different vehicles, at the policy's estimate.

        Returns which may go; the others are not charged. A vehicle is charged when all of the
        estimate fits: what the socket would break off half-way does not begin here.
        """
        wanted = wire_estimates(payload_bytes)
        left = self.event_allowance(vehicle) if event else self.payload_allowance(vehicle)
        goes: Bools = wanted <= left
        self.day_bytes[vehicle[goes]] += wanted[goes]
        self.month_bytes[vehicle[goes]] += wanted[goes]
        return goes


def next_clips(
    level: Ints, value_per_byte: Floats, sequence: Ints, current: Ints, allowed: Bools
) -> Ints:
    """The slot of each vehicle's next clip, [n], as `policy.decide` orders them; -1 for none.

    Args:
        level, value_per_byte, sequence: of each clip, [n, slots].
        current: slot of the clip that is being sent, [n], -1 for none.
        allowed: which clips may be sent now, [n, slots].
    """
    none = np.iinfo(np.int64).max
    levels = np.where(allowed, level, none)
    best = levels.min(axis=1)
    among = allowed & (levels == best[:, None])
    value = np.where(among, value_per_byte, -np.inf)
    among &= value == value.max(axis=1)[:, None]
    chosen = np.where(among, sequence, none).argmin(axis=1)
    rows = np.arange(len(level))
    stays = (current >= 0) & allowed[rows, current] & (level[rows, current] == best)
    chosen = np.where(stays, current, chosen)
    return np.where(best == none, -1, chosen)
