"""The signal log: exact columns, whole up to where it breaks, bounded, never in the drive's way."""

from __future__ import annotations

import errno
import io
import os
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.clip import Cause
from contracts.errors import CorruptError, InputError
from contracts.signal_log import LoggedFire, LoggedLimits, SignalLogHeader
from edge_agent.disk import RealDisk
from edge_agent.drive.signal_log import CHUNK_TICKS, NoSignalLog, SignalLogWriter, open_signal_log
from kernels.backtest.drives import logged_drives
from kernels.signal_log import (
    MAGIC,
    SignalChunk,
    SignalLog,
    encode_chunk,
    encode_end,
    encode_header,
    read_chunks,
    read_header,
    read_signal_log,
)
from kernels.triggers.engine import TickInputs

SIGNALS = ("ego.speed_mps", "ego.accel_mps2", "gnss.lat_deg")
HEADER = SignalLogHeader(
    software_version="1",
    vehicle_id="car",
    boot_id="boot",
    drive_id="drive",
    utc_minus_mono_ns=1_700_000_000_000_000_000,
    drive_start_mono_ns=20_000_000,
    signals=SIGNALS,
    class_names=("car", "dog"),
    limits=LoggedLimits(
        clips_per_day=300,
        bytes_per_day=3 * 10**10,
        safety_reserve_ratio=0.3,
        random_reserve_ratio=0.1,
    ),
)
FIRE = LoggedFire(
    cause=Cause(
        trigger_id="t", trigger_version=1, spec_digest="0" * 64, kind="jerk", fired_mono_ns=5,
        start_mono_ns=4, end_mono_ns=5, score=1.5, evidence={"jerk_mps3": 0.1 + 0.2},
    ),
    outcome="kept",
)  # fmt: skip
ANY_BITS = st.integers(0, 2**64 - 1)


def floats(bits: list[int], *shape: int) -> np.ndarray:
    return np.array(bits, np.uint64).view(np.float64).reshape(shape)


@st.composite
def chunks(draw: st.DrawFn, first_tick: int = 0) -> SignalChunk:
    """Any bit patterns: NaNs with payloads, infinities, denormals, minus zero."""
    n = draw(st.integers(1, 12))

    def some(*shape: int) -> np.ndarray:
        size = int(np.prod(shape))
        return floats(draw(st.lists(ANY_BITS, min_size=size, max_size=size)), *shape)

    times = draw(st.lists(st.integers(-(2**62), 2**62), min_size=n, max_size=n))
    frames = draw(st.lists(st.integers(0, 2**63 - 1), min_size=n, max_size=n))
    fires = draw(st.lists(st.just(FIRE), max_size=2))
    return SignalChunk(
        first_tick, np.sort(np.array(times, np.int64)), some(n, len(SIGNALS)), some(n, 2),
        np.array(frames, np.int64), some(n), tuple(fires),
    )  # fmt: skip


def same(a: SignalChunk, b: SignalChunk) -> bool:
    """Equal bit for bit."""
    arrays = ("now_ns", "values", "class_scores", "frame_number", "horizon_s")
    return (a.first_tick, a.fires) == (b.first_tick, b.fires) and all(
        getattr(a, name).shape == getattr(b, name).shape
        and getattr(a, name).tobytes() == getattr(b, name).tobytes()
        for name in arrays
    )


def steady(first_tick: int, n: int) -> SignalChunk:
    ticks = np.arange(first_tick, first_tick + n)
    values = np.stack([np.sin(ticks), np.where(ticks % 3 == 0, np.nan, ticks), ticks * 0.0], 1)
    scores = np.repeat(np.sin(ticks // 5)[:, None], 2, axis=1)
    return SignalChunk(first_tick, ticks * 20_000_000, values, scores, ticks // 5, ticks * 0.0)


def whole_log() -> tuple[bytes, list[SignalChunk], list[int]]:
    """A log's bytes, its chunks, and where each chunk ends."""
    content = encode_header(HEADER)
    written, ends = [], []
    for i in range(3):
        written.append(steady(i * 7, 7))
        content += encode_chunk(written[-1])
        ends.append(len(content))
    return content + encode_end(21), written, ends


def read(content: bytes) -> SignalLog:
    return read_signal_log(io.BytesIO(content))


@given(chunks())
def test_every_bit_comes_back(chunk: SignalChunk) -> None:
    log = read(encode_header(HEADER) + encode_chunk(chunk) + encode_end(len(chunk)))
    assert log.header == HEADER
    assert log.broken is None
    assert same(log.chunks[0], chunk)


def test_a_file_cut_anywhere_reads_up_to_its_last_whole_chunk() -> None:
    content, written, ends = whole_log()
    head = len(encode_header(HEADER))
    assert read(content).broken is None
    for size in range(len(content)):
        if size < head:
            with pytest.raises(CorruptError):
                read(content[:size])
            continue
        log = read(content[:size])
        assert len(log.chunks) == sum(end <= size for end in ends)
        assert all(same(a, b) for a, b in zip(log.chunks, written, strict=False))
        assert log.broken is not None


@settings(max_examples=300)
@given(st.integers(0, 10**6), st.integers(1, 255), st.binary(max_size=40), st.booleans())
def test_damage_is_told_and_never_read(at: int, flip: int, inserted: bytes, insert: bool) -> None:
    content, written, _ = whole_log()
    at %= len(content)
    damaged = bytearray(content)
    if insert:
        damaged[at:at] = inserted
    else:
        damaged[at] ^= flip
    if bytes(damaged) == content:
        return
    try:
        log = read(bytes(damaged))
    except CorruptError:
        return
    assert log.broken is not None
    assert all(same(a, b) for a, b in zip(log.chunks, written, strict=False))


def framed(kind: bytes, raw: bytes, claimed: int | None = None, level: int = 3) -> bytes:
    """A chunk whose frame is right, whatever it holds."""
    body = zstandard.ZstdCompressor(level=level).compress(raw)
    head = struct.pack("<4sII", kind, len(body), len(raw) if claimed is None else claimed)
    return head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + body


@settings(max_examples=300)
@given(st.binary(max_size=200), st.lists(st.integers(0, 40), min_size=6, max_size=6))
def test_any_content_in_a_right_frame_is_a_chunk_or_corrupt(tail: bytes, counts: list[int]) -> None:
    for raw in (tail, struct.pack("<IIIIIQ", *counts) + tail):
        try:
            log = read(encode_header(HEADER) + framed(b"TICK", raw))
        except CorruptError:
            continue
        assert log.broken is not None
    with pytest.raises(CorruptError):
        read(MAGIC + framed(b"HEAD", tail))


def test_sizes_are_bounded_before_they_are_allocated() -> None:
    bomb = framed(b"TICK", bytes(200_000_000), claimed=1000)
    assert "size differs" in str(read(encode_header(HEADER) + bomb).broken)
    huge = struct.pack("<4sIII", b"TICK", 2**32 - 1, 2**32 - 1, 0)
    assert "claims" in str(read(encode_header(HEADER) + huge).broken)
    many = struct.pack("<IIIIIQ", 2**32 - 1, 3, 2, 1, 0, 0)
    assert "does not fit" in str(read(encode_header(HEADER) + framed(b"TICK", many)).broken)
    with pytest.raises(InputError, match="lengths"):
        encode_chunk(
            SignalChunk(0, np.zeros(2, np.int64), np.zeros((3, 3)), np.zeros((3, 2)),
                        np.zeros(3, np.int64), np.zeros(3))
        )  # fmt: skip


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_header(tmp_path / "none.ltsl")


# The agent's writer -------------------------------------------------------------------------


def drive(log: SignalLogWriter | NoSignalLog, ticks: int, first: int = 0) -> None:
    for i in range(first, first + ticks):
        values = np.array([np.sin(i), np.cos(i * 1.1), np.nan])
        log.tick(TickInputs(i * 20_000_000, values, np.array([0.1, 0.2]), i // 5, 0.0))
        if i % 100 == 50:
            log.fire(FIRE)


def writer(folder: Path, quota: int = 10**7, **more: object) -> SignalLogWriter:
    log = SignalLogWriter(folder, quota, 0, RealDisk(), **more)  # type: ignore[arg-type]
    log.begin(HEADER)
    return log


def test_a_closed_log_holds_every_tick_and_fire(tmp_path: Path) -> None:
    log = writer(tmp_path)
    drive(log, 1234)
    log.close()
    (path,) = tmp_path.iterdir()
    assert path.name == "boot-0.ltsl"
    found = read_signal_log(path)
    assert found.broken is None
    assert sum(map(len, found.chunks)) == 1234
    assert sum(len(chunk.fires) for chunk in found.chunks) == 12
    np.testing.assert_array_equal(
        np.concatenate([chunk.values[:, 0] for chunk in found.chunks]),
        [np.sin(i) for i in range(1234)],
    )


def test_a_killed_agent_loses_at_most_the_last_chunk(tmp_path: Path) -> None:
    log = writer(tmp_path)
    drive(log, 3 * CHUNK_TICKS + 100)
    (path,) = tmp_path.iterdir()
    found = read_signal_log(path)  # before the log is closed, as a kill leaves it
    log.close()
    assert sum(map(len, found.chunks)) == 3 * CHUNK_TICKS
    assert "without its end mark" in str(found.broken)


def test_oldest_files_go_first_and_the_quota_holds(tmp_path: Path) -> None:
    (tmp_path / "old-1.ltsl").write_bytes(bytes(60_000))
    (tmp_path / "old-2.ltsl").write_bytes(bytes(60_000))
    os.utime(tmp_path / "old-1.ltsl", (1, 1))
    os.utime(tmp_path / "old-2.ltsl", (2, 2))
    log = writer(tmp_path, quota=200_000)
    for i in range(60):
        drive(log, CHUNK_TICKS, i * CHUNK_TICKS)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 200_000
        if not (tmp_path / "old-2.ltsl").exists():
            assert not (tmp_path / "old-1.ltsl").exists()
    log.close()
    assert not (tmp_path / "old-2.ltsl").exists()
    assert log.lost_ticks == 0
    files = sorted(tmp_path.iterdir(), key=lambda path: int(path.stem.split("-")[1]))
    assert len(files) > 1
    logs = [read_signal_log(path) for path in files]
    assert [found.broken for found in logs] == [None] * len(logs)
    assert {found.header.drive_start_mono_ns for found in logs} == {0}
    ticks = [chunk.first_tick for found in logs for chunk in found.chunks]
    assert ticks == list(range(ticks[0], 60 * CHUNK_TICKS, CHUNK_TICKS))


class FullDisk(io.RawIOBase):
    """A file on a disk that is full on the calls given; a torn write leaves half behind."""

    calls = 0

    def __init__(self, path: Path, fails: set[int]) -> None:
        self._file = path.open("wb", buffering=0)
        self._fails = fails

    def write(self, content: object) -> int:
        view = memoryview(content)  # type: ignore[call-overload]
        FullDisk.calls += 1
        if FullDisk.calls in self._fails:
            self._file.write(view[: len(view) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(view)

    def truncate(self, size: int | None = None) -> int:
        return self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


def test_a_full_disk_costs_ticks_and_not_the_drive(tmp_path: Path) -> None:
    FullDisk.calls = 0

    def opener(path: Path) -> IO[bytes]:
        return FullDisk(path, {3})  # type: ignore[return-value]

    log = writer(tmp_path, opener=opener)
    drive(log, 4 * CHUNK_TICKS)
    log.close()
    assert log.lost_ticks == CHUNK_TICKS
    first, second = sorted(tmp_path.iterdir(), key=lambda path: int(path.stem.split("-")[1]))
    (kept,) = read_signal_log(first).chunks
    assert len(kept) == CHUNK_TICKS
    rest = list(read_chunks(second))
    assert [chunk.first_tick for chunk in rest] == [2 * CHUNK_TICKS, 3 * CHUNK_TICKS]


def test_no_file_is_written_into_the_disks_floor(tmp_path: Path) -> None:
    log = SignalLogWriter(tmp_path, 10**7, 2**62, RealDisk())
    log.begin(HEADER)
    drive(log, CHUNK_TICKS + 1)
    log.close()
    assert log.lost_ticks == CHUNK_TICKS + 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_counted_too(tmp_path: Path) -> None:
    (tmp_path / "signals").write_text("a file")
    log = writer(tmp_path / "signals")
    drive(log, CHUNK_TICKS)
    log.close()
    assert log.lost_ticks == CHUNK_TICKS


def test_no_quota_is_no_log(tmp_path: Path) -> None:
    log = open_signal_log(tmp_path / "signals", 0, 0, RealDisk())
    log.begin(HEADER)
    drive(log, 10)  # type: ignore[arg-type]
    log.close()
    assert not (tmp_path / "signals").exists()


def test_a_drive_goes_on_in_a_new_file_when_what_runs_changes(tmp_path: Path) -> None:
    """Each header holds for all ticks of its file; no tick and no fire is lost between them."""
    one_class = HEADER.model_copy(update={"class_names": ("cow",), "model_digest": "1" * 64})
    log = writer(tmp_path)
    log.change(HEADER.model_copy(update={"drive_id": "renamed"}))  # before any tick: one file
    log.change(HEADER)
    drive(log, 160)
    log.change(HEADER)  # nothing new is said
    drive(log, 40, first=160)
    log.change(HEADER.model_copy(update={"drive_id": "never ran a tick"}))
    log.change(one_class)
    for i in range(200, 300):
        log.tick(TickInputs(i * 20_000_000, np.zeros(3), np.array([0.5]), i // 5, 0.0))
    log.change(HEADER)
    drive(log, 60, first=300)
    log.close()
    log.change(one_class)  # after the end: nothing more is written
    found = [read_signal_log(tmp_path / f"boot-{i * 20_000_000}.ltsl") for i in (0, 200, 300)]
    assert len(list(tmp_path.iterdir())) == 3
    assert [each.broken for each in found] == [None] * 3
    assert [each.header.class_names for each in found] == [("car", "dog"), ("cow",), ("car", "dog")]
    assert {each.header.drive_start_mono_ns for each in found} == {0}
    (drive_,) = logged_drives(sorted(tmp_path.iterdir()))
    pairs = list(drive_.chunks())
    assert [header.class_names for header, _ in pairs] == [h.class_names for h in drive_.headers]
    assert [chunk.first_tick for _, chunk in pairs] == [0, 200, 300]
    assert np.concatenate([chunk.now_ns for _, chunk in pairs]).tolist() == [
        i * 20_000_000 for i in range(360)
    ]
    assert sum(len(chunk.fires) for _, chunk in pairs) == 3
    assert drive_.notes == []
