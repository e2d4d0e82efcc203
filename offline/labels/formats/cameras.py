"""A clip's cameras: their calibration, and the pictures that go with labelled instants."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import InputError
from contracts.samples import CalibrationSample, ImageSample
from kernels.bev.window import CAMERA_MAX_AGE_NS
from kernels.clip.decoding import PayloadDecoder
from kernels.clip.reader import read_manifest, read_messages
from kernels.clip.schemas import CAMERA_CALIBRATION, IMAGE, TRANSFORM

Cameras = Mapping[str, CalibrationSample]
"""Calibrations by the camera's channel."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The newest picture of a camera at a labelled instant, encoded as it is in the clip."""

    channel: str
    instant_ns: int
    taken_ns: int
    encoding: str
    content: bytes

    def file_name(self, drive_id: str) -> str:
        """A name that is unique over drives, cameras and instants."""
        ending = {"jpeg": "jpg"}.get(self.encoding, self.encoding)
        return f"{drive_id}/{short_name(self.channel)}/{self.instant_ns}.{ending}"


def short_name(channel: str) -> str:
    """`/camera/front` as `front`."""
    return channel.removeprefix("/camera/").strip("/").replace("/", "-")


def read_cameras(clip: Path) -> dict[str, CalibrationSample]:
    """The first calibration of each camera. Raises `InputError` when the clip has none."""
    found: dict[str, CalibrationSample] = {}
    decoder = PayloadDecoder()
    for message in read_messages(_present(clip)):
        if message.schema.name not in {CAMERA_CALIBRATION, TRANSFORM}:
            continue
        sample = decoder.decode(message.schema, message.channel, message.log_ns, message.payload)
        if isinstance(sample, CalibrationSample):
            found.setdefault(sample.channel, sample)
    if not found:
        raise InputError("no camera is calibrated in this clip", str(clip))
    return found


def read_pictures(
    clip: Path, instants: Sequence[int], channels: Sequence[str] | None = None
) -> Iterator[Picture]:
    """For each instant and camera the newest picture, not older than a model would take it.

    Pictures come in the order of time; instants without one are left out.
    """
    wanted = sorted(instants)
    offset_ns = read_manifest(_present(clip)).utc_minus_mono_ns
    newest: dict[str, ImageSample] = {}
    decoder, due = PayloadDecoder(), 0
    for message in read_messages(_present(clip)):
        mono_ns = message.log_ns - offset_ns
        while due < len(wanted) and wanted[due] < mono_ns:
            yield from _shown(newest, wanted[due])
            due += 1
        if due == len(wanted):
            return
        if message.schema.name != IMAGE or (channels and message.channel not in channels):
            continue
        if _is_near(wanted, mono_ns):
            sample = decoder.decode(message.schema, message.channel, mono_ns, message.payload)
            if isinstance(sample, ImageSample):
                newest[sample.channel] = sample
    for instant in wanted[due:]:
        yield from _shown(newest, instant)


def _present(clip: Path) -> Path:
    if not clip.is_file():
        raise InputError("no clip", str(clip))
    return clip


def _is_near(wanted: Sequence[int], mono_ns: int) -> bool:
    place = bisect.bisect_left(wanted, mono_ns)
    return place < len(wanted) and wanted[place] <= mono_ns + CAMERA_MAX_AGE_NS


def _shown(newest: Mapping[str, ImageSample], instant_ns: int) -> Iterator[Picture]:
    for channel in sorted(newest):
        image = newest[channel]
        if instant_ns - image.mono_ns <= CAMERA_MAX_AGE_NS:
            yield Picture(
                channel, instant_ns, image.mono_ns, image.encoding, bytes(image.content)
            )  # fmt: skip
