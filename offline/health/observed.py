"""A clip as the monitors see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Int64s
from contracts.samples import Float32s, Float64s

Unit = Literal["drive", "vehicle"]


@dataclass(frozen=True, slots=True)
class Observation:
    """One clip.

    `tags` as `tag=value`; `specs` the triggers that asked for it, with their versions; `embedding`
    float32 [d]; `figures` by name. `probability` is how likely the random stream was to draw it,
    None for triggered clips.
    """

    clip_id: str
    drive: str
    vehicle: str
    stream: Literal["triggered", "random"]
    probability: float | None
    embedding: Float32s
    tags: tuple[str, ...] = ()
    specs: tuple[tuple[str, int], ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.stream == "random") != (self.probability is not None):
            raise InputError("a random clip tells its probability, and no other", self.clip_id)
        if self.probability is not None and not 0 < self.probability <= 1:
            raise InputError(f"{self.probability} is no probability", self.clip_id)

    @property
    def weight(self) -> float:
        """How many moments of the fleet it stands for; 1 where nobody drew it."""
        return 1.0 if self.probability is None else 1.0 / self.probability


def of_stream(
    clips: Sequence[Observation], stream: Literal["triggered", "random"]
) -> list[Observation]:
    return [clip for clip in clips if clip.stream == stream]


def weights_of(clips: Sequence[Observation]) -> Float64s:
    """float64 [n]."""
    return np.array([clip.weight for clip in clips], dtype=np.float64)


def units_of(clips: Sequence[Observation], unit: Unit) -> Int64s:
    """The drive or vehicle of each clip by number, int64 [n]."""
    names = [clip.drive if unit == "drive" else clip.vehicle for clip in clips]
    return np.unique(np.array(names, dtype=np.str_), return_inverse=True)[1].astype(np.int64)


def embeddings_of(clips: Sequence[Observation]) -> Float64s:
    """float64 [n, d]."""
    return np.stack([clip.embedding for clip in clips]).astype(np.float64)


def apart_or_refused(one: Sequence[Observation], two: Sequence[Observation]) -> None:
    """Raises `InputError` where a clip is in both: it would be compared with itself."""
    both = {clip.clip_id for clip in one} & {clip.clip_id for clip in two}
    if both:
        raise InputError(f"clip {min(both)[:12]} is in both periods")
