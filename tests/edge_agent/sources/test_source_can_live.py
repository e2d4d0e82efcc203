"""A live CAN bus: heard on python-can's virtual bus; silent, down and back by a script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import can
import pytest

from contracts.clock import NS_PER_S, VirtualClock
from contracts.errors import InputError, TransientError
from edge_agent.kit.conformance import check_live_source
from edge_agent.ports import LiveSource
from edge_agent.sources.can.frames import BusPort
from edge_agent.sources.can.mapping import load_map
from edge_agent.sources.can.source import CanBusSource
from edge_agent.sources.registry import open_source
from tests.edge_agent.can_logs import Vehicle, write_vehicle


def test_a_live_bus_is_heard_and_stops_when_told(tmp_path: Path) -> None:
    mapping = write_vehicle(tmp_path)
    vehicle = Vehicle()
    with can.Bus(interface="virtual", channel="longtail-test") as sender:

        def feed() -> None:
            for i in range(50):
                sender.send(vehicle.motion(0.0, float(i)))

        report = check_live_source(
            lambda: open_source(f"can:virtual/longtail-test,map={mapping}"), feed, expect=100
        )
    assert report.samples["/signals/ego.speed_mps"] == 50


class ScriptedBus(BusPort):
    """A bus by a script: `r` a frame, `.` a poll without one, `e` an error frame, `E` bus down,
    `x` cannot be opened. Each letter takes `POLL` of virtual time; after the last it is silent.
    """

    def __init__(self, script: str, clock: VirtualClock, poll_s: float = 1.0) -> None:
        super().__init__("virtual", "scripted", {})
        self._script, self._clock, self._poll_ns = script, clock, round(poll_s * 1e9)
        self._up, self._vehicle, self.opened = False, Vehicle(), 0

    @property
    def is_open(self) -> bool:
        return self._up

    def _letter(self) -> str:
        letter, self._script = self._script[:1] or ".", self._script[1:]
        self._clock.set_mono_ns(self._clock.mono_ns() + self._poll_ns)
        return letter

    def open(self) -> None:
        if self._script[:1] == "x":
            self._letter()
            raise TransientError("the bus cannot be opened: no such device", self.place)
        self._up, self.opened = True, self.opened + 1

    def close(self) -> None:
        self._up = False

    def recv(self, timeout_s: float) -> can.Message | None:
        letter = self._letter()
        at_s = self._clock.mono_ns() / 1e9
        match letter:
            case "r":
                return self._vehicle.motion(at_s, 36.0)
            case "e":
                return can.Message(timestamp=at_s, is_error_frame=True, arbitration_id=0x40)
            case "E":
                raise TransientError("the bus is down: network is down", self.place)
        return None


def scripted(folder: Path, script: str, **options: Any) -> tuple[CanBusSource, ScriptedBus]:
    clock = VirtualClock(10 * NS_PER_S)

    def wait(seconds: float) -> bool:
        clock.set_mono_ns(clock.mono_ns() + round(seconds * 1e9))
        return False

    bus = ScriptedBus(script, clock)
    loaded = load_map(write_vehicle(folder))
    source = CanBusSource(
        bus, loaded, folder / "vehicle.dbc", clock=clock, wait=wait, **options
    )  # fmt: skip
    return source, bus


def test_a_silent_bus_is_a_gap_and_then_the_end(tmp_path: Path) -> None:
    source, _ = scripted(tmp_path, "rr" + "." * 30 + "rr", give_up_ns=60 * NS_PER_S)
    assert isinstance(source, LiveSource)
    times = [s.mono_ns // NS_PER_S for s in source.samples() if s.name == "ego.speed_mps"]  # type: ignore[union-attr]
    assert times == [11, 12, 43, 44]
    assert source.gaps == 2  # the one in the middle, and the one that ended it


def test_a_bus_that_goes_down_is_opened_again(tmp_path: Path) -> None:
    source, bus = scripted(tmp_path, "rrExxrr", give_up_ns=60 * NS_PER_S)
    speeds = [s for s in source.samples() if s.name == "ego.speed_mps"]  # type: ignore[union-attr]
    assert len(speeds) == 4 and bus.opened == 2 and not bus.is_open
    assert source.counts["bus down"] == 3


def test_error_frames_alone_are_no_sign_of_life(tmp_path: Path) -> None:
    source, _ = scripted(tmp_path, "r" + "e" * 200, give_up_ns=60 * NS_PER_S)
    assert len(list(source.samples())) == 2
    assert source.counts["bus off"] == source.counts["error frames"] == 60


def test_a_bus_that_is_down_at_the_start_is_waited_for(tmp_path: Path) -> None:
    source, bus = scripted(tmp_path, "xxrr", give_up_ns=60 * NS_PER_S)
    assert not bus.is_open and source.counts["bus down"] == 1
    speeds = [s for s in source.samples() if s.name == "ego.speed_mps"]  # type: ignore[union-attr]
    assert len(speeds) == 2 and source.counts["bus down"] == 2


def test_a_bus_without_its_driver_is_refused(tmp_path: Path) -> None:
    write_vehicle(tmp_path)
    with pytest.raises(InputError, match=r"cannot be opened: .*serial"):
        open_source(f"can:slcan//dev/ttyUSB9,map={tmp_path}/vehicle.can.yaml")
