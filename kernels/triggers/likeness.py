"""Likeness of a frame to known scenes: further columns of its scores, behind the classes.

A spec of kind `similar_to` carries its scene's embedding. Where the model that made it runs,
each frame's likeness to it is a score of its own, so that it is logged and replayed bit for bit
like a class's. Of any other model's frame it is 0: embeddings of two models share no space.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from contracts.embedding import embedding_of
from contracts.samples import Float32s, PerceptionFrame
from contracts.trigger_spec import LoadedSpec, SimilarToSpec


@dataclass(frozen=True, slots=True)
class Reference:
    """A known scene: its unit embedding float32 [d], in the space of the model `space`."""

    space: str
    vector: Float32s

    def fits(self, frame: PerceptionFrame) -> bool:
        """Whether the frame's embedding can be compared with it."""
        return (
            frame.embedding is not None
            and frame.model_digest == self.space
            and frame.embedding.shape == self.vector.shape
        )

    def likeness(self, frame: PerceptionFrame) -> float:
        """Cosine of the angle between both in 0..1; 0 where they cannot be compared."""
        if frame.embedding is None or not self.fits(frame):
            return 0.0
        cosine = float(np.dot(self.vector.astype(np.float64), frame.embedding.astype(np.float64)))
        return min(1.0, max(0.0, cosine))


References = Mapping[str, Reference]
"""By the name of the column, in the order of the columns."""
NO_REFERENCES: References = MappingProxyType({})


def references_of(specs: Iterable[LoadedSpec], space: str | None = None) -> dict[str, Reference]:
    """The references that specs carry, each once; with `space` only those of that model."""
    found: dict[str, Reference] = {}
    for loaded in specs:
        spec = loaded.spec
        if isinstance(spec, SimilarToSpec) and space in (None, spec.when.space):
            found[spec.when.column] = Reference(spec.when.space, embedding_of(spec.when.reference))
    return found


def score_names(class_names: Iterable[str], references: Iterable[str]) -> tuple[str, ...]:
    """What an engine is compiled for: classes, then references; one nameless when there is none."""
    return (*class_names, *references) or ("",)
