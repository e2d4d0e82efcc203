"""Objects that blink between frames, from detections alone. Pure.

An object is followed from frame to frame of one channel by where it should be: boxes of pictures
by their overlap, boxes in the ego frame by the distance of their middles once both motions are
taken off. It *flickers* when it is found again after frames in which it was not, and when it was
there for `BRIEF` frames or fewer and is then gone for good. What leaves by the edge of what is
looked at (further than `REACH_M`, or at a picture's border) is no flicker.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from contracts.clock import NS_PER_S
from contracts.samples import Detection, Float64s, PerceptionFrame

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
MOST_TRACKS = 64


@dataclass(slots=True)
class _Track:
    place: Float64s
    velocity_mps: tuple[float, float]
    frames: int = 1
    missing: int = 0
    at_edge: bool = False


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
        taken: set[int] = set()
        fresh: list[_Track] = []
        for detection in found:
            place = _place(detection)
            best = _nearest(tracks, taken, place)
            if best is not None:
                taken.add(best)
                self._found_again(tracks[best], detection, place, now_ns)
            elif detection.probability >= BORN:
                fresh.append(_Track(place, _velocity(detection), at_edge=self._at_edge(detection)))
        alive = []
        for number, track in enumerate(tracks):
            track.missing = 0 if number in taken else track.missing + 1
            if track.missing < GONE_FRAMES:
                alive.append(track)
            elif track.frames <= BRIEF and not track.at_edge:
                self._flickers.append(now_ns)
        return (fresh + alive)[:MOST_TRACKS]

    def _found_again(
        self, track: _Track, detection: Detection, place: Float64s, now_ns: int
    ) -> None:
        if track.missing and not track.at_edge:
            self._flickers.append(now_ns)
        track.place, track.velocity_mps = place, _velocity(detection)
        track.at_edge = self._at_edge(detection)
        track.frames += 1


def _place(detection: Detection) -> Float64s:
    """x, y of the middle in the ego frame, or x0, y0, x1, y1 in pixels."""
    if detection.cuboid is not None:
        return np.array(detection.cuboid.centre_m[:2], np.float64)
    return np.array(detection.box_px, np.float64)


def _velocity(detection: Detection) -> tuple[float, float]:
    return detection.cuboid.velocity_mps if detection.cuboid is not None else (0.0, 0.0)


def _moved(track: _Track, dt_s: float, speed_mps: float, yaw_rate_radps: float) -> None:
    """Bring a place in the ego frame to now; one in a picture stays."""
    if len(track.place) != 2:
        return
    ahead = track.place + dt_s * (np.array(track.velocity_mps) - (speed_mps, 0.0))
    turn = -yaw_rate_radps * dt_s
    cos, sin = np.cos(turn), np.sin(turn)
    track.place = np.array([cos * ahead[0] - sin * ahead[1], sin * ahead[0] + cos * ahead[1]])


def _nearest(tracks: list[_Track], taken: set[int], place: Float64s) -> int | None:
    best, likeness = None, 0.0
    for number, track in enumerate(tracks):
        if number in taken or len(track.place) != len(place):
            continue
        if len(place) == 2:
            apart = float(np.hypot(*(track.place - place)))
            alike = 1.0 - apart / APART_M if apart < APART_M else -1.0
        else:
            shared = _iou(track.place, place)
            alike = shared if shared >= LEAST_IOU else -1.0
        if alike > likeness:
            best, likeness = number, alike
    return best


def _iou(a: Float64s, b: Float64s) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    both = float(wide * high)
    areas = float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]))
    return both / (areas - both)
