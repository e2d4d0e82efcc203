"""When the server is asked again: pauses with jitter, on the vehicle's monotonic clock.

Guarantees: never sooner than asked for, up to a quarter later, so that a fleet that was sent
away does not come back as one. Kept in memory: after a restart the server is asked again.
"""

from __future__ import annotations

import random

from contracts.clock import NS_PER_S, Clock
from edge_agent.upload.policy import ServerAdvice

LONGEST_WAIT_S = 6 * 3600.0
JITTER_RATIO = 0.25


class Calendar:
    """Times before which all, events, or one clip are not tried."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._all_until_ns = 0
        self._events_until_ns = 0
        self._silent_until_ns = 0
        self._clip_until_ns: dict[str, int] = {}

    def jittered_ns(self, delay_s: float) -> int:
        """The delay, bounded, plus up to `JITTER_RATIO` of it."""
        bounded_s = min(LONGEST_WAIT_S, max(0.0, delay_s))
        return int(bounded_s * (1.0 + JITTER_RATIO * self._rng.random()) * NS_PER_S)

    def advice(self) -> ServerAdvice:
        return ServerAdvice(self._all_until_ns, self._clip_until_ns)

    def events_at_ns(self) -> int:
        """When event records may be tried next; it may have passed."""
        return max(self._all_until_ns, self._events_until_ns, self._silent_until_ns)

    def put_off_all(self, delay_s: float) -> None:
        self._all_until_ns = self._clock.mono_ns() + self.jittered_ns(delay_s)

    def put_off_events(self, delay_s: float) -> None:
        self._events_until_ns = self._clock.mono_ns() + self.jittered_ns(delay_s)

    def put_off_events_until_heard(self, delay_s: float) -> None:
        """The server was silent: they wait so long, or until it has answered for a clip."""
        self._silent_until_ns = self._clock.mono_ns() + self.jittered_ns(delay_s)

    def heard(self) -> None:
        """The server is there."""
        self._silent_until_ns = 0

    def put_off_clip(self, clip_id: str, delay_s: float) -> None:
        self._clip_until_ns[clip_id] = self._clock.mono_ns() + self.jittered_ns(delay_s)

    def forget_clip(self, clip_id: str) -> None:
        """The clip will not be asked about again."""
        self._clip_until_ns.pop(clip_id, None)
