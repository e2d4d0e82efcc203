"""The pool, read once: what the selector may choose from, in bounded memory.

Shortlists hold the first so many of an order that hangs on the clip alone (ties by id), so what
is kept is the same whatever the order of the pool or its cut into shards. Kept are: the lowest
lots for the random stream, the lowest other lots for coverage, the best by uncertainty and cost,
and for each quota its best and its cheapest.

Two clips of one id are an error where they meet in a shortlist; elsewhere they are not noticed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from contracts.errors import InputError
from contracts.samples import Float32s
from offline.acquisition.cost import CostModel
from offline.acquisition.draw import lot
from offline.acquisition.lattice import checked_vectors
from offline.acquisition.records import Candidate, Labelled, SelectorConfig, Shard

THOUSANDTHS = 1000
"""Costs are added up as whole thousandths: sums are exact, in any order."""
_QUOTA_SPARE = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate in memory: `cost` in thousandths, `uncertainty` in 0..1, its embedding [d]."""

    candidate: Candidate
    cost: int
    uncertainty: float
    embedding: Float32s


class Shortlist:
    """The `size` entries of lowest key; amortised constant time each."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: list[tuple[float, str, Entry]] = []
        self._worst: tuple[float, str] | None = None
        self.offered = 0

    def offer(self, key: float, entry: Entry) -> None:
        """Keep the entry if its key is among the lowest."""
        self.offered += 1
        mark = (key, entry.candidate.clip_id)
        if self._worst is not None and mark > self._worst:
            return
        self._held.append((*mark, entry))
        if len(self._held) >= 2 * self._size:
            self._trim()

    def entries(self) -> list[Entry]:
        """By rising key. Raises `InputError` when a clip came twice."""
        self._trim()
        ids = [clip_id for _, clip_id, _ in self._held]
        if len(set(ids)) != len(ids):
            twice = next(one for k, one in enumerate(ids) if one in ids[:k])
            raise InputError("came twice", f"clip {twice}")
        return [entry for _, _, entry in self._held]

    def _trim(self) -> None:
        self._held.sort(key=lambda held: held[:2])
        del self._held[self._size :]
        if len(self._held) == self._size:
            self._worst = self._held[-1][:2]


@dataclass(slots=True)
class Pool:
    """What was read: counts, sums, and the shortlists."""

    config: SelectorConfig
    seen: int = 0
    labelled: int = 0
    population: int = 0
    population_cost: int = 0
    largest_cost: int = 0
    random: Shortlist = field(init=False)
    spread: Shortlist = field(init=False)
    best: Shortlist = field(init=False)
    quota_best: list[Shortlist] = field(init=False)
    quota_cheapest: list[Shortlist] = field(init=False)

    def __post_init__(self) -> None:
        self.random = Shortlist(self.config.random_most)
        self.spread = Shortlist(self.config.shortlist)
        self.best = Shortlist(self.config.shortlist)
        sizes = [4 * quota.at_least + _QUOTA_SPARE for quota in self.config.quotas]
        self.quota_best = [Shortlist(size) for size in sizes]
        self.quota_cheapest = [Shortlist(size) for size in sizes]

    def take(self, entry: Entry) -> None:
        """One clip of the pool."""
        config, candidate = self.config, entry.candidate
        self.seen += 1
        if config.random_from == "pool" or candidate.fleet_stream == "random":
            self.population += 1
            self.population_cost += entry.cost
            self.largest_cost = max(self.largest_cost, entry.cost)
            self.random.offer(lot(config.seed, "random", candidate.clip_id), entry)
        self.spread.offer(lot(config.seed, "coverage", candidate.clip_id), entry)
        merit = -entry.uncertainty / entry.cost**config.cost_exponent
        self.best.offer(merit, entry)
        for number, quota in enumerate(config.quotas):
            if quota.holds(candidate):
                self.quota_best[number].offer(merit, entry)
                self.quota_cheapest[number].offer(entry.cost, entry)

    def directed(self) -> list[Entry]:
        """All that a directed stream may choose from, once each, by id."""
        lists = [self.spread, self.best, *self.quota_best, *self.quota_cheapest]
        found = {e.candidate.clip_id: e for held in lists for e in held.entries()}
        return [found[clip_id] for clip_id in sorted(found)]


def read_pool(
    shards: Iterable[Shard], config: SelectorConfig, cost_model: CostModel, labelled: Labelled
) -> Pool:
    """Read the shards one by one.

    Raises:
        InputError: a clip lacks a weighted score, an embedding is not finite or of another
            width, or a shard's embeddings were made by another model.
    """
    pool = Pool(config)
    width = labelled.embeddings.shape[1] if len(labelled.embeddings) else None
    for number, shard in enumerate(shards):
        if shard.space != labelled.space:
            raise InputError(
                f"embeddings of model {shard.space[:12]} cannot be compared with those of"
                f" {labelled.space[:12]}", f"shard {number}",
            )  # fmt: skip
        if not shard.candidates:
            continue
        vectors = checked_vectors(shard.embeddings, f"shard {number}").astype(np.float32)
        width = width or vectors.shape[1]
        if vectors.shape[1] != width:
            raise InputError(
                f"embeddings have {vectors.shape[1]} values, expected {width}", f"shard {number}"
            )
        for candidate, vector in zip(shard.candidates, vectors, strict=True):
            if candidate.clip_id in labelled.clip_ids:
                pool.labelled += 1
                continue
            cost = max(1, round(cost_model.expected(candidate.features) * THOUSANDTHS))
            # A copy: a view would keep the whole shard in memory.
            pool.take(Entry(candidate, cost, uncertainty(candidate, config), vector.copy()))
    return pool


def uncertainty(candidate: Candidate, config: SelectorConfig) -> float:
    """Weighted mean in 0..1 of the scores that the configuration names."""
    missing = sorted(set(config.score_weights) - set(candidate.scores))
    if missing:
        raise InputError(f"has no score {', '.join(missing)}", f"clip {candidate.clip_id}")
    total = sum(config.score_weights.values())
    weighted = sorted(
        weight * candidate.scores[name] for name, weight in config.score_weights.items()
    )
    return sum(weighted) / total
