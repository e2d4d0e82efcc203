"""Answers of the cloud's search: what an operator's client reads. Paths as in the table.

| call                                        | answer                                    |
|---------------------------------------------|-------------------------------------------|
| GET /v1/clips?where=&limit=&cursor=         | `ClipPage`                                |
| GET /v1/clips/{clip_id}                     | `ClipDetail`                              |
| GET /v1/clips/{clip_id}/like?where=&limit=  | `LikePage`                                |
| PUT /v1/clips/{clip_id}/embedding           | `EmbeddingKept`, for a `ClipEmbedding`    |
| GET /clips/{clip_id}.mcap                   | the clip's bytes; ranges, ETag            |
| GET /v1/events?vehicle_id=&outcome=&cursor= | `EventPage`                               |

A `cursor` is opaque; None marks the last page.
"""

from __future__ import annotations

from typing import Literal

from contracts.clip import ClipEmbedding, ClipManifest, Wire
from contracts.upload import EventRecord


class ClipRow(Wire):
    """One clip as search shows it: the columns that `where` may name.

    A value is None where the vehicle could not know. `state` is `quarantined` for a clip that
    arrived whole and cannot be used, for the reason in `state_reason`; then all that comes
    from the manifest may be None. `similarity` is the cosine to what the search is ordered by.
    """

    clip_id: str
    vehicle_id: str
    event_key: str | None = None
    drive_id: str | None = None
    start_utc_ns: int | None = None
    duration_s: float | None = None
    weather: str | None = None
    tod: str | None = None
    road_type: str | None = None
    lat_deg: float | None = None
    lon_deg: float | None = None
    h3: str | None = None
    stream: str | None = None
    inclusion_probability: float | None = None
    safety: bool = False
    causes: tuple[str, ...] = ()
    cause_kinds: tuple[str, ...] = ()
    detected_objects: tuple[str, ...] = ()
    min_speed_mps: float | None = None
    mean_speed_mps: float | None = None
    max_speed_mps: float | None = None
    max_decel_mps2: float | None = None
    max_accel_mps2: float | None = None
    max_lat_accel_mps2: float | None = None
    max_jerk_mps3: float | None = None
    min_ttc_s: float | None = None
    max_uncertainty: float | None = None
    image_frames: int | None = None
    lidar_sweeps: int | None = None
    size_bytes: int
    model_digest: str | None = None
    software_version: str | None = None
    scene_hash: str | None = None
    caption: str | None = None
    state: Literal["ready", "quarantined"]
    state_reason: str | None = None
    received_utc_ns: int
    similarity: float | None = None


class ClipPage(Wire):
    clips: tuple[ClipRow, ...]
    cursor: str | None = None


class ClipDetail(Wire):
    """A clip with all that it says about itself.

    `manifest` is None when it could not be read. `mcap_url` opens in a viewer as it is; it
    carries its own permission, which ends after some hours.
    """

    clip: ClipRow
    manifest: ClipManifest | None = None
    mcap_url: str


class LikeRow(Wire):
    """A clip, and the cosine of the angle between its embedding and the asked one: 1 is alike."""

    clip: ClipRow
    cosine: float


class LikePage(Wire):
    """The clips nearest to one, the nearest first, that one left out.

    `reference` is what they were compared with: embeddings of its model only, all `compared` of
    them that the search asked for.
    """

    reference: ClipEmbedding
    compared: int
    clips: tuple[LikeRow, ...]


class EmbeddingKept(Wire):
    """`is_new` is False when the clip had an embedding of that model, which then stays."""

    clip_id: str
    model_digest: str
    is_new: bool


class EventRow(Wire):
    received_utc_ns: int
    record: EventRecord


class EventPage(Wire):
    events: tuple[EventRow, ...]
    cursor: str | None = None
