"""Pictures as JPEG: passed through where the camera already compressed them, else encoded.

A decoded frame in JPEG's own colours (full-range BT.601) is encoded from its planes, others over
RGB. Motion JPEG of many cameras leaves out the Huffman tables, because they are always
the standard's (ITU T.81, annex K): they are put back, so that every reader can open the picture.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from contracts.errors import CorruptError
from kernels.jpeg import jpeg_size

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.plane import VideoPlane

QUALITY = 90
_DHT, _SOS, _EOI = 0xC4, 0xDA, b"\xff\xd9"


class NotAPictureError(Exception):
    """The bytes are no whole JPEG."""


def encode(frame: VideoFrame, quality: int = QUALITY) -> bytes:
    """JPEG of a decoded frame, at half colour resolution as nearly all videos have it."""
    if frame.format.name == "yuvj420p":  # the very planes that JPEG wants
        y, u, v = (_plane(plane) for plane in frame.planes)
        return bytes(simplejpeg.encode_jpeg_yuv_planes(y, u, v, quality=quality))
    pixels = np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
    return bytes(simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="420"))


def _plane(plane: VideoPlane) -> NDArray[np.uint8]:
    """[h, w] without the padding at the end of each row."""
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return np.ascontiguousarray(rows[: plane.height, : plane.width])


def passed_through(content: bytes) -> tuple[bytes, int, int]:
    """A camera's JPEG as it may be stored, with its width and height.

    Raises `NotAPictureError` for one that is cut off or none.
    """
    if _EOI not in content[-64:]:  # some cameras pad after the end
        raise NotAPictureError("the picture is cut off")
    whole = _with_tables(content)
    try:
        height, width = jpeg_size(whole)
    except CorruptError as error:
        raise NotAPictureError(error.message) from error
    return whole, width, height


def _with_tables(content: bytes) -> bytes:
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker, size = content[at + 1], int.from_bytes(content[at + 2 : at + 4])
        if marker == _DHT:
            return content
        if marker == _SOS:
            return content[:at] + _standard_tables() + content[at:]
        at += 2 + size
    raise NotAPictureError("no picture begins in it")


@cache
def _standard_tables() -> bytes:
    """The DHT segments of a baseline JPEG that was not optimised: those of the standard."""
    content = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
    found, at = b"", 2
    while content[at + 1] != _SOS:
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
        if content[at + 1] == _DHT:
            found += content[at:end]
        at = end
    return found
