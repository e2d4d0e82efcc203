"""The signal log's file format, version 1: columns of trigger inputs in small chunks.

Guarantees: every float64 comes back bit for bit, NaN included. A file that breaks off reads up
to its last whole chunk and then raises `CorruptError`; so does any damage. Nothing is allocated
that a bound has not allowed before.

A file is `MAGIC` and then chunks, only ever appended. Little-endian:

    kind 4s ('HEAD', 'TICK', 'ENDS') | stored u32 | raw u32 | crc u32 | body

`body` is `stored` bytes of one zstd frame that holds `raw` bytes; the crc is CRC-32 over the
first 12 bytes and the body. The raw bytes of `HEAD`, always first, are the header's JSON; of
`ENDS`, which a log that was closed has, the number of ticks as u64. Of `TICK`:

    ticks u32 | signals u32 | classes u32 | scored u32 | fires_bytes u32 | first_tick u64
    integers i64 [2, ticks]            time and frame number, each less the one before
    floats   f64 [1 + signals, ticks]  horizon and values
    scored   u8 [ticks]                1 where class scores differ from the tick before
    scores   f64 [classes, scored]     class scores at those ticks
    fires    JSON [fires_bytes]

Values stand as they are: most come from few bits on a bus, so they repeat, and zstd finds that
across columns too (wheel speeds, deceleration beside acceleration). On a recorded drive xor'ed
words sorted into byte planes took a third more. A chunk reads by itself.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import zstandard
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from contracts.errors import CorruptError, InputError
from contracts.signal_log import LoggedFire, SignalLogHeader

MAGIC = b"\x89LTSL1\r\n"
MAX_STORED_BYTES = 16 * 1024 * 1024
MAX_RAW_BYTES = 64 * 1024 * 1024
MAX_TICKS = 1 << 16
MAX_COLUMNS = 4096
LEVEL = 3

_FRAME = struct.Struct("<4sIII")
_TICK = struct.Struct("<IIIIIQ")
_END = struct.Struct("<Q")
_FIRES: TypeAdapter[tuple[LoggedFire, ...]] = TypeAdapter(tuple[LoggedFire, ...])

Words = NDArray[np.uint64]
Source = Path | IO[bytes]


@dataclass(frozen=True, slots=True)
class SignalChunk:
    """Some consecutive ticks of one drive.

    `first_tick` numbers its first tick within the drive; `now_ns` int64 [n], `values` float64
    [n, signals] with NaN for absent, `class_scores` float64 [n, classes], `frame_number` int64
    [n], `horizon_s` float64 [n]; `fires` are those of these ticks, in order.
    """

    first_tick: int
    now_ns: NDArray[np.int64]
    values: NDArray[np.float64]
    class_scores: NDArray[np.float64]
    frame_number: NDArray[np.int64]
    horizon_s: NDArray[np.float64]
    fires: tuple[LoggedFire, ...] = ()

    def __len__(self) -> int:
        return len(self.now_ns)


@dataclass(frozen=True, slots=True)
class SignalLog:
    """A log read whole. `broken` tells why it ends before its end, None when it does not."""

    header: SignalLogHeader
    chunks: tuple[SignalChunk, ...]
    broken: str | None = None


# Writing ------------------------------------------------------------------------------------


def _framed(kind: bytes, raw: bytes) -> bytes:
    body = zstandard.ZstdCompressor(level=LEVEL).compress(raw)
    if len(raw) > MAX_RAW_BYTES or len(body) > MAX_STORED_BYTES:
        raise InputError(f"a {kind.decode()} chunk of {len(raw)} bytes is too large")
    crc = zlib.crc32(body, zlib.crc32(struct.pack("<4sII", kind, len(body), len(raw))))
    return _FRAME.pack(kind, len(body), len(raw), crc) + body


def encode_header(header: SignalLogHeader) -> bytes:
    """The beginning of a file. Raises `InputError` when it is too large."""
    return MAGIC + _framed(b"HEAD", header.model_dump_json().encode())


def encode_end(ticks: int) -> bytes:
    """The mark of a log that was closed, with its number of ticks."""
    return _framed(b"ENDS", _END.pack(ticks))


def _bits(values: NDArray[np.float64] | NDArray[np.int64]) -> Words:
    return np.ascontiguousarray(values).view(np.uint64)


def encode_chunk(chunk: SignalChunk) -> bytes:
    """A `TICK` chunk. Raises `InputError` when arrays do not match or are too large."""
    n, signals = chunk.values.shape
    classes = chunk.class_scores.shape[1]
    lengths = {len(chunk.now_ns), len(chunk.frame_number), len(chunk.horizon_s), n}
    if lengths != {len(chunk.class_scores)} or not 0 < n <= MAX_TICKS:
        raise InputError(f"a chunk's arrays have lengths {sorted(lengths)}")
    if max(signals, classes) > MAX_COLUMNS:
        raise InputError(f"more than {MAX_COLUMNS} signals or classes")
    integers = np.stack([_bits(chunk.now_ns), _bits(chunk.frame_number)])
    integers[:, 1:] -= integers[:, :-1].copy()
    floats = np.vstack([_bits(chunk.horizon_s)[None], _bits(chunk.values.T)])
    scores = _bits(chunk.class_scores)
    scored = np.ones(n, np.uint8)
    scored[1:] = (scores[1:] != scores[:-1]).any(axis=1)
    rows = np.ascontiguousarray(scores[scored == 1].T)
    fires = _FIRES.dump_json(chunk.fires) if chunk.fires else b""
    head = _TICK.pack(n, signals, classes, rows.shape[1], len(fires), chunk.first_tick)
    parts = (
        head, integers.tobytes(), floats.tobytes(), scored.tobytes(), rows.tobytes(), fires,
    )  # fmt: skip
    return _framed(b"TICK", b"".join(parts))


# Reading ------------------------------------------------------------------------------------


def _unframed(stream: IO[bytes], place: str) -> tuple[bytes, bytes] | None:
    """(kind, raw bytes) of the next chunk; None at the end of the file."""
    offset = stream.tell()
    place = f"{place}: byte {offset}"
    head = stream.read(_FRAME.size)
    if not head:
        return None
    if len(head) < _FRAME.size:
        raise CorruptError("breaks off inside a chunk's head", place)
    kind, stored, raw_bytes, crc = _FRAME.unpack(head)
    if stored > MAX_STORED_BYTES or raw_bytes > MAX_RAW_BYTES:
        raise CorruptError(f"a chunk claims {stored} and {raw_bytes} bytes", place)
    body = stream.read(stored)
    if len(body) < stored:
        raise CorruptError("breaks off inside a chunk", place)
    if zlib.crc32(body, zlib.crc32(head[:12])) != crc:
        raise CorruptError("a chunk's checksum differs", place)
    try:
        if zstandard.frame_content_size(body) != raw_bytes:
            raise CorruptError("a chunk's size differs from its head", place)
        return kind, zstandard.ZstdDecompressor().decompress(body, max_output_size=raw_bytes)
    except zstandard.ZstdError as error:
        raise CorruptError(f"zstd: {error}", place) from error


def _words(raw: bytes, offset: int, columns: int, n: int) -> tuple[Words, int]:
    """Words [columns, n], and the offset behind them."""
    words = np.frombuffer(raw, "<u8", columns * n, offset).reshape(columns, n).astype(np.uint64)
    return words, offset + columns * 8 * n


def _decode_chunk(raw: bytes, header: SignalLogHeader, place: str) -> SignalChunk:
    if len(raw) < _TICK.size:
        raise CorruptError("a chunk is shorter than its own head", place)
    n, signals, classes, scored_count, fires_bytes, first_tick = _TICK.unpack_from(raw)
    if not 0 < n <= MAX_TICKS or signals != len(header.signals):
        raise CorruptError(f"a chunk of {n} ticks and {signals} signals does not fit", place)
    if classes != max(1, len(header.class_names)) or scored_count > n:
        raise CorruptError(f"a chunk of {classes} classes does not fit", place)
    expected = _TICK.size + (3 + signals) * 8 * n + n + classes * 8 * scored_count + fires_bytes
    if len(raw) != expected:
        raise CorruptError(f"a chunk holds {len(raw)} bytes, not {expected}", place)
    steps, at = _words(raw, _TICK.size, 2, n)
    integers = np.add.accumulate(steps, axis=1)
    floats, at = _words(raw, at, 1 + signals, n)
    scored = np.frombuffer(raw, np.uint8, n, at)
    rows, at = _words(raw, at + n, classes, scored_count)
    now_ns = integers[0].view(np.int64)
    if scored[0] != 1 or int((scored == 1).sum()) != scored_count:
        raise CorruptError("a chunk's class scores are miscounted", place)
    if (now_ns[1:] < now_ns[:-1]).any():
        raise CorruptError("time goes back inside a chunk", place)
    try:
        fires = _FIRES.validate_json(raw[at:]) if fires_bytes else ()
    except ValidationError as error:
        raise CorruptError(f"fires: {error.errors()[0]['msg']}", place) from error
    scores = np.ascontiguousarray(rows.T).view(np.float64)[np.cumsum(scored == 1) - 1]
    return SignalChunk(
        first_tick, now_ns, np.ascontiguousarray(floats[1:].T).view(np.float64), scores,
        integers[1].view(np.int64), floats[0].view(np.float64), fires,
    )  # fmt: skip


@contextmanager
def _opened(source: Source) -> Iterator[tuple[IO[bytes], str]]:
    if isinstance(source, Path):
        try:
            stream = source.open("rb")
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", str(source)) from error
        with stream:
            yield stream, str(source)
    else:
        source.seek(0)
        yield source, str(getattr(source, "name", "signal log"))


def _header_of(stream: IO[bytes], place: str) -> SignalLogHeader:
    if stream.read(len(MAGIC)) != MAGIC:
        raise CorruptError("not a signal log: it begins otherwise", place)
    found = _unframed(stream, place)
    if found is None or found[0] != b"HEAD":
        raise CorruptError("a signal log begins with its header", place)
    try:
        return SignalLogHeader.model_validate_json(found[1])
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(step) for step in first["loc"])
        raise CorruptError(f"header: {field}: {first['msg']}", place) from error


def read_header(source: Source) -> SignalLogHeader:
    """What a log says of its drive. Raises `CorruptError`, `InputError` when it cannot be read."""
    with _opened(source) as (stream, place):
        return _header_of(stream, place)


def read_chunks(source: Source) -> Iterator[SignalChunk]:
    """The log's chunks in the order of time.

    Yields what is whole, then raises `CorruptError` where the file breaks off, is damaged or
    ends without its end mark, as the log of an agent that was killed or still runs does.
    """
    with _opened(source) as (stream, place):
        header = _header_of(stream, place)
        ticks, next_tick = 0, 0
        last_ns: int | None = None
        while True:
            found = _unframed(stream, place)
            if found is None:
                raise CorruptError(f"ends after {ticks} ticks without its end mark", place)
            kind, raw = found
            if kind == b"ENDS":
                if len(raw) != _END.size or _END.unpack(raw) != (ticks,) or stream.read(1):
                    raise CorruptError(f"its end mark does not fit {ticks} ticks", place)
                return
            if kind != b"TICK":
                raise CorruptError(f"unknown chunk {kind!r}", place)
            chunk = _decode_chunk(raw, header, f"{place}: after tick {next_tick}")
            early = last_ns is not None and int(chunk.now_ns[0]) < last_ns
            if early or chunk.first_tick < next_tick:
                raise CorruptError("time goes back between chunks", place)
            ticks += len(chunk)
            last_ns, next_tick = int(chunk.now_ns[-1]), chunk.first_tick + len(chunk)
            yield chunk


def read_signal_log(source: Source) -> SignalLog:
    """A log, whole in memory, up to its last whole chunk; `broken` tells when that is not all.

    Raises `CorruptError` when not even its header is whole.
    """
    header = read_header(source)
    chunks: list[SignalChunk] = []
    try:
        chunks.extend(read_chunks(source))
    except CorruptError as error:
        return SignalLog(header, tuple(chunks), str(error))
    return SignalLog(header, tuple(chunks))
