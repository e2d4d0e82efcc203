"""Streams of 16-bit values that advance by one of two usual steps: four bits a value.

The azimuth of a spinning sensor advances by its firing step, or by another (HDL-64: half of
it, with a return skipped, twice), give or take a few units. A step within eight of the first
usual step or within seven of the second is one nibble; nibble 15 is an escape, whose two
bytes stand in the escape section, low bytes first, then high bytes. The step of the first
value counts from 0. Lossless for every input.

Value i and value i + ceil(n / 2) share a byte, not value i and i + 1: neighbours would make
the chance repeats that zstd's match search spends its time on. So this is read three times
as fast as one byte a step, and is smaller as well.
"""

from __future__ import annotations

import struct

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.errors import CorruptError
from kernels.arrays import read_only
from kernels.lidar.container import Content, Kind, Sections
from kernels.lidar.scratch import scratch
from kernels.lidar.streams import escape_planes

U8s = NDArray[np.uint8]
U16s = NDArray[np.uint16]

_FIRST_WIDTH, _SECOND_WIDTH, _ESCAPE = 8, 7, 15
_CENTRES = struct.Struct("<HH")
_PROBES = 2048
_BLOCK = 128
# With more escapes than this, one byte a step (`streams`) is smaller.
_USUAL_RATIO = 0.9


def nibble_sections(nibbles: Kind, escape: Kind, values: U16s) -> list[tuple[Kind, Content]] | None:
    """The two sections of a stream, or None where its steps are not usual enough.

    They lie in scratch memory named after the kind.
    """
    count = values.shape[0]
    first, second, usual_ratio = _usual_steps(values, 1 + count // _PROBES)
    if usual_ratio < _USUAL_RATIO:
        return None
    symbols = scratch(f"{nibbles.name} symbols", np.uint8, count)
    wide = scratch(f"{nibbles.name} wide", np.uint16, count)
    half = (count + 1) // 2
    packed = scratch(f"{nibbles.name} packed", np.uint8, _CENTRES.size + half)
    packed[: _CENTRES.size] = np.frombuffer(_CENTRES.pack(first, second), np.uint8)
    escapes = _encode(values, np.uint16(first), np.uint16(second), symbols, wide)
    _pair(symbols, packed[_CENTRES.size :])
    return [(nibbles, packed), (escape, escape_planes(escape, wide[:escapes]))]


def read_nibbles(sections: Sections, nibbles: Kind, escape: Kind, count: int) -> U16s:
    """The `count` values of a stream, in scratch memory named after the kind.

    Raises:
        CorruptError: the sections have another size, or escapes do not match the nibbles.
    """
    half = (count + 1) // 2
    raw = sections.read(nibbles, _CENTRES.size + half)
    first, second = _CENTRES.unpack_from(raw)
    packed = np.frombuffer(raw, np.uint8, offset=_CENTRES.size)
    symbols = scratch(f"{nibbles.name} symbols", np.uint8, count)
    symbols[:half] = packed & 15
    symbols[half:] = packed[: count - half] >> 4
    planes = read_only(np.frombuffer(sections.read_at_most(escape, 2 * count), np.uint8))
    escapes = int(np.count_nonzero(symbols == _ESCAPE))
    if planes.shape[0] != 2 * escapes:
        raise CorruptError(
            f"{escapes} escapes need {2 * escapes} bytes, not {planes.shape[0]}",
            f"lidar sweep section {escape.name}",
        )
    values = scratch(f"{nibbles.name} values", np.uint16, count)
    table = np.arange(16, dtype=np.uint16)
    table[:_FIRST_WIDTH] += np.uint16(first)
    table[_FIRST_WIDTH:] += np.uint16((second - _FIRST_WIDTH) & 0xFFFF)
    _decode(symbols, table, planes[:escapes], planes[escapes:], values)
    return values


@njit(nogil=True, cache=True, error_model="numpy")
def _usual_steps(values: U16s, stride: int) -> tuple[int, int, float]:
    """Lowest step of the two fullest windows among every stride-th step, and their share.

    Only steps within -128..127 are looked for.
    """
    counts = np.zeros(256 + _FIRST_WIDTH, np.int64)
    probes = 0
    for i in range(1, values.shape[0], stride):
        step = np.int16(np.uint16(values[i] - values[i - 1]))
        probes += 1
        if (step >= -128) & (step <= 127):
            counts[np.int64(step) + 128] += 1
    first, first_count = _fullest(counts, _FIRST_WIDTH)
    counts[first : first + _FIRST_WIDTH] = 0
    second, second_count = _fullest(counts, _SECOND_WIDTH)
    share = (first_count + second_count) / max(probes, 1)
    return (first - 128) & 0xFFFF, (second - 128) & 0xFFFF, share


@njit(nogil=True, cache=True, error_model="numpy")
def _fullest(counts: NDArray[np.int64], width: int) -> tuple[int, int]:
    best = 0
    best_count = -1
    for start in range(counts.shape[0] - width + 1):
        total = 0
        for i in range(start, start + width):
            total += counts[i]
        if total > best_count:
            best = start
            best_count = total
    return best, best_count


@njit(nogil=True, cache=True, error_model="numpy")
def _encode(values: U16s, first: np.uint16, second: np.uint16, symbols: U8s, wide: U16s) -> int:
    """Two passes: the first is branch-free and runs in vector registers, the second looks into the
    few blocks that hold an escape.
    """
    for i in range(1, values.shape[0]):
        step = np.uint16(values[i] - values[i - 1])
        low = np.uint16(step - first)
        high = np.uint16(step - second)
        other = np.uint8(high + _FIRST_WIDTH) if high < _SECOND_WIDTH else np.uint8(_ESCAPE)
        symbols[i] = np.uint8(low) if low < _FIRST_WIDTH else other
    symbols[0] = np.uint8(_ESCAPE)
    wide[0] = values[0]
    escapes = 1
    for begin in range(1, values.shape[0], _BLOCK):
        end = min(begin + _BLOCK, values.shape[0])
        block = symbols[begin:end]
        held = np.uint8(0)
        for i in range(block.shape[0]):
            held |= np.uint8(block[i] == _ESCAPE)
        if held == 0:
            continue
        for i in range(begin, end):
            if symbols[i] == _ESCAPE:
                wide[escapes] = np.uint16(values[i] - values[i - 1])
                escapes += 1
    return escapes


@njit(nogil=True, cache=True, error_model="numpy")
def _pair(symbols: U8s, packed: U8s) -> None:
    half = packed.shape[0]
    upper = symbols[half:]
    packed[half - 1] = symbols[half - 1]
    for i in range(upper.shape[0]):
        packed[i] = symbols[i] | np.uint8(upper[i] << 4)


@njit(nogil=True, cache=True, error_model="numpy")
def _decode(symbols: U8s, table: U16s, low: U8s, high: U8s, values: U16s) -> None:
    value = np.uint16(0)
    escapes = 0
    for i in range(symbols.shape[0]):
        if symbols[i] == _ESCAPE:
            value = np.uint16(value + (np.uint16(low[escapes]) | (np.uint16(high[escapes]) << 8)))
            escapes += 1
        else:
            value = np.uint16(value + table[symbols[i] & 15])
        values[i] = value
