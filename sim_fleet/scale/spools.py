"""Every vehicle's spool, as a table of as many slots a vehicle: memory that never grows.

Guarantees: a full spool gives up the clip that ranks lowest as `edge_agent.spool.eviction` ranks
them (ordinary, then random, then safety; the lowest value per byte, the oldest), or the newcomer
when it ranks lower; each is counted. The agent's quota is of bytes, this one's of clips.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.spool import PRIORITIES
from sim_fleet.scale.fleet import Bools, ClipRules, Floats, Ints

_SAFETY = PRIORITIES.index("safety")


class Spools:
    """Clips that wait, [n, slots] each. A slot is free where `number` is -1.

    Attributes:
        number: of the clip in the stream, rising. ready_s: when it is packed.
        parts: how many of its parts the receiver holds.
        held: clips in each spool, [n].
    """

    def __init__(self, count: int, slots: int, rules: ClipRules) -> None:
        shape = (count, slots)
        self._rules = rules
        self.number = np.full(shape, -1, np.int64)
        self.ready_s = np.full(shape, np.inf)
        self.size_bytes = np.zeros(shape, np.int64)
        self.parts = np.zeros(shape, np.int16)
        self.moment = np.zeros(shape, np.int8)
        self.level = np.zeros(shape, np.int8)
        self.cellular = np.zeros(shape, np.bool_)
        self.exempt = np.zeros(shape, np.bool_)
        self.held = np.zeros(count, np.int32)
        self.evicted = 0
        self._next = 0

    @property
    def nbytes(self) -> int:
        columns = (self.number, self.ready_s, self.size_bytes, self.parts, self.moment,
                   self.level, self.cellular, self.exempt, self.held)  # fmt: skip
        return sum(column.nbytes for column in columns)

    def put(
        self, vehicle: Ints, moment: Ints, triggers: Ints, kept: Bools, size_bytes: Ints,
        ready_s: Floats,
    ) -> None:  # fmt: skip
        """Commit a clip each of different vehicles.

        Args:
            triggers, kept: [c, p], which triggers asked, and which of them may.
        """
        rules = self._rules
        level = np.asarray(np.where(kept, rules.level[triggers], len(PRIORITIES)).min(axis=1))
        cellular = np.asarray((kept & rules.cellular[triggers]).any(axis=1))
        exempt = np.asarray((kept & rules.exempt[triggers]).any(axis=1))
        number = self._next + np.arange(len(vehicle))
        self._next += len(vehicle)
        slot = (self.number[vehicle] < 0).argmax(axis=1)
        full = np.flatnonzero(self.held[vehicle] == self.number.shape[1])
        takes = np.ones(len(vehicle), np.bool_)
        if len(full):
            slot[full], takes[full] = self._victims(
                vehicle[full], level[full], exempt[full], size_bytes[full]
            )
            self.evicted += len(full)
        rows = np.flatnonzero(takes)
        self.held[np.setdiff1d(vehicle, vehicle[full], assume_unique=True)] += 1
        at = (vehicle[rows], slot[rows])
        for column, values in (
            (self.number, number), (self.ready_s, ready_s), (self.size_bytes, size_bytes),
            (self.moment, moment), (self.level, level), (self.cellular, cellular),
            (self.exempt, exempt),
        ):  # fmt: skip
            column[at] = values[rows]
        self.parts[at] = 0

    def remove(self, vehicle: Ints, slot: Ints) -> None:
        """Free a slot each of different vehicles."""
        self.number[vehicle, slot] = -1
        self.ready_s[vehicle, slot] = np.inf
        self.held[vehicle] -= 1

    def value_per_byte(self, vehicle: Ints) -> Floats:
        """Of all slots of these vehicles, [v, slots]."""
        value = self._rules.value[self.level[vehicle]]
        return np.asarray(value / np.maximum(1, self.size_bytes[vehicle]), np.float64)

    def _victims(
        self, vehicle: Ints, level: Ints, exempt: Bools, size_bytes: Ints
    ) -> tuple[Ints, Bools]:
        """The slot that a newcomer takes in a full spool, and whether it may."""
        rank = _rank(self.level[vehicle], self.exempt[vehicle])
        value = self.value_per_byte(vehicle)
        lowest = rank.min(axis=1)
        value = np.where(rank == lowest[:, None], value, np.inf)
        least = value.min(axis=1)
        oldest = np.where(value == least[:, None], self.number[vehicle], np.iinfo(np.int64).max)
        own = _rank(level, exempt)
        own_value = self._rules.value[level] / size_bytes
        takes = (lowest < own) | ((lowest == own) & (least < own_value))
        return oldest.argmin(axis=1), takes


def _rank(level: NDArray[Any], exempt: Bools) -> Ints:
    """0 ordinary, 1 random, 2 safety: the order in which `eviction` gives clips up."""
    return np.where(exempt, np.where(level <= _SAFETY, 2, 1), 0)
