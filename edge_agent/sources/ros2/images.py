"""sensor_msgs images as samples: compressed ones pass through, raw ones become rgb8."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.samples import ImageSample
from edge_agent.sources.cameras.jpeg import NotAPictureError, passed_through
from edge_agent.sources.png_header import SIGNATURE, png_header
from edge_agent.sources.ros2.frames import clean

Pixels = NDArray[np.uint8]

_ORDERS: dict[str, tuple[int, tuple[int, int, int]]] = {
    "rgb8": (3, (0, 1, 2)), "bgr8": (3, (2, 1, 0)), "8UC3": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)), "bgra8": (4, (2, 1, 0)), "8UC4": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)), "8UC1": (1, (0, 0, 0)),
}  # fmt: skip
_BAYER = {
    "bayer_rggb8": "RGGB",
    "bayer_bggr8": "BGGR",
    "bayer_gbrg8": "GBRG",
    "bayer_grbg8": "GRBG",
}
_YUV = {"yuv422": (1, 0, 2), "uyvy": (1, 0, 2), "yuv422_yuy2": (0, 1, 3), "yuyv": (0, 1, 3)}


def compressed(message: Any, channel: str, mono_ns: int) -> ImageSample:
    """A CompressedImage of JPEG or PNG. Raises `InputError` or `CorruptError` for others."""
    content = message.data.tobytes()
    frame_id = clean(message.header.frame_id) or channel.removeprefix("/camera/")
    encoding: Literal["jpeg", "png"]
    if content.startswith(SIGNATURE):
        header = png_header(content, channel)
        encoding, width, height = "png", header.width, header.height
    else:
        try:
            content, width, height = passed_through(content)
        except NotAPictureError as error:
            raise InputError(
                f"neither JPEG nor PNG (format {message.format!r}): {error}"
            ) from error
        encoding = "jpeg"
    return ImageSample(channel, mono_ns, encoding, content, width, height, frame_id)


def raw(message: Any, channel: str, mono_ns: int) -> ImageSample:
    """An Image. Raises `InputError` for what is no picture, or sizes that do not fit."""
    pixels = _pixels(message)
    frame_id = clean(message.header.frame_id) or channel.removeprefix("/camera/")
    return ImageSample(
        channel, mono_ns, "rgb8", pixels.tobytes(), message.width, message.height, frame_id
    )


def _rows(message: Any, row_bytes: int) -> Pixels:
    """[height, row_bytes] without the padding that `step` may add."""
    height, step = message.height, message.step
    data = np.asarray(message.data, np.uint8)
    if height == 0 or row_bytes == 0 or step < row_bytes or data.size < height * step:
        raise InputError(
            f"{data.size} bytes do not hold {message.width} x {height} pixels {message.encoding} "
            f"in rows of {step}"
        )
    return data[: height * step].reshape(height, step)[:, :row_bytes]


def _pixels(message: Any) -> Pixels:
    encoding, width, height = message.encoding, message.width, message.height
    if encoding in _ORDERS:
        channels, order = _ORDERS[encoding]
        rows = _rows(message, width * channels).reshape(height, width, channels)
        return np.ascontiguousarray(rows[..., list(order)])
    if encoding in ("mono16", "16UC1"):
        rows = _rows(message, width * 2).reshape(height, width, 2)
        high = rows[..., 0 if message.is_bigendian else 1]
        return np.ascontiguousarray(np.repeat(high[..., None], 3, axis=2))
    if encoding in _BAYER:
        return _from_bayer(_rows(message, width), _BAYER[encoding])
    if encoding in _YUV:
        if width % 2:
            raise InputError(f"{encoding} needs an even width, not {width}")
        return _from_yuv(_rows(message, width * 2).reshape(height, width // 2, 4), _YUV[encoding])
    known = ", ".join(sorted([*_ORDERS, *_BAYER, *_YUV, "mono16", "16UC1"]))
    raise InputError(f"encoding {encoding!r} is not read; known: {known}")


def _from_bayer(rows: Pixels, pattern: str) -> Pixels:
    """Each cell of 2 x 2 gets one colour: coarse, but nothing moves and nothing is made up."""
    height, width = rows.shape
    if height % 2 or width % 2:
        raise InputError(f"a Bayer picture of {width} x {height} pixels has half cells")
    cells = rows.reshape(height // 2, 2, width // 2, 2).transpose(0, 2, 1, 3)
    flat = cells.reshape(height // 2, width // 2, 4)
    greens = [i for i, colour in enumerate(pattern) if colour == "G"]
    green = flat[..., greens].mean(axis=-1).astype(np.uint8)
    small = np.stack([flat[..., pattern.index("R")], green, flat[..., pattern.index("B")]], axis=-1)
    return np.ascontiguousarray(small.repeat(2, axis=0).repeat(2, axis=1))


def _from_yuv(quads: Pixels, places: tuple[int, int, int]) -> Pixels:
    """BT.601, limited range: two pixels share their colour. `places` of first Y, of U, of V."""
    y0, u, v = places
    luma = quads[..., [y0, y0 + 2]].astype(np.float32).reshape(quads.shape[0], -1)
    blue = np.repeat(quads[..., u].astype(np.float32) - 128, 2, axis=1)
    red = np.repeat(quads[..., v].astype(np.float32) - 128, 2, axis=1)
    scaled = 1.164 * (luma - 16)
    pixels = np.stack(
        [scaled + 1.596 * red, scaled - 0.392 * blue - 0.813 * red, scaled + 2.017 * blue], axis=-1
    )
    return np.asarray(np.clip(np.rint(pixels), 0, 255), np.uint8)
