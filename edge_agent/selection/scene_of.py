"""What scene a clip shows: its place, its key frame and what was seen in it, from its messages.

Its direction is the course that the source tells, or else the way that its fixes go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import atan2, cos, hypot, radians

from contracts.channels import signal_channel
from contracts.clip import Cause
from contracts.clock import NS_PER_S
from contracts.errors import LongtailError
from contracts.samples import (
    CalibrationSample,
    Detection,
    FixSample,
    ImageSample,
    LidarSample,
    MountSample,
    PerceptionFrame,
    SignalSample,
)
from contracts.scenes import DEGREE_M
from edge_agent.perception.pixels import decode_pixels
from edge_agent.selection.scenes import Scene, SceneObject
from edge_agent.signals.lidar_check import LidarCheck
from kernels.clip import schemas
from kernels.clip.decoding import OwnDecoder
from kernels.clip.encoding import EncodedMessage, heads_of
from kernels.phash import phash64

NEAR_NS = NS_PER_S // 2
SURE, MAYBE = 0.4, 0.25
REACH_M = 35.0
LEAST_POINTS = 5
UNEXPLAINED = "unexplained"
COURSE_S = (1, 2, 4, 8)
"""How far to both sides of the fire fixes are looked for, in turn, until they lie apart enough."""
COURSE_M = 8.0
"""Between two fixes whose errors of a metre are to turn the course by a third of what counts."""
LANE_HALF_M = 2.2
"""Half of what counts as before the vehicle here: the lane, and not the path alone."""
EXPLAINING = 3
"""Frames nearest to the sweep, any of which may explain a cluster."""
_MOST = 60
_ONE = frozenset({schemas.IMAGE, schemas.LIDAR_SWEEP})
_SIGNALS = frozenset(signal_channel(name) for name in (
    "gnss.lat_deg", "gnss.lon_deg", "gnss.bearing_rad", "ego.speed_mps", "ego.yaw_rate_radps",
))  # fmt: skip


@dataclass(slots=True)
class _Found:
    """What lies nearest to the fire."""

    signals: dict[str, SignalSample] = field(default_factory=dict)
    fixes: list[FixSample] = field(default_factory=list)
    frames: list[PerceptionFrame] = field(default_factory=list)
    image: ImageSample | None = None
    sweep: LidarSample | None = None
    latched: list[CalibrationSample | MountSample] = field(default_factory=list)


def scene_of(
    cause: Cause, messages: Sequence[EncodedMessage], model_digest: str | None
) -> Scene | None:
    """The scene of a fire; None where place, direction or picture are not known.

    Raises nothing for a message that cannot be decoded: it is left out.
    """
    found = _near(messages, cause.fired_mono_ns)
    place_deg = _place_deg(found, cause.fired_mono_ns)
    bearing_rad = _bearing_rad(found, cause.fired_mono_ns)
    if found.image is None or place_deg is None or bearing_rad is None:
        return None
    try:
        pixels = decode_pixels(found.image)
        picture = phash64(pixels)
    except LongtailError:
        return None
    sure, maybe = _objects(found, cause.fired_mono_ns, pixels.shape[1])
    return Scene(
        trigger_id=cause.trigger_id, model_digest=model_digest, lat_deg=place_deg[0],
        lon_deg=place_deg[1], bearing_rad=bearing_rad, picture=picture,
        objects=tuple(sure[:_MOST]), maybe=tuple(maybe[: 2 * _MOST]),
    )  # fmt: skip


def _place_deg(found: _Found, at_ns: int) -> tuple[float, float] | None:
    """Latitude and longitude: by signals, or by the nearest fix."""
    lat, lon = (found.signals.get(name) for name in ("gnss.lat_deg", "gnss.lon_deg"))
    if lat is not None and lon is not None:
        return lat.value, lon.value
    nearest = min(found.fixes, key=lambda fix: abs(fix.mono_ns - at_ns), default=None)
    return None if nearest is None else (nearest.lat_deg, nearest.lon_deg)


def _bearing_rad(found: _Found, at_ns: int) -> float | None:
    """Course, clockwise from north: as told, or from the fixes closest to the fire that lie
    `COURSE_M` apart. None for a vehicle that stands.
    """
    told = found.signals.get("gnss.bearing_rad")
    if told is not None:
        return told.value
    in_time = sorted(found.fixes, key=lambda fix: fix.mono_ns)
    for reach_s in COURSE_S:
        fixes = [fix for fix in in_time if abs(fix.mono_ns - at_ns) <= reach_s * NS_PER_S]
        if len(fixes) < 2:
            continue
        first, last = fixes[0], fixes[-1]
        north_m = (last.lat_deg - first.lat_deg) * DEGREE_M
        east_deg = (last.lon_deg - first.lon_deg + 180.0) % 360.0 - 180.0
        east_m = east_deg * DEGREE_M * cos(radians(first.lat_deg))
        if hypot(north_m, east_m) >= COURSE_M:
            return atan2(east_m, north_m)
    return None


def _near(messages: Sequence[EncodedMessage], at_ns: int) -> _Found:
    """Decode what is needed: the nearest of each kind, and all frames close by."""
    found, decoder = _Found(), OwnDecoder()
    for message in _needed(messages, at_ns):
        try:
            sample = decoder.decode(message)
        except LongtailError:
            continue
        match sample:
            case SignalSample():
                found.signals[sample.name] = sample
            case FixSample():
                found.fixes.append(sample)
            case PerceptionFrame():
                found.frames.append(sample)
            case ImageSample():
                found.image = sample
            case LidarSample():
                found.sweep = sample
            case CalibrationSample() | MountSample():
                found.latched.append(sample)
    return found


def _needed(messages: Sequence[EncodedMessage], at_ns: int) -> list[EncodedMessage]:
    """Messages that tell of the scene; of pictures one, the nearest, first by name. Of sweeps one
    too, half a second later: by then the vehicle is nearer to what lies before it.
    """
    nearest: dict[str, tuple[tuple[int, str], int]] = {}
    chosen: list[int] = []
    for index, head in enumerate(heads_of(messages)):
        kind = head.schema_name
        wanted_ns = at_ns + NEAR_NS if kind == schemas.LIDAR_SWEEP else at_ns
        away_ns = abs(head.mono_ns - wanted_ns)
        if (
            kind in (schemas.TRANSFORM, schemas.CAMERA_CALIBRATION)
            or (kind == schemas.PERCEPTION and away_ns <= NEAR_NS)
            or (kind == schemas.LOCATION_FIX and away_ns <= COURSE_S[-1] * NS_PER_S)
        ):
            chosen.append(index)
        elif kind in _ONE or head.channel in _SIGNALS:
            slot = kind if kind in _ONE else head.channel
            rank = away_ns, head.channel
            if slot not in nearest or rank < nearest[slot][0]:
                nearest[slot] = rank, index
    chosen += [index for _, index in nearest.values()]
    return [messages[index] for index in chosen]


def _objects(
    found: _Found, at_ns: int, width_px: int
) -> tuple[list[SceneObject], list[SceneObject]]:
    """(surely there, perhaps there) at the fire: in half of the frames about it, and in any."""
    speed_mps = _value(found, "ego.speed_mps")
    seen = [
        (frame, [
            (d.probability, _object(d, (at_ns - frame.mono_ns) / NS_PER_S * speed_mps, width_px))
            for d in frame.detections if d.probability >= MAYBE
        ])
        for frame in found.frames
    ]  # fmt: skip
    maybe = [thing for _, things in seen for _, thing in things if thing is not None]
    maybe += _unexplained(found, LEAST_POINTS // 2, at_ns)
    by_channel: dict[str, list[list[SceneObject]]] = {}
    for frame, things in seen:
        sure = [thing for p, thing in things if p >= SURE and thing is not None]
        by_channel.setdefault(frame.channel, []).append(sure)
    surely: list[SceneObject] = _unexplained(found, LEAST_POINTS, at_ns)
    for frames in by_channel.values():
        middle = frames[len(frames) // 2]
        for thing in middle:
            times = sum(any(thing.is_at(other) for other in others) for others in frames)
            if 2 * times >= len(frames):
                surely.append(thing)
    return surely, maybe


def _value(found: _Found, name: str) -> float:
    sample = found.signals.get(name)
    return sample.value if sample is not None else 0.0


def _object(detection: Detection, moved_m: float, width_px: int) -> SceneObject | None:
    """Where a detection lies once the vehicle has moved on by so much, None out of reach."""
    if detection.cuboid is not None:
        x, y, _ = detection.cuboid.centre_m
        x -= moved_m
        if x * x + y * y > REACH_M * REACH_M:
            return None
        return SceneObject(name=detection.class_name, x=round(x, 1), y=round(y, 1))
    if detection.box_px is None:
        return None
    x0, y0, x1, y1 = detection.box_px
    return SceneObject(
        name=detection.class_name, x=round((x0 + x1) / 2 / width_px, 3),
        y=round((y0 + y1) / 2 / width_px, 3), in_picture=True,
    )  # fmt: skip


def _unexplained(found: _Found, least: int, at_ns: int) -> list[SceneObject]:
    """The lidar's cluster in the path, as an object of its own where it lay at the fire."""
    if found.sweep is None or not found.frames:
        return []
    check = LidarCheck()
    for sample in (*found.latched, found.sweep):
        check.see(sample)
    swept_ns = found.sweep.mono_ns
    nearest = sorted(found.frames, key=lambda each: abs(each.mono_ns - swept_ns))
    # What one frame overlooks the next may see: it takes both to leave something unexplained.
    seen = [d for each in nearest[:EXPLAINING] for d in each.detections]
    frame = replace(nearest[0], detections=tuple(seen))
    cluster = check.unexplained(
        frame, _value(found, "ego.speed_mps"), _value(found, "ego.yaw_rate_radps"), LANE_HALF_M
    )
    if cluster is None or cluster[0] < least:
        return []
    ahead_m = cluster[1] + (swept_ns - at_ns) / NS_PER_S * _value(found, "ego.speed_mps")
    return [SceneObject(name=UNEXPLAINED, x=round(ahead_m, 1), y=0.0)]
