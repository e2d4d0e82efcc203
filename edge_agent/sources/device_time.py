"""A device's own time stamps as the agent's monotonic time.

Devices stamp with clocks of their own: wall time that may be set, a counter from power-on, RTP.
`LiveTime` ties such stamps to the machine's monotonic clock by when they arrive; `RecordedTime`
keeps those of a file in order. Neither ever goes back.

The tie of live stamps is the smallest delay seen, let out again by 100 ppm (the usual bound of a
crystal): jitter of arrival does not show in the result, drift does not add up.
"""

from __future__ import annotations

from contracts.clock import NS_PER_S

DRIFT = 1e-4
JUMP_NS = 5 * NS_PER_S
"""A stamp this much too early is a clock that was set, not a reader that was late."""

WALL_FROM_NS = 1_000_000_000 * NS_PER_S
"""Stamps from September 2001 on are wall time; smaller ones count from some start."""


class LiveTime:
    """Attributes: `jumps`: how often the device's clock was set."""

    def __init__(self, latency_ns: int = 0) -> None:
        self._latency_ns = latency_ns
        self._offset_ns: int | None = None
        self._seen_ns = 0
        self._last_ns: int | None = None
        self.jumps = 0

    def mono_ns(self, stamp_ns: int, arrival_ns: int) -> int:
        """When the device measured, on the machine's clock.

        Args:
            stamp_ns: on the device's clock.
            arrival_ns: when it got here, `Clock.mono_ns()`.
        """
        offset = arrival_ns - stamp_ns
        if self._offset_ns is None:
            self._offset_ns = offset
        else:
            self._offset_ns += round((arrival_ns - self._seen_ns) * DRIFT)
            if abs(offset - self._offset_ns) > JUMP_NS:
                self.jumps += 1
                self._offset_ns = offset
            self._offset_ns = min(self._offset_ns, offset)
        self._seen_ns = arrival_ns
        return self._ordered(stamp_ns + self._offset_ns - self._latency_ns)

    def restart(self) -> None:
        """The device was opened anew: its stamps may start anywhere."""
        self._offset_ns = None

    def _ordered(self, at_ns: int) -> int:
        self._last_ns = at_ns if self._last_ns is None else max(self._last_ns, at_ns)
        return self._last_ns


class RecordedTime:
    """Stamps of a recording in file order, kept from going back.

    A step back of up to `slack_ns` is disorder between devices: such a stamp counts as the
    newest one. A longer one is a clock that was set while recording: time goes on from there,
    unless the next stamp shows that one stamp alone was wrong.

    Attributes: `jumps`, `disordered`: how often each happened.
    """

    def __init__(self, slack_ns: int = NS_PER_S) -> None:
        self._slack_ns = slack_ns
        self._shift_ns = 0
        self._shift_before_ns: int | None = None
        self._last_ns: int | None = None
        self.jumps = 0
        self.disordered = 0

    def mono_ns(self, stamp_ns: int) -> int:
        """The stamp itself as long as it does not go back."""
        last, before = self._last_ns, self._shift_before_ns
        at_ns = stamp_ns + self._shift_ns
        if (
            last is not None
            and before is not None
            and at_ns - last > self._slack_ns
            and abs(stamp_ns + before - last) <= self._slack_ns
        ):
            self._shift_ns, self._shift_before_ns = before, None
            at_ns = stamp_ns + before
        if last is not None and at_ns < last:
            if last - at_ns > self._slack_ns:
                self.jumps += 1
                self._shift_before_ns = self._shift_ns
                self._shift_ns += last - at_ns
            else:
                self.disordered += 1
            at_ns = last
        self._last_ns = at_ns
        return at_ns


def recorded_base_ns(first_ns: int) -> tuple[int, bool]:
    """`utc_minus_mono_ns` of a recording by its first stamp, and whether it tells wall time.

    Monotonic time then starts at 1 s, so that nothing is before 0.
    """
    if first_ns >= WALL_FROM_NS:
        return first_ns - NS_PER_S, True
    return 0, False
