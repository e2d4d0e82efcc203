"""All monitors over folders of clips."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contracts.clip import ClipManifest
from contracts.errors import CorruptError, InputError
from offline.acquisition.adapters.facts import ClipFacts
from offline.acquisition.adapters.pool import ScoredClips
from offline.acquisition.adapters.scoring import Scored
from offline.acquisition.adapters.sources import FolderClip
from offline.health.drift import Watch, drift
from offline.health.observed import Observation, of_stream
from offline.health.reading import Reading, read_clip
from offline.health.records import (
    DriftReport,
    HealthReport,
    MountSample,
    SelectionBias,
)
from offline.health.selection_bias import selection_bias
from offline.health.sensor_calibration import MountWatch, mount_health

_CELL_DEG = 0.1
VehicleTags = Mapping[str, Mapping[str, str]]
"""Tags of vehicles by name: type, city, fleet."""
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Monitors:
    """How to look: tests, charts (None for no look at mounts), what is known of vehicles."""

    watch: Watch = field(default_factory=Watch)
    mounts: MountWatch | None = field(default_factory=MountWatch)
    vehicles: VehicleTags = field(default_factory=dict)
    progress: Progress = lambda done: None


@dataclass
class _Period:
    """A period's clips as far as they could be read."""

    observed: list[Observation] = field(default_factory=list)
    mounts: list[MountSample] = field(default_factory=list)


def health_report(
    now: Sequence[FolderClip], reference: Sequence[FolderClip], clips: ScoredClips,
    monitors: Monitors | None = None,
) -> HealthReport:  # fmt: skip
    """Drift of `now` against `reference`, selection bias and mounts of `now`.

    Raises `InputError` where embeddings are of different models, or a clip is in both periods.
    """
    monitors = monitors or Monitors()
    unmeasured: dict[str, str] = {}
    new = _read(now, clips, monitors, unmeasured, mounts=monitors.mounts is not None)
    old = _read(reference, clips, monitors, unmeasured, mounts=False)
    unmeasured |= {each.place: each.reason for each in clips.left_out}
    mounts = () if monitors.mounts is None else mount_health(new.mounts, monitors.mounts)
    return HealthReport(
        drift=_drift(new, old, clips, monitors, unmeasured),
        selection=_selection(new, clips, monitors, unmeasured), mounts=mounts,
        unmeasured=dict(sorted(unmeasured.items())),
    )  # fmt: skip


def _drift(
    new: _Period, old: _Period, clips: ScoredClips, monitors: Monitors, unmeasured: dict[str, str]
) -> DriftReport | None:
    if not old.observed or not new.observed or clips.space is None:
        what = "reference clip" if new.observed else "clip"
        unmeasured["drift"] = f"no {what} could be used"
        return None
    return drift(new.observed, old.observed, clips.space, monitors.watch)


def _selection(
    new: _Period, clips: ScoredClips, monitors: Monitors, unmeasured: dict[str, str]
) -> SelectionBias | None:
    lacks = [s for s in ("triggered", "random") if not of_stream(new.observed, s)]
    if lacks or clips.space is None:
        unmeasured["selection bias"] = f"no {' and no '.join(lacks) or 'usable'} clip"
        return None
    try:
        return selection_bias(new.observed, clips.space, monitors.watch)
    except InputError as error:
        unmeasured["selection bias"] = str(error)
        return None


def _read(
    sources: Sequence[FolderClip], clips: ScoredClips, monitors: Monitors,
    unmeasured: dict[str, str], *, mounts: bool,
) -> _Period:  # fmt: skip
    """Mounts are read from every clip, whether or not it has an embedding."""
    period, readings = _Period(), dict[str, tuple[ClipManifest, Reading]]()
    for done, source in enumerate(sources, 1):
        try:
            facts = source.facts()
            if facts.clip_id in readings:
                continue
            reading = read_clip(source.path, source.manifest, mounts=mounts)
        except (CorruptError, InputError) as error:
            unmeasured[source.place] = str(error)
            continue
        readings[facts.clip_id] = source.manifest, reading
        unmeasured |= {f"{source.place}, {k}": why for k, why in reading.unread.items()}
        period.mounts += _samples(facts.clip_id, source.manifest, reading)
        monitors.progress(done)
    for facts, scored in clips.each(sources):
        if facts.clip_id in readings:
            manifest, reading = readings[facts.clip_id]
            try:
                one = _observation(facts, scored, manifest, reading, monitors.vehicles)
            except InputError as error:
                unmeasured[clips.places[facts.clip_id]] = str(error)
            else:
                period.observed.append(one)
    return period


def _samples(clip_id: str, manifest: ClipManifest, reading: Reading) -> list[MountSample]:
    return [
        MountSample(
            clip_id=clip_id, vehicle_id=manifest.event.vehicle_id, sensor=sensor,
            utc_ns=manifest.start_utc_ns, roll_rad=off.roll_rad, pitch_rad=off.pitch_rad,
            height_m=off.height_m, yaw_rad=off.yaw_rad, sweeps=off.sweeps,
        )
        for sensor, off in sorted(reading.mounts.items())
    ]  # fmt: skip


def _observation(
    facts: ClipFacts, scored: Scored, manifest: ClipManifest, reading: Reading,
    vehicles: VehicleTags,
) -> Observation:  # fmt: skip
    vehicle, summary = manifest.event.vehicle_id, manifest.summary
    tags = {*facts.slices, f"software={manifest.software_version}"}
    tags |= {f"{name}={value}" for name, value in vehicles.get(vehicle, {}).items()}
    if summary.lat_deg is not None and summary.lon_deg is not None:
        cell = (round(each / _CELL_DEG) * _CELL_DEG for each in (summary.lat_deg, summary.lon_deg))
        tags.add("place=" + ",".join(f"{each:.1f}" for each in cell))
    return Observation(
        facts.clip_id, facts.drive, vehicle, facts.stream, facts.probability, scored.embedding,
        tuple(sorted(tags)),
        tuple(sorted({(cause.trigger_id, cause.trigger_version) for cause in manifest.causes})),
        reading.figures,
    )  # fmt: skip


def read_vehicle_tags(path: Path) -> VehicleTags:
    """A JSON object of vehicles, each an object of tags. Raises `InputError`."""
    try:
        told = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from error
    except ValueError as error:
        raise InputError(f"this is no JSON: {error}", str(path)) from error
    if not isinstance(told, dict) or not all(
        isinstance(tags, dict) and all(isinstance(value, str) for value in tags.values())
        for tags in told.values()
    ):
        raise InputError("tags are {vehicle: {tag: value}}, values as text", str(path))
    return told
