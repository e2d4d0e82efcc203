"""The safe state: when a model may be exchanged during a drive. Pure.

Default rule (`ParkedAndDisengaged`): the vehicle's speed is known and below 0.1 m/s, and
autonomy is known to be off, without a break for 2 s of drive time. A source that publishes no
`autonomy.engaged` at all has no autonomy; one that publishes it must say so now. Before the
first sample and after the drive's end nothing is driven: the caller does not ask then.
"""

from __future__ import annotations

from math import isnan
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.clock import NS_PER_S
from contracts.signals import SIGNAL_INDEX

STANDS_BELOW_MPS = 0.1
PARKED_NS = 2 * NS_PER_S
MAX_GAP_NS = NS_PER_S // 2
"""After a longer silence nothing is known of what came between."""

_SPEED = SIGNAL_INDEX["ego.speed_mps"]
_ENGAGED = SIGNAL_INDEX["autonomy.engaged"]


class SafeState(Protocol):
    """Told each tick, asked before a model is exchanged."""

    def see(self, now_ns: int, values: NDArray[np.float64]) -> None:
        """`values` float64 [catalogue], NaN where absent."""
        ...

    def waiting_for(self, now_ns: int) -> str:
        """Why a model must not be exchanged now; empty when it may."""
        ...


class ParkedAndDisengaged:
    """The default rule. `signals` are those that exist on this vehicle."""

    def __init__(self, signals: frozenset[str]) -> None:
        self._has_speed = "ego.speed_mps" in signals
        self._has_autonomy = "autonomy.engaged" in signals
        self._since_ns: int | None = None
        self._last_ns: int | None = None
        self._speed_mps = float("nan")
        self._engaged = float("nan")

    def see(self, now_ns: int, values: NDArray[np.float64]) -> None:
        self._speed_mps = float(values[_SPEED])
        self._engaged = float(values[_ENGAGED])
        if self._last_ns is None or now_ns - self._last_ns > MAX_GAP_NS:
            self._since_ns = None
        self._last_ns = now_ns
        if self._moving_or_driven():
            self._since_ns = None
        elif self._since_ns is None:
            self._since_ns = now_ns

    def _moving_or_driven(self) -> str:
        speed_mps, engaged = self._speed_mps, self._engaged
        if isnan(speed_mps):
            return "the vehicle's speed is not known now"
        if abs(speed_mps) >= STANDS_BELOW_MPS:
            return f"the vehicle moves at {speed_mps:.1f} m/s"
        if self._has_autonomy and isnan(engaged):
            return "whether autonomy is engaged is not known now"
        return "autonomy is engaged" if self._has_autonomy and engaged > 0.5 else ""

    def waiting_for(self, now_ns: int) -> str:
        if not self._has_speed:
            return "the vehicle tells no speed: the drive must end first"
        if self._last_ns is None or now_ns - self._last_ns > MAX_GAP_NS:
            return "the vehicle's signals are not known now"
        if self._since_ns is None:
            return self._moving_or_driven() or "the vehicle's signals are not known now"
        if self._last_ns - self._since_ns < PARKED_NS:
            return f"parked and disengaged for less than {PARKED_NS // NS_PER_S} s"
        return ""
