"""Small videos made by PyAV for the camera source's tests."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 64, 48


def picture(number: int) -> NDArray[np.uint8]:
    """uint8 [h, w, 3]: red rises with the number, a dark bar walks from left to right."""
    pixels = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    pixels[..., 0] = min(255, 40 + 10 * number)
    at = (number * 4) % WIDTH
    pixels[:, at : at + 4] = 10
    return pixels


def write_video(
    path: Path, count: int = 10, *, codec: str = "mpeg4", rate: int = 10, first_pts: int = 0
) -> Path:
    """`count` pictures at `rate` in a container that the suffix names."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.time_base = Fraction(1, rate)
        if codec == "mpeg4":
            stream.options = {"g": "1", "qscale": "2"}
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24")
            frame.pts = first_pts + i
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
