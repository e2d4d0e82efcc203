"""Replays a Longtail clip as a drive: the same samples at the same monotonic times.

Guarantees: of a clip that breaks off, everything up to its last whole chunk is given, then
`CorruptError` tells the byte up to which the file is whole. Such a file has lost its manifest,
which stands at the end: its messages then keep their wall time as `mono_ns`, and `describe`
calls the clock unsynchronised.

Does not do: what the model saw on the vehicle is left out, since the replaying agent runs its
own; viewers' channels too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from contracts.channels import PLAN, POSE, SIGNAL_PREFIX
from contracts.clip import ClipManifest
from contracts.clock import ClockQuality
from contracts.errors import CorruptError, InputError
from contracts.samples import PerceptionFrame, Sample
from edge_agent.ports import SourceDescription
from kernels.clip.reader import read_manifest, read_messages, read_samples


class McapSource:
    """`SensorSource` over one clip file, streamed; only its manifest is read beforehand."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError("not a file; give a clip, such as mcap:drive.mcap", str(path))
        self._path = path
        self._manifest: ClipManifest | None = None
        try:
            self._manifest = read_manifest(path)
            named = frozenset(channel.name for channel in self._manifest.channels)
            self._topics = named or _topics_until_break(path)
        except CorruptError:
            self._topics = _topics_until_break(path)

    def describe(self) -> SourceDescription:
        manifest = self._manifest
        name = re.sub(r"[^A-Za-z0-9._-]", ".", self._path.stem).lstrip("._-")[:100] or "clip"
        labels = {} if manifest is None else manifest.summary.tags()
        return SourceDescription(
            drive_id=manifest.drive_id if manifest else name,
            boot_id=manifest.event.boot_id if manifest else f"recovered-{name}",
            utc_minus_mono_ns=manifest.utc_minus_mono_ns if manifest else 0,
            clock=manifest.clock if manifest else ClockQuality(synchronised=False, source="none"),
            signals=frozenset(
                topic.removeprefix(SIGNAL_PREFIX)
                for topic in self._topics
                if topic.startswith(SIGNAL_PREFIX)
            ),
            camera_channels=self._sensors("/camera/"),
            lidar_channels=self._sensors("/lidar/"),
            has_pose=POSE in self._topics,
            has_plan=PLAN in self._topics,
            has_radar=any(topic.startswith("/radar/") for topic in self._topics),
            labels=labels,
        )

    def _sensors(self, prefix: str) -> tuple[str, ...]:
        """Channels of the form `/camera/<name>`, without `/camera/<name>/calibration`."""
        return tuple(sorted(t for t in self._topics if t.startswith(prefix) and t.count("/") == 2))

    def samples(self) -> Iterator[Sample]:
        offset = self._manifest.utc_minus_mono_ns if self._manifest else 0
        with self._path.open("rb") as stream:
            whole_bytes = 0
            try:
                for sample in read_samples(stream, offset):
                    whole_bytes = stream.tell()
                    if not isinstance(sample, PerceptionFrame):
                        yield sample
            except CorruptError as error:
                raise CorruptError(
                    f"the clip is whole up to here only: {error.message}",
                    f"{self._path}:offset {whole_bytes}",
                ) from error


def _topics_until_break(path: Path) -> frozenset[str]:
    """Channels that carry messages in the whole part of a damaged file.

    Raises `CorruptError` when there is no whole message at all.
    """
    topics: set[str] = set()
    try:
        for message in read_messages(path):
            topics.add(message.channel)
    except CorruptError:
        if not topics:
            raise
    return frozenset(topics)
