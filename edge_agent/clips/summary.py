"""What a clip's messages say, in the few values that a search reads.

Works on encoded messages, so that it needs no second copy of the drive.
"""

from __future__ import annotations

import math
import struct
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from contracts.channels import SIGNAL_PREFIX
from contracts.clip import ChannelSummary, ClipEmbedding, ClipSummary, ObjectSummary, Window
from contracts.clock import NS_PER_DAY, NS_PER_S
from contracts.samples import PerceptionFrame
from edge_agent.clips.arranged import Head, Pace, read_where
from kernels.clip import schemas
from kernels.clip.decoding import OwnDecoder
from kernels.clip.encoding import EncodedMessage, heads_of

GAP_PERIODS = 5
DAY_ELEVATION_DEG = 6.0
NIGHT_ELEVATION_DEG = -6.0


def summarise_channels(heads: Iterable[Head]) -> tuple[ChannelSummary, ...]:
    """Counts, bytes and gaps of each channel, by name."""
    by_channel: dict[str, list[Head]] = defaultdict(list)
    for head in heads:
        by_channel[head.channel].append(head)
    return tuple(
        ChannelSummary(
            name=name,
            schema_name=group[0].schema_name,
            messages=len(group),
            payload_bytes=sum(head.size_bytes for head in group),
            gaps=_gaps([head.mono_ns for head in group]),
        )
        for name, group in sorted(by_channel.items())
    )


def _gaps(times_ns: list[int]) -> tuple[Window, ...]:
    """Silences of more than `GAP_PERIODS` median periods."""
    if len(times_ns) < 4:
        return ()
    steps = np.diff(np.array(times_ns, np.int64))
    limit = GAP_PERIODS * max(1.0, float(np.median(steps)))
    return tuple(
        Window(start_mono_ns=times_ns[i], end_mono_ns=times_ns[i + 1])
        for i, step in enumerate(steps.tolist())
        if step > limit
    )


def _signal_values(messages: Sequence[EncodedMessage], paced: Pace) -> dict[str, list[float]]:
    values: dict[str, list[float]] = defaultdict(list)
    for message in read_where(messages, lambda head: head.schema_name == schemas.SIGNAL, paced):
        (value,) = struct.unpack_from("<d", message.payload, 1)
        values[message.channel.removeprefix(SIGNAL_PREFIX)].append(value)
    return values


def frames_of(messages: Sequence[EncodedMessage], paced: Pace = iter) -> list[PerceptionFrame]:
    """What the model saw, in order. The messages are gone through as fast as `paced` gives them."""
    decoder = OwnDecoder()
    found = read_where(messages, lambda head: head.schema_name == schemas.PERCEPTION, paced)
    decoded = (decoder.decode(message) for message in found)
    return [frame for frame in decoded if isinstance(frame, PerceptionFrame)]


def _objects(seen: Sequence[PerceptionFrame]) -> dict[str, ObjectSummary]:
    """Per class: frames, most in one frame, best probability."""
    frames: dict[str, int] = defaultdict(int)
    most: dict[str, int] = defaultdict(int)
    best: dict[str, float] = defaultdict(float)
    for frame in seen:
        counts: dict[str, int] = defaultdict(int)
        for found in frame.detections:
            counts[found.class_name] += 1
            best[found.class_name] = max(best[found.class_name], found.probability)
        for name, count in counts.items():
            frames[name] += 1
            most[name] = max(most[name], count)
    return {
        name: ObjectSummary(
            frames=frames[name], max_in_frame=most[name], max_probability=round(best[name], 6)
        )
        for name in sorted(frames)
    }


def sun_elevation_deg(utc_ns: int, lat_deg: float, lon_deg: float) -> float:
    """Height of the sun above the horizon, to about half a degree (NOAA's short formula)."""
    days = utc_ns / NS_PER_DAY - 10957.5  # since J2000.0
    mean_longitude = math.radians(280.460 + 0.9856474 * days)
    anomaly = math.radians(357.528 + 0.9856003 * days)
    ecliptic = mean_longitude + math.radians(
        1.915 * math.sin(anomaly) + 0.02 * math.sin(2 * anomaly)
    )
    obliquity = math.radians(23.439 - 4e-7 * days)
    declination = math.asin(math.sin(obliquity) * math.sin(ecliptic))
    ascension = math.atan2(math.cos(obliquity) * math.sin(ecliptic), math.cos(ecliptic))
    sidereal = math.radians((280.46062 + 360.98564737 * days + lon_deg) % 360.0)
    hour = sidereal - ascension
    lat = math.radians(lat_deg)
    sine = math.sin(lat) * math.sin(declination)
    sine += math.cos(lat) * math.cos(declination) * math.cos(hour)
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))


def time_of_day(utc_ns: int, lat_deg: float, lon_deg: float) -> str:
    """`day`, `dusk`, `dawn` or `night` from the sun's height and whether it rises."""
    now = sun_elevation_deg(utc_ns, lat_deg, lon_deg)
    if now > DAY_ELEVATION_DEG:
        return "day"
    if now < NIGHT_ELEVATION_DEG:
        return "night"
    later = sun_elevation_deg(utc_ns + 600 * NS_PER_S, lat_deg, lon_deg)
    return "dawn" if later > now else "dusk"


def _largest(values: Mapping[str, list[float]], name: str, *, size: bool = False) -> float | None:
    found = values.get(name)
    if not found:
        return None
    return max(abs(v) for v in found) if size else max(found)


def summarise(
    messages: Sequence[EncodedMessage], frames: Sequence[PerceptionFrame],
    labels: Mapping[str, str], mid_utc_ns: int, paced: Pace = iter,
) -> ClipSummary:  # fmt: skip
    """The clip's searchable values. `frames` are those of the messages (`frames_of`), `labels` what
    the source knows of the whole drive.
    """
    values = _signal_values(messages, paced)
    kinds = Counter(head.schema_name for head in heads_of(messages))
    uncertainties = [frame.uncertainty for frame in frames if frame.detections]
    speeds = values.get("ego.speed_mps", [])
    lat = values.get("gnss.lat_deg")
    lon = values.get("gnss.lon_deg")
    lat_deg = lat[len(lat) // 2] if lat else None
    lon_deg = lon[len(lon) // 2] if lon else None
    tod = labels.get("tod")
    if tod is None and lat_deg is not None and lon_deg is not None:
        tod = time_of_day(mid_utc_ns, lat_deg, lon_deg)
    ttc = values.get("lead.ttc_s")
    return ClipSummary(
        weather=labels.get("weather"),
        tod=tod,
        road_type=labels.get("road_type"),
        lat_deg=lat_deg,
        lon_deg=lon_deg,
        min_speed_mps=min(speeds, default=None),
        mean_speed_mps=sum(speeds) / len(speeds) if speeds else None,
        max_speed_mps=max(speeds, default=None),
        max_decel_mps2=_largest(values, "ego.decel_mps2"),
        max_accel_mps2=_largest(values, "ego.accel_mps2"),
        max_lat_accel_mps2=_largest(values, "ego.lat_accel_mps2", size=True),
        max_jerk_mps3=_largest(values, "ego.jerk_mps3", size=True),
        min_ttc_s=min(ttc) if ttc else None,
        max_uncertainty=max(uncertainties, default=None),
        detected_objects=_objects(frames),
        image_frames=kinds[schemas.IMAGE],
        lidar_sweeps=kinds[schemas.LIDAR_SWEEP],
    )


def clip_embedding(frames: Sequence[PerceptionFrame], model_digest: str) -> ClipEmbedding | None:
    """Mean of the embeddings of this model's frames, scaled to unit length; None when it has none.

    Frames of another model, before a swap, are of another space and do not count.
    """
    told = ((frame.model_digest, frame.embedding) for frame in frames)
    embeddings = [each for digest, each in told if digest == model_digest and each is not None]
    if not embeddings:
        return None
    mean = np.mean(np.stack(embeddings), axis=0, dtype=np.float64)
    norm = float(np.linalg.norm(mean))
    if norm == 0.0:
        return None
    vector = tuple(round(float(v), 7) for v in np.atleast_1d(mean / norm))
    return ClipEmbedding(model_digest=model_digest, vector=vector)
