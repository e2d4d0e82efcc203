"""A simulated drive as a clip file: MCAP that the stock reader and the agent's own source read.

The same drive gives the same bytes. The clip has no cause: it is a recording, not a fire.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from contracts import SOFTWARE_VERSION
from contracts.clip import ChannelSummary, ClipManifest, ClipSummary, Window
from contracts.ids import EventKey
from contracts.samples import (
    CalibrationSample,
    ImageSample,
    LidarSample,
    PerceptionFrame,
    Sample,
)
from edge_agent.ports import SourceDescription
from kernels.clip.encoding import EncodedMessage, encode_mount, encode_sample
from kernels.clip.perception import encode_perception
from kernels.clip.writer import WrittenClip, write_clip


@dataclass(slots=True)
class _Seen:
    """What has passed, for the manifest."""

    schema: dict[str, str] = field(default_factory=dict)
    messages: dict[str, int] = field(default_factory=dict)
    payload_bytes: dict[str, int] = field(default_factory=dict)
    images: int = 0
    sweeps: int = 0
    first_ns: int = 0
    last_ns: int = 0

    def add(self, message: EncodedMessage) -> None:
        name = message.channel
        self.schema[name] = message.schema_name
        self.messages[name] = self.messages.get(name, 0) + 1
        self.payload_bytes[name] = self.payload_bytes.get(name, 0) + len(message.payload)
        self.first_ns = self.first_ns or message.mono_ns
        self.last_ns = max(self.last_ns, message.mono_ns)


def encoded(
    samples: Iterator[Sample | PerceptionFrame], utc_minus_mono_ns: int
) -> Iterator[EncodedMessage]:
    """Samples, and what a model saw, as messages; a camera's mount goes before its calibration."""
    for sample in samples:
        if isinstance(sample, PerceptionFrame):
            yield from encode_perception(sample, utc_minus_mono_ns)
            continue
        if isinstance(sample, CalibrationSample):
            yield encode_mount(sample, utc_minus_mono_ns)
        yield encode_sample(sample, utc_minus_mono_ns)


def write_drive(
    path: Path,
    description: SourceDescription,
    samples: Iterator[Sample | PerceptionFrame],
    vehicle_id: str,
) -> WrittenClip:
    """Write a whole drive to `path`. Raises `OSError` when it cannot be written."""
    seen, kept = _Seen(), []
    for sample in samples:
        seen.images += isinstance(sample, ImageSample)
        seen.sweeps += isinstance(sample, LidarSample)
        for message in encoded(iter([sample]), description.utc_minus_mono_ns):
            seen.add(message)
            kept.append(message)
    with path.open("wb") as stream:
        return write_clip(stream, _manifest(description, seen, vehicle_id), kept, {})


def _manifest(description: SourceDescription, seen: _Seen, vehicle_id: str) -> ClipManifest:
    window = Window(start_mono_ns=seen.first_ns, end_mono_ns=seen.last_ns)
    labels = description.labels
    return ClipManifest(
        event=EventKey(
            vehicle_id=vehicle_id, boot_id=description.boot_id, start_mono_ns=seen.first_ns,
            end_mono_ns=seen.last_ns,
        ),
        drive_id=description.drive_id, software_version=SOFTWARE_VERSION, stream="triggered",
        causes=(), requested=window, actual=window,
        utc_minus_mono_ns=description.utc_minus_mono_ns, clock=description.clock,
        channels=tuple(
            ChannelSummary(
                name=name, schema_name=schema, messages=seen.messages[name],
                payload_bytes=seen.payload_bytes[name],
            )
            for name, schema in sorted(seen.schema.items())
        ),
        summary=ClipSummary(
            weather=labels.get("weather"), tod=labels.get("tod"),
            road_type=labels.get("road_type"), image_frames=seen.images,
            lidar_sweeps=seen.sweeps,
        ),
    )  # fmt: skip
