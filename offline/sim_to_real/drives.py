"""Recordings as labelled drives, and as frozen scenarios: real moments that a model must see.

A drive so written is read by everything that reads drives (evaluation, gates, suites). What only
the recording knows, that no more than the camera's view was labelled, a drive cannot tell: ask of
such a scenario what is to be told, not that nothing else is.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from contracts.clip import ChannelSummary, ClipManifest, ClipSummary, Window
from contracts.clock import ClockQuality
from contracts.errors import ConflictError, InputError
from contracts.ids import EventKey
from contracts.labels import labels_bytes, read_labels
from contracts.samples import LidarSample, MountSample, PoseSample
from contracts.scenario_suite import FrozenScenario, FrozenSuite, Scenario
from kernels.clip.content import content_digest
from kernels.clip.encoding import EncodedMessage, encode_sample
from kernels.clip.writer import write_clip
from offline.sim_to_real.recorded import LIDAR, Recorded

CLIP_FILE, LABEL_FOLDER = "clip.mcap", "labels"
_VEHICLE = "recording"
_SOFTWARE = "recorded"


def write_drive(recorded: Recorded, root: Path) -> Path:
    """The drive's folder below the root, named after the recording.

    Raises `ConflictError` where it is there already.
    """
    name = re.sub(r"[^A-Za-z0-9]+", "-", recorded.name).strip("-").lower()
    folder, partial = root / name, root / f".{name}"
    if folder.exists():
        raise ConflictError("is there already", str(folder))
    shutil.rmtree(partial, ignore_errors=True)
    (partial / LABEL_FOLDER).mkdir(parents=True)
    messages = list(_messages(recorded))
    with (partial / CLIP_FILE).open("wb") as stream:
        write_clip(stream, _manifest(recorded, name, messages), messages, {})
    for labels in recorded.labels:
        path = partial / LABEL_FOLDER / f"{labels.record.mono_ns}.npz"
        path.write_bytes(labels_bytes(labels))
    partial.rename(folder)
    return folder


def with_recorded(suite: FrozenSuite, scenario: Scenario, folder: Path) -> FrozenSuite:
    """The suite's next version, with one more scenario as a target: a drive beside its others.

    Args:
        scenario: its `drive` is free text, since nothing makes the drive anew.
        folder: of the drive, below the suite's.

    Raises `InputError` for a folder without a labelled clip, or a name that is taken.
    """
    clip, files = folder / CLIP_FILE, sorted((folder / LABEL_FOLDER).glob("*.npz"))
    if not clip.is_file() or not files:
        raise InputError("no labelled drive", str(folder))
    if any(each.scenario.name == scenario.name for each in suite.scenarios):
        raise InputError(f"{scenario.name} is in the suite already", suite.name)
    held = FrozenScenario(
        scenario=scenario, folder=folder.name,
        frames=content_digest(clip, [read_labels(path) for path in files]),
    )  # fmt: skip
    return FrozenSuite(
        name=suite.name, version=suite.version + 1, scenarios=(*suite.scenarios, held)
    )  # fmt: skip


def _messages(recorded: Recorded) -> Iterator[EncodedMessage]:
    """In the order of time; the clocks are one."""
    samples: list[LidarSample | PoseSample] = [*recorded.poses, *recorded.sweeps]
    samples.sort(key=lambda sample: sample.mono_ns)
    yield encode_sample(MountSample(samples[0].mono_ns, LIDAR, np.eye(4)), 0)
    for sample in samples:
        yield encode_sample(sample, 0)


def _manifest(recorded: Recorded, name: str, messages: list[EncodedMessage]) -> ClipManifest:
    first, last = messages[0].mono_ns, messages[-1].mono_ns
    channels = dict.fromkeys((one.channel, one.schema_name) for one in messages)
    window = Window(start_mono_ns=first, end_mono_ns=last)
    return ClipManifest(
        event=EventKey(
            vehicle_id=_VEHICLE, boot_id=name, start_mono_ns=first, end_mono_ns=last
        ),
        drive_id=name, software_version=_SOFTWARE, stream="triggered", causes=(),
        requested=window, actual=window, utc_minus_mono_ns=0,
        clock=ClockQuality(synchronised=False, source=_SOFTWARE),
        channels=tuple(
            ChannelSummary(
                name=channel, schema_name=schema,
                messages=sum(one.channel == channel for one in messages),
                payload_bytes=sum(len(m.payload) for m in messages if m.channel == channel),
            )
            for channel, schema in channels
        ),
        summary=ClipSummary(lidar_sweeps=len(recorded.sweeps)),
    )  # fmt: skip
