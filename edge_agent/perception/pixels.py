"""Camera frames as pixels, decoded only when the model asks for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.errors import CorruptError, InputError
from contracts.samples import ImageSample
from edge_agent.perception.png import decode_png
from kernels.jpeg import jpeg_pixels, jpeg_size


def decode_pixels(image: ImageSample, at_least: tuple[int, int] = (0, 0)) -> NDArray[np.uint8]:
    """The frame as uint8 [h, w, 3] RGB.

    Args:
        at_least: height and width that will do. A JPEG comes out at the smallest scale that has
            them, which costs half the time of all of it; (0, 0): the frame as it is.

    Raises `CorruptError` when the content is broken or is not of the size that the sample
    tells, `InputError` when its kind is not supported.
    """
    place = f"{image.channel}@{image.mono_ns}"
    if image.encoding == "jpeg":
        height, width = jpeg_size(image.content, place)
        _check_told(image, height, width, place)
        return jpeg_pixels(image.content, at_least, place)
    if image.encoding == "png":
        pixels = decode_png(image.content, place)
    elif image.encoding == "rgb8":
        wanted = image.width * image.height * 3
        if len(image.content) != wanted:
            raise CorruptError(f"{len(image.content)} bytes of rgb8, expected {wanted}", place)
        pixels = np.frombuffer(image.content, np.uint8).reshape(image.height, image.width, 3)
    else:
        raise InputError(f"encoding {image.encoding!r} is none of jpeg, png, rgb8", place)
    _check_told(image, pixels.shape[0], pixels.shape[1], place)
    return pixels


def _check_told(image: ImageSample, height: int, width: int, place: str) -> None:
    if image.width and image.height and (height, width) != (image.height, image.width):
        raise CorruptError(
            f"holds {width} x {height} pixels, told as {image.width} x {image.height}", place
        )
