"""Streams of 16-bit values as left-deltas of one byte, with escapes.

A value is coded as its difference to the one on its left, modulo 2^16 (the first to 0).
Differences in -127..127 are one byte each; any other is the byte 0x80, and its two bytes
stand in the escape section, low bytes first, then high bytes. Against splitting each delta
into a low and a high plane this is smaller (KITTI ranges: 7.2 bits instead of 8.4) and gives
the entropy coder half the bytes to read. The codes are woven (`weave`). Lossless for every
input.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.errors import CorruptError
from kernels.arrays import read_only
from kernels.lidar.container import Content, Kind, Sections
from kernels.lidar.scratch import scratch
from kernels.lidar.weave import unwoven, woven

U8s = NDArray[np.uint8]
U16s = NDArray[np.uint16]
U32s = NDArray[np.uint32]

_ESCAPE = 0x80


def delta_sections(delta: Kind, escape: Kind, values: U16s) -> list[tuple[Kind, Content]]:
    """The two sections of a stream. They lie in scratch memory named after the kind."""
    count = values.shape[0]
    if count == 0:
        return [(delta, b""), (escape, b"")]
    codes = scratch(f"{delta.name} codes", np.uint8, count)
    wide = scratch(f"{delta.name} wide", np.uint16, count)
    escapes = _encode_delta(values, codes, wide)
    return [
        (delta, woven(delta.name, codes)),
        (escape, escape_planes(escape, wide[:escapes])),
    ]


def escape_planes(escape: Kind, wide: U16s) -> U8s:
    """Low bytes, then high bytes: uint8 [2 k], in scratch memory named after the kind."""
    planes = scratch(f"{escape.name} planes", np.uint8, 2 * wide.shape[0])
    _split_bytes(wide, planes)
    return planes


def read_delta(sections: Sections, delta: Kind, escape: Kind, count: int) -> U16s:
    """The `count` values of a stream, in scratch memory named after the kind.

    Raises:
        CorruptError: the sections have another size, or escapes do not match the codes.
    """
    codes = unwoven(sections.read(delta, count))
    planes = read_only(np.frombuffer(sections.read_at_most(escape, 2 * count), np.uint8))
    escapes = int(np.count_nonzero(codes == _ESCAPE))
    if planes.shape[0] != 2 * escapes:
        raise CorruptError(
            f"{escapes} escapes need {2 * escapes} bytes, not {planes.shape[0]}",
            f"lidar sweep section {escape.name}",
        )
    values = scratch(f"{delta.name} values", np.uint16, count)
    _decode_delta(codes, planes[:escapes], planes[escapes:], values)
    return values


def word_planes(words: U32s) -> U8s:
    """Left-deltas modulo 2^32, zigzag, as four byte planes, lowest first: uint8 [4 n]."""
    planes = scratch("word planes", np.uint8, 4 * words.shape[0])
    _encode_words(words, planes.reshape(4, words.shape[0]))
    return planes


def read_words(planes: bytes | memoryview, count: int) -> U32s:
    """Inverse of `word_planes`; `planes` has exactly 4 `count` bytes."""
    words = np.empty(count, np.uint32)
    _decode_words(read_only(np.frombuffer(planes, np.uint8)).reshape(4, count), words)
    return words


@njit(nogil=True, cache=True, error_model="numpy")
def _encode_delta(values: U16s, codes: U8s, wide: U16s) -> int:
    """Two passes: the first is branch-free and runs in vector registers."""
    first = np.int16(values[0])
    codes[0] = np.uint8(_ESCAPE) if (first < -127) | (first > 127) else np.uint8(first)
    for i in range(1, values.shape[0]):
        step = np.int16(np.uint16(values[i] - values[i - 1]))
        codes[i] = np.uint8(_ESCAPE) if (step < -127) | (step > 127) else np.uint8(step)
    escapes = 0
    if codes[0] == _ESCAPE:
        wide[0] = values[0]
        escapes = 1
    for i in range(1, values.shape[0]):
        if codes[i] == _ESCAPE:
            wide[escapes] = np.uint16(values[i] - values[i - 1])
            escapes += 1
    return escapes


@njit(nogil=True, cache=True, error_model="numpy")
def _split_bytes(wide: U16s, planes: U8s) -> None:
    low = planes[: wide.shape[0]]
    high = planes[wide.shape[0] :]
    for i in range(wide.shape[0]):
        low[i] = np.uint8(wide[i] & 0xFF)
        high[i] = np.uint8(wide[i] >> 8)


@njit(nogil=True, cache=True, error_model="numpy")
def _decode_delta(codes: U8s, low: U8s, high: U8s, values: U16s) -> None:
    value = np.uint16(0)
    escapes = 0
    for i in range(codes.shape[0]):
        if codes[i] == _ESCAPE:
            value = np.uint16(value + (np.uint16(low[escapes]) | (np.uint16(high[escapes]) << 8)))
            escapes += 1
        else:
            value = np.uint16(value + np.uint16(np.int8(codes[i])))
        values[i] = value


@njit(nogil=True, cache=True, error_model="numpy")
def _encode_words(words: U32s, planes: NDArray[np.uint8]) -> None:
    left = np.uint32(0)
    for i in range(words.shape[0]):
        step = np.int32(np.uint32(words[i] - left))
        left = words[i]
        code = np.uint32(np.uint32(step << 1) ^ np.uint32(step >> 31))
        planes[0, i] = code & 0xFF
        planes[1, i] = (code >> 8) & 0xFF
        planes[2, i] = (code >> 16) & 0xFF
        planes[3, i] = (code >> 24) & 0xFF


@njit(nogil=True, cache=True, error_model="numpy")
def _decode_words(planes: NDArray[np.uint8], words: U32s) -> None:
    value = np.uint32(0)
    for i in range(words.shape[0]):
        code = np.uint32(
            np.uint32(planes[0, i])
            | (np.uint32(planes[1, i]) << 8)
            | (np.uint32(planes[2, i]) << 16)
            | (np.uint32(planes[3, i]) << 24)
        )
        step = np.uint32((code >> 1) ^ np.uint32(-np.int64(code & 1)))
        value = np.uint32(value + step)
        words[i] = value
