"""A recording takes its time when it is told to, on a clock that is not ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.clock import NS_PER_S, VirtualClock
from contracts.errors import InputError
from edge_agent.config import AgentConfig, load_config
from edge_agent.runtime.pace import SHORTEST_NS, Pace


class Waiter:
    """Moves the clock where a thread would wait; stops when told."""

    def __init__(self, clock: VirtualClock, stop_after: int = 10**9) -> None:
        self._clock = clock
        self._left = stop_after
        self.waits = 0

    def __call__(self, seconds: float) -> bool:
        self.waits += 1
        self._left -= 1
        if self._left < 0:
            return True
        # Waking up early, as threads do, costs another wait.
        self._clock.set_mono_ns(self._clock.mono_ns() + round(seconds * NS_PER_S * 0.75) + 1)
        return False


@pytest.mark.parametrize("factor", [0.5, 1.0, 10.0])
def test_samples_come_at_their_time(factor: float) -> None:
    clock = VirtualClock(mono_ns=7 * NS_PER_S)
    pace = Pace(factor, clock, Waiter(clock))
    for i in range(200):
        sample_ns = 1000 * NS_PER_S + i * NS_PER_S // 50
        pace.hold(sample_ns)
        if i == 100:  # a slow frame does not delay those behind it
            clock.set_mono_ns(clock.mono_ns() + NS_PER_S // 100)
        due_ns = 7 * NS_PER_S + round(i * NS_PER_S // 50 / factor)
        assert due_ns - SHORTEST_NS <= clock.mono_ns() <= due_ns + NS_PER_S // 100 + 1


def test_what_is_late_is_not_waited_for_and_a_stop_ends_the_wait() -> None:
    clock = VirtualClock()
    waiter = Waiter(clock, stop_after=0)
    pace = Pace(1.0, clock, waiter)
    pace.hold(0)
    clock.set_mono_ns(5 * NS_PER_S)
    pace.hold(4 * NS_PER_S)
    assert waiter.waits == 0
    pace.hold(100 * NS_PER_S)
    assert (waiter.waits, clock.mono_ns()) == (1, 5 * NS_PER_S)


def test_a_pace_is_above_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="above 0"):
        Pace(0.0, VirtualClock(), lambda _: False)
    assert AgentConfig().pace is None
    with pytest.raises(InputError, match="pace"):
        load_config(None, {"pace": -1})
    assert load_config(None, {"pace": 2}).pace == 2
