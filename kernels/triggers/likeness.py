"""Likeness of a frame to known scenes: further columns of its scores, behind the classes.

A spec of kind `similar_to` carries its scene's embedding, one of kind `novelty` those of all that
is known. Where the model that made them runs, each frame's likeness to the nearest is a score of
its own, so that it is logged and replayed bit for bit like a class's. Of any other model's frame
it is 0 (of `novelty`, whose fires come of little likeness, -1): embeddings of two models share no
space.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from contracts.embedding import embedding_of
from contracts.samples import Float32s, PerceptionFrame
from contracts.trigger_spec import LoadedSpec, NoveltySpec, SimilarToSpec


@dataclass(frozen=True, slots=True)
class Reference:
    """Known scenes: unit embeddings float32 [n, d], in the space of the model `space`. `unlike` is
    the likeness where none can be told.
    """

    space: str
    vectors: Float32s
    unlike: float = 0.0

    def fits(self, frame: PerceptionFrame) -> bool:
        """Whether the frame's embedding can be compared with it."""
        return (
            frame.embedding is not None
            and frame.model_digest == self.space
            and frame.embedding.shape == self.vectors.shape[1:]
        )

    def likeness(self, frame: PerceptionFrame) -> float:
        """Cosine of the angle to the nearest in 0..1; `unlike` where they cannot be compared."""
        if frame.embedding is None or not self.fits(frame):
            return self.unlike
        cosines = self.vectors.astype(np.float64) @ frame.embedding.astype(np.float64)
        return min(1.0, max(0.0, float(cosines.max())))


References = Mapping[str, Reference]
"""By the name of the column, in the order of the columns."""
NO_REFERENCES: References = MappingProxyType({})


def references_of(specs: Iterable[LoadedSpec], space: str | None = None) -> dict[str, Reference]:
    """The references that specs carry, each once; with `space` only those of that model."""
    found: dict[str, Reference] = {}
    for loaded in specs:
        spec = loaded.spec
        if not isinstance(spec, SimilarToSpec | NoveltySpec):
            continue
        if space not in (None, spec.when.space):
            continue
        if isinstance(spec, SimilarToSpec):
            vectors, unlike = embedding_of(spec.when.reference)[None], 0.0
        else:
            vectors, unlike = np.stack([embedding_of(text) for text in spec.when.centroids]), -1.0
        found[spec.when.column] = Reference(spec.when.space, vectors, unlike)
    return found


def score_names(class_names: Iterable[str], references: Iterable[str]) -> tuple[str, ...]:
    """What an engine is compiled for: classes, then references; one nameless when there is none."""
    return (*class_names, *references) or ("",)
