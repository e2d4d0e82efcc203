"""A pool and a learner of known answers: it knows as much as it was shown rare clips."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from contracts.geometry import Int64s
from offline.acquisition.study.ports import Opinion, StudyPool

RARE_CLASSES = 2
BOXES = 10


def toy_pool(n: int = 120, rare_every: int = 6, seed: int = 0) -> StudyPool:
    """Clips of ten boxes; every so many shows one of two rare classes, and lies apart."""
    rng = np.random.default_rng(seed)
    rare = np.zeros((n, RARE_CLASSES), dtype=np.bool_)
    for number, row in enumerate(range(0, n, rare_every)):
        rare[row, number % RARE_CLASSES] = True
    vectors = rng.normal(size=(n, 5))
    vectors[rare.any(axis=1)] += 3.0
    return StudyPool(
        clip_ids=tuple(hashlib.sha256(str(k).encode()).hexdigest() for k in range(n)),
        drive_ids=tuple(f"drive-{k}" for k in range(n)),
        start_ns=np.zeros(n, np.int64), end_ns=np.full(n, 10**9),
        embeddings=vectors.astype(np.float32), frames=np.full(n, 2, np.int64),
        boxes=np.full(n, BOXES, np.int64), rare=rare,
    )  # fmt: skip


class ToyLearner:
    """Figure `rare`: the share of the pool's rare clips that it was shown. It is unsure of rare
    clips; entropy says nothing. `asked` are the clips that it learned from, in turn.
    """

    def __init__(self, pool: StudyPool) -> None:
        self._pool = pool
        self.asked: list[list[int]] = []

    def learned(self, clips: Sequence[int], asked: Int64s, seed: int) -> Opinion:
        self.asked.append(list(clips))
        rng = np.random.default_rng(seed)
        rare = self._pool.rare.any(axis=1)
        n = len(self._pool)
        return Opinion(
            scores={
                "mutual_information": np.where(rare, 0.5, 0.1) + 0.1 * rng.random(n),
                "entropy": rng.random(n),
            },
            expected_boxes=np.full(n, BOXES - 1, np.int64), expected_rare=np.zeros(n, np.int64),
            figures={"rare": float(rare[list(clips)].sum() / rare.sum())},
        )  # fmt: skip
