"""What ROS 2 messages hold: clouds and pictures of every layout, and of none."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from contracts.errors import InputError
from edge_agent.sources.ros2 import images
from edge_agent.sources.ros2.clouds import CloudReader, columns
from edge_agent.sources.ros2.mapping import LidarRule
from tests.edge_agent import bags
from tests.edge_agent.bags import START


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("name", "dtype", "make"),
    [
        ("t", "u4", lambda o: o),
        ("time", "f4", lambda o: o / 1e9),
        ("timestamp", "f8", lambda o: (START + o) / 1e9),
        ("timestamp", "f8", lambda o: (START + o).astype(np.float64)),
        ("offset_time", "u4", lambda o: o),
    ],
)
def test_points_are_found_by_name_type_and_byte_order(
    big: bool, name: str, dtype: str, make: Any
) -> None:
    table = bags.sweep(3)
    offset_ns = table.pop("t").astype(np.int64)
    table["x"] = table["x"].astype(np.float64)
    table["reflectivity"] = (table.pop("intensity") * 256).astype(np.uint16)
    table["channel"] = (15 - table.pop("ring")).astype(np.uint8)
    shuffled = dict(reversed(table.items())) | {name: make(offset_ns).astype(dtype)}
    message = bags.cloud(START, shuffled, big=big, pad=7, row_pad=5, height=4)
    reader = CloudReader(LidarRule(topic="/x"), "/lidar/x")
    found = reader.sweep(message, START, 5)
    wanted = bags.sweep(3)
    np.testing.assert_allclose(found.xyz_m[:, 0], wanted["x"])
    np.testing.assert_array_equal(found.intensity, wanted["intensity"])
    np.testing.assert_array_equal(found.ring, 15 - wanted["ring"])
    assert found.time_offset_ns is not None
    # float64 steps by 240 ns at seconds since 1970, and by 256 at nanoseconds
    np.testing.assert_allclose(found.time_offset_ns, offset_ns - offset_ns[-1], atol=500)
    assert found.mono_ns == pytest.approx(5 + offset_ns[-1], abs=500)


def test_points_without_return_go_and_unsorted_times_are_sorted() -> None:
    table = bags.sweep(1)
    table["x"][5] = np.nan
    table["t"] = table["t"][::-1].copy()
    found = CloudReader(LidarRule(topic="/x"), "/lidar/x").sweep(bags.cloud(0, table), 0, 0)
    assert len(found.xyz_m) == 255 and found.time_offset_ns is not None
    assert (np.diff(found.time_offset_ns) > 0).all()
    np.testing.assert_array_equal(found.xyz_m[0], [table[c][255] for c in "xyz"])


def test_times_that_make_no_sense_are_left_out() -> None:
    table = bags.sweep(1) | {"t": np.full(256, 4_000_000_000, np.uint32)}
    found = CloudReader(LidarRule(topic="/x"), "/lidar/x").sweep(bags.cloud(0, table), 0, 7)
    assert found.time_offset_ns is None and found.mono_ns == 7


def test_clouds_that_do_not_fit_are_refused() -> None:
    whole = bags.cloud(0, bags.sweep())
    short = bags.cloud(0, bags.sweep())
    short.data = short.data[:-1]
    bare = bags.cloud(0, {k: v for k, v in bags.sweep().items() if k != "z"})
    assert len(columns(whole)) == 256
    for broken, complaint in ((short, "do not hold"), (bare, "no field 'z'")):
        with pytest.raises(InputError, match=complaint):
            columns(broken)
    reader = CloudReader(LidarRule(topic="/x", rings=8), "/lidar/x")
    with pytest.raises(InputError, match="ring 15 of 8"):
        reader.sweep(whole, 0, 0)


RGB = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3


@pytest.mark.parametrize(
    ("encoding", "rows", "wanted"),
    [
        ("rgb8", RGB, RGB),
        ("bgr8", RGB[..., ::-1], RGB),
        ("rgba8", np.concatenate([RGB, RGB[..., :1]], axis=2), RGB),
        ("mono8", RGB[..., :1], RGB[..., [0, 0, 0]]),
    ],
)
def test_raw_images_become_rgb8(encoding: str, rows: Any, wanted: Any) -> None:
    flat = np.ascontiguousarray(rows).reshape(4, -1)
    padded = np.pad(flat, ((0, 0), (0, 5)))
    message = bags.image(0, encoding, padded, 6, padded.shape[1])
    found = images.raw(message, "/camera/x", 3)
    assert (found.encoding, found.width, found.height) == ("rgb8", 6, 4)
    np.testing.assert_array_equal(np.frombuffer(found.content, np.uint8).reshape(4, 6, 3), wanted)


def test_other_raw_images() -> None:
    deep = np.array([[0x1234, 0xFF00]], np.uint16)
    for big, rows in ((False, deep.astype("<u2")), (True, deep.astype(">u2"))):
        message = bags.image(0, "mono16", rows.view(np.uint8), 2, 4, big=big)
        pixels = np.frombuffer(images.raw(message, "/camera/x", 0).content, np.uint8)
        assert pixels.tolist() == [0x12] * 3 + [0xFF] * 3
    bayer = np.array([[200, 100], [60, 10]], np.uint8)
    message = bags.image(0, "bayer_rggb8", bayer, 2, 2)
    assert images.raw(message, "/camera/x", 0).content == bytes([200, 80, 10] * 4)
    grey = np.array([[128, 126, 128, 126]], np.uint8)
    message = bags.image(0, "yuv422", grey, 2, 4)
    assert images.raw(message, "/camera/x", 0).content == bytes([128] * 6)
    for broken in (
        bags.image(0, "32FC1", bayer, 2, 2), bags.image(0, "rgb8", bayer, 2, 2),
        bags.image(0, "bayer_rggb8", bayer[:1], 2, 2), bags.image(0, "yuyv", grey, 3, 6),
    ):  # fmt: skip
        with pytest.raises(InputError):
            images.raw(broken, "/camera/x", 0)


def test_compressed_images_are_jpeg_or_png() -> None:
    out = io.BytesIO()
    Image.fromarray(RGB).save(out, "png")
    found = images.compressed(bags.compressed(0, out.getvalue(), "png"), "/camera/x", 0)
    assert (found.encoding, found.width, found.height) == ("png", 6, 4)
    with pytest.raises(InputError, match="neither JPEG nor PNG"):
        images.compressed(bags.compressed(0, b"RIFF....WEBP", "webp"), "/camera/x", 0)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x", "y", "z", "t", "ring", "intensity", "q"]),
            st.integers(0, 9),
            st.integers(0, 40),
        ),
        max_size=8,
    ),
    st.binary(max_size=600),
    st.tuples(*[st.integers(0, 40)] * 4),
    st.booleans(),
)
def test_whatever_a_cloud_says_is_a_sweep_or_refused(
    fields: list[tuple[str, int, int]], data: bytes, sizes: tuple[int, ...], big: bool
) -> None:
    kind = bags.T["sensor_msgs/msg/PointField"]
    message = bags.T["sensor_msgs/msg/PointCloud2"](
        header=bags.header(START), height=sizes[0], width=sizes[1],
        fields=[kind(name=n, datatype=d, offset=o, count=1) for n, d, o in fields],
        is_bigendian=big, point_step=sizes[2], row_step=sizes[3] * 40,
        data=np.frombuffer(data, np.uint8), is_dense=True,
    )  # fmt: skip
    with contextlib.suppress(InputError):
        found = CloudReader(LidarRule(topic="/x"), "/lidar/x").sweep(message, START, 0)
        n = len(found.xyz_m)
        assert np.isfinite(found.xyz_m).all() and found.intensity.shape == (n,)
        assert found.ring is None or found.ring.shape == (n,)
        assert found.time_offset_ns is None or found.time_offset_ns.shape == (n,)


@settings(max_examples=200)
@given(
    st.sampled_from(["rgb8", "bgra8", "mono8", "mono16", "bayer_gbrg8", "yuyv", "32FC1", ""]),
    st.integers(0, 20), st.integers(0, 20), st.integers(0, 90), st.binary(max_size=2000),
)  # fmt: skip
def test_whatever_an_image_says_is_a_picture_or_refused(
    encoding: str, height: int, width: int, step: int, data: bytes
) -> None:
    rows = np.frombuffer(data, np.uint8)
    message = bags.image(0, encoding, rows.reshape(1, -1), width, step)
    message.height = height
    with contextlib.suppress(InputError):
        found = images.raw(message, "/camera/x", 0)
        assert len(found.content) == width * height * 3
