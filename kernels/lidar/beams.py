"""Which points belong to one beam, and in what order the codec takes them.

A spinning sensor's beams (rings) sweep out cones; coding along a beam makes neighbours
alike. Rings come from the source when it has them. Otherwise they are recovered, for scans
such as KITTI's HDL-64 that list one beam after the other, from the azimuth: it runs one way
and wraps around once for each beam. A wrong recovery costs bytes, never accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.arrays import read_only

U16s = NDArray[np.uint16]

# Two wraps nearer than this are jitter of the azimuth about the seam, not a beam.
MIN_POINTS_PER_BEAM = 16
MAX_RECOVERED_BEAMS = 512
_PROBES = 1024
_BLOCK = 128
_STEADY_RATIO = 0.9


@dataclass(frozen=True, slots=True)
class Beams:
    """A partition of the points into runs of one ring each.

    Attributes:
        ring: uint16 [s] ring of each segment.
        bounds: int64 [s + 1] where segments begin, 0 first and n last.
        order: int64 [n] index of each coded point in the source, or None for source order.
    """

    ring: U16s
    bounds: NDArray[np.int64]
    order: NDArray[np.int64] | None


def beams_of_rings(ring: U16s) -> Beams:
    """The beams of a source that has a ring for each point, whatever their order."""
    ring = read_only(ring)
    count = ring.shape[0]
    starts = np.empty(count // MIN_POINTS_PER_BEAM + 1, np.int64)
    found = _changes(ring, starts)
    if found < starts.shape[0]:
        bounds = _bounds(starts[:found], count)
        return Beams(ring[bounds[:-1]], bounds, None)
    starts_of, order = _sorted_by_ring(ring, int(ring.max()) + 1)
    rings = np.flatnonzero(np.diff(starts_of))
    return Beams(rings.astype(np.uint16), _bounds(starts_of[rings[1:]], count), order)


def recover_beams(azimuth: U16s) -> Beams | None:
    """The beams of points listed beam after beam, or None where the order shows none.

    Args:
        azimuth: uint16 [n], 65536 to the turn.
    """
    count = azimuth.shape[0]
    if count < MIN_POINTS_PER_BEAM:
        return None
    at = slice(0, count - 1, 1 + count // _PROBES)
    steps = (azimuth[1:][at] - azimuth[:-1][at]).view(np.int16)
    forward = int(np.count_nonzero(steps > 0))
    backward = int(np.count_nonzero(steps < 0))
    if max(forward, backward) < _STEADY_RATIO * steps.shape[0]:
        return None
    starts = np.empty(MAX_RECOVERED_BEAMS, np.int64)
    found = _wraps(azimuth if forward > backward else ~azimuth, starts)
    if found == MAX_RECOVERED_BEAMS:
        return None
    return Beams(np.arange(found + 1, dtype=np.uint16), _bounds(starts[:found], count), None)


def ring_of_points(beams: Beams) -> U16s:
    """uint16 [n], the ring of each point in the source's order."""
    coded = np.repeat(beams.ring, np.diff(beams.bounds))
    if beams.order is None:
        return coded
    ring = np.empty_like(coded)
    ring[beams.order] = coded
    return ring


@njit(nogil=True, cache=True, error_model="numpy")
def _sorted_by_ring(ring: U16s, rings: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each ring begins, int64 [rings + 1], and the points' order by it, which is stable."""
    starts = np.zeros(rings + 1, np.int64)
    for i in range(ring.shape[0]):
        starts[np.int64(ring[i]) + 1] += 1
    for each in range(rings):
        starts[each + 1] += starts[each]
    order = np.empty(ring.shape[0], np.int64)
    place = starts[:-1].copy()
    for i in range(ring.shape[0]):
        order[place[ring[i]]] = i
        place[ring[i]] += 1
    return starts, order


def _bounds(starts: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return np.concatenate(([0], starts, [count])).astype(np.int64)


@njit(nogil=True, cache=True, error_model="numpy")
def _changes(ring: U16s, starts: NDArray[np.int64]) -> int:
    """Writes where a ring follows another one; returns how many. Stops when `starts` is full.

    Blocks of one ring, nearly all, cost a vector compare.
    """
    found = 0
    for begin in range(1, ring.shape[0], _BLOCK):
        block = ring[begin - 1 : min(begin + _BLOCK, ring.shape[0])]
        differ = np.uint16(0)
        for i in range(block.shape[0] - 1):
            differ |= block[i] ^ block[i + 1]
        if differ == 0:
            continue
        for i in range(block.shape[0] - 1):
            if block[i] != block[i + 1]:
                starts[found] = begin + i
                found += 1
                if found == starts.shape[0]:
                    return found
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def _wraps(azimuth: U16s, starts: NDArray[np.int64]) -> int:
    """Writes where a rising azimuth falls by more than half a turn; returns how many.

    Stops when `starts` is full. Blocks without any fall, nearly all, cost one vector compare.
    """
    found = 0
    last = 0
    count = azimuth.shape[0]
    for begin in range(1, count, 64):
        block = azimuth[begin - 1 : min(begin + 64, count)]
        falls = np.uint16(0)
        for i in range(block.shape[0] - 1):
            falls |= np.uint16(1) if block[i] > block[i + 1] else np.uint16(0)
        if falls == 0:
            continue
        for i in range(block.shape[0] - 1):
            wrapped = np.int32(block[i]) - np.int32(block[i + 1]) > 32768
            if wrapped and begin + i - last >= MIN_POINTS_PER_BEAM:
                starts[found] = begin + i
                last = begin + i
                found += 1
                if found == starts.shape[0]:
                    return found
    return found
