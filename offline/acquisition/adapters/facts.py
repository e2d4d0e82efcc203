"""What is known of a clip before any model looks at it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from contracts.clip import ClipManifest
from contracts.clip_search import ClipRow
from contracts.clock import NS_PER_S
from contracts.errors import InputError
from offline.acquisition.cost import ClipFeatures
from offline.acquisition.records import Candidate

_TAGS = ("weather", "tod", "road_type")


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """One clip. Times are UTC; `causes` are trigger ids; `slices` are `tag=value`, with
    `object=class` for what the vehicle saw. `stream` and `probability` are why it was sent.
    """

    clip_id: str
    drive: str
    start_ns: int
    end_ns: int
    causes: tuple[str, ...]
    slices: tuple[str, ...]
    stream: Literal["triggered", "random"]
    probability: float | None

    def candidate(self, scores: dict[str, float], features: ClipFeatures) -> Candidate:
        """The clip as the selector takes it."""
        return Candidate(
            clip_id=self.clip_id, drive_id=self.drive, start_ns=self.start_ns,
            end_ns=self.end_ns, causes=self.causes, slices=self.slices, scores=scores,
            features=features, fleet_stream=self.stream, fleet_probability=self.probability,
        )  # fmt: skip


def manifest_facts(clip_id: str, manifest: ClipManifest) -> ClipFacts:
    """Of a clip that says this of itself."""
    summary = manifest.summary
    tags = [(name, getattr(summary, name)) for name in _TAGS]
    return ClipFacts(
        clip_id, f"{manifest.event.vehicle_id}/{manifest.drive_id}", manifest.start_utc_ns,
        manifest.end_utc_ns, tuple(sorted({cause.trigger_id for cause in manifest.causes})),
        _slices(tags, summary.detected_objects), manifest.stream, manifest.inclusion_probability,
    )  # fmt: skip


def row_facts(row: ClipRow) -> ClipFacts:
    """Of a clip in the catalog. Raises `InputError` for one that cannot be used."""
    place = f"clip {row.clip_id}"
    if row.state != "ready":
        raise InputError(f"is set aside: {row.state_reason}", place)
    if row.start_utc_ns is None or row.duration_s is None or row.stream is None:
        raise InputError("the catalog does not know when and why it was made", place)
    tags = [(name, getattr(row, name)) for name in _TAGS]
    return ClipFacts(
        row.clip_id, f"{row.vehicle_id}/{row.drive_id}", row.start_utc_ns,
        row.start_utc_ns + round(row.duration_s * NS_PER_S), tuple(sorted(row.causes)),
        _slices(tags, row.detected_objects), "random" if row.stream == "random" else "triggered",
        row.inclusion_probability,
    )  # fmt: skip


def _slices(tags: list[tuple[str, str | None]], objects: Iterable[str]) -> tuple[str, ...]:
    told = [f"{name}={value}" for name, value in tags if value is not None]
    return (*told, *(f"object={name}" for name in sorted(objects)))
