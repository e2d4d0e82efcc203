"""Pictures and the hashes over them."""

from __future__ import annotations

import io
import zlib
from functools import cache

import numpy as np
import simplejpeg

from contracts.samples import ImageSample
from edge_agent.clips.sameness import look_at
from edge_agent.perception.pixels import decode_pixels
from edge_agent.perception.png import decode_png
from kernels.clip.encoding import encode_sample
from kernels.phash import phash64
from tests.fuzz.target import Target


@cache
def pngs() -> tuple[bytes, ...]:
    from PIL import Image

    rng = np.random.default_rng(1)
    found = []
    for mode in ("RGB", "L", "RGBA", "LA", "P"):
        pixels = rng.integers(0, 255, (12, 9, 3), np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(stream, "PNG")
        found.append(stream.getvalue())
    return tuple(found)


def seal_png(content: bytes) -> bytes:
    made = bytearray(content)
    at = 8
    while at + 12 <= len(made):
        length = int.from_bytes(made[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(made):
            break
        made[end : end + 4] = zlib.crc32(made[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(made)


@cache
def jpegs() -> tuple[bytes, ...]:
    pixels = np.random.default_rng(1).integers(0, 255, (40, 56, 3), np.uint8)
    return tuple(
        bytes(simplejpeg.encode_jpeg(pixels, quality=60, colorsubsampling=kind))
        for kind in ("444", "420")
    )


def run_picture(content: bytes) -> None:
    phash64(decode_pixels(ImageSample("/camera/a", 0, "jpeg", content, 0, 0, "a")))


def run_look(content: bytes) -> None:
    for encoding in ("jpeg", "png"):
        sample = ImageSample("/camera/a", 0, encoding, content, 0, 0, "a")
        look = look_at(encode_sample(sample, 0))
        assert look is None or look.is_same(look)


def run_hash(content: bytes) -> None:
    """Any shape that these bytes fill."""
    if len(content) < 4:
        return
    height, width = 1 + content[0], 1 + content[1]
    depth = (1, 3, 4)[content[2] % 3]
    pixels = np.frombuffer(content[3:], np.uint8)
    rows = len(pixels) // (width * depth)
    image = pixels[: rows * width * depth].reshape(rows, width, depth)[:height]
    phash64(image[:, :, 0] if depth == 1 else image)


TARGETS = (
    Target("png", pngs, lambda c: decode_png(c, "x"), dress=seal_png),
    Target("jpeg", jpegs, run_picture),
    Target("picture-look", jpegs, run_look),
    Target("phash", lambda: [bytes([40, 9, 1]) + bytes(range(250)) * 8], run_hash),
)  # fmt: skip
