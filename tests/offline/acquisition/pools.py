"""Pools of clips for the tests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from contracts.samples import Float32s
from offline.acquisition.cost import ClipFeatures
from offline.acquisition.records import Candidate, Labelled, Shard

SPACE = "a" * 64
WIDTH = 6


def clip_id(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def candidate(number: int, **values: object) -> Candidate:
    """A clip of its own drive with ten boxes and middling scores, save what is told."""
    told: dict[str, object] = {
        "clip_id": clip_id(number), "drive_id": f"drive-{number}", "start_ns": 0,
        "end_ns": 10_000_000_000, "scores": {"mutual_information": 0.5},
        "features": ClipFeatures(frames=5, boxes=10),
    }  # fmt: skip
    return Candidate.model_validate(told | values)


def embeddings(n: int, seed: int = 0) -> Float32s:
    """Unit vectors float32 [n, WIDTH]."""
    vectors = np.random.default_rng(seed).normal(size=(n, WIDTH))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def mixed(n: int, seed: int = 0) -> list[Candidate]:
    """Clips that differ in scores, costs, causes and slices."""
    rng = np.random.default_rng(seed)
    return [
        candidate(
            k,
            scores={"mutual_information": float(rng.random()), "flips": float(rng.random())},
            features=ClipFeatures(frames=5, boxes=int(rng.integers(0, 60))),
            causes=("hard_brake",) if k % 5 == 0 else ("disengagement",) if k % 7 == 0 else (),
            slices=("tod=night",) if k % 3 == 0 else ("tod=day",),
            drive_id=f"drive-{k // 4}", start_ns=(k % 4) * 12 * 10**9,
            end_ns=(k % 4) * 12 * 10**9 + 10 * 10**9,
        )
        for k in range(n)
    ]  # fmt: skip


def sharded(
    candidates: Sequence[Candidate], vectors: Float32s, cuts: Sequence[int] = ()
) -> list[Shard]:
    """The pool in shards that end at `cuts`."""
    edges = [0, *cuts, len(candidates)]
    return [
        Shard(tuple(candidates[low:high]), vectors[low:high], SPACE)
        for low, high in pairwise(edges)
    ]


def nothing_labelled() -> Labelled:
    return Labelled(frozenset(), np.zeros((0, WIDTH), np.float32), SPACE)
