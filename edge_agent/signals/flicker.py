"""Objects that blink between frames, from detections alone. Pure.

An object is followed from frame to frame of one channel by where it should be: boxes of pictures
by their overlap, boxes in the ego frame by the distance of their middles once both motions are
taken off. It *flickers* when it is found again after frames in which it was not, and when it was
there for `BRIEF` frames or fewer and is then gone for good. What leaves by the edge of what is
looked at (further than `REACH_M`, or at a picture's border) is no flicker, and neither is what
passes behind something nearer that the model sees: a pedestrian behind parked cars was there all
the time. What hides behind a thing of no class (a wall, a hedge) looks like a flicker.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from contracts.clock import NS_PER_S
from contracts.samples import Detection, Float64s, PerceptionFrame
from edge_agent.signals.boxes import cuboid_rows
from kernels.obstacles import hidden_behind

BORN = 0.4
"""Probability from which something begins to be followed."""
KEPT = 0.2
"""Probability from which it goes on being found."""
BRIEF = 2
GONE_FRAMES = 4
"""After so many frames without it a thing is gone."""
APART_M = 2.5
LEAST_IOU = 0.3
REACH_M = 40.0
WINDOW_NS = NS_PER_S
_BORDER = 0.03
HIDDEN = 0.25
"""Share of its width that something nearer must cover for a thing to be out of sight."""
_EYE_M = (1.2, 0.0)
"""From where it looks in the ego frame: cameras and lidars sit about there."""
MOST_TRACKS = 64


@dataclass(slots=True)
class _Track:
    place: Float64s
    velocity_mps: tuple[float, float]
    frames: int = 1
    missing: int = 0
    at_edge: bool = False
    half_m: float = 0.0
    hidden: bool = False


class FlickerWatch:
    """Follows what the frames of a drive show, each channel by itself."""

    def __init__(self) -> None:
        self._tracks: dict[str, list[_Track]] = {}
        self._last_ns: dict[str, int] = {}
        self._flickers: deque[int] = deque()
        self._extent_px = (0.0, 0.0)

    def see(self, frame: PerceptionFrame, speed_mps: float, yaw_rate_radps: float) -> int:
        """Take a frame; flickers of all channels within the last second up to it.

        Speeds are the ego's, 0 where they are unknown.
        """
        last_ns = self._last_ns.get(frame.channel, frame.mono_ns)
        dt_s = (frame.mono_ns - last_ns) / NS_PER_S
        self._last_ns[frame.channel] = frame.mono_ns
        tracks = self._tracks.get(frame.channel, [])
        if dt_s < 0 or dt_s > 1.0:
            tracks = []  # a silence: nothing is known of what was there before
        for track in tracks:
            _moved(track, dt_s, speed_mps, yaw_rate_radps)
        found = sorted(
            (d for d in frame.detections if d.probability >= KEPT), key=lambda d: -d.probability
        )[:MOST_TRACKS]
        self._grow(found)
        self._tracks[frame.channel] = self._followed(tracks, found, frame.mono_ns)
        while self._flickers and frame.mono_ns - self._flickers[0] > WINDOW_NS:
            self._flickers.popleft()
        return len(self._flickers)

    def _grow(self, found: list[Detection]) -> None:
        """How far boxes of pictures have reached: where a picture's right and lower border is."""
        boxes = [d.box_px for d in found if d.cuboid is None and d.box_px is not None]
        right = max((box[2] for box in boxes), default=0.0)
        low = max((box[3] for box in boxes), default=0.0)
        self._extent_px = max(self._extent_px[0], right), max(self._extent_px[1], low)

    def _at_edge(self, detection: Detection) -> bool:
        if detection.cuboid is not None:
            x, y, _ = detection.cuboid.centre_m
            return float(np.hypot(x, y)) > REACH_M
        if detection.box_px is None:
            return True
        x0, y0, x1, y1 = detection.box_px
        right, low = self._extent_px
        near = _BORDER * max(right, low)
        return x0 < near or y0 < near or x1 > right - near or y1 > low - near

    def _followed(self, tracks: list[_Track], found: list[Detection], now_ns: int) -> list[_Track]:
        places = [_place(detection) for detection in found]
        track_of = _matched(tracks, places)
        fresh: list[_Track] = []
        for number, (detection, place) in enumerate(zip(found, places, strict=True)):
            if number in track_of:
                self._found_again(tracks[track_of[number]], detection, place, now_ns)
            elif detection.probability >= BORN:
                at_edge, half_m = self._at_edge(detection), _half_m(detection)
                fresh.append(_Track(place, _velocity(detection), at_edge=at_edge, half_m=half_m))
        taken = set(track_of.values())
        lost = [track for number, track in enumerate(tracks) if number not in taken]
        for track, behind in zip(lost, _out_of_sight(lost, found) if lost else (), strict=True):
            track.missing += 1
            track.hidden = track.hidden or behind
        alive = []
        for track in tracks:
            if track.missing < GONE_FRAMES:
                alive.append(track)
            elif track.frames <= BRIEF and not track.at_edge and not track.hidden:
                self._flickers.append(now_ns)
        return (fresh + alive)[:MOST_TRACKS]

    def _found_again(
        self, track: _Track, detection: Detection, place: Float64s, now_ns: int
    ) -> None:
        if track.missing and not track.at_edge and not track.hidden:
            self._flickers.append(now_ns)
        track.place, track.velocity_mps = place, _velocity(detection)
        track.at_edge, track.half_m = self._at_edge(detection), _half_m(detection)
        track.missing, track.hidden = 0, False
        track.frames += 1


def _place(detection: Detection) -> Float64s:
    """x, y of the middle in the ego frame, or x0, y0, x1, y1 in pixels."""
    if detection.cuboid is not None:
        return np.array(detection.cuboid.centre_m[:2], np.float64)
    return np.array(detection.box_px, np.float64)


def _velocity(detection: Detection) -> tuple[float, float]:
    return detection.cuboid.velocity_mps if detection.cuboid is not None else (0.0, 0.0)


def _half_m(detection: Detection) -> float:
    """Half its mean width from above; 0 of a box in a picture."""
    if detection.cuboid is None:
        return 0.0
    length, width, _ = detection.cuboid.size_m
    return 0.25 * (length + width)


def _out_of_sight(tracks: list[_Track], found: list[Detection]) -> list[bool]:
    """Whether each track, none of which is found now, is behind something nearer that is."""
    boxes = cuboid_rows(found)
    flat = [d.box_px for d in found if d.cuboid is None and d.box_px is not None]
    places = np.array([
        (*t.place, t.half_m) if len(t.place) == 2 else (0.0, 0.0, 0.0) for t in tracks
    ])  # fmt: skip
    hidden = hidden_behind(places.reshape(-1, 3), boxes, _EYE_M, HIDDEN).tolist()
    return [
        behind if len(track.place) == 2 else any(_overlaps(box, track.place) for box in flat)
        for track, behind in zip(tracks, hidden, strict=True)
    ]


def _overlaps(nearer: tuple[float, float, float, float], place: Float64s) -> bool:
    """Of two boxes in a picture the one that ends lower is the nearer thing, on a flat road."""
    x0, y0, x1, y1 = (float(value) for value in place)
    wide, high = min(x1, nearer[2]) - max(x0, nearer[0]), min(y1, nearer[3]) - max(y0, nearer[1])
    whole = float((x1 - x0) * (y1 - y0))
    return nearer[3] > y1 and wide > 0 and high > 0 and wide * high >= HIDDEN * whole


def _moved(track: _Track, dt_s: float, speed_mps: float, yaw_rate_radps: float) -> None:
    """Bring a place in the ego frame to now; one in a picture stays."""
    if len(track.place) != 2:
        return
    ahead = track.place + dt_s * (np.array(track.velocity_mps) - (speed_mps, 0.0))
    turn = -yaw_rate_radps * dt_s
    cos, sin = np.cos(turn), np.sin(turn)
    track.place = np.array([cos * ahead[0] - sin * ahead[1], sin * ahead[0] + cos * ahead[1]])


def _matched(tracks: list[_Track], places: list[Float64s]) -> dict[int, int]:
    """Which track each place goes on, the likest pair first, so that in a crowd a newcomer takes
    nobody's track.
    """
    found: dict[int, int] = {}
    for size, likeness in ((2, _nearness), (4, _ious)):
        rows = [i for i, track in enumerate(tracks) if len(track.place) == size]
        columns = [k for k, place in enumerate(places) if len(place) == size]
        if not rows or not columns:
            continue
        alike = likeness(np.array([tracks[i].place for i in rows]),
                         np.array([places[k] for k in columns]))  # fmt: skip
        pairs = np.argwhere(alike > 0)
        taken: set[int] = set()
        for row, column in pairs[np.argsort(-alike[tuple(pairs.T)], kind="stable")].tolist():
            if row not in taken and columns[column] not in found:
                taken.add(row)
                found[columns[column]] = rows[row]
    return found


def _nearness(a: Float64s, b: Float64s) -> Float64s:
    """1 at the same place [n, 2] and [m, 2], down to 0 at `APART_M`: [n, m]."""
    apart = np.hypot(a[:, None, 0] - b[None, :, 0], a[:, None, 1] - b[None, :, 1])
    return np.asarray(1.0 - apart / APART_M)


def _ious(a: Float64s, b: Float64s) -> Float64s:
    """Overlap of boxes [n, 4] and [m, 4] over their union, 0 below `LEAST_IOU`: [n, m]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.clip(high - low, 0.0, None), axis=2)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], axis=1), np.prod(b[:, 2:] - b[:, :2], axis=1)
    shared = both / np.maximum(area_a[:, None] + area_b[None, :] - both, 1e-9)
    return np.where(shared >= LEAST_IOU, shared, 0.0)
