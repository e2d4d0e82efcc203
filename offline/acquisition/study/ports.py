"""What a study runs over: a pool of clips whose labels are at hand, and whatever learns.

Clips are known by their row in the pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Int64s
from contracts.samples import Float32s, Float64s


@dataclass(frozen=True, slots=True)
class StudyPool:
    """n clips: their ids and drives; `start_ns`, `end_ns` int64 [n]; `embeddings` float32 [n, d]
    of the frozen student; `frames` and `boxes` int64 [n] that labelling each takes, which no
    strategy knows before; `rare` bool [n, classes] which rare classes each shows.
    """

    clip_ids: tuple[str, ...]
    drive_ids: tuple[str, ...]
    start_ns: Int64s
    end_ns: Int64s
    embeddings: Float32s
    frames: Int64s
    boxes: Int64s
    rare: Bools

    def __post_init__(self) -> None:
        n = len(self.clip_ids)
        for name in ("drive_ids", "start_ns", "end_ns", "embeddings", "frames", "boxes", "rare"):
            if len(getattr(self, name)) != n:
                raise InputError(f"are {len(getattr(self, name))} for {n} clips", name)

    def __len__(self) -> int:
        return len(self.clip_ids)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a learner says once it has learned: named `scores` float64 [n] in 0..1 of each clip of
    the pool (`offline.acquisition.scores`), `expected_boxes` and of them `expected_rare` int64
    [n], all 0 for clips that it was not asked about; and `figures` that were measured on frames
    which nobody chooses from.
    """

    scores: Mapping[str, Float64s]
    expected_boxes: Int64s
    expected_rare: Int64s
    figures: Mapping[str, float]


class Learner(Protocol):
    """Learns from scratch from some clips, and tells of those that it is `asked` about; the same
    clips and seed give the same opinion.
    """

    def learned(self, clips: Sequence[int], asked: Int64s, seed: int) -> Opinion: ...


def start_of(pool: StudyPool, rows: Int64s, common: int, rng: np.random.Generator) -> list[int]:
    """What is labelled at first: one clip of each rare class and `common` others, by chance.

    So a first model knows each rare class from a handful of frames. Raises `InputError` when the
    pool does not hold them.
    """
    order = rng.permutation(rows)
    chosen: list[int] = []
    for kind in range(pool.rare.shape[1]):
        showing = [int(row) for row in order if pool.rare[row, kind] and row not in chosen]
        if not showing:
            raise InputError(f"shows no rare class of number {kind} any more", "pool")
        chosen.append(showing[0])
    plain = [int(row) for row in order if not pool.rare[row].any()][:common]
    if len(plain) < common:
        raise InputError(f"has {len(plain)} common clips, {common} are to be labelled", "pool")
    return sorted(chosen + plain)
