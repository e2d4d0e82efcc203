"""Frames to pixels: equal to another decoder's, and only our errors on garbage."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from contracts.errors import CorruptError, InputError, LongtailError
from contracts.samples import ImageSample
from edge_agent.perception.pixels import decode_pixels
from edge_agent.perception.png import decode_png


def encoded(pixels: NDArray[np.uint8], mode: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, "png", **options)
    return out.getvalue()


def sample(content: bytes, encoding: str, width: int, height: int) -> ImageSample:
    return ImageSample("/camera/a", 7, encoding, content, width, height, "a")  # type: ignore[arg-type]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def handmade(width: int, height: int, lines: bytes, depth: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 17), st.integers(1, 17), st.just(3))),
    st.sampled_from(["RGB", "RGBA", "L", "LA", "P"]),
)
def test_png_equals_another_decoder(pixels: NDArray[np.uint8], mode: str) -> None:
    options = {"bits": 8} if mode == "P" else {}
    content = encoded(pixels, mode, **options)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode_png(content, "x"), expected)


@given(st.data())
def test_every_filter_is_undone(data: st.DataObject) -> None:
    """Filter random lines by the specification's own formulas, then decode."""
    width, height, step = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5)), 3
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    pixels = rng.integers(0, 256, (height, width * step))
    lines = bytearray()
    for y in range(height):
        kind = data.draw(st.integers(0, 4))
        lines.append(kind)
        for x in range(width * step):
            a = int(pixels[y, x - step]) if x >= step else 0
            b = int(pixels[y - 1, x]) if y else 0
            c = int(pixels[y - 1, x - step]) if y and x >= step else 0
            p = a + b - c
            nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            guess = (0, a, b, (a + b) // 2, nearest)[kind]
            lines.append((int(pixels[y, x]) - guess) % 256)
    decoded = decode_png(handmade(width, height, bytes(lines)), "x")
    np.testing.assert_array_equal(decoded, pixels.reshape(height, width, 3))


def test_recorded_images_decode_as_elsewhere(shared_data: Path) -> None:
    for path in sorted((shared_data / "kitti_approach78/image_02/data").glob("*.png"))[:3]:
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(decode_png(path.read_bytes(), str(path)), expected)


@given(st.data())
def test_garbage_raises_our_errors_only(data: st.DataObject) -> None:
    content = bytearray(encoded(np.arange(300, dtype=np.uint8).reshape(10, 10, 3), "RGB"))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with contextlib.suppress(LongtailError):
        assert decode_png(bytes(content), "x").ndim == 3


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (handmade(4, 4, b"\0" * 51), CorruptError, "51 of 52 bytes"),
        (handmade(2, 1, b"\x09" + b"\0" * 6), CorruptError, "filter type 9"),
        (handmade(2, 1, b"\0" * 13, depth=16), InputError, "16 bits"),
        (handmade(2, 1, b"\0" * 3, colour=3), CorruptError, "without a palette"),
        (handmade(60000, 60000, b"\0"), InputError, "at most"),
    ],
)
def test_broken_pictures_are_refused(
    content: bytes, kind: type[LongtailError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        decode_png(content, "x")


def test_a_bomb_is_inflated_no_further_than_its_header_says() -> None:
    bomb = handmade(2, 1, b"\0" * 50_000_000)
    np.testing.assert_array_equal(decode_png(bomb, "x"), np.zeros((1, 2, 3)))


def test_a_flipped_bit_fails_the_checksum() -> None:
    content = bytearray(handmade(2, 1, b"\0" * 7))
    content[45] ^= 1
    with pytest.raises(CorruptError, match=r"b'IDAT' fails its checksum"):
        decode_png(bytes(content), "x")


def test_jpeg_and_raw_frames() -> None:
    pixels = np.full((16, 24, 3), (200, 50, 90), dtype=np.uint8)
    jpeg = simplejpeg.encode_jpeg(pixels, 95, "RGB", "444")
    decoded = decode_pixels(sample(jpeg, "jpeg", 24, 16))
    assert np.abs(decoded.astype(int) - pixels).max() <= 3
    np.testing.assert_array_equal(decode_pixels(sample(pixels.tobytes(), "rgb8", 24, 16)), pixels)
    assert decode_pixels(sample(jpeg, "jpeg", 0, 0)).shape == (16, 24, 3)  # from a clip


def test_frames_that_do_not_hold_what_they_tell_are_refused() -> None:
    pixels = np.zeros((16, 24, 3), dtype=np.uint8)
    jpeg = simplejpeg.encode_jpeg(pixels, 95, "RGB", "444")
    with pytest.raises(CorruptError, match="24 x 16 pixels, told as 16 x 24"):
        decode_pixels(sample(jpeg, "jpeg", 16, 24))
    with pytest.raises(CorruptError, match="/camera/a@7: not a whole JPEG"):
        decode_pixels(sample(jpeg[: len(jpeg) // 2], "jpeg", 24, 16))
    with pytest.raises(CorruptError, match="not a whole JPEG"):
        decode_pixels(sample(b"", "jpeg", 24, 16))
    with pytest.raises(CorruptError, match="5 bytes of rgb8"):
        decode_pixels(sample(b"abcde", "rgb8", 24, 16))
