"""JPEG as pixels, and nothing but a `CorruptError` for what is none.

The library raises errors of several kinds, a `KeyError` among them where a header claims a colour
sampling that it does not know.
"""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from contracts.errors import CorruptError

MAX_PIXELS = 64 * 1024 * 1024
"""More are refused before room is made for them."""
_ERRORS = (ValueError, RuntimeError, KeyError)

Content = bytes | memoryview


def jpeg_size(content: Content, place: str = "") -> tuple[int, int]:
    """Height and width as the header tells them.

    Raises `CorruptError` for no JPEG, or one of more than `MAX_PIXELS`.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(content)
    except _ERRORS as error:
        raise _no_jpeg(content, error, place) from error
    if height * width > MAX_PIXELS:
        raise CorruptError(f"{width} x {height} pixels; at most {MAX_PIXELS}", place)
    return height, width


def jpeg_pixels(
    content: Content, at_least: tuple[int, int] = (0, 0), place: str = "", *, is_rough: bool = False
) -> NDArray[np.uint8]:
    """uint8 [h, w, 3] RGB.

    Args:
        at_least: height and width that will do: it comes out at the smallest scale that has
            them, which costs half the time of all of it; 0 asks for nothing.
        is_rough: a little faster and a little worse.

    Raises `CorruptError` as `jpeg_size` does, and for one that is cut off.
    """
    jpeg_size(content, place)
    try:
        found: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            content, colorspace="RGB", fastdct=is_rough, min_height=at_least[0],
            min_width=at_least[1],
        )  # fmt: skip
    except _ERRORS as error:
        raise _no_jpeg(content, error, place) from error
    return found


def _no_jpeg(content: Content, error: Exception, place: str) -> CorruptError:
    why = f"an unknown sampling, {error}" if isinstance(error, KeyError) else str(error)
    return CorruptError(f"not a whole JPEG of {len(content)} bytes: {why}", place)
