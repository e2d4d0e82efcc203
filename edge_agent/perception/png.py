"""A small PNG decoder: 8-bit gray, gray+alpha, RGB, RGBA and palette, not interlaced.

The vehicle's base install has no image library for PNG; recorded folders (KITTI) need one.
Rules: the PNG specification (W3C, third edition), filters 0 to 4. Checksums are verified.
Bounded: never inflates more than the header's size asks for, at most `MAX_PIXELS`. Alpha is
dropped, not blended. Garbage raises `CorruptError` with an offset, other kinds `InputError`.
"""

from __future__ import annotations

import zlib

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.errors import CorruptError, InputError
from edge_agent.sources.png_header import PngHeader, png_chunks, png_header

MAX_PIXELS = 64 * 1024 * 1024
_BYTES_PER_PIXEL = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

U8s = NDArray[np.uint8]


def decode_png(content: bytes | memoryview, place: str) -> U8s:
    """The pixels as uint8 [h, w, 3] RGB."""
    header = png_header(content, place)
    if header.bit_depth != 8 or header.interlaced or header.colour_type not in _BYTES_PER_PIXEL:
        raise InputError(
            f"PNG of colour type {header.colour_type}, {header.bit_depth} bits"
            f"{', interlaced' if header.interlaced else ''}: only 8-bit, not interlaced, is read",
            place,
        )
    if header.width * header.height > MAX_PIXELS:
        raise InputError(f"{header.width} x {header.height} pixels; at most {MAX_PIXELS}", place)
    packed, palette = _pieces(content, place)
    step = _BYTES_PER_PIXEL[header.colour_type]
    lines = _inflate(packed, header, step, place)
    out = np.empty((header.height, header.width * step), dtype=np.uint8)
    wrong = _unfilter(lines, out, step)
    if wrong >= 0:
        raise CorruptError(f"line {wrong} has filter type {int(lines[wrong, 0])}; 0 to 4", place)
    return _as_rgb(out.reshape(header.height, header.width, step), header, palette, place)


def _pieces(content: bytes | memoryview, place: str) -> tuple[list[memoryview], U8s | None]:
    """The compressed pieces and the palette, each with its checksum verified."""
    view = memoryview(content)
    packed: list[memoryview] = []
    palette: U8s | None = None
    for kind, offset, length in png_chunks(content, place):
        if kind not in (b"IDAT", b"PLTE", b"IHDR"):
            continue
        told = int.from_bytes(view[offset + length : offset + length + 4], "big")
        if zlib.crc32(view[offset - 4 : offset + length]) != told:
            raise CorruptError(f"chunk {kind!r} fails its checksum", f"{place}:offset {offset}")
        if kind == b"IDAT":
            packed.append(view[offset : offset + length])
        elif kind == b"PLTE":
            if length % 3 or not 3 <= length <= 768:
                raise CorruptError(f"a palette of {length} bytes", f"{place}:offset {offset}")
            palette = np.frombuffer(view[offset : offset + length], np.uint8).reshape(-1, 3)
    return packed, palette


def _inflate(packed: list[memoryview], header: PngHeader, step: int, place: str) -> U8s:
    """Filtered lines [height, 1 + width * step], exactly as long as the header says."""
    wanted = header.height * (1 + header.width * step)
    inflater = zlib.decompressobj()
    raw = bytearray()
    try:
        for piece in packed:
            raw += inflater.decompress(piece, wanted - len(raw)) if len(raw) < wanted else b""
    except zlib.error as error:
        raise CorruptError(
            f"the pixel stream is broken after {len(raw)} bytes: {error}", place
        ) from (error)
    if len(raw) != wanted:
        raise CorruptError(f"the pixel stream has {len(raw)} of {wanted} bytes", place)
    return np.frombuffer(raw, np.uint8).reshape(header.height, -1)


@njit(nogil=True, cache=True, error_model="numpy")
def _unfilter(lines: U8s, out: U8s, step: int) -> int:
    """Undo each line's filter; returns the first line whose type is unknown, or -1."""
    height, width = out.shape
    for y in range(height):
        kind = lines[y, 0]
        line, row = lines[y, 1:], out[y]
        above = out[y - 1] if y else np.zeros(width, dtype=np.uint8)
        if kind == 0:
            row[:] = line
        elif kind == 1:
            for x in range(width):
                left = row[x - step] if x >= step else 0
                row[x] = (line[x] + left) & 255
        elif kind == 2:
            for x in range(width):
                row[x] = (line[x] + above[x]) & 255
        elif kind == 3:
            for x in range(width):
                left = int(row[x - step]) if x >= step else 0
                row[x] = (line[x] + ((left + int(above[x])) >> 1)) & 255
        elif kind == 4:
            _paeth(line, above, row, step)
        else:
            return y
    return -1


@njit(nogil=True, cache=True, error_model="numpy")
def _paeth(line: U8s, above: U8s, row: U8s, step: int) -> None:
    """Filter 4: add whichever of left, above and upper left is nearest to their gradient."""
    for x in range(row.size):
        a = int(row[x - step]) if x >= step else 0
        c = int(above[x - step]) if x >= step else 0
        b = int(above[x])
        to_a, to_b, to_c = abs(b - c), abs(a - c), abs(a + b - 2 * c)
        if to_a <= to_b and to_a <= to_c:
            guess = a
        elif to_b <= to_c:
            guess = b
        else:
            guess = c
        row[x] = (line[x] + guess) & 255


def _as_rgb(pixels: U8s, header: PngHeader, palette: U8s | None, place: str) -> U8s:
    if header.colour_type in (2, 6):
        return np.ascontiguousarray(pixels[:, :, :3])
    if header.colour_type in (0, 4):
        return np.repeat(pixels[:, :, :1], 3, axis=2)
    if palette is None:
        raise CorruptError("a palette image without a palette", place)
    if int(pixels.max()) >= palette.shape[0]:
        raise CorruptError(f"colour {int(pixels.max())} of a palette of {palette.shape[0]}", place)
    rgb: U8s = palette[pixels[:, :, 0]]
    return rgb
