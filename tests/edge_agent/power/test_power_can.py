"""Ignition and supply from a CAN bus: python-can's virtual bus, and a DBC file."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.clock import NS_PER_S, SystemClock, VirtualClock
from contracts.errors import InputError, TransientError
from edge_agent.power.sources import STALE_NS, CanPower, open_can_power
from edge_agent.power.step import PowerReading
from edge_agent.sources import patience
from edge_agent.sources.can.frames import BusPort

can = pytest.importorskip("can")
cantools = pytest.importorskip("cantools")

DBC = """VERSION ""
BU_: BCM
BO_ 256 BodyControl: 8 BCM
 SG_ KeyOn : 0|1@1+ (1,0) [0|1] "" BCM
 SG_ BatteryVoltage : 8|16@1+ (0.01,0) [0|20] "V" BCM
BO_ 257 Cabin: 8 BCM
 SG_ Temperature : 0|8@1+ (1,-40) [-40|120] "C" BCM
"""
NAMES = {
    "ignition": "BodyControl.KeyOn", "supply_v": "BodyControl.BatteryVoltage",
    "temperature_c": "Cabin.Temperature",
}  # fmt: skip


@pytest.fixture
def dbc(tmp_path: Path) -> Path:
    path = tmp_path / "vehicle.dbc"
    path.write_text(DBC)
    return path


@pytest.fixture
def vehicle() -> Iterator[Any]:
    """The vehicle's end of a bus of its own."""
    with can.Bus(interface="virtual", channel=f"power-{uuid.uuid4()}") as bus:
        yield bus


def body(key: bool, volts: float) -> Any:
    content = bytes([key]) + round(volts * 100).to_bytes(2, "little") + bytes(5)
    return can.Message(arbitration_id=256, data=content, is_extended_id=False)


def until(source: CanPower, fits: Callable[[PowerReading], bool]) -> PowerReading:
    for _ in range(10_000_000):
        reading = source.read()
        if fits(reading):
            return reading
    raise AssertionError(reading)


def test_signals_become_readings_and_go_stale(dbc: Path, vehicle: Any) -> None:
    clock = VirtualClock()
    source = open_can_power("virtual", vehicle.channel_id, dbc, NAMES, clock)
    try:
        assert source.read() == PowerReading(problem="the bus is silent")
        vehicle.send(body(True, 12.61))
        assert until(source, lambda r: r.supply_v is not None) == PowerReading(True, 12.61)
        vehicle.send(can.Message(arbitration_id=257, data=bytes([81, *[0] * 7]),
                                 is_extended_id=False))  # fmt: skip
        assert until(source, lambda r: r.temperature_c is not None).temperature_c == 41.0
        vehicle.send(can.Message(arbitration_id=999, data=bytes(8), is_extended_id=False))
        vehicle.send(body(False, 12.2))
        until(source, lambda r: r.ignition is False)
        vehicle.send(can.Message(arbitration_id=256, data=b"", is_extended_id=False))
        assert "cannot be decoded" in until(source, lambda r: bool(r.problem)).problem
        clock.set_mono_ns(STALE_NS + NS_PER_S)
        assert source.read().ignition is None
    finally:
        source.close()


class Shaky(BusPort):
    """A bus by a script: `x` cannot be opened, `E` is down when it is read, `r` tells."""

    def __init__(self, script: str) -> None:
        super().__init__("virtual", "shaky", {})
        self._script, self._up, self.opened = list(script), False, 0

    @property
    def is_open(self) -> bool:
        return self._up

    def open(self) -> None:
        if self._script[:1] == ["x"]:
            raise TransientError("the bus cannot be opened", self._script.pop(0))
        self._up, self.opened = True, self.opened + 1

    def recv(self, timeout_s: float) -> Any:
        if self._script and self._script.pop(0) == "E":
            raise TransientError("the bus is down", self.place)
        return body(True, 12.0)

    def close(self) -> None:
        self._up = False


def test_a_bus_that_is_down_is_opened_again(dbc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_S", 0.001)
    bus = Shaky("xxErrEr")
    source = CanPower(bus, cantools.database.load_file(str(dbc)), NAMES, VirtualClock())
    try:
        until(source, lambda r: r.ignition is True and bus.opened == 3 and not r.problem)
    finally:
        source.close()
    assert not bus.is_open


@pytest.mark.parametrize("name", ["BodyControl.Key", "Body.KeyOn", "KeyOn", "."])
def test_a_name_that_the_dbc_lacks_is_refused(name: str, dbc: Path, vehicle: Any) -> None:
    with pytest.raises(InputError, match=r"no signal .*Message\.Signal"):
        open_can_power("virtual", vehicle.channel_id, dbc, {"ignition": name}, SystemClock())


def test_a_file_that_is_no_dbc_and_a_bus_that_is_none(dbc: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.dbc"
    broken.write_text("BO_ what")
    with pytest.raises(InputError, match="not a usable DBC"):
        open_can_power("virtual", "x", broken, NAMES, SystemClock())
    with pytest.raises(InputError, match="no interface 'no-such-interface'"):
        open_can_power("no-such-interface", "x", dbc, NAMES, SystemClock())


def test_a_missing_library_is_named(dbc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cantools", None)
    with pytest.raises(InputError, match=r"longtail\[can\]"):
        open_can_power("virtual", "x", dbc, NAMES, SystemClock())
