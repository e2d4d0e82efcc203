"""A mapping bound to a DBC: checked once, then frames become values.

Guarantees: every name, unit and state of the mapping is checked against the DBC before the first
frame. A frame gives a value only when it is whole, its alive counter moved, the multiplexer
shows the signal, and the number is within the DBC's own range and not marked as invalid;
everything left out is counted by reason. Frames that the mapping does not need are not decoded.

Does not do: checksums, which each maker computes in its own way; several frames per message
(ISO-TP, J1939 transport).
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from contracts.errors import InputError
from contracts.signals import CATALOGUE, SIGNAL_INDEX, nearest_name
from edge_agent.sources.address import optional_module
from edge_agent.sources.can.mapping import CanSignalRule, Channel, LoadedMap
from edge_agent.sources.conversion import Conversion, SourceValue, bind

if TYPE_CHECKING:
    from cantools.database.can.database import Database
    from cantools.database.can.message import Message
    from cantools.database.can.signal import Signal as DbcSignal

MOST_BITS = 8 * 1785
"""Of a message: J1939's transport has the longest."""
_MESSAGE = re.compile(rb"^[ \t]*BO_\s+\d+\s+\w+\s*:\s*(\d+)", re.MULTILINE)
_INVALID_LABEL = re.compile(r"(^|[_ ])(SNA|INVALID|NOT[_ ]?AVAILABLE|UNAVAILABLE)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: `is_extended` for an id of 29 bits; `channel` as the bus or log names it."""

    frame_id: int
    is_extended: bool
    payload: bytes | bytearray
    channel: Channel | None = None


@dataclass(frozen=True, slots=True)
class _Field:
    """One catalogued signal inside a message."""

    name: str
    source: str
    channel: Channel | None
    scaled: Callable[[float], float]
    low: float | None
    high: float | None
    conversion: Conversion


@dataclass(slots=True)
class _Bound:
    """A message that is needed, and the newest count of its alive counter by channel.

    `plain` holds the signals that every frame carries, `paged` those behind a multiplexer: a page
    that the DBC does not know must not cost the others.
    """

    name: str
    length: int
    plain: Message
    paged: Message | None
    fields: tuple[_Field, ...]
    counter: str | None
    newest: dict[Channel | None, int]
    decode_error: type[Exception]

    def raws(self, payload: bytes, counts: Counter[str]) -> dict[str, float]:
        """Numbers as transmitted, of the signals that are in this frame."""
        found: dict[str, float] = {}
        try:
            found.update(_decoded(self.plain, payload))
        except self.decode_error:
            counts[f"{self.name}: cannot be decoded"] += 1
        if self.paged is not None:
            try:
                found.update(_decoded(self.paged, payload))
            except self.decode_error:
                return found  # a page that holds nothing of the mapping's
        return found


def _decoded(message: Message, payload: bytes) -> dict[str, float]:
    numbers = message.decode_simple(payload, decode_choices=False, scaling=False)
    return cast("dict[str, float]", numbers)  # without choices and scaling there is no text


class BoundMap:
    """Decodes frames. Attributes: `counts`: what was left out, by reason."""

    def __init__(self, messages: dict[tuple[bool, int], _Bound], mask: int | None) -> None:
        self._messages = messages
        self._mask = mask
        self.counts: Counter[str] = Counter()

    def decode(self, frame: Frame) -> Iterator[tuple[str, float]]:
        """Name and value of every signal that this frame carries."""
        frame_id = frame.frame_id if self._mask is None else frame.frame_id & self._mask
        bound = self._messages.get((frame.is_extended, frame_id))
        if bound is None:
            self.counts["frames not mapped"] += 1
            return
        if len(frame.payload) < bound.length:
            self.counts[f"{bound.name}: frame too short"] += 1
            return
        raws = bound.raws(bytes(frame.payload), self.counts)
        if bound.counter is not None and bound.counter in raws:
            count = int(raws[bound.counter])
            if bound.newest.get(frame.channel) == count:
                self.counts[f"{bound.name}: alive counter stands still"] += 1
                return
            bound.newest[frame.channel] = count
        for field in bound.fields:
            if field.channel is not None and field.channel != frame.channel:
                continue
            raw = raws.get(field.source)
            if raw is None:
                continue  # the multiplexer shows another signal in this frame
            value = self._value(field, float(raw))
            if value is not None:
                yield field.name, value

    def _value(self, field: _Field, raw: float) -> float | None:
        physical = field.scaled(raw)
        value = field.conversion.value(raw, physical)
        if value is None:
            self.counts[f"{field.name}: not available"] += 1
        elif (field.low is not None and physical < field.low) or (
            field.high is not None and physical > field.high
        ):
            self.counts[f"{field.name}: outside of the DBC's range"] += 1
            return None
        return value


def load_dbc(path: Path, mask: int | None) -> Database:
    """Read a CAN database. Raises `InputError` with what cantools says of it."""
    cantools = optional_module("cantools.database", "can")
    database: Database
    try:
        _check_lengths(path.read_bytes())
        database = cantools.load_file(str(path), frame_id_mask=mask, strict=False)
        for message in getattr(database, "messages", ()):
            # First: the strict look lays out every bit up to the last that is named.
            _check_within_a_frame(message)
            _check_numbers(message)
            message.refresh(strict=True)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from error
    except InputError as error:
        raise InputError(error.message, str(path)) from error
    except Exception as error:  # its parsers raise errors of many libraries
        raise InputError(f"not a CAN database: {str(error)[:300]}", str(path)) from error
    if not hasattr(database, "messages"):
        raise InputError("not a CAN database: it describes diagnostics", str(path))
    return database


def _check_lengths(content: bytes) -> None:
    """Before cantools makes room for messages of any length."""
    for found in _MESSAGE.finditer(content):
        digits = found.group(1).decode()
        if len(digits) > 4 or int(digits) > MOST_BITS // 8:
            line = content.count(b"\n", 0, found.start()) + 1
            raise InputError(f"line {line}: a message of {digits[:12]} bytes; none has as many")


def _check_within_a_frame(message: Message) -> None:
    for signal in message.signals:
        if not (0 <= signal.start < MOST_BITS and 1 <= signal.length <= MOST_BITS):
            place = f"bits {signal.start} to {signal.start + signal.length}"
            raise InputError(f"{message.name}.{signal.name} lies at {place}; no frame has as many")


def _check_numbers(message: Message) -> None:
    """cantools reads a number of any length, as an int that fits no float."""
    for signal in message.signals:
        name = f"{message.name}.{signal.name}"
        told = {
            "factor": signal.scale, "offset": signal.offset,
            "minimum": signal.minimum, "maximum": signal.maximum,
        }  # fmt: skip
        for what, number in told.items():
            if number is not None and not abs(number) <= sys.float_info.max:
                raise InputError(f"{name}: its {what} is no finite number")
        if any(not -(2**63) <= raw < 2**64 for raw in signal.choices or {}):
            raise InputError(f"{name}: one of its states has a number that no frame can carry")


def bind_map(loaded: LoadedMap, database: Database) -> BoundMap:
    """Check a mapping against a DBC. Raises `InputError` at the key that is wrong."""
    rules = loaded.rules
    by_name = {message.name: message for message in database.messages}
    fields: dict[str, list[_Field]] = {}
    for name, rule in rules.signals.items():
        message = _message(by_name, rule.message, loaded.place("signals", name, "from"))
        fields.setdefault(rule.message, []).append(_field(loaded, name, rule, message))
    counters: dict[str, str] = {}
    for message_name, counter in rules.counters.items():
        place = loaded.place("counters", message_name)
        message = _message(by_name, message_name, place)
        _signal(message, counter, place)
        if message_name not in fields:
            raise InputError(f"no signal of the mapping comes from {message_name}", place)
        counters[message_name] = counter
    mask = rules.frame_id_mask
    decode_error = optional_module("cantools.database.errors", "can").DecodeError
    bound: dict[tuple[bool, int], _Bound] = {}
    for message_name, of_message in fields.items():
        message = by_name[message_name]
        frame_id = message.frame_id if mask is None else message.frame_id & mask
        alive = counters.get(message_name)
        key = (message.is_extended_frame, frame_id)
        if key in bound:
            raise InputError(
                f"{message_name} and {bound[key].name} have the same id under this mask",
                loaded.place("frame_id_mask"),
            )
        bound[key] = _Bound(
            message_name, message.length, *_halves(message, of_message, alive),
            tuple(of_message), alive, {}, decode_error,
        )  # fmt: skip
    return BoundMap(bound, mask)


def _halves(
    message: Message, fields: Sequence[_Field], counter: str | None
) -> tuple[Message, Message | None]:
    """The message with only what is needed of every frame, and of its pages."""
    needed = {field.source for field in fields} | ({counter} if counter else set())
    signals = {signal.name: signal for signal in message.signals}
    plain = [s for name, s in signals.items() if name in needed and s.multiplexer_ids is None]
    paged = [s for name, s in signals.items() if name in needed and s.multiplexer_ids is not None]
    switches: dict[str, DbcSignal] = {}
    waiting = [s.multiplexer_signal for s in paged]
    while waiting:  # a switch may itself stand behind another
        name = waiting.pop()
        if name is not None and name not in switches:
            switches[name] = signals[name]
            waiting.append(signals[name].multiplexer_signal)
    shown = [s for s in switches.values() if s not in paged]

    def of(chosen: list[DbcSignal]) -> Message:
        return type(message)(
            message.frame_id, message.name, message.length, chosen,
            is_extended_frame=message.is_extended_frame, strict=False,
        )  # fmt: skip

    return of(plain), of([*paged, *shown]) if paged else None


def _message(by_name: dict[str, Message], name: str, place: str) -> Message:
    if name not in by_name:
        raise InputError(f"the DBC has no message {name!r}{nearest_name(name, by_name)}", place)
    return by_name[name]


def _signal(message: Message, name: str, place: str) -> DbcSignal:
    signals = {signal.name: signal for signal in message.signals}
    if name not in signals:
        raise InputError(
            f"{message.name} has no signal {name!r}{nearest_name(name, signals)}", place
        )
    return signals[name]


def _field(loaded: LoadedMap, name: str, rule: CanSignalRule, message: Message) -> _Field:
    signal = _signal(message, rule.signal, loaded.place("signals", name, "from"))
    labels = {int(raw): str(label) for raw, label in (signal.choices or {}).items()}
    if loaded.rules.invalid_labels:
        marked = [
            raw for raw, label in labels.items()
            if _INVALID_LABEL.search(label) and label not in rule.states
        ]  # fmt: skip
        rule = rule.model_copy(update={"invalid": (*rule.invalid, *marked)})
    conversion = bind(
        rule,
        SourceValue(rule.source, signal.unit, labels, signal.length == 1),
        CATALOGUE[SIGNAL_INDEX[name]],
        lambda key: loaded.place("signals", name, key),
    )
    return _Field(
        name, rule.signal, rule.channel if rule.channel is not None else loaded.rules.channel,
        _scaling(signal), signal.minimum, signal.maximum, conversion,
    )  # fmt: skip


def _scaling(signal: DbcSignal) -> Callable[[float], float]:
    scale, offset = float(signal.scale), float(signal.offset)
    return lambda raw: raw * scale + offset
