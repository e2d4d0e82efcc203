"""`edge_agent.selection.budget.decide` for many vehicles at once, a day's spending as columns.

Guarantees: the verdicts and the spending are those of the agent's own `BudgetBook` over its
ledger, fire by fire; a test holds the two against each other. Limits, reserves and rules are
read from the agent's objects.

Fires of one moment are admitted in turn, then settled as one clip: charged in full to each of
its triggers and once to the vehicle. The size of a clip is thus known at once, where a vehicle
needs the seconds of packing; disks are never full here.
"""

from __future__ import annotations

from typing import get_args

import numpy as np

from edge_agent.ledger.spending import POOLS
from edge_agent.selection.budget import Reason, VehicleLimits
from sim_fleet.scale.fleet import Bools, Ints, TriggerRules

REASONS: tuple[Reason, ...] = get_args(Reason)
KEPT = -1
"""The verdict of a fire that is kept; any other is an index into `REASONS`."""

_COOLDOWN = REASONS.index("cooldown")
_NEVER = -(2**62)


class Budgets:
    """Spending of `count` vehicles. Times are integer nanoseconds of one boot."""

    def __init__(self, count: int, rules: TriggerRules, limits: VehicleLimits) -> None:
        triggers, pools = len(rules.fires), len(POOLS)
        self._rules = rules
        self._limits = limits
        self.trigger_clips = np.zeros((count, triggers), np.int32)
        self.trigger_bytes = np.zeros((count, triggers), np.int64)
        self.pool_clips = np.zeros((count, pools), np.int64)
        self.pool_bytes = np.zeros((count, pools), np.int64)
        self.clip_bytes = np.zeros((count, triggers), np.int64)
        self._last_fire_ns = np.full((count, triggers), _NEVER, np.int64)
        self._reserves = {
            total: np.array([limits.reserve(pool, total) for pool in POOLS], np.int64)
            for total in (limits.clips_per_day, limits.bytes_per_day)
        }

    def new_day(self) -> None:
        """Budget days are UTC; cooldowns and sizes of last clips live on."""
        for spent in (self.trigger_clips, self.trigger_bytes, self.pool_clips, self.pool_bytes):
            spent[:] = 0

    def decide(self, vehicle: Ints, trigger: Ints, fired_ns: Ints) -> Ints:
        """Verdicts [f] of one fire each of different vehicles; changes nothing."""
        rules = self._rules
        wanted = np.maximum(1, self.clip_bytes[vehicle, trigger])
        gap = fired_ns - self._last_fire_ns[vehicle, trigger]
        pool = rules.pool[trigger]
        refused: tuple[tuple[Reason, Bools], ...] = (
            ("cooldown", (gap > 0) & (gap < rules.cooldown_ns[trigger])),
            ("budget_clips", self.trigger_clips[vehicle, trigger] >= rules.clips_per_day[trigger]),
            (
                "budget_bytes",
                self.trigger_bytes[vehicle, trigger] + wanted > rules.bytes_per_day[trigger],
            ),
            (
                "vehicle_clips",
                self._room(self._limits.clips_per_day, self.pool_clips[vehicle], pool) < 1,
            ),
            (
                "vehicle_bytes",
                self._room(self._limits.bytes_per_day, self.pool_bytes[vehicle], pool) < wanted,
            ),
        )
        verdict = np.full(len(vehicle), KEPT, np.int64)
        for reason, holds in reversed(refused):
            verdict[holds] = REASONS.index(reason)
        return verdict

    def admit(self, vehicle: Ints, triggers: Ints, fired_ns: Ints, size_bytes: Ints) -> Ints:
        """One moment each of different vehicles: verdicts of its fires, and its clip charged.

        Args:
            vehicle: [f], no vehicle twice.
            triggers: [f, p], -1 where a moment has no further one; all fire at `fired_ns` [f].
            size_bytes: of the clip, [f].

        Returns:
            [f, p]; -2 where there is no trigger.
        """
        verdicts = np.full(triggers.shape, -2, np.int64)
        reserved = np.zeros(triggers.shape, np.int64)
        for at in range(triggers.shape[1]):
            rows = np.flatnonzero(triggers[:, at] >= 0)
            who, which = vehicle[rows], triggers[rows, at]
            verdict = self.decide(who, which, fired_ns[rows])
            verdicts[rows, at] = verdict
            noted = verdict != _COOLDOWN
            self._last_fire_ns[who[noted], which[noted]] = fired_ns[rows[noted]]
            kept = verdict == KEPT
            expected = np.maximum(1, self.clip_bytes[who[kept], which[kept]])
            reserved[rows[kept], at] = expected
            self._charge(who[kept], which[kept], 1, expected)
        self._settle(vehicle, triggers, verdicts == KEPT, reserved, size_bytes)
        return verdicts

    def _settle(
        self, vehicle: Ints, triggers: Ints, kept: Bools, reserved: Ints, size_bytes: Ints
    ) -> None:
        """Turn reservations into what the clip took: each trigger in full, the vehicle once."""
        best = np.full(len(vehicle), len(POOLS), np.int64)
        for at in range(triggers.shape[1]):
            rows = np.flatnonzero(kept[:, at])
            who, which = vehicle[rows], triggers[rows, at]
            self._charge(who, which, -1, -reserved[rows, at])
            self.trigger_clips[who, which] += 1
            self.trigger_bytes[who, which] += size_bytes[rows]
            self.clip_bytes[who, which] = size_bytes[rows]
            best[rows] = np.minimum(best[rows], _PRECEDENCE[self._rules.pool[which]])
        rows = np.flatnonzero(kept.any(axis=1))
        pool = _BY_PRECEDENCE[best[rows]]
        self.pool_clips[vehicle[rows], pool] += 1
        self.pool_bytes[vehicle[rows], pool] += size_bytes[rows]

    def _charge(self, vehicle: Ints, trigger: Ints, clips: int, size_bytes: Ints) -> None:
        pool = self._rules.pool[trigger]
        self.trigger_clips[vehicle, trigger] += clips
        self.trigger_bytes[vehicle, trigger] += size_bytes
        self.pool_clips[vehicle, pool] += clips
        self.pool_bytes[vehicle, pool] += size_bytes

    def _room(self, total: int, used: Ints, pool: Ints) -> Ints:
        """What a pool may still take, [f]: total less use and others' untouched reserves."""
        held = np.maximum(0, self._reserves[total] - used)
        own = np.take_along_axis(held, pool[:, None], axis=1)[:, 0]
        room: Ints = total - used.sum(axis=1) - (held.sum(axis=1) - own)
        return room


# A clip of several causes is a safety clip if any is, else a random one if any is.
_BY_PRECEDENCE = np.array([POOLS.index(pool) for pool in ("safety", "random", "ordinary")])
_PRECEDENCE = np.argsort(_BY_PRECEDENCE)
