"""What a labelled drive holds, whatever file it lies in.

Two files may hold the same and differ: another compressor, another writer. This digest is over
decoded samples and labels, so that a drive that is simulated anew elsewhere is the same drive
when each of its values is, bit for bit. Pictures count as they are encoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import numpy as np

from contracts.labels import FrameLabels
from contracts.samples import PerceptionFrame, Sample
from kernels.clip.reader import read_samples


def content_digest(clip: Path, labels: Iterable[FrameLabels]) -> str:
    """SHA-256 over a clip's samples in their order, and over labels in the order of time.

    Raises `CorruptError` for a damaged clip.
    """
    digest = hashlib.sha256()
    for sample in read_samples(clip):
        _add(digest, sample)
    for one in sorted(labels, key=lambda one: one.record.mono_ns):
        digest.update(one.record.model_dump_json().encode())
        if one.ground is not None:
            digest.update(np.ascontiguousarray(one.ground).tobytes())
    return digest.hexdigest()


def _add(digest: hashlib._Hash, sample: Sample | PerceptionFrame) -> None:
    digest.update(type(sample).__name__.encode())
    for field in fields(sample):
        value = getattr(sample, field.name)
        digest.update(f"\0{field.name}\0".encode())
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype.str}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        elif isinstance(value, bytes | memoryview):
            digest.update(value)
        else:
            digest.update(repr(value).encode())
