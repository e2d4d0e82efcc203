"""A labelled drive's likeness: what a model meets in it, and what is asked of the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from contracts.errors import InputError
from contracts.ids import Sha256Hex
from contracts.labels import FrameLabels
from contracts.likeness import Likeness
from contracts.samples import (
    Float32s,
    ImageSample,
    LidarSample,
    PerceptionFrame,
    PoseSample,
    RadarSample,
    Sample,
)
from kernels.clip.content import content_digest
from kernels.clip.reader import read_samples

_DIGITS = 8
_SMOOTH = 3
"""Points that it takes to tell how rough a sweep is."""


def likeness_of(clip: Path, labels: Iterable[FrameLabels]) -> Likeness:
    """Of a clip's samples and of its labels. Raises `CorruptError` for a damaged clip."""
    counts: Counter[str] = Counter()
    held: dict[str, list[float]] = {}
    for sample in read_samples(clip):
        counts[_name(sample)] += 1
        for what, value in _told(sample):
            held.setdefault(f"{_name(sample)} {what}", []).append(value)
    for one in labels:
        counts["labelled frames"] += 1
        for each in one.record.boxes:
            counts[f"boxes of {each.box.class_name}"] += 1
            for axis, value in zip("xy", each.box.centre_m, strict=False):
                held.setdefault(f"boxes of {each.box.class_name} {axis}_m", []).append(value)
    means = {name: float(f"{np.mean(values):.{_DIGITS}g}") for name, values in held.items()}
    return Likeness(counts=dict(sorted(counts.items())), means=dict(sorted(means.items())))


def check_as_frozen(
    clip: Path, labels: list[FrameLabels], frames: Sha256Hex, likeness: Likeness | None
) -> bool:
    """Whether a drive is bit for bit what was frozen; False where it is that by other arithmetic.

    Args:
        frames: `content_digest` of what was frozen.
        likeness: of the same; without it every bit counts.

    Raises `InputError` for a drive that holds something else, with what.
    """
    if content_digest(clip, labels) == frames:
        return True
    if likeness is None:
        raise InputError("does not hold what was frozen", str(clip))
    found = likeness.difference(likeness_of(clip, labels))
    if found is not None:
        raise InputError(f"does not hold what was frozen: {found}", str(clip))
    return False


def _name(sample: Sample | PerceptionFrame) -> str:
    match sample:
        case ImageSample() | LidarSample() | RadarSample() | PerceptionFrame():
            return sample.channel
        case _:
            return type(sample).__name__


def _told(sample: Sample | PerceptionFrame) -> Iterator[tuple[str, float]]:
    """What is compared of one sample, each with its unit; of signals only how many there are."""
    match sample:
        case LidarSample():
            yield "points", float(len(sample.xyz_m))
            if len(sample.xyz_m) >= _SMOOTH:
                range_m = np.linalg.norm(sample.xyz_m, axis=1)
                yield "range_m", float(range_m.mean())
                yield "height_m", float(sample.xyz_m[:, 2].mean())
                yield "intensity", float(sample.intensity.mean())
                yield "roughness_m", _roughness_m(sample, range_m)
        case ImageSample():
            yield "bytes", float(len(sample.content))
        case RadarSample():
            yield "tracks", float(len(sample.tracks))
            if len(sample.tracks):
                yield "x_m", float(sample.tracks[:, 1].mean())
                yield "closing_mps", float(sample.tracks[:, 3].mean())
        case PoseSample():
            yield "x_m", float(sample.position_m[0])
            yield "y_m", float(sample.position_m[1])
        case _:
            pass


def _roughness_m(sample: LidarSample, range_m: Float32s) -> float:
    """Noise moves no mean: how far a point is off the line between its neighbours of the ring."""
    if sample.ring is not None:
        range_m = range_m[np.argsort(sample.ring, kind="stable")]
    return float(np.median(np.abs(np.diff(range_m, 2))))
