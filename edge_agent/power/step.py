"""Power: what the agent may do by ignition, supply and heat. A pure step.

    driving --key off, held--> parked --deadline, floor or all sent--> ended
       ^                         |                                       |
       +-------- ignition -------+------------- ignition ----------------+

Driving records; parked (the garage) no longer records but uploads, until the deadline, the
voltage floor, or nothing is left to send; ended sends nothing more, and all that was kept waits
on the disk. Heat and an empty supply shut uploads in any phase, never recording: the vehicle may
need the record of just that. What cannot be read is unknown: an unknown ignition leaves the phase
as it is, an unknown voltage or temperature shuts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

from contracts.clock import NS_PER_S

Phase = Literal["driving", "parked", "ended"]


@dataclass(frozen=True, slots=True)
class PowerReading:
    """What is known now; None where it is not. `problem` tells why."""

    ignition: bool | None = None
    supply_v: float | None = None
    temperature_c: float | None = None
    problem: str = ""


class PowerSource(Protocol):
    """Where readings come from: a file, a CAN bus, the simulator."""

    def read(self) -> PowerReading:
        """The present reading. Never raises: what cannot be read is None, with its problem."""
        ...

    def close(self) -> None:
        """No more readings are wanted."""
        ...


@dataclass(frozen=True, slots=True)
class PowerLimits:
    """Bounds. Times in nanoseconds, voltages at the vehicle's supply."""

    key_off_ns: int = 5 * NS_PER_S
    """How long ignition must be off before the vehicle counts as parked: a stalled engine."""
    deadline_ns: int = 1800 * NS_PER_S
    """How long a parked vehicle may stay awake to upload."""
    linger_ns: int = 120 * NS_PER_S
    """How long it stays awake at least: for check-ins, and for updates that they bring."""
    floor_v: float = 11.8
    floor_ns: int = 10 * NS_PER_S
    """How long the supply must be below its floor: starters and pumps pull it down shortly."""
    hot_c: float = 85.0
    cool_c: float = 75.0


@dataclass(frozen=True, slots=True)
class PowerState:
    """Where the step stands. `shut` tells why nothing may be sent, `ended` why it is over."""

    phase: Phase = "driving"
    since_ns: int | None = None
    off_since_ns: int | None = None
    low_since_ns: int | None = None
    hot: bool = False
    low: bool = False
    ended: str = ""

    @property
    def records(self) -> bool:
        return self.phase == "driving"

    @property
    def shut(self) -> str:
        """Why nothing may be sent now, empty when it may."""
        if self.phase == "ended":
            return self.ended
        if self.low:
            return "supply_low"
        return "hot" if self.hot else ""


def step(
    state: PowerState, reading: PowerReading, limits: PowerLimits, now_ns: int, all_sent: bool
) -> PowerState:
    """The next state.

    Args:
        now_ns: monotonic time.
        all_sent: nothing waits that the link would take, so that waiting longer is in vain.
    """
    state = _with_heat(_with_supply(state, reading, limits, now_ns), reading, limits)
    if reading.ignition:
        phase_since = state.since_ns if state.phase == "driving" else now_ns
        return replace(state, phase="driving", since_ns=phase_since, off_since_ns=None, ended="")
    if reading.ignition is False and state.off_since_ns is None:
        state = replace(state, off_since_ns=now_ns)
    if state.phase == "driving" and state.off_since_ns is not None:
        is_off = reading.ignition is False and now_ns - state.off_since_ns >= limits.key_off_ns
        return replace(state, phase="parked", since_ns=now_ns) if is_off else state
    if state.phase == "parked":
        why = _end(state, limits, now_ns, all_sent)
        return replace(state, phase="ended", since_ns=now_ns, ended=why) if why else state
    return state


def _with_supply(
    state: PowerState, reading: PowerReading, limits: PowerLimits, now_ns: int
) -> PowerState:
    if reading.supply_v is None or reading.supply_v >= limits.floor_v:
        return replace(state, low_since_ns=None, low=False)
    since_ns = state.low_since_ns if state.low_since_ns is not None else now_ns
    return replace(state, low_since_ns=since_ns, low=now_ns - since_ns >= limits.floor_ns)


def _with_heat(state: PowerState, reading: PowerReading, limits: PowerLimits) -> PowerState:
    if reading.temperature_c is None:
        return replace(state, hot=False)
    bound_c = limits.cool_c if state.hot else limits.hot_c
    return replace(state, hot=reading.temperature_c > bound_c)


def _end(state: PowerState, limits: PowerLimits, now_ns: int, all_sent: bool) -> str:
    parked_ns = now_ns - (state.since_ns if state.since_ns is not None else now_ns)
    if state.low:
        return "supply_low"
    if parked_ns >= limits.deadline_ns:
        return "deadline"
    return "all_sent" if all_sent and parked_ns >= limits.linger_ns else ""
