"""Memory that large bodies are received into, used again and again.

Fresh memory for each read costs as much as the read: the kernel clears every page of it. A slab
comes back by itself when the last view of it has gone, wherever that was (a store's thread, say,
that outlives its request), so nobody writes into bytes that somebody still reads.
"""

from __future__ import annotations

import weakref

import numpy as np
from numpy.typing import NDArray

SLAB_BYTES = 2 * 1024 * 1024
MOST_KEPT = 32
MOST_READY = 2
"""Full slabs of one body that wait for the application before its socket rests."""
AHEAD_BYTES = (MOST_READY + 1) * SLAB_BYTES
"""Most of one body that the application has not taken: one more slab is being filled."""


class Slabs:
    """A supply of slabs, for any thread.

    Args:
        slab_bytes: of each.
        most_kept: so many wait unused; what comes back beyond them is freed.
    """

    def __init__(self, slab_bytes: int = SLAB_BYTES, most_kept: int = MOST_KEPT) -> None:
        self._slab_bytes = slab_bytes
        self._most_kept = most_kept
        self._kept: list[NDArray[np.uint8]] = []

    def take(self) -> memoryview:
        """Writable bytes of one slab, of whatever content."""
        try:
            block = self._kept.pop()
        except IndexError:
            block = np.empty(self._slab_bytes, np.uint8)
        lent = block[:]  # every view keeps this array alive, not the block alone
        weakref.finalize(lent, self._came_back, block).atexit = False
        return lent.data

    @property
    def kept(self) -> int:
        return len(self._kept)

    def _came_back(self, block: NDArray[np.uint8]) -> None:
        if len(self._kept) < self._most_kept:
            self._kept.append(block)
