"""Releases at fault: which could not be activated, and which failed while they ran.

A fault stays for as long as its release goes on being offered, and is forgotten with it: a
release that comes again later is judged anew. Safe to use from any thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import Literal

import structlog

from contracts.errors import LongtailError
from contracts.ota import Slot
from edge_agent.ota.ports import SlotFault

FAILURES_IN_A_ROW = 3
"""So many frames or ticks in a row make a release a fault."""

Key = tuple[Slot, str]
"""A slot and the digest of what it holds."""

log = structlog.get_logger(__name__)


class FaultBook:
    """The faults of what is offered."""

    def __init__(self) -> None:
        self._offered: frozenset[Key] = frozenset()
        self._faults: dict[Key, SlotFault] = {}
        self._lock = Lock()

    def offer(self, keys: frozenset[Key]) -> dict[Key, SlotFault]:
        """These are offered now; the faults that are known of them."""
        with self._lock:
            stay = keys & self._offered
            self._offered = keys
            self._faults = {key: fault for key, fault in self._faults.items() if key in stay}
            return dict(self._faults)

    def add(
        self, keys: Iterable[Key], stage: Literal["activate", "soak"], why: Exception | str
    ) -> None:
        """Blame releases. Of a release that is not offered any more nothing is kept."""
        known = isinstance(why, LongtailError | str)
        reason = str(why) if known else f"{type(why).__name__}: {why}"
        with self._lock:
            for slot, digest in sorted(keys):
                log.error("release at fault", slot=slot.text, stage=stage, reason=reason)
                if (slot, digest) in self._offered:
                    self._faults[slot, digest] = SlotFault(slot, digest, stage, reason)

    def all(self) -> tuple[SlotFault, ...]:
        with self._lock:
            return tuple(self._faults.values())


class Streak:
    """Failures in a row."""

    def __init__(self) -> None:
        self._count = 0
        self._last: int | None = None

    def reset(self) -> None:
        self._count = 0

    def failed(self, number: int) -> int:
        """The failure of try `number`; how many failed in a row up to it."""
        in_a_row = self._last is not None and self._last == number - 1
        self._last = number
        self._count = self._count + 1 if in_a_row else 1
        return self._count
