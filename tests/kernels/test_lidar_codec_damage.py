"""Sweeps that are damaged or made up: refused as corrupt, and never a crash."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.street_grid import street_grid
from contracts.errors import CorruptError
from kernels.lidar.container import Flag, Header, Kind, pack, reseal
from kernels.lidar_codec import (
    Layout,
    LidarPoints,
    decode_grid,
    decode_sweep,
    encode_grid,
    encode_sweep,
)
from tests.kernels.lidar_clouds import cloud, spinning


def payloads() -> list[bytes]:
    ring = np.tile(np.arange(8, dtype=np.uint16), 600)
    base = spinning()
    xyz = base.xyz_m.copy()
    xyz[7], xyz[9] = np.nan, 500.0
    noisy = cloud(400, 2)
    return [
        encode_sweep(base),
        encode_sweep(LidarPoints(xyz, base.intensity, ring, np.arange(4800, dtype=np.int32))),
        encode_sweep(noisy),
        encode_grid(street_grid(8, 64)),
    ]


PAYLOADS = payloads()


def assert_safe(payload: bytes) -> None:
    """Decodes or refuses; what it decodes is whole."""
    try:
        points = decode_sweep(payload)
    except CorruptError:
        return
    assert points.intensity.shape == (len(points),)


@pytest.mark.parametrize("index", range(len(PAYLOADS)))
def test_every_flipped_byte_is_noticed(index: int) -> None:
    payload = PAYLOADS[index]
    for at in range(0, len(payload), max(1, len(payload) // 400)):
        broken = bytearray(payload)
        broken[at] ^= 0x10
        with pytest.raises(CorruptError):
            decode_sweep(bytes(broken))


@given(st.sampled_from(PAYLOADS), st.data())
@settings(deadline=None, max_examples=60)
def test_every_truncation_and_every_tail_is_noticed(payload: bytes, data: st.DataObject) -> None:
    with pytest.raises(CorruptError):
        decode_sweep(payload[: data.draw(st.integers(0, len(payload) - 1))])
    with pytest.raises(CorruptError):
        decode_sweep(reseal(payload + data.draw(st.binary(min_size=1, max_size=40))))


@given(st.sampled_from(PAYLOADS), st.data())
@settings(deadline=None, max_examples=400)
def test_changes_under_a_right_crc_never_crash_the_decoder(
    payload: bytes, data: st.DataObject
) -> None:
    broken = bytearray(payload)
    # Half of the changes hit the header and the section table, where sizes and kinds are.
    for _ in range(data.draw(st.integers(1, 4))):
        end = data.draw(st.sampled_from([28, 200, len(payload)]))
        at = data.draw(st.integers(4, min(end, len(payload)) - 1))
        broken[at] = data.draw(st.integers(0, 255))
    assert_safe(reseal(bytes(broken)))


@given(st.binary(max_size=400), st.booleans())
@settings(deadline=None, max_examples=200)
def test_random_bytes_are_refused(content: bytes, dressed: bool) -> None:
    payload = reseal(PAYLOADS[0][:32] + content) if dressed else content
    with pytest.raises(CorruptError):
        decode_sweep(payload)


def test_a_size_that_the_counts_do_not_explain_is_refused_before_it_is_allocated() -> None:
    payload = bytearray(PAYLOADS[2])
    payload[8:12] = (2**32 - 1).to_bytes(4, "little")
    with pytest.raises(CorruptError, match="counts out of bounds"):
        decode_sweep(reseal(bytes(payload)))
    payload[8:12] = (2**23).to_bytes(4, "little")
    with pytest.raises(CorruptError, match="has 1600 bytes"):
        decode_sweep(reseal(bytes(payload)))


def test_another_version_is_refused_by_name() -> None:
    payload = bytearray(PAYLOADS[0])
    payload[4] = 2
    with pytest.raises(CorruptError, match="version 2"):
        decode_sweep(reseal(bytes(payload)))


def test_sections_that_contradict_each_other_are_refused() -> None:
    """What a right CRC and right sizes do not rule out."""
    codes = np.array([1, 0x80, 3, 4], np.uint8)
    shared: list[tuple[Kind, bytes | np.ndarray]] = [
        (Kind.RANGE_DELTA, codes),
        (Kind.INTENSITY, codes),
        (Kind.AZIMUTH_TABLE, np.zeros(4, "<f4").tobytes()),
        (Kind.ELEVATION_TABLE, np.zeros(1, "<f4").tobytes()),
    ]
    header = Header(Layout.GRID, Flag.NONE, 4, 1, 4)
    whole = pack(header, [*shared, (Kind.RANGE_ESCAPE, b"\x10\x20")])
    assert decode_grid(whole).range_m.shape == (1, 4)
    for extra, complaint in [
        ([(Kind.RANGE_ESCAPE, b"")], "1 escapes need 2 bytes"),
        ([(Kind.RANGE_ESCAPE, b"\x10\x20\x30\x40")], "1 escapes need 2 bytes"),
        ([], "RANGE_ESCAPE: is missing"),
        ([(Kind.RANGE_ESCAPE, b"\x10\x20"), (Kind.AXIS_X, b"1")], "does not have: AXIS_X"),
        ([(Kind.RANGE_ESCAPE, b"\x10\x20"), (Kind.CLASS, b"\0\0\0\7")], "unknown class"),
        ([(Kind.RANGE_ESCAPE, b"\x10\x20"), (Kind.CLASS, b"\0\0\0\3")], "EXACT: is missing"),
    ]:
        with pytest.raises(CorruptError, match=complaint):
            decode_grid(pack(header, [*shared, *extra]))
    with pytest.raises(CorruptError, match="SEGMENTS"):
        segments = np.zeros(14, np.uint8)  # one ring of no points
        decode_sweep(
            pack(Header(Layout.RINGS, Flag.NONE, 4, segments=1), [(Kind.SEGMENTS, segments)])
        )
