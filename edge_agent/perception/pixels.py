"""Camera frames as pixels, decoded only when the model asks for them."""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from contracts.errors import CorruptError, InputError
from contracts.samples import ImageSample
from edge_agent.perception.png import MAX_PIXELS, decode_png


def decode_pixels(image: ImageSample) -> NDArray[np.uint8]:
    """The frame as uint8 [h, w, 3] RGB.

    Raises `CorruptError` when the content is broken or is not of the size that the sample
    tells, `InputError` when its kind is not supported.
    """
    place = f"{image.channel}@{image.mono_ns}"
    if image.encoding == "jpeg":
        pixels = _decode_jpeg(image.content, place)
    elif image.encoding == "png":
        pixels = decode_png(image.content, place)
    elif image.encoding == "rgb8":
        wanted = image.width * image.height * 3
        if len(image.content) != wanted:
            raise CorruptError(f"{len(image.content)} bytes of rgb8, expected {wanted}", place)
        pixels = np.frombuffer(image.content, np.uint8).reshape(image.height, image.width, 3)
    else:
        raise InputError(f"encoding {image.encoding!r} is none of jpeg, png, rgb8", place)
    told = (image.height, image.width, 3)
    if image.width and image.height and pixels.shape != told:
        raise CorruptError(
            f"holds {pixels.shape[1]} x {pixels.shape[0]} pixels, told as "
            f"{image.width} x {image.height}",
            place,
        )
    return pixels


def _decode_jpeg(content: bytes | memoryview, place: str) -> NDArray[np.uint8]:
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(content)
        if height * width > MAX_PIXELS:
            raise InputError(f"{width} x {height} pixels; at most {MAX_PIXELS}", place)
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, colorspace="RGB")
    except (ValueError, RuntimeError) as error:
        raise CorruptError(f"not a whole JPEG of {len(content)} bytes: {error}", place) from error
    return pixels
