"""From a manifest to the catalog's row: a pure projection, and who a clip belongs to.

A clip that cannot be read, or that is not what its sender may send, is catalogued as
`quarantined` with the reason, never dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h3

from cloud_ingest.database import to_time
from cloud_ingest.schema import QUARANTINED, READY
from contracts.clip import ClipManifest
from contracts.clock import NS_PER_S
from contracts.errors import InputError

H3_RESOLUTION = 9
_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class Reading:
    """What the manifest reader gave: a manifest, or the reason why there is none."""

    manifest: ClipManifest | None
    reason: str | None = None


def clip_row(
    clip_id: str, size_bytes: int, vehicle_id: str, received_utc_ns: int, reading: Reading
) -> dict[str, Any]:
    """The row of a clip that `vehicle_id` has sent."""
    row: dict[str, Any] = {
        "clip_id": clip_id,
        "vehicle_id": vehicle_id,
        "size_bytes": size_bytes,
        "received_utc": to_time(received_utc_ns),
        "state": QUARANTINED,
        "state_reason": reading.reason,
    }
    manifest = reading.manifest
    if manifest is None:
        return row
    try:
        row |= _columns(manifest)
    except InputError as error:
        return row | {"state_reason": f"the manifest cannot be catalogued: {error}"}
    row["manifest"] = manifest.model_dump(mode="json")
    if manifest.event.vehicle_id != vehicle_id:
        return row | {
            "state_reason": f"says it is of vehicle {manifest.event.vehicle_id}, "
            f"but {vehicle_id} has sent it"
        }
    return row | {"state": READY, "state_reason": None}


def quarantined(row: dict[str, Any], reason: str) -> dict[str, Any]:
    """The same clip, set aside."""
    return row | {"state": QUARANTINED, "state_reason": reason}


def bare(row: dict[str, Any], reason: str) -> dict[str, Any]:
    """The clip set aside with nothing of its manifest, whose values the catalog cannot hold."""
    kept = ("clip_id", "vehicle_id", "size_bytes", "received_utc")
    return quarantined({name: row[name] for name in kept}, reason)


def _columns(manifest: ClipManifest) -> dict[str, Any]:
    summary = manifest.summary
    numbers = summary.model_dump(exclude={"detected_objects"})
    _check_text(manifest.model_dump_json())
    if max(summary.image_frames, summary.lidar_sweeps) >= _INT64:
        raise InputError("a count is out of range", "summary")
    known = {
        name: numbers[name] for name in type(summary).model_fields if name != "detected_objects"
    }
    return known | {
        "event_key": manifest.event.text(),
        "drive_id": manifest.drive_id,
        "start_utc": to_time(manifest.start_utc_ns),
        "duration_s": (manifest.actual.end_mono_ns - manifest.actual.start_mono_ns) / NS_PER_S,
        "h3": _cell(summary.lat_deg, summary.lon_deg),
        "stream": manifest.stream,
        "inclusion_probability": manifest.inclusion_probability,
        "safety": manifest.safety,
        "causes": sorted({cause.trigger_id for cause in manifest.causes}),
        "cause_kinds": sorted({cause.kind for cause in manifest.causes}),
        "detected_objects": sorted(summary.detected_objects),
        "model_digest": manifest.model_digest,
        "software_version": manifest.software_version,
        "scene_hash": manifest.scene_hash,
    }


def _check_text(text: str) -> None:
    if "\\u0000" in text:
        raise InputError("text holds a NUL character")


def _cell(lat_deg: float | None, lon_deg: float | None) -> str | None:
    if lat_deg is None or lon_deg is None:
        return None
    if not (-90 <= lat_deg <= 90 and -180 <= lon_deg <= 180):
        raise InputError(f"{lat_deg}, {lon_deg} is no place on Earth", "summary.lat_deg")
    return str(h3.latlng_to_cell(lat_deg, lon_deg, H3_RESOLUTION))
