"""Pre-filter: instants of the sensors that a clip need not hold, since nothing has changed.

While the vehicle stands still its cameras see the same picture ten times a second. An instant (one
picture of each camera and one sweep) is left out only when all of this holds against the last one
that was kept:

- the vehicle has stood for `SETTLED_NS`, by its own speed; a vehicle of unknown speed never stands;
- every picture has nearly the same perceptual hash, and no small part of it has changed either: a
  hash alone misses a pedestrian far away;
- no detection has come, gone, moved or changed its class, by the model's own frames;
- no sweep has points where there were none, or none where there were some;
- it lies outside of every fire's interval and `AROUND_NS` around it, and at most `LONGEST_NS` after
  the last instant that was kept.

Each channel is held against its own last kept message, so channels of different rates do as well.
What is not sure is kept: a picture or sweep that cannot be read, a camera not seen before. Safety
clips and the random stream are left whole. Everything else in a clip (signals, poses, detections)
stays as it is. Pure: the same clip gives the same answer.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from contracts.channels import signal_channel
from contracts.clock import NS_PER_MS, NS_PER_S
from contracts.errors import LongtailError
from contracts.samples import PerceptionFrame
from edge_agent.clips.arranged import Arranged, read_where
from edge_agent.clips.sameness import Look, detections_of, look_at
from edge_agent.selection.capture import ClipJob
from kernels.clip import schemas
from kernels.clip.decoding import OwnDecoder
from kernels.clip.encoding import EncodedMessage, heads_of

STILL_MPS = 0.1
SETTLED_NS = 1 * NS_PER_S
"""Brakes settle and bodies rock when a vehicle has come to a stop."""
SPEED_LASTS_NS = 500 * NS_PER_MS
AROUND_NS = 1 * NS_PER_S
LONGEST_NS = 1 * NS_PER_S
SAME_INSTANT_NS = 60 * NS_PER_MS
_SENSORS = frozenset({schemas.IMAGE, schemas.LIDAR_SWEEP})
_SPEED = signal_channel("ego.speed_mps")


@dataclass(frozen=True, slots=True)
class Thinned:
    """What is left of a clip's messages, and how many of each channel were left out."""

    messages: Sequence[EncodedMessage]
    left_out: dict[str, int]


def thin_out(job: ClipJob, messages: Sequence[EncodedMessage]) -> Thinned:
    """Leave out what adds nothing. `messages` are a clip's, in order of time."""
    if job.safety or job.stream == "random":
        return Thinned(messages, {})
    standing = _Standing(messages)
    if not standing.ever:
        return Thinned(messages, {})
    left_out = set(_redundant(job, messages, standing))
    channels = [head.channel for head in heads_of(messages)]
    counts = Counter(channels[index] for index in left_out)
    kept = [index for index in range(len(messages)) if index not in left_out]
    return Thinned(Arranged(messages, kept), dict(sorted(counts.items())))


def _redundant(
    job: ClipJob, messages: Sequence[EncodedMessage], standing: _Standing
) -> Iterator[int]:
    """Indices of the messages that may go."""
    seen = _Detections(messages)
    kept: dict[str, _Kept] = {}
    for at_ns, instant in _instants(messages):
        if not standing.at(at_ns) or _is_near_a_fire(job, at_ns):
            kept.clear()
            continue
        shown = (messages[index] for index in instant)
        looks = {message.channel: look_at(message) for message in shown}
        if all(_adds_nothing(kept.get(name), at_ns, look, seen) for name, look in looks.items()):
            yield from instant
        else:
            kept |= {name: _Kept(at_ns, look) for name, look in looks.items()}


@dataclass(frozen=True, slots=True)
class _Kept:
    """When a channel was kept last, and what it showed; None for what cannot be read."""

    at_ns: int
    look: Look | None


def _adds_nothing(kept: _Kept | None, at_ns: int, look: Look | None, seen: _Detections) -> bool:
    if kept is None or at_ns - kept.at_ns > LONGEST_NS or seen.changed(kept.at_ns, at_ns):
        return False
    return look is not None and kept.look is not None and look.is_same(kept.look)


def _instants(messages: Sequence[EncodedMessage]) -> Iterator[tuple[int, list[int]]]:
    """When an instant begins, and its pictures and sweeps: close in time, at most one of each
    channel.
    """
    current: list[int] = []
    channels: set[str] = set()
    begin_ns = 0
    for index, head in enumerate(heads_of(messages)):
        if head.schema_name not in _SENSORS:
            continue
        if head.channel in channels or (current and head.mono_ns - begin_ns > SAME_INSTANT_NS):
            yield begin_ns, current
            current, channels = [], set()
        if not current:
            begin_ns = head.mono_ns
        current.append(index)
        channels.add(head.channel)
    if current:
        yield begin_ns, current


def _is_near_a_fire(job: ClipJob, at_ns: int) -> bool:
    return any(
        cause.start_mono_ns - AROUND_NS <= at_ns <= cause.end_mono_ns + AROUND_NS
        or abs(cause.fired_mono_ns - at_ns) <= AROUND_NS
        for cause in job.causes
    )


class _Standing:
    """When the vehicle stood, by its speed signal."""

    def __init__(self, messages: Sequence[EncodedMessage]) -> None:
        self._times: list[int] = []
        self._since: list[int | None] = []
        since_ns: int | None = None
        for message in read_where(messages, lambda head: head.channel == _SPEED):
            (speed,) = struct.unpack_from("<d", message.payload, 1)
            silent = self._times and message.mono_ns - self._times[-1] > SPEED_LASTS_NS
            if not abs(speed) <= STILL_MPS:
                since_ns = None
            elif since_ns is None or silent:
                since_ns = message.mono_ns
            self._times.append(message.mono_ns)
            self._since.append(since_ns)
        self.ever = any(since is not None for since in self._since)

    def at(self, at_ns: int) -> bool:
        """Whether it has stood for long enough, as far as is known at this time."""
        index = bisect_right(self._times, at_ns) - 1
        if index < 0 or at_ns - self._times[index] > SPEED_LASTS_NS:
            return False
        since_ns = self._since[index]
        return since_ns is not None and at_ns - since_ns >= SETTLED_NS


class _Detections:
    """When what the model saw has changed, by camera or for all of them."""

    def __init__(self, messages: Sequence[EncodedMessage]) -> None:
        decoder = OwnDecoder()
        before: dict[str, PerceptionFrame] = {}
        times: dict[str, list[int]] = defaultdict(list)
        for message in read_where(messages, lambda head: head.schema_name == schemas.PERCEPTION):
            try:
                frame = decoder.decode(message)
            except LongtailError:
                times[message.channel].append(message.mono_ns)  # what cannot be read has changed
                continue
            if isinstance(frame, PerceptionFrame):
                old = before.get(message.channel)
                if old is None or detections_of(old).differ(detections_of(frame)):
                    times[message.channel].append(message.mono_ns)
                    before[message.channel] = frame
        self._changes = sorted(at_ns for changes in times.values() for at_ns in changes)

    def changed(self, after_ns: int, until_ns: int) -> bool:
        """Whether anything has changed in (after, until], or will within the same instant."""
        first = bisect_right(self._changes, after_ns)
        return first < bisect_left(self._changes, until_ns + SAME_INSTANT_NS)
