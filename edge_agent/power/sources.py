"""Where power readings come from: a file, a CAN bus, a script for simulation and tests.

Guarantees: `read` never raises and never blocks; what is missing, stale or not understood is None
with its problem, and is logged once.
"""

from __future__ import annotations

import math
import threading
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from contracts.clock import NS_PER_S, Clock
from contracts.errors import InputError, LongtailError, TransientError
from edge_agent.power.step import PowerReading
from edge_agent.sources.address import optional_module
from edge_agent.sources.can.frames import BusPort
from edge_agent.sources.patience import Backoff

STALE_NS = 5 * NS_PER_S
"""A value from a bus that is older tells nothing: buses are silent when a vehicle sleeps."""
POLL_S = 0.2
_MOST = 1e9
"""Volts or degrees: nothing that is not a number, infinite or of 5,000 digits is below."""
IGNITION, SUPPLY, TEMPERATURE = "ignition", "supply_v", "temperature_c"

log = structlog.get_logger(__name__)


class ScriptedPower:
    """Readings by time: each holds from its second on, the first from the start."""

    def __init__(self, clock: Clock, script: Sequence[tuple[float, PowerReading]]) -> None:
        self._clock = clock
        self._start_ns = clock.mono_ns()
        self._script = sorted(script, key=lambda row: row[0])

    def read(self) -> PowerReading:
        age_s = (self._clock.mono_ns() - self._start_ns) / NS_PER_S
        past = [reading for at_s, reading in self._script if at_s <= age_s]
        return past[-1] if past else PowerReading(problem="the script has not begun")

    def close(self) -> None:
        return None


def parse_reading(text: str, place: str) -> PowerReading:
    """TOML: `ignition = true`, `supply_v = 12.4`, `temperature_c = 41`, each where it is known.

    Raises `InputError` for an unknown key or a wrong value.
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a ValueError
        raise InputError(f"cannot be read: {error}", place) from error
    unknown = values.keys() - {IGNITION, SUPPLY, TEMPERATURE}
    if unknown:
        raise InputError(f"unknown key {min(unknown)!r}", place)
    ignition = values.get(IGNITION)
    if ignition is not None and not isinstance(ignition, bool):
        raise InputError(f"{IGNITION} is true or false, not {ignition!r}", place)
    return PowerReading(
        ignition, _number(values, SUPPLY, place), _number(values, TEMPERATURE, place)
    )


def _number(values: Mapping[str, Any], key: str, place: str) -> float | None:
    found = values.get(key)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < _MOST:
        raise InputError(f"{key} is a number, not {str(found)[:40]}", place)
    return float(found)


class FilePower:
    """A small TOML file that the vehicle's power controller keeps (`parse_reading`)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._problem = ""

    def read(self) -> PowerReading:
        try:
            reading = parse_reading(self._path.read_text("utf-8"), str(self._path))
        except (OSError, UnicodeDecodeError, InputError) as error:
            if not self._problem:
                log.warning("power cannot be read", reason=str(error))
            self._problem = str(error)
            return PowerReading(problem=self._problem)
        self._problem = ""
        return reading

    def close(self) -> None:
        return None


class CanPower:
    """Ignition and supply from signals on a CAN bus, decoded by a DBC file.

    Args:
        bus: opened here; read, and opened anew, in a thread of its own. While it is down, at the
            start too, nothing is known.
        database: a `cantools` database.
        names: by reading (`ignition`, `supply_v`, `temperature_c`), `Message.Signal` in the DBC.
        clock: the machine's, for what is stale.

    Raises `InputError` for a name that the database lacks, or a bus that can never be.
    """

    def __init__(self, bus: BusPort, database: Any, names: Mapping[str, str], clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._wanted: dict[int, list[tuple[str, str]]] = {}
        self._messages: dict[int, Any] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        for reading, name in names.items():
            message, signal = _found(database, name)
            frame_id = int(message.frame_id)
            self._wanted.setdefault(frame_id, []).append((reading, signal))
            self._messages[frame_id] = message
        self._stop = threading.Event()
        self._problem = ""
        try:
            bus.open()
        except TransientError as error:
            self._lost(error)
        self._thread = threading.Thread(target=self._listen, name="power-can", daemon=True)
        self._thread.start()

    def read(self) -> PowerReading:
        now_ns = self._clock.mono_ns()
        fresh = {
            reading: value
            for reading, (at_ns, value) in list(self._seen.items())
            if now_ns - at_ns <= STALE_NS
        }
        ignition = fresh.get(IGNITION)
        return PowerReading(
            None if ignition is None else ignition > 0.5, fresh.get(SUPPLY),
            fresh.get(TEMPERATURE), self._problem or ("" if fresh else "the bus is silent"),
        )  # fmt: skip

    def close(self) -> None:
        """End the thread, then the bus."""
        self._stop.set()
        self._thread.join()
        self._bus.close()

    def _listen(self) -> None:
        backoff = Backoff()
        while not self._stop.is_set():
            try:
                if not self._bus.is_open:
                    self._bus.open()
                frame = self._bus.recv(POLL_S)
            except LongtailError as error:
                self._bus.close()
                self._lost(error)
                self._stop.wait(backoff.next_s())
                continue
            backoff.reset()
            self._problem = ""
            if frame is not None:
                self._take(frame)

    def _lost(self, error: LongtailError) -> None:
        if not self._problem:
            log.warning("power bus cannot be read", reason=str(error))
        self._problem = str(error)

    def _take(self, frame: Any) -> None:
        from cantools.database.errors import Error

        message = self._messages.get(frame.arbitration_id)
        if message is None:
            return
        try:
            values = message.decode(frame.data, decode_choices=False)
        except (Error, ValueError) as error:
            self._problem = f"{message.name} cannot be decoded: {error}"
            return
        now_ns = self._clock.mono_ns()
        for reading, signal in self._wanted[int(frame.arbitration_id)]:
            value = float(values.get(signal, math.nan))
            if math.isfinite(value):
                self._seen[reading] = (now_ns, value)


def _found(database: Any, name: str) -> tuple[Any, str]:
    message_name, dot, signal = name.partition(".")
    known = {message.name: message for message in database.messages}
    message = known.get(message_name)
    if not dot or message is None or signal not in {each.name for each in message.signals}:
        raise InputError(f"the DBC has no signal {name!r}; write Message.Signal", "power.can")
    return message, signal


def open_can_power(
    interface: str, channel: str, dbc: Path, names: Mapping[str, str], clock: Clock
) -> CanPower:
    """A bus of python-can's. Raises `InputError` for what is missing or wrong."""
    cantools = optional_module("cantools", "can")
    try:
        database = cantools.database.load_file(str(dbc))
    except Exception as error:
        raise InputError(f"not a usable DBC file: {error}", str(dbc)) from error
    return CanPower(BusPort(interface, channel, {}), database, names, clock)
