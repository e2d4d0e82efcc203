"""Capture decisions: which spans of the ring become clips.

Pure: takes fires and times, gives jobs. Overlapping windows merge into one clip with several
causes; a clip never grows beyond `MAX_CLIP_NS`, a fire that would stretch it starts the next.
A job is due when its post-roll has passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from contracts.clip import Cause, Window
from contracts.clock import NS_PER_S
from contracts.ids import EventKey
from contracts.trigger_spec import Capture, LoadedSpec, RandomBaselineSpec
from edge_agent.spool.entry import PRIORITIES, Priority
from kernels.triggers.cause import cause_of
from kernels.triggers.engine import Fire

MAX_CLIP_NS = 120 * NS_PER_S

# Channels that every clip has, since no clip can be understood without them.
ALWAYS = ("/clip/*", "/camera/*/calibration", "/tf")


@dataclass(frozen=True, slots=True)
class ClipJob:
    """One clip to be packed from the ring."""

    event: EventKey
    requested: Window
    causes: tuple[Cause, ...]
    channels: tuple[str, ...]
    downsample: dict[str, int]
    priority: Priority
    cellular: bool
    stream: str
    inclusion_probability: float | None
    specs: tuple[LoadedSpec, ...]

    @property
    def trigger_ids(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cause.trigger_id for cause in self.causes))

    @property
    def safety(self) -> bool:
        return any(cause.safety for cause in self.causes)

    def wants(self, channel: str) -> bool:
        """Whether a channel belongs in this clip."""
        return any(fnmatchcase(channel, pattern) for pattern in (*self.channels, *ALWAYS))

    def keep_every(self, channel: str) -> int:
        """1 keeps every message; n keeps every n-th. The finest matching pattern wins."""
        rates = [n for pattern, n in self.downsample.items() if fnmatchcase(channel, pattern)]
        return min(rates, default=1)


def _common_rates(captures: Sequence[Capture]) -> dict[str, int]:
    """The rates that every cause agrees to: one that asked for all messages of a channel, or for
    more of them, overrules another that did not.
    """
    rates: dict[str, int] = {}
    for pattern in {pattern for capture in captures for pattern in capture.downsample}:
        asked = [
            capture.downsample.get(pattern, 1)
            for capture in captures
            if pattern in capture.downsample
            or any(fnmatchcase(pattern, c) or fnmatchcase(c, pattern) for c in capture.channels)
        ]
        if min(asked) > 1:
            rates[pattern] = min(asked)
    return dict(sorted(rates.items()))


@dataclass(slots=True)
class _Pending:
    start_ns: int
    end_ns: int
    fires: list[Fire] = field(default_factory=list)


class CaptureBook:
    """Open windows of one drive."""

    def __init__(self, vehicle_id: str, boot_id: str) -> None:
        self._vehicle_id = vehicle_id
        self._boot_id = boot_id
        self._pending: list[_Pending] = []

    def event_of(self, fire: Fire) -> EventKey:
        """The key of a fire by itself, known before its clip is."""
        return EventKey(
            vehicle_id=self._vehicle_id,
            boot_id=self._boot_id,
            start_mono_ns=fire.start_mono_ns,
            end_mono_ns=fire.end_mono_ns,
        )

    def add(self, fire: Fire) -> None:
        """Open a window for a fire, or widen one that it overlaps."""
        capture = fire.loaded.spec.capture
        start_ns = fire.start_mono_ns - capture.pre
        end_ns = fire.end_mono_ns + capture.post
        for pending in self._pending:
            overlaps = start_ns <= pending.end_ns and pending.start_ns <= end_ns
            merged_start = min(start_ns, pending.start_ns)
            merged_end = max(end_ns, pending.end_ns)
            if overlaps and merged_end - merged_start <= MAX_CLIP_NS:
                pending.start_ns, pending.end_ns = merged_start, merged_end
                pending.fires.append(fire)
                return
        self._pending.append(_Pending(start_ns, end_ns, [fire]))

    def due(self, now_ns: int) -> list[ClipJob]:
        """Jobs whose post-roll has passed, oldest first; each is given once."""
        ready = [p for p in self._pending if p.end_ns < now_ns]
        self._pending = [p for p in self._pending if p.end_ns >= now_ns]
        return [self._job(p) for p in sorted(ready, key=lambda p: p.start_ns)]

    def flush(self) -> list[ClipJob]:
        """All open windows, at the end of a drive; what is missing shows in the manifest."""
        ready, self._pending = self._pending, []
        return [self._job(p) for p in sorted(ready, key=lambda p: p.start_ns)]

    def _job(self, pending: _Pending) -> ClipJob:
        fires = pending.fires
        specs = list({f.loaded.digest: f.loaded for f in fires}.values())
        random = [s.spec for s in specs if isinstance(s.spec, RandomBaselineSpec)]
        return ClipJob(
            event=EventKey(
                vehicle_id=self._vehicle_id,
                boot_id=self._boot_id,
                start_mono_ns=min(f.start_mono_ns for f in fires),
                end_mono_ns=max(f.end_mono_ns for f in fires),
            ),
            requested=Window(start_mono_ns=pending.start_ns, end_mono_ns=pending.end_ns),
            causes=tuple(cause_of(f) for f in fires),
            channels=tuple(sorted({c for s in specs for c in s.spec.capture.channels})),
            downsample=_common_rates([s.spec.capture for s in specs]),
            priority=min((s.spec.upload.priority for s in specs), key=PRIORITIES.index),
            cellular=any(s.spec.upload.cellular == "allowed" for s in specs),
            stream="random" if random else "triggered",
            inclusion_probability=max((s.when.probability for s in random), default=None),
            specs=tuple(specs),
        )
