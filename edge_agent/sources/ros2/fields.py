"""A field of any message as a catalogued signal, checked against the type before the first one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from contracts.errors import InputError
from contracts.samples import SignalSample
from contracts.signals import CATALOGUE, SIGNAL_INDEX, nearest_name
from edge_agent.sources.conversion import Conversion, SourceValue, bind
from edge_agent.sources.ros2.mapping import FieldRule, LoadedMap

_STEP = re.compile(r"(\w+)(?:\[(\d+)\])?")
_BASE, _NAME, _ARRAY, _SEQUENCE = 1, 2, 3, 4  # rosbags.interfaces.Nodetype


@dataclass(frozen=True, slots=True)
class FieldReader:
    """Reads one signal. `texts` numbers the states of a field that is text."""

    name: str
    steps: tuple[tuple[str, int | None], ...]
    conversion: Conversion
    texts: Mapping[str, int] | None = None

    def read(self, message: Any, mono_ns: int) -> SignalSample | None:
        """None where the list is too short or the value is not available."""
        value = message
        for name, index in self.steps:
            value = getattr(value, name)
            if index is not None:
                if index >= len(value):
                    return None
                value = value[index]
        number = float(value) if self.texts is None else float(self.texts.get(value, -1))
        found = self.conversion.value(number, number)
        return None if found is None else SignalSample(self.name, mono_ns, found)


def field_readers(
    loaded: LoadedMap, types: Mapping[str, str], fielddefs: Mapping[str, Any]
) -> dict[str, list[FieldReader]]:
    """Readers by topic. Raises `InputError` at the key that is wrong.

    Args:
        fielddefs: of each message type, as rosbags' typestores have it.
    """
    found: dict[str, list[FieldReader]] = {}
    for name, rule in loaded.rules.signals.items():
        place = _placed(loaded, name)
        steps, kind = _walk(rule, types[rule.topic], fielddefs, place("field"))
        texts = None
        if kind == "string":
            if not rule.states:
                raise InputError(
                    f"{rule.field} is text: say what it means by states", place("field")
                )
            texts = {text: number for number, text in enumerate(rule.states)}
        labels = {number: text for text, number in texts.items()} if texts else None
        conversion = bind(
            rule, SourceValue(f"{rule.topic} {rule.field}", None, labels, kind == "bool"),
            CATALOGUE[SIGNAL_INDEX[name]], place,
        )  # fmt: skip
        found.setdefault(rule.topic, []).append(FieldReader(name, steps, conversion, texts))
    return found


def _placed(loaded: LoadedMap, name: str) -> Callable[[str], str]:
    return lambda key: loaded.place("signals", name, key)


def _walk(
    rule: FieldRule, kind: str, fielddefs: Mapping[str, Any], place: str
) -> tuple[tuple[tuple[str, int | None], ...], str]:
    """The steps of a path, and the base type at its end."""
    steps: list[tuple[str, int | None]] = []
    described: tuple[Any, ...] = (_NAME, kind)
    for word in rule.field.split("."):
        match = _STEP.fullmatch(word)
        name, index = (match[1], match[2]) if match else (word, None)
        if described[0] != _NAME:
            raise InputError(f"{steps[-1][0]!r} is a number: it has no {name!r}", place)
        fields = dict(fielddefs[described[1]][1])
        if name not in fields:
            hint = nearest_name(name, fields)
            raise InputError(f"{described[1]} has no field {name!r}{hint}", place)
        described = fields[name]
        if (described[0] in (_ARRAY, _SEQUENCE)) != (index is not None):
            form = f"{name}[0]" if index is None else name
            raise InputError(f"{name!r} is {'a' if index is None else 'no'} list: {form}", place)
        if index is not None:
            described = described[1][0]
        steps.append((name, None if index is None else int(index)))
    if described[0] != _BASE:
        raise InputError(f"{rule.field} is no single value", place)
    return tuple(steps), str(described[1][0])
