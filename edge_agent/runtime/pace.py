"""Pace: a recorded or simulated drive that takes its time, so that people can act during it.

Sample times decide, not how long each takes: a frame that was late does not delay the next.
The wait can be interrupted. Without a pace a source runs as fast as it can.
"""

from __future__ import annotations

from collections.abc import Callable

from contracts.clock import NS_PER_MS, NS_PER_S, Clock
from contracts.errors import InputError

SHORTEST_NS = 2 * NS_PER_MS
"""Less than this is not waited for: samples come in thousands a second."""


class Pace:
    """Holds a source to `factor` times real time.

    Args:
        clock: real time.
        wait: waits for some seconds, True as soon as it is to stop, as `threading.Event.wait`.
    """

    def __init__(self, factor: float, clock: Clock, wait: Callable[[float], bool]) -> None:
        if not factor > 0:
            raise InputError(f"a pace must be above 0, not {factor:g}")
        self._factor = factor
        self._clock = clock
        self._wait = wait
        self._anchor: tuple[int, int] | None = None

    def hold(self, sample_mono_ns: int) -> None:
        """Return when this sample's turn has come, or when the wait was interrupted."""
        if self._anchor is None:
            self._anchor = (self._clock.mono_ns(), sample_mono_ns)
        began_ns, first_ns = self._anchor
        due_ns = began_ns + round((sample_mono_ns - first_ns) / self._factor)
        while (left_ns := due_ns - self._clock.mono_ns()) >= SHORTEST_NS:
            if self._wait(left_ns / NS_PER_S):
                return
