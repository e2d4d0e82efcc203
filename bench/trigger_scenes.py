"""`similar_to` and `novelty` in a made space of embeddings, in which it is known what is alike.

A scene is a direction, and frames of it lie about that direction, one in twenty of them outside of
the bound. The drive turns from one known scene to the next; for stretches of a second and a half
it comes to one that is not known, which `similar_to` looks for and `novelty` has no centroid of. To
a drive without such a stretch all fires are wrong. How far apart a model holds real scenes is the
model's merit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bench.trigger_world import NO_DIGEST, Interval
from contracts.embedding import embedding_text
from contracts.samples import Float32s
from contracts.trigger_spec import LoadedSpec, parse_spec
from sim_fleet.seeds import generator

VALUES = 128
KNOWN = 4
SIMILARITY, DISTANCE = 0.965, 0.035
_APART = 0.94
"""Cosine of the angle between two scenes."""
_WITHIN, _SPREAD = 0.985, 0.012
"""Of a frame and its scene, on average, and the deviation of it."""
_SCENE_S = 6.0

Embedded = Callable[[float, np.random.Generator], Float32s]
"""A frame's embedding, by drive time."""


def scenes() -> Float32s:
    """Unit vectors float32 [`KNOWN` + 1, `VALUES`], all as far apart; the last is not known."""
    rng = generator(0, "scenes")
    axes = np.linalg.qr(rng.normal(size=(VALUES, KNOWN + 2)))[0].T
    mixed = np.sqrt(_APART) * axes[0] + np.sqrt(1 - _APART) * axes[1:]
    return np.asarray(mixed, dtype=np.float32)


def scene_specs() -> list[LoadedSpec]:
    """One spec of either kind, in the space of `OracleModel`."""
    *known, other = scenes()
    head = "apiVersion: longtail/v1\nversion: 1\nowner: bench\n"
    space = f"space: '{NO_DIGEST}'"
    centroids = ", ".join(f"'{embedding_text(each)}'" for each in known)
    return [
        parse_spec(
            f"{head}kind: similar_to\nid: similar-to\nwhen: {{{space}, "
            f"reference: '{embedding_text(other)}', similarity: {SIMILARITY}}}\n",
            "similar-to.yaml",
        ),
        parse_spec(
            f"{head}kind: novelty\nid: novelty\nwhen: {{{space}, "
            f"centroids: [{centroids}], distance: {DISTANCE}}}\n",
            "novelty.yaml",
        ),
    ]


def embedded(spans: Sequence[Interval]) -> Embedded:
    """Known scenes in turn, and the other one in these stretches."""
    directions = scenes()

    def at(t_s: float, rng: np.random.Generator) -> Float32s:
        unknown = any(start <= t_s < end for start, end in spans)
        scene = directions[KNOWN if unknown else int(t_s / _SCENE_S) % KNOWN]
        aside = rng.normal(size=VALUES)
        aside -= (aside @ scene) * scene
        cosine = float(np.clip(rng.normal(_WITHIN, _SPREAD), 0.0, 1.0))
        found = cosine * scene + np.sqrt(1 - cosine**2) * aside / np.linalg.norm(aside)
        return np.asarray(found, dtype=np.float32)

    return at
