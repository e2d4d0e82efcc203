"""What the search needs of an index of vectors: derived from SQL, rebuildable, never the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float32s, Float64s

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Nearest:
    """Clips by cosine to six decimals, the highest first, ties by id; all that tie with the last.

    Attributes:
        rows: int64 [m], `clips.mining_row`.
        clip_ids: [m], hexadecimal.
        cosines: float64 [m].
        compared: how many vectors were compared.
    """

    rows: Int64s
    clip_ids: tuple[str, ...]
    cosines: Float64s
    compared: int


class MiningIndex(Protocol):
    """Exact nearest vectors of one space. Vectors of two spaces are never compared."""

    async def catch_up(self, space: str) -> int | None:
        """Take in what the database has committed; how many vectors are held now.

        Held are those of clips in state `ready`, as one snapshot shows them, taken after the
        call. None when the space is not ready: it is being built, or nothing is in it.
        """
        ...

    async def nearest(
        self,
        space: str,
        query: Float32s,
        k: int,
        rows: Int64s | None = None,
        not_above: float | None = None,
    ) -> Nearest:
        """The `k` nearest by cosine.

        Args:
            query: float32 [d]; one of another length, or without direction, is near nothing.
            rows: only these clips; None: all.
            not_above: only cosines up to this one, to go on behind a page.
        """
        ...
