"""64-bit perceptual hashes of camera frames, and the scan for near ones.

The hash is the DCT hash of Zauner's thesis (2010), as the `imagehash` library has it: the
luma of the frame averaged into 32 x 32 cells, the 8 x 8 lowest frequencies of its cosine
transform, one bit each for being above their median, row by row, the first in the top bit.
Frames of one scene differ in few bits, whatever their brightness or JPEG quality; frames of
other scenes in about half of all.

Guarantees: all arithmetic is on integers, so that a frame has the same hash on any machine
and a fleet's hashes can be compared. It is not `imagehash`'s own hash bit for bit: that one
filters with Lanczos and transforms in floats; a few bits differ.

What it does not see: small things. A pedestrian far away changes no bit. Nothing may be
dropped on the hash alone.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.errors import InputError
from kernels.arrays import read_only

HASH_BITS = 64
_CELLS = 32
_LOW = 8
# A cell averages at most this many of its rows and columns: more changes few bits, and costs.
# The sum of that many rows' levels fits into 16 bits; `_add_rows` is written out for as many.
_ROWS_PER_CELL, _COLUMNS_PER_CELL = 8, 12
_MIN_SIDE_PX = 8
_SCAN_BLOCK = 1024
_RGB_CHANNELS = 3

U8s = NDArray[np.uint8]
U16s = NDArray[np.uint16]
U64s = NDArray[np.uint64]
Int64s = NDArray[np.int64]

# Cosines of the eight lowest frequencies in steps of 2^-14: int64 [8, 32].
_COSINES: Int64s = np.rint(
    np.cos(np.arange(_LOW)[:, None] * (2 * np.arange(_CELLS)[None, :] + 1) * np.pi / (2 * _CELLS))
    * (1 << 14)
).astype(np.int64)


def phash64(image: U8s) -> int:
    """The hash of a frame, 0 .. 2^64 - 1.

    Args:
        image: uint8 [h, w] luma or [h, w, 3] RGB, at least 8 x 8.

    Raises:
        InputError: another type or shape.
    """
    gray = image.ndim == 2
    if image.dtype != np.uint8 or not (gray or image.shape[2:] == (_RGB_CHANNELS,)):
        shape = list(image.shape)
        raise InputError(f"must be uint8 [h, w] or [h, w, 3], is {image.dtype} {shape}", "image")
    height, width = image.shape[:2]
    if min(height, width) < _MIN_SIDE_PX:
        raise InputError(f"{height} x {width} px are too few to hash", "image")
    channels = 1 if gray else _RGB_CHANNELS
    nothing = read_only(np.zeros(channels * width, np.uint8))
    cells = np.empty((_CELLS, _CELLS), np.int64)
    _mean_luma(read_only(image).reshape(-1), height, width, channels, nothing, cells)
    return int(_hash_of_cells(cells, _COSINES))


def hamming_scan(hashes: U64s, query: int, max_distance: int) -> tuple[Int64s, U8s]:
    """All hashes within `max_distance` bits of `query`.

    Args:
        hashes: uint64 [n].
        query: a hash.
        max_distance: 0 .. 64; a negative one finds nothing.

    Returns:
        Their ascending indices int64 [k], and their distances uint8 [k] in bits.

    Raises:
        InputError: hashes of another type or shape, or a query that is no 64-bit number.
    """
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise InputError(f"must be uint64 [n], is {hashes.dtype} {list(hashes.shape)}", "hashes")
    if not 0 <= query < 1 << HASH_BITS:
        raise InputError(f"{query} is no 64-bit hash", "query")
    if max_distance < 0:
        return np.empty(0, np.int64), np.empty(0, np.uint8)
    limit = np.uint64(min(max_distance, HASH_BITS))
    source = np.ascontiguousarray(hashes)
    near = np.empty(-(-source.shape[0] // _SCAN_BLOCK), np.int64)
    found = _count_near(source, np.uint64(query), limit, near)
    indices = np.empty(found, np.int64)
    distances = np.empty(found, np.uint8)
    _collect_near(source, np.uint64(query), limit, near, indices, distances)
    return indices, distances


def hamming_distance(first: int, second: int) -> int:
    """The number of bits in which two hashes differ."""
    return (first ^ second).bit_count()


@njit(nogil=True, cache=True, error_model="numpy")
def _mean_luma(
    flat: U8s, height: int, width: int, channels: int, nothing: U8s, cells: Int64s
) -> None:
    """Mean luma (of RGB: ITU-R BT.601 in parts of 2^16) of each cell, times 2^16."""
    stride = channels * width
    sums = np.empty(stride, np.uint16)
    for row in range(_CELLS):
        top, bottom, down = _samples(row, height, _ROWS_PER_CELL)
        rows = (bottom - top + down - 1) // down
        _add_rows(flat[top * stride :], rows, down * stride, nothing, sums)
        for column in range(_CELLS):
            left, right, across = _samples(column, width, _COLUMNS_PER_CELL)
            total = np.int64(0)
            count = 0
            for x in range(left, right, across):
                if channels == 1:
                    total += np.int64(sums[x]) << 16
                else:
                    red, green, blue = sums[3 * x], sums[3 * x + 1], sums[3 * x + 2]
                    total += 19595 * np.int64(red) + 38470 * np.int64(green) + 7471 * np.int64(blue)
                count += rows
            cells[row, column] = total // count


@njit(nogil=True, cache=True, error_model="numpy")
def _add_rows(flat: U8s, rows: int, step: int, nothing: U8s, sums: U16s) -> None:
    """Sums of `rows` rows that begin every `step` bytes; `nothing` is a row of zeros.

    Whole rows, although a few columns are picked of them: this runs in vector registers. All in
    one loop, since memory serves eight streams sooner than one after the other.
    """
    row0 = flat
    row1 = flat[step:] if rows > 1 else nothing
    row2 = flat[2 * step :] if rows > 2 else nothing
    row3 = flat[3 * step :] if rows > 3 else nothing
    row4 = flat[4 * step :] if rows > 4 else nothing
    row5 = flat[5 * step :] if rows > 5 else nothing
    row6 = flat[6 * step :] if rows > 6 else nothing
    row7 = flat[7 * step :] if rows > 7 else nothing
    for i in range(sums.size):
        first = np.uint16(row0[i]) + np.uint16(row1[i]) + np.uint16(row2[i]) + np.uint16(row3[i])
        second = np.uint16(row4[i]) + np.uint16(row5[i]) + np.uint16(row6[i]) + np.uint16(row7[i])
        sums[i] = first + second


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _samples(cell: int, extent: int, wanted: int) -> tuple[int, int, int]:
    """First, end and stride of the samples of one cell along an axis; never none."""
    begin = cell * extent // _CELLS
    end = max((cell + 1) * extent // _CELLS, begin + 1)
    return begin, end, (end - begin + wanted - 1) // wanted


@njit(nogil=True, cache=True, error_model="numpy")
def _hash_of_cells(cells: Int64s, cosines: Int64s) -> np.uint64:
    """Both passes of the cosine transform, the median, the bits."""
    half = np.zeros((_LOW, _CELLS), np.int64)
    for frequency in range(_LOW):
        for row in range(_CELLS):
            weight = cosines[frequency, row]
            for column in range(_CELLS):
                half[frequency, column] += weight * cells[row, column]
    low = np.zeros(_LOW * _LOW, np.int64)
    for down in range(_LOW):
        for across in range(_LOW):
            total = np.int64(0)
            for column in range(_CELLS):
                # At most 2^43 by now; shifted, so that twice the next sum fits as well.
                total += (half[down, column] >> 14) * cosines[across, column]
            low[down * _LOW + across] = total
    ordered = np.sort(low)
    middle = ordered[HASH_BITS // 2 - 1] + ordered[HASH_BITS // 2]
    bits = np.uint64(0)
    for index in range(HASH_BITS):
        bits = (bits << np.uint64(1)) | np.uint64(1 if 2 * low[index] > middle else 0)
    return bits


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _popcount(word: np.uint64) -> np.uint64:
    """Set bits, in the form that LLVM turns into the machine's own instruction."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + (
        (word >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(nogil=True, cache=True, error_model="numpy")
def _count_near(hashes: U64s, query: np.uint64, limit: np.uint64, near: Int64s) -> int:
    """Counts the hashes near the query in each block; returns their sum."""
    found = np.int64(0)
    for index in range(near.shape[0]):
        block = hashes[index * _SCAN_BLOCK : (index + 1) * _SCAN_BLOCK]
        count = np.int64(0)
        for i in range(block.shape[0]):
            count += np.int64(1) if _popcount(block[i] ^ query) <= limit else np.int64(0)
        near[index] = count
        found += count
    return int(found)


@njit(nogil=True, cache=True, error_model="numpy")
def _collect_near(
    hashes: U64s,
    query: np.uint64,
    limit: np.uint64,
    near: Int64s,
    indices: Int64s,
    distances: U8s,
) -> None:
    """Reads only the blocks that hold a near hash again."""
    found = 0
    for index in range(near.shape[0]):
        if near[index] == 0:
            continue
        begin = index * _SCAN_BLOCK
        block = hashes[begin : begin + _SCAN_BLOCK]
        for i in range(block.shape[0]):
            distance = _popcount(block[i] ^ query)
            if distance <= limit:
                indices[found] = begin + i
                distances[found] = np.uint8(distance)
                found += 1
