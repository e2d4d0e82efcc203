"""Shards for the selector: clips are scored one after the other, and let go.

Bounded memory: one clip at a time and one shard, whatever the pool. A clip that cannot be read
is left out and told of; nothing is chosen in its stead, and it is in nobody's population.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from contracts.errors import CorruptError, InputError
from contracts.geometry import Frozen
from offline.acquisition.adapters.facts import ClipFacts
from offline.acquisition.adapters.scoring import ClipScorer, Scored
from offline.acquisition.adapters.sources import ClipSource
from offline.acquisition.adapters.store import ScoreStore
from offline.acquisition.records import Labelled, Shard

SHARD = 256

Progress = Callable[[int], None]
"""Called after each clip with how many have been read."""


class LeftOut(Frozen):
    """A clip that could not be used, and why."""

    place: str
    reason: str


@dataclass
class ScoredClips:
    """Clips with their scores.

    Attributes:
        space: of the embeddings, known once the first clip has been scored.
        left_out: clips that could not be used.
        scored, reused: how many were scored now, and how many had been before.
        places: where each clip is, by its id.
    """

    scorer: ClipScorer
    store: ScoreStore | None = None
    progress: Progress = lambda done: None
    space: str | None = None
    left_out: list[LeftOut] = field(default_factory=list)
    scored: int = 0
    reused: int = 0
    places: dict[str, str] = field(default_factory=dict)

    def each(self, sources: Iterable[ClipSource]) -> Iterator[tuple[ClipFacts, Scored]]:
        """Facts and scores in the order of the sources, each clip once.

        Raises `InputError` when embeddings are of different models.
        """
        seen: set[str] = set()
        for source in sources:
            try:
                facts = source.facts()
                if facts.clip_id in seen:
                    continue
                scored = self._scored(facts.clip_id, source)
            except (CorruptError, InputError) as error:
                self.left_out.append(LeftOut(place=source.place, reason=str(error)))
                continue
            seen.add(facts.clip_id)
            self.places[facts.clip_id] = source.place
            self.space = self.space or scored.space
            if scored.space != self.space:
                raise InputError(
                    f"its embedding is of model {scored.space[:12]}, those before of"
                    f" {self.space[:12]}: they cannot be compared", source.place,
                )  # fmt: skip
            self.progress(self.scored + self.reused)
            yield facts, scored

    def _scored(self, clip_id: str, source: ClipSource) -> Scored:
        known = self.store.get(clip_id) if self.store is not None else None
        if known is not None:
            self.reused += 1
            return known
        with source.opened() as clip:
            scored = self.scorer.score(clip)
        if self.store is not None:
            self.store.put(clip_id, scored)
        self.scored += 1
        return scored

    def shards(self, sources: Iterable[ClipSource], size: int = SHARD) -> Iterator[Shard]:
        """The pool in shards of `size` clips."""
        held: list[tuple[ClipFacts, Scored]] = []
        for one in self.each(sources):
            held.append(one)
            if len(held) == size:
                yield _shard(held)
                held = []
        if held:
            yield _shard(held)

    def labelled(self, sources: Iterable[ClipSource]) -> Labelled | None:
        """Clips that are labelled already; None when there is none.

        Raises `InputError` for one that cannot be used: it would be chosen again.
        """
        before = len(self.left_out)
        found = list(self.each(sources))
        if len(self.left_out) > before:
            bad = self.left_out[before]
            raise InputError(f"a labelled clip cannot be used: {bad.reason}", bad.place)
        if not found:
            return None
        vectors = np.stack([scored.embedding for _, scored in found])
        return Labelled(frozenset(f.clip_id for f, _ in found), vectors, found[0][1].space)


def _shard(held: list[tuple[ClipFacts, Scored]]) -> Shard:
    candidates = tuple(facts.candidate(one.scores, one.features) for facts, one in held)
    return Shard(candidates, np.stack([one.embedding for _, one in held]), held[0][1].space)
