"""Labelled drives: folders with `clip.mcap` and `labels/<mono_ns>.npz`.

The clip is read as the cloud reads it and goes through `kernels.bev.BevWindow`, so a network is
trained on what the vehicle's kernels make of the sensors. Lidar sweeps that no labelled instant
looks at are not even decoded.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.labels import FrameLabels, read_labels
from contracts.samples import (
    CalibrationSample,
    ImageSample,
    LidarSample,
    MountSample,
    PoseSample,
    RadarSample,
)
from kernels.bev.window import CAMERA_MAX_AGE_NS, BevWindow
from kernels.clip.decoding import PayloadDecoder
from kernels.clip.reader import RawMessage, read_manifest, read_messages
from kernels.clip.schemas import LIDAR_SWEEP
from kernels.jpeg import jpeg_pixels
from models.student.config import StudentConfig
from models.student.inputs import StudentFrame, frame_of

CLIP_FILE, LABEL_FOLDER = "clip.mcap", "labels"
_SLACK_NS = 20_000_000
_BEV_SAMPLES = (LidarSample, RadarSample, PoseSample, CalibrationSample, MountSample)


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """What the sensors gave at one instant, and what is told of it."""

    frame: StudentFrame
    labels: FrameLabels


def drive_folders(roots: Sequence[Path]) -> list[Path]:
    """All labelled drives under the roots, sorted; a root may be a drive itself.

    Raises `InputError` for a root without any.
    """
    found: list[Path] = []
    for root in roots:
        here = sorted(path.parent for path in root.glob(f"**/{CLIP_FILE}"))
        here = [path for path in here if not path.name.startswith(".")]
        if not here:
            raise InputError(f"no labelled drive: no {CLIP_FILE} anywhere below", str(root))
        found += here
    return found


def drive_digest(folder: Path) -> str:
    """SHA-256 over the clip and all labels of a drive, by name and content."""
    digest = hashlib.sha256()
    for path in (folder / CLIP_FILE, *_label_paths(folder)):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{path.name}\0{content}\n".encode())
    return digest.hexdigest()


def read_drive(folder: Path, config: StudentConfig) -> Iterator[LabelledFrame]:
    """The labelled instants of one drive in the order of time; none when nothing is labelled.

    Raises `InputError` when the clip ends before its labels do, `CorruptError` for a damaged
    clip or label file.
    """
    labels = [read_labels(path) for path in _label_paths(folder)]
    labels.sort(key=lambda one: one.record.mono_ns)
    frames = frames_at(folder / CLIP_FILE, [one.record.mono_ns for one in labels], config)
    for frame, one in zip(frames, labels, strict=True):
        yield LabelledFrame(frame, one)


def frames_at(
    clip: Path, instants_ns: Sequence[int], config: StudentConfig
) -> Iterator[StudentFrame]:
    """What the sensors gave at each of some rising instants of a clip.

    Raises `InputError` when the clip ends before they do, `CorruptError` for a damaged clip.
    """
    if not instants_ns:
        return
    ahead_ns = round(config.ahead_s * 1e9)
    window = BevWindow(config.image_input(), config.bev_inputs(), config.ahead_s)
    offset_ns = read_manifest(clip).utc_minus_mono_ns
    wanted = _Wanted(instants_ns, config, ahead_ns)
    decoder, due, mono_ns = PayloadDecoder(), 0, 0
    for message in read_messages(clip):
        mono_ns = message.log_ns - offset_ns
        while due < len(instants_ns) and mono_ns > instants_ns[due] + ahead_ns:
            yield frame_of(window.tensors(instants_ns[due]))
            due += 1
        if due == len(instants_ns):
            return
        if not wanted.takes(message, mono_ns):
            continue
        sample = decoder.decode(message.schema, message.channel, mono_ns, message.payload)
        if isinstance(sample, ImageSample):
            window.add_pixels(sample.channel, sample.mono_ns, _pixels(sample, config, clip))
        elif isinstance(sample, _BEV_SAMPLES):
            window.add(sample)
    for last_ns in instants_ns[due:]:
        if mono_ns < last_ns + ahead_ns:
            raise InputError(f"the clip ends before its label of {last_ns}", str(clip))
        yield frame_of(window.tensors(last_ns))


class _Wanted:
    """Which messages any of the instants looks at."""

    def __init__(self, instants_ns: Sequence[int], config: StudentConfig, ahead_ns: int) -> None:
        self._instants = instants_ns
        self._ahead_ns = ahead_ns
        span_ns = round(config.lidar.slots * config.lidar.slot_s * 1e9) + _SLACK_NS
        self._behind_ns = max(span_ns - ahead_ns, 0)
        self._cameras = frozenset(config.cameras)

    def takes(self, message: RawMessage, mono_ns: int) -> bool:
        if message.schema.name == LIDAR_SWEEP:
            return self._near(mono_ns, self._behind_ns, self._ahead_ns)
        if message.channel in self._cameras:
            return self._near(mono_ns, CAMERA_MAX_AGE_NS, 0)
        return True

    def _near(self, mono_ns: int, before_ns: int, after_ns: int) -> bool:
        """Whether a message lies from `before_ns` before to `after_ns` after an instant."""
        place = bisect.bisect_left(self._instants, mono_ns - after_ns)
        return place < len(self._instants) and self._instants[place] <= mono_ns + before_ns


def _pixels(sample: ImageSample, config: StudentConfig, clip: Path) -> NDArray[np.uint8]:
    """As the vehicle decodes it: at the smallest scale that has all pixels of the input."""
    place = f"{clip}: {sample.channel}"
    return jpeg_pixels(sample.content, (config.image_height, config.image_width), place)


def _label_paths(folder: Path) -> list[Path]:
    return sorted((folder / LABEL_FOLDER).glob("*.npz"))
