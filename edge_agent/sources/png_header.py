"""The outside of a PNG: its size and whether it is whole, without decoding a pixel.

Rules: the PNG specification (W3C, third edition), chunk layout. Checked: signature, header,
the chain of chunk lengths up to IEND. Not checked here: checksums and pixel data.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from contracts.errors import CorruptError

SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class PngHeader:
    """The IHDR chunk. `colour_type` 0 gray, 2 RGB, 3 palette, 4 gray+alpha, 6 RGBA."""

    width: int
    height: int
    bit_depth: int
    colour_type: int
    interlaced: bool


def png_header(content: bytes | memoryview, place: str) -> PngHeader:
    """Read IHDR. Raises `CorruptError` with the offset when the start is not a PNG's."""
    start = bytes(content[:33])
    if start[:8] != SIGNATURE:
        raise CorruptError("does not start as a PNG does", f"{place}:offset 0")
    if len(start) < 33 or start[8:16] != b"\x00\x00\x00\x0dIHDR":
        raise CorruptError("the PNG header is not whole", f"{place}:offset 8")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", start[16:29])
    if width == 0 or height == 0:
        raise CorruptError(f"the PNG is {width} x {height} pixels", f"{place}:offset 16")
    return PngHeader(width, height, depth, colour, interlace != 0)


def png_chunks(content: bytes | memoryview, place: str) -> list[tuple[bytes, int, int]]:
    """Type, offset of the body and length of every chunk up to IEND, in order.

    Raises `CorruptError` with the offset of the chunk that runs past the end.
    """
    chunks: list[tuple[bytes, int, int]] = []
    offset = len(SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        if offset + 12 > len(content):
            raise CorruptError("the PNG ends before its IEND chunk", f"{place}:offset {offset}")
        (length,) = struct.unpack(">I", content[offset : offset + 4])
        kind = bytes(content[offset + 4 : offset + 8])
        if offset + 12 + length > len(content):
            raise CorruptError(
                f"chunk {kind!r} of {length} bytes runs past the end of the file",
                f"{place}:offset {offset}",
            )
        chunks.append((kind, offset + 8, length))
        offset += 12 + length
    return chunks
