"""Frames with their stamps: of log files, and of a bus that is open.

Guarantees: of a log that breaks off, every whole frame before the break is given, then
`CorruptError` tells after how many. Error frames and remote requests carry no signal: they are
counted by what they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from contracts.clock import NS_PER_S
from contracts.errors import CorruptError, InputError, TransientError
from contracts.signals import nearest_name
from edge_agent.sources.address import Address, optional_module
from edge_agent.sources.can.binding import Frame

if TYPE_CHECKING:
    from can import Message

LOG_SUFFIXES = (".asc", ".blf", ".csv", ".db", ".log", ".mf4", ".trc")
_BUS_OFF = 0x40  # linux/can/error.h: CAN_ERR_BUSOFF

StampedFrame = tuple[int, Frame]
"""The device's stamp in nanoseconds, and the frame."""


_MOST_A_BYTE = 128
"""Frames: deflate makes at most 1032 bytes of one, and a frame takes 9 at least."""
_LATEST_NS = 2**63
"""What a time in nanoseconds stays below."""


def is_log(path: Path) -> bool:
    """Whether a target is a log file: by what exists, else by its ending."""
    suffixes = [s.lower() for s in path.suffixes]
    return path.is_file() or bool(suffixes and suffixes[-1] in (*LOG_SUFFIXES, ".gz"))


def stamped(message: Message, counts: Counter[str]) -> StampedFrame | None:
    """A frame that carries bytes; others are counted and None."""
    if message.is_error_frame:
        counts["error frames"] += 1
        if message.arbitration_id & _BUS_OFF:
            counts["bus off"] += 1
        return None
    if message.is_remote_frame:
        counts["remote requests"] += 1
        return None
    at_ns = message.timestamp * NS_PER_S
    if not 0 <= at_ns < _LATEST_NS:
        counts["no time"] += 1
        return None
    channel = message.channel
    if channel is not None and not isinstance(channel, int | str):
        channel = str(channel)  # some interfaces name several at once
    frame = Frame(message.arbitration_id, message.is_extended_id, message.data or b"", channel)
    return round(at_ns), frame


def read_log(path: Path, counts: Counter[str]) -> Iterator[StampedFrame]:
    """All frames of a log, in the file's order.

    Raises `InputError` for a file of another kind, `CorruptError` where it breaks off.
    """
    can = optional_module("can", "can")
    if not path.is_file():
        raise InputError("no such file", str(path))
    whole, most = 0, _MOST_A_BYTE * path.stat().st_size
    try:
        reader = can.LogReader(str(path))
    except Exception as error:  # each of python-can's readers raises its own
        raise InputError(f"not a CAN log: {error}", str(path)) from error
    with reader:
        frames = iter(reader)
        while True:
            try:
                message = next(frames, None)
            except Exception as error:
                raise CorruptError(
                    f"the log is whole up to frame {whole} only: {error or type(error).__name__}",
                    str(path),
                ) from error
            if message is None:
                return
            whole += 1
            if whole > most:  # a reader of a broken file that stands still gives frames for ever
                raise CorruptError(
                    f"gives more than {most} frames, which it cannot hold", str(path)
                )
            found = stamped(message, counts)
            if found is not None:
                yield found


class Bus(Protocol):
    """The part of python-can's `BusABC` that is used."""

    def recv(self, timeout: float | None = None) -> Message | None: ...

    def shutdown(self) -> None: ...


class BusPort:
    """Opens and reads one interface, with errors in our words.

    Args:
        interface, channel: python-can's: `socketcan`, `can0`.
        settings: more for python-can's `Bus`, such as `bitrate`.
    """

    def __init__(self, interface: str, channel: str, settings: dict[str, Any]) -> None:
        self._can = optional_module("can", "can")
        known = sorted(self._can.VALID_INTERFACES)
        self.place = f"can:{interface}/{channel}"
        if interface not in known:
            raise InputError(
                f"python-can has no interface {interface!r}{nearest_name(interface, known)}; "
                f"known: {', '.join(known)}",
                self.place,
            )
        self._settings = {"interface": interface, "channel": channel, **settings}
        self._bus: Bus | None = None

    @property
    def is_open(self) -> bool:
        return self._bus is not None

    def open(self) -> None:
        """Raises `TransientError` for a bus that may come up later, `InputError` for settings
        that are wrong or a driver that is missing.
        """
        try:
            self._bus = self._can.Bus(**self._settings)
        except (ValueError, ImportError, self._can.CanInterfaceNotImplementedError) as error:
            raise InputError(f"the bus cannot be opened: {error}", self.place) from error
        except (self._can.CanError, OSError) as error:
            raise TransientError(f"the bus cannot be opened: {error}", self.place) from error

    def recv(self, timeout_s: float) -> Message | None:
        """The next frame, None when none came in time. Raises `TransientError`: bus down."""
        if self._bus is None:
            raise TransientError("the bus is not open", self.place)
        try:
            return self._bus.recv(timeout_s)
        except (self._can.CanError, OSError) as error:
            raise TransientError(f"the bus is down: {error}", self.place) from error

    def close(self) -> None:
        bus, self._bus = self._bus, None
        if bus is not None:
            try:
                bus.shutdown()
            except (self._can.CanError, OSError):
                return  # it was down already: there is nothing left to close


def bus_port(address: Address) -> BusPort:
    """The interface of a live address. Raises `InputError` saying what would be right."""
    interface, slash, channel = address.target.partition("/")
    if not slash or not channel:
        raise InputError(
            "no such log file; give can:LOG_FILE,map=MAP or can:INTERFACE/CHANNEL,map=MAP, "
            "such as can:socketcan/can0",
            address.place,
        )
    settings: dict[str, Any] = {}
    if "bitrate" in address.options:
        try:
            settings["bitrate"] = int(address.options["bitrate"])
        except ValueError:
            raise InputError(
                f"bitrate must be a whole number, not {address.options['bitrate']!r}", address.place
            ) from None
    if "fd" in address.options:
        if address.options["fd"] not in ("0", "1"):
            raise InputError("fd must be 0 or 1", address.place)
        settings["fd"] = address.options["fd"] == "1"
    return BusPort(interface, channel, settings)
