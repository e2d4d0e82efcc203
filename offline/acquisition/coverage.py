"""Coverage of embedding space: greedy k-centre beside what is labelled already.

Each round takes the vector that lies farthest from all centres so far (k-centre greedy, Sener
and Savarese 2018; farthest-first traversal, Gonzalez 1985), within a factor of 2 of the best
radius that any k centres reach. Where several lie equally far the first in the order of the
shards wins; with nothing labelled the first of all is the first centre. Distances are exact on
a lattice (`lattice`), so the choice does not depend on how the pool is cut into shards.

One inner product of the pool by each centre: k * n * d multiplications, memory-bound, on one
core; those with what is labelled are BLAS products. The vectors are held once, as float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.geometry import Int64s
from contracts.samples import Float32s, Float64s
from offline.acquisition.lattice import BLOCK, FARTHEST_STEPS, Lattice, lattice_of, norms_of

_CENTRES_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Centres:
    """`rows` int64 [k] into the concatenated shards, as they were taken; `distance` float64 [k]
    from each to the centres before it (infinite for the first where nothing was labelled);
    `radius`: no vector of the pool lies farther than this from a centre.
    """

    rows: Int64s
    distance: Float64s
    radius: float


class Cover:
    """A pool of vectors, each with its distance to the nearest of the centres told so far."""

    def __init__(self, shards: Sequence[NDArray[np.floating]], lattice: Lattice) -> None:
        self.lattice = lattice
        self._vectors = np.concatenate(
            [lattice.rounded(shard, f"shard {k}") for k, shard in enumerate(shards)]
        )
        self._norms = norms_of(self._vectors)
        # Squared, in steps.
        self._nearest = np.full(len(self._vectors), np.inf, dtype=np.float32)
        self._scratch = np.empty(len(self._vectors), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def nearest_squared(self) -> Float32s:
        """Squared distance float32 [n] to the nearest centre, in steps; read it, do not write."""
        return self._nearest

    def distances(self) -> Float64s:
        """Distance float64 [n] to the nearest centre; infinite before the first."""
        return np.asarray(np.sqrt(self._nearest.astype(np.float64)) * self.lattice.step)

    def near_distances_steps(self) -> Float64s:
        """Distance float64 [n] in steps, where no centre is known the farthest there can be."""
        steps = np.sqrt(self._nearest.astype(np.float64))
        return np.asarray(np.minimum(steps, FARTHEST_STEPS))

    def add_row(self, row: int) -> None:
        """A vector of the pool becomes a centre."""
        centre = self._vectors[row]
        # Not BLAS: it would wake its threads for each of these short products, and on a machine
        # that has other work they wait for each other many times as long as they multiply.
        found = np.einsum("ij,j->i", self._vectors, -2 * centre, out=self._scratch)
        found += self._norms
        found += self._norms[row]
        np.minimum(self._nearest, found, out=self._nearest)

    def add_vectors(self, centres: NDArray[np.floating]) -> None:
        """Vectors [m, d] from elsewhere become centres."""
        rows = self.lattice.rounded(centres, "centres")
        for first in range(0, len(rows), _CENTRES_AT_ONCE):
            some = rows[first : first + _CENTRES_AT_ONCE]
            turned, norms = -2 * some.T, norms_of(some)
            for start in range(0, len(self), BLOCK):
                block = slice(start, start + BLOCK)
                found = self._vectors[block] @ turned
                found += norms
                nearest = found.min(axis=1) + self._norms[block]
                np.minimum(self._nearest[block], nearest, out=self._nearest[block])


def k_centre(
    shards: Sequence[NDArray[np.floating]],
    k: int,
    labelled: NDArray[np.floating] | None = None,
) -> Centres:
    """Up to `k` centres; fewer when every vector of the pool coincides with one.

    Args:
        shards: the pool, floats [n_i, d] each.
        labelled: floats [m, d], centres from the start.

    Raises:
        InputError: `k` below 0, no shard, or vectors that are not finite or differ in width.
    """
    if k < 0:
        raise InputError(f"cannot be {k}", "k")
    told = [] if labelled is None or not len(labelled) else [labelled]
    cover = Cover(shards, lattice_of([*shards, *told]))
    for centres in told:
        cover.add_vectors(centres)
    rows: list[int] = []
    squared: list[float] = []
    nearest = cover.nearest_squared
    while len(rows) < min(k, len(cover)):
        row = int(nearest.argmax())
        if nearest[row] == 0:
            break
        rows.append(row)
        squared.append(float(nearest[row]))
        cover.add_row(row)
    step = cover.lattice.step
    return Centres(
        np.array(rows, dtype=np.int64),
        np.sqrt(np.array(squared, dtype=np.float64)) * step,
        float(np.sqrt(float(nearest.max(initial=0.0)))) * step,
    )
