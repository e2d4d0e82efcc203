"""Embeddings rounded to a lattice on which float32 is exact.

Greedy choices hang on comparisons of distances, and BLAS adds in an order that changes with
shapes and threads: in plain float32 the same pool cut into other shards gives other choices.
So vectors are rounded to whole steps, small enough that no squared distance exceeds 2^24: by
Cauchy and Schwarz every partial sum of every inner product is then a whole number that float32
holds exactly, in any order of adding. The same vectors give the same distances on any machine.

The price is the step, about 1/2040 of the longest vector: a distance is off by at most
sqrt(d) steps and typically by 0.4; equal vectors stay equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.samples import Float32s, Float64s

_LONGEST = 2048.0
"""In steps: two vectors of this length lie at most 2^12 apart, whose square is 2^24."""
FARTHEST_STEPS = 2 * _LONGEST
BLOCK = 8192
"""Rows at a time: with 64 columns they fit the core's own cache."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """The length of a `step`, in the embedding's unit, for vectors of `width` values."""

    step: float
    width: int

    def rounded(self, vectors: NDArray[np.floating], place: str = "embeddings") -> Float32s:
        """Vectors [n, width] in whole steps. Raises `InputError` for others or longer ones."""
        checked = checked_vectors(vectors, place)
        if checked.shape[1] != self.width:
            raise InputError(f"have {checked.shape[1]} values, expected {self.width}", place)
        steps = np.empty(checked.shape, dtype=np.float32)
        for start in range(0, len(steps), BLOCK):
            block = checked[start : start + BLOCK].astype(np.float64)
            steps[start : start + BLOCK] = np.rint(block / self.step)
        if (norms_of(steps) > _LONGEST**2).any():
            raise InputError("a vector is longer than those the lattice was made for", place)
        return steps


def lattice_of(arrays: Sequence[NDArray[np.floating]]) -> Lattice:
    """The finest lattice that holds all vectors [n, d] of all arrays.

    Raises `InputError` when there is no array, or one that is not finite or of another width.
    """
    if not arrays:
        raise InputError("there are no vectors", "embeddings")
    widths = {array.shape[1:] for array in arrays}
    if len(widths) != 1:
        raise InputError(f"differ in width: {sorted(map(list, widths))}", "embeddings")
    longest = max(_longest(checked_vectors(array, "embeddings")) for array in arrays)
    width = int(arrays[0].shape[1])
    # Rounding moves a vector by half a step a value at most.
    steps = _LONGEST - np.sqrt(width) / 2 - 1
    return Lattice(float(longest / steps) if longest > 0 else 1.0, width)


def norms_of(rows: Float32s) -> Float32s:
    """Squared lengths [n] of lattice rows [n, d], exact."""
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def checked_vectors(vectors: NDArray[np.floating], place: str) -> NDArray[np.floating]:
    """The vectors themselves. Raises `InputError` unless they are finite floats [n, d]."""
    if vectors.ndim != 2 or not vectors.shape[1] or not 1 <= vectors.shape[1] <= 4096:
        raise InputError(f"have shape {list(vectors.shape)}, expected [n, 1..4096]", place)
    if not np.issubdtype(vectors.dtype, np.floating):
        raise InputError(f"are {vectors.dtype}, expected floating point", place)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise InputError("are not finite", f"{place}: row {int(np.argmin(finite))}")
    return vectors


def _longest(vectors: NDArray[np.floating]) -> float:
    longest = 0.0
    for start in range(0, vectors.shape[0], BLOCK):
        # Added value by value: the sum of a row then does not depend on the rows beside it.
        total: Float64s = np.zeros(vectors[start : start + BLOCK].shape[0])
        for column in vectors[start : start + BLOCK].astype(np.float64).T:
            total += column**2
        longest = max(longest, float(np.sqrt(total.max(initial=0.0))))
    return longest
