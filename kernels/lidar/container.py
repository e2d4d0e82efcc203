"""The envelope of an encoded sweep: a small header, a table of sections, their bytes.

Little-endian. Header, 32 bytes: magic `LTLR`, version, layout, flags (u16), points, rings,
columns, segments (u32 each), number of sections (u16), reserved (u16, 0), CRC-32 of
everything but itself. Each table entry, 12 bytes: kind (u8), coding (u8: 0 stored, 1 zstd),
reserved (u16, 0), raw bytes, coded bytes (u32 each). The sections follow in order, and
nothing follows them.

Guarantees: the same sections give the same bytes; a reader allocates nothing that the
header's bounded counts do not explain; every failure of a reader is a `CorruptError`.
A section of one kind appears at most once, so a later version may add kinds: version 1 reads
refuse an unknown kind rather than lose it silently.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag

import numpy as np
import zstandard
from numpy.typing import NDArray

from contracts.errors import CorruptError
from kernels.lidar.cloud import MAX_COLUMNS, MAX_POINTS, MAX_RINGS

MAGIC = b"LTLR"
VERSION = 1
_HEAD = struct.Struct("<4sBBHIIIIHHI")
_ENTRY = struct.Struct("<BBHII")
_CRC = struct.Struct("<I")
_CRC_OFFSET = _HEAD.size - _CRC.size
_STORED, _ZSTD = 0, 1
# Below this many bytes a zstd frame's own header costs more than it saves.
_STORE_BELOW_BYTES = 64


class Layout(IntEnum):
    """How the geometry is laid out."""

    GRID = 1
    RINGS = 2
    PLAIN = 3


class Flag(IntFlag):
    """What the sections hold, where their presence alone does not say it."""

    NONE = 0
    # Points were sorted by ring for coding; section RING_DELTA puts them back.
    PERMUTED = 1


class Kind(IntEnum):
    """What a section holds; its raw size follows from the header's counts."""

    RANGE_DELTA = 1
    RANGE_ESCAPE = 2
    AZIMUTH_DELTA = 3
    AZIMUTH_ESCAPE = 4
    HEIGHT_DELTA = 5
    HEIGHT_ESCAPE = 6
    RING_DELTA = 7
    RING_ESCAPE = 8
    INTENSITY = 9
    TIME = 10
    CLASS = 11
    EXACT = 12
    SEGMENTS = 13
    AZIMUTH_TABLE = 14
    ELEVATION_TABLE = 15
    AXIS_X = 16
    AXIS_Y = 17
    AXIS_Z = 18
    AZIMUTH_NIBBLES = 19


_LAYOUTS = frozenset(int(layout) for layout in Layout)
_KINDS = frozenset(int(kind) for kind in Kind)

Content = bytes | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Header:
    """The counts of an encoded sweep: `rings` and `columns` are 0 unless it is a grid,
    `segments` is 0 unless it has rings."""

    layout: Layout
    flags: Flag
    points: int
    rings: int = 0
    columns: int = 0
    segments: int = 0


class _Zstd(threading.local):
    """One compressor and decompressor for each thread: zstd contexts are not shareable."""

    def __init__(self) -> None:
        # Level 1 with small tables: the planes are residuals, in which a longer search finds
        # only chance matches and is slower. A window of 64 KiB makes blocks of as much, so
        # the Huffman codes follow the sweep's changes (4 % smaller than with 128 KiB).
        parameters = zstandard.ZstdCompressionParameters.from_level(
            1, window_log=16, hash_log=8, min_match=7
        )
        self.compressor = zstandard.ZstdCompressor(compression_params=parameters)
        self.decompressor = zstandard.ZstdDecompressor()


_ZSTD_OF_THREAD = _Zstd()


def pack(header: Header, sections: list[tuple[Kind, Content]]) -> bytes:
    """Compresses the sections and seals them under one header and CRC."""
    return b"".join(pack_in_pieces(header, sections))


def pack_in_pieces(header: Header, sections: list[tuple[Kind, Content]]) -> list[bytes]:
    """What `pack` joins, for whom has a place to put it together."""
    compress = _ZSTD_OF_THREAD.compressor.compress
    table: list[bytes] = []
    bodies: list[bytes] = []
    for kind, content in sections:
        raw = memoryview(content)  # type: ignore[arg-type]
        if raw.nbytes < _STORE_BELOW_BYTES:
            body, coding = bytes(raw), _STORED
        else:
            body, coding = compress(raw), _ZSTD
        table.append(_ENTRY.pack(kind, coding, 0, raw.nbytes, len(body)))
        bodies.append(body)
    head = _HEAD.pack(
        MAGIC, VERSION, header.layout, header.flags, header.points, header.rings,
        header.columns, header.segments, len(table), 0, 0,
    )[:_CRC_OFFSET]  # fmt: skip
    parts = [head, b"", b"".join(table), *bodies]
    parts[1] = _CRC.pack(_checksum(parts))
    return parts


def reseal(payload: bytes) -> bytes:
    """The payload with its CRC made right again: for tests and repair tools only."""
    head, rest = payload[:_CRC_OFFSET], payload[_HEAD.size :]
    return head + _CRC.pack(_checksum([head, rest])) + rest


def peek(payload: bytes | memoryview) -> Header:
    """The header of an encoded sweep, with its bounds checked but not the CRC.

    Raises:
        CorruptError: not an encoded sweep of a known version, or a count out of bounds.
    """
    return _head(memoryview(payload).cast("B"))[0]


class Sections:
    """The sections of a sealed sweep, read by kind; sizes are checked before allocating.

    Raises:
        CorruptError: wrong magic, version, CRC, length, count, kind or size.
    """

    def __init__(self, payload: bytes | memoryview) -> None:
        view = memoryview(payload).cast("B")
        self.header, count, crc = _head(view)
        if _checksum([view[:_CRC_OFFSET], view[_HEAD.size :]]) != crc:
            raise CorruptError("the CRC does not match the bytes", "lidar sweep")
        self._of_kind: dict[Kind, tuple[int, int, memoryview]] = {}
        self._unread: set[Kind] = set()
        offset = _HEAD.size + count * _ENTRY.size
        if len(view) < offset:
            raise CorruptError("the section table is cut off", "lidar sweep")
        for index in range(count):
            entry = _ENTRY.unpack_from(view, _HEAD.size + index * _ENTRY.size)
            kind, coding, reserved, raw_bytes, coded_bytes = entry
            if kind not in _KINDS or coding not in (_STORED, _ZSTD) or reserved:
                raise CorruptError(f"unknown section (kind {kind}, coding {coding})", "lidar sweep")
            if Kind(kind) in self._of_kind or offset + coded_bytes > len(view):
                raise CorruptError(
                    f"section {Kind(kind).name} is repeated or cut off", "lidar sweep"
                )
            self._of_kind[Kind(kind)] = (coding, raw_bytes, view[offset : offset + coded_bytes])
            offset += coded_bytes
        if offset != len(view):
            raise CorruptError("bytes follow the last section", "lidar sweep")
        self._unread = set(self._of_kind)

    def __contains__(self, kind: Kind) -> bool:
        return kind in self._of_kind

    def read(self, kind: Kind, raw_bytes: int) -> bytes | memoryview:
        """The section's raw bytes, which must be exactly `raw_bytes` many."""
        return self.read_at_most(kind, raw_bytes, exact=True)

    def read_at_most(
        self, kind: Kind, limit_bytes: int, *, exact: bool = False
    ) -> bytes | memoryview:
        """The section's raw bytes, at most `limit_bytes` many."""
        if kind not in self._of_kind:
            raise CorruptError("is missing", f"lidar sweep section {kind.name}")
        coding, raw_bytes, body = self._of_kind[kind]
        self._unread.discard(kind)
        if raw_bytes > limit_bytes or (exact and raw_bytes != limit_bytes):
            raise _wrong_size(kind, raw_bytes)
        if coding == _STORED:
            if len(body) != raw_bytes:
                raise _wrong_size(kind, len(body))
            return body
        return _decompress(kind, body, raw_bytes)

    def finish(self) -> None:
        """Refuses a payload with sections that the layout did not ask for."""
        if self._unread:
            names = ", ".join(sorted(kind.name for kind in self._unread))
            raise CorruptError(f"sections that this layout does not have: {names}", "lidar sweep")


def _head(view: memoryview) -> tuple[Header, int, int]:
    if len(view) < _HEAD.size:
        raise CorruptError(f"{len(view)} bytes are less than a header", "lidar sweep")
    (magic, version, layout, flags, points, rings, columns, segments, count, reserved, crc) = (
        _HEAD.unpack_from(view)
    )
    if magic != MAGIC:
        raise CorruptError("not an encoded sweep (wrong magic)", "lidar sweep")
    if version != VERSION:
        raise CorruptError(f"version {version} is not known (this reads {VERSION})", "lidar sweep")
    known = layout in _LAYOUTS and flags <= Flag.PERMUTED and not reserved and count <= len(Kind)
    if not known:
        raise CorruptError(f"unknown layout {layout} or flags {flags:#x}", "lidar sweep")
    bounded = points <= MAX_POINTS and rings <= MAX_RINGS and columns <= MAX_COLUMNS
    if not bounded or segments > points or (layout == Layout.GRID and rings * columns != points):
        raise CorruptError(f"counts out of bounds: {points}, {rings} x {columns}", "lidar sweep")
    return Header(Layout(layout), Flag(flags), points, rings, columns, segments), count, crc


def _checksum(parts: Sequence[bytes | memoryview]) -> int:
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc


def _decompress(kind: Kind, body: memoryview, raw_bytes: int) -> bytes:
    try:
        # The frame's own word on its size is what the decompressor allocates.
        if zstandard.frame_content_size(body) != raw_bytes:
            raise _wrong_size(kind, raw_bytes)
        raw: bytes = _ZSTD_OF_THREAD.decompressor.decompress(
            body, max_output_size=raw_bytes, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise CorruptError(f"zstd: {error}", f"lidar sweep section {kind.name}") from error
    if len(raw) != raw_bytes:
        raise _wrong_size(kind, len(raw))
    return raw


def _wrong_size(kind: Kind, size_bytes: int) -> CorruptError:
    return CorruptError(f"has {size_bytes} bytes", f"lidar sweep section {kind.name}")
