"""Sends what the spools hold over the link at hand: each vehicle's upload session, as columns.

Guarantees: the order of clips, what a metered link may carry, and the steps of a session
(declaration, offset, parts, status) are the agent's; a part that the link's end cuts short is
sent again as a whole, and each new session asks for the offset first.

Simpler than the agent: on wifi a clip that is packed just after arrival waits for the one under
way, whatever its level; a metered exchange that the cap would break off half-way does not begin;
the receiver refuses nothing but what `not_wanted_share` says.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.ids import PART_BYTES
from sim_fleet.scale.caps import CellularBooks, next_clips, worth_starting
from sim_fleet.scale.days import Segment
from sim_fleet.scale.events import BatchDraft, Kind
from sim_fleet.scale.fleet import Bools, Floats, Ints, Rules, Vehicles
from sim_fleet.scale.rates import ScaleRates
from sim_fleet.scale.spools import Spools


class _Step(IntEnum):
    """What a vehicle's session is at; its answer comes at `_due_s`."""

    LOOK = 0
    CREATE = 1
    OFFSET = 2
    PART = 3
    DONE = 4


_KINDS = {
    _Step.CREATE: Kind.CREATE,
    _Step.OFFSET: Kind.OFFSET,
    _Step.PART: Kind.PART,
    _Step.DONE: Kind.DONE,
}


class Uploads:
    """The sessions of all vehicles."""

    def __init__(
        self, rates: ScaleRates, vehicles: Vehicles, rules: Rules, spools: Spools,
        books: CellularBooks,
    ) -> None:  # fmt: skip
        self._small_bytes = rates.sizes.small_bytes
        self._not_wanted = rates.not_wanted_share
        self._request_s = {
            True: rates.links.wifi_request_s, False: rates.links.cellular_request_s
        }  # fmt: skip
        self._vehicles = vehicles
        self._spools = spools
        self._books = books
        count = len(vehicles)
        self._step = np.full(count, _Step.LOOK, np.int8)
        self._due_s = np.full(count, np.inf)
        self._slot = np.full(count, -1, np.int64)
        self._number = np.full(count, -1, np.int64)

    @property
    def sending(self) -> int:
        """Vehicles whose session is under way."""
        return int((self._step != _Step.LOOK).sum())

    def go_on(
        self, segment: Segment, t1_s: float, rng: np.random.Generator, draft: BatchDraft
    ) -> None:
        """All that happens to these vehicles' uploads in their part of the slice."""
        who = segment.vehicle
        active = self._spools.held[who] > 0
        if not segment.free:
            waiting = self._spools.cellular[who] & (self._spools.number[who] >= 0)
            active &= waiting.any(axis=1)
        rows = np.flatnonzero(active)
        fresh = segment.begins[rows] | (self._step[who[rows]] == _Step.LOOK)
        # A clip that was given up meanwhile takes its session with it.
        mine = who[rows]
        held = self._spools.number[mine, np.maximum(0, self._slot[mine])] == self._number[mine]
        fresh |= ~held
        self._step[mine[fresh]] = _Step.LOOK
        self._slot[mine[fresh]] = -1
        self._due_s[mine[fresh]] = segment.from_s[rows[fresh]]
        while True:
            rows = rows[self._due_s[who[rows]] < segment.until_s[rows]]
            if not len(rows):
                break
            self._answer(who[rows], segment.free, segment.until_s[rows], rng, draft)
        ended = who[(segment.ends_s <= t1_s) & active]
        self._step[ended] = _Step.LOOK
        self._slot[ended] = -1
        self._due_s[ended] = np.inf

    def _answer(
        self, who: Ints, free: bool, until_s: Floats, rng: np.random.Generator, draft: BatchDraft
    ) -> None:
        """One answer each of different vehicles, and what they ask next."""
        step, now_s = self._step[who], self._due_s[who]
        spools = self._spools
        for at, kind in _KINDS.items():
            rows = step == at
            mine, slot = who[rows], self._slot[who[rows]]
            size = self._part_bytes(mine, slot) if at == _Step.PART else 0
            declined = np.zeros(len(mine), np.bool_)
            if at == _Step.CREATE and self._not_wanted > 0:
                declined = rng.random(len(mine)) < self._not_wanted
                declined &= ~spools.exempt[mine, slot]
            for word, chosen in ((kind, ~declined), (Kind.NOT_WANTED, declined)):
                draft.add(
                    word, now_s[rows][chosen], mine[chosen],
                    np.broadcast_to(self._small_bytes + size, len(mine))[chosen], free,
                    spools.number[mine, slot][chosen], spools.size_bytes[mine, slot][chosen],
                    spools.moment[mine, slot][chosen],
                )  # fmt: skip
            if at == _Step.PART:
                spools.parts[mine, slot] += 1
            if at == _Step.DONE:
                declined[:] = True
            over = mine[declined]
            spools.remove(over, self._slot[over])
            self._slot[over] = -1
            if at in (_Step.CREATE, _Step.DONE):
                self._step[over] = _Step.LOOK
        self._go_on(who, step, now_s, free, until_s)

    def _go_on(
        self, who: Ints, step: NDArray[Any], now_s: Floats, free: bool, until_s: Floats
    ) -> None:
        """The next request of each vehicle, after an answer to `step`."""
        ends = self._slot[who] < 0
        asks = ends if free else ends | (step == _Step.PART) | (step == _Step.OFFSET)
        rows = np.flatnonzero(asks)
        self._look(who[rows], now_s[rows], free, until_s[rows])
        rows = np.flatnonzero((self._slot[who] >= 0) & (step != _Step.LOOK) & ~ends)
        mine = who[rows]
        stays = self._step[mine] == step[rows]  # else `_look` has turned to another clip
        rows, mine = rows[stays], mine[stays]
        after = np.where(step[rows] == _Step.CREATE, _Step.OFFSET, _Step.PART)
        slot = self._slot[mine]
        full = self._part_bytes(mine, slot) == 0
        after = np.where((after == _Step.PART) & full, _Step.DONE, after)
        self._ask(mine, after, now_s[rows], free)

    def _look(self, who: Ints, now_s: Floats, free: bool, until_s: Floats) -> None:
        """Choose a clip, anew or before the next part of one, or wait for one to be packed."""
        spools = self._spools
        there = spools.number[who] >= 0
        if not free:
            allowance = self._books.payload_allowance(who)[:, None]
            there &= spools.cellular[who] & worth_starting(spools.size_bytes[who], allowance)
        ready_s = spools.ready_s[who]
        current = self._slot[who]
        chosen = next_clips(
            spools.level[who].astype(np.int64), spools.value_per_byte(who), spools.number[who],
            current, there & (ready_s <= now_s[:, None]),
        )  # fmt: skip
        none = np.flatnonzero(chosen < 0)
        soon = np.where(there & (ready_s > now_s[:, None]), ready_s, np.inf).min(axis=1)
        self._slot[who[none]] = -1
        self._step[who[none]] = _Step.LOOK
        self._due_s[who[none]] = soon[none]
        anew = np.flatnonzero((chosen >= 0) & (chosen != current))
        mine, slot = who[anew], chosen[anew]
        self._slot[mine] = slot
        self._number[mine] = spools.number[mine, slot]
        self._ask(mine, np.full(len(mine), _Step.CREATE), now_s[anew], free)

    def _ask(self, who: Ints, step: Ints, now_s: Floats, free: bool) -> None:
        """Send a request each; on a metered link only if the caps leave enough."""
        is_part = step == _Step.PART
        body = np.where(is_part, self._part_bytes(who, self._slot[who]), 0)
        goes: Bools = np.ones(len(who), np.bool_)
        rate = self._vehicles.wifi_bytes_s[who]
        if not free:
            goes = self._books.charge(who, body)
            rate = self._vehicles.cellular_bytes_s[who]
        due_s = now_s + self._request_s[free] + body / rate
        self._step[who] = np.where(goes, step, _Step.LOOK)
        self._due_s[who] = np.where(goes, due_s, np.inf)
        self._slot[who[~goes]] = -1

    def _part_bytes(self, who: Ints, slot: Ints) -> Ints:
        """Length of the next part of these clips."""
        left = (
            self._spools.size_bytes[who, slot]
            - self._spools.parts[who, slot].astype(np.int64) * PART_BYTES
        )
        return np.asarray(np.clip(left, 0, PART_BYTES), np.int64)
