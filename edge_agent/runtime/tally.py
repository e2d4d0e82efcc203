"""The drive's tally: what a vehicle counts for its check-ins. In memory, and cheap.

Each number has one writer: the drive's thread, but for clips, which the pack thread counts.
The ledger's totals take them along (`edge_agent.ledger.totals`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isnan

import numpy as np
from numpy.typing import NDArray

from contracts.check_in import SLOW_FRAME_MS, Counters
from contracts.clock import NS_PER_MS, NS_PER_S
from contracts.signals import SIGNAL_INDEX
from edge_agent.drive.drive import MAX_SILENCE_NS

NOT_COUNTED = frozenset({"cooldown", "expired", "done"})
"""Outcomes of fires that are none."""

ASK_CONNECTED_NS = NS_PER_S
_SLOW_NS = round(SLOW_FRAME_MS * NS_PER_MS)
_SPEED = SIGNAL_INDEX["ego.speed_mps"]
_ENGAGED = SIGNAL_INDEX["autonomy.engaged"]


class DriveTally:
    """Counts of this process.

    Args:
        connected: whether the cloud can be reached now; asked once a second of drive time.
        upload_bytes: what went on the wire since the process began.
    """

    def __init__(
        self,
        connected: Callable[[], bool] = lambda: False,
        upload_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        self._connected = connected
        self._upload_bytes = upload_bytes
        self._last_ns: int | None = None
        self._asked_ns: int | None = None
        self._is_connected = False
        self._engaged = False
        self.driven_m = 0.0
        self.driving_ns = 0
        self.connected_driving_ns = 0
        self.frames = 0
        self.slow_frames = 0
        self.fires = 0
        self.clips = 0
        self.clip_bytes = 0
        self.disengagements = 0

    def tick(self, now_ns: int, values: NDArray[np.float64]) -> int:
        """Take one evaluation's inputs; gives the time since the one before.

        Across a silence nothing was driven that is known of: 0.
        """
        step_ns = 0 if self._last_ns is None else now_ns - self._last_ns
        if step_ns > MAX_SILENCE_NS:
            step_ns = 0
        self._last_ns = now_ns
        if self._asked_ns is None or now_ns - self._asked_ns >= ASK_CONNECTED_NS:
            self._asked_ns, self._is_connected = now_ns, self._connected()
        self.driving_ns += step_ns
        if self._is_connected:
            self.connected_driving_ns += step_ns
        speed_mps, engaged = float(values[_SPEED]), float(values[_ENGAGED])
        if not isnan(speed_mps):
            self.driven_m += abs(speed_mps) * step_ns / NS_PER_S
        if self._engaged and engaged <= 0.5:
            self.disengagements += 1
        self._engaged = engaged > 0.5
        return step_ns

    def frame(self, total_ns: int) -> None:
        """A camera frame went through the hot path."""
        self.frames += 1
        self.slow_frames += total_ns > _SLOW_NS

    def fired(self, outcome: str) -> None:
        """An active trigger fired, and this became of it."""
        self.fires += outcome not in NOT_COUNTED

    def packed(self, size_bytes: int) -> None:
        """A clip is in the spool."""
        self.clips += 1
        self.clip_bytes += size_bytes

    def amounts(self) -> dict[str, float]:
        """All counts by name, for `Totals.watch`."""
        return {
            "driven_m": self.driven_m, "driving_ns": self.driving_ns,
            "connected_driving_ns": self.connected_driving_ns, "frames": self.frames,
            "slow_frames": self.slow_frames, "fires": self.fires, "clips": self.clips,
            "clip_bytes": self.clip_bytes, "disengagements": self.disengagements,
            "upload_bytes": self._upload_bytes(),
        }  # fmt: skip


_WHOLE = (
    "frames", "slow_frames", "fires", "clips", "clip_bytes", "upload_bytes", "disengagements",
    "starts", "unclean_starts",
)  # fmt: skip


def counters_of(totals: Mapping[str, float]) -> Counters:
    """The check-in's counters from the ledger's totals."""
    whole = {name: int(totals.get(name, 0)) for name in _WHOLE}
    return Counters(
        driven_m=totals.get("driven_m", 0.0),
        driving_s=totals.get("driving_ns", 0) / NS_PER_S,
        connected_driving_s=totals.get("connected_driving_ns", 0) / NS_PER_S,
        **whole,
    )
