"""Camera images: from pixels to a network's tensor, and what a clip does not do to them.

Subsampling (bilinear, of four pixels) and normalising are one pass in numba. The peer does the
same with Pillow's affine transform and numpy; the physical limit is copying the rows that are
looked at. A clip passes the camera's JPEG through; what decoding and encoding anew would take, and
lose, stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from bench import untrained_graph as network
from bench.figures import Figure, figure, median_cpu_ns
from bench.simulated_frames import HEIGHT_PX, WIDTH_PX, SimulatedFrames
from kernels.clip.encoding import encode_sample
from kernels.input_tensor import fill_input, fit_image

Jpeg = bytes | memoryview

_REPETITIONS = 31
_SCALE, _OFFSET = 1 / 58, -2.0


def run(source: SimulatedFrames | None = None, repetitions: int = _REPETITIONS) -> list[Figure]:
    """All figures, for the six images of one frame."""
    from PIL import Image

    frame = (source or SimulatedFrames()).frame(0)
    cameras = len(frame.pixels)
    width, height = network.WIDTH_PX, network.HEIGHT_PX
    tensor = np.zeros((cameras, 3, height, width), np.float32)
    theirs = np.zeros_like(tensor)
    fit = fit_image(WIDTH_PX, HEIGHT_PX, width, height, "stretch")

    def ours() -> None:
        for i, pixels in enumerate(frame.pixels):
            fill_input(pixels, fit, tensor[i : i + 1], bgr=False, scale=_SCALE, offset=_OFFSET)

    def peers() -> None:
        for i, pixels in enumerate(frame.pixels):
            small = Image.fromarray(pixels).transform(
                (width, height), Image.Transform.AFFINE,
                (WIDTH_PX / width, 0, 0, 0, HEIGHT_PX / height, 0), Image.Resampling.BILINEAR,
            )  # fmt: skip
            theirs[i] = np.asarray(small, np.float32).transpose(2, 0, 1) * _SCALE + _OFFSET

    rows = rows_read(height)
    ours()
    peers()
    apart = float(np.abs(tensor - theirs).mean() / _SCALE)
    jpegs = [each.content for each in frame.images]

    def limit() -> None:
        for pixels in frame.pixels:
            pixels.take(rows, axis=0)

    def passed_on() -> None:
        for image in frame.images:
            encode_sample(image, 0)

    def again() -> list[bytes]:
        decoded = [simplejpeg.decode_jpeg(each) for each in jpegs]
        return [bytes(simplejpeg.encode_jpeg(pixels, quality=90)) for pixels in decoded]

    spent = median_cpu_ns(
        {"ours": ours, "peer": peers, "limit": limit, "passed": passed_on, "again": again},
        repetitions,
    )
    ms = {name: ns / 1e6 for name, ns in spent.items()}
    name = f"{cameras} images {WIDTH_PX}x{HEIGHT_PX} into the tensor {width}x{height}"
    return [
        figure(name, ms["ours"], "ms/frame", reference="Pillow's affine transform and numpy",
               reference_value=ms["peer"], goal="ratio <= 1"),
        figure(f"{name}, against copying", ms["ours"], "ms/frame",
               reference="a copy of the rows that are looked at",
               reference_value=ms["limit"]),
        figure("mean difference of both tensors", apart, "levels of 256", goal="<= 1"),
        figure(f"{cameras} images into a clip: JPEG passed through", ms["passed"], "ms/frame",
               reference="decoded and encoded anew at quality 90", reference_value=ms["again"],
               goal="ratio <= 0.1"),
        figure("not lost by passing it through: mean change by encoding anew",
               mean_change(jpegs, again()), "levels of 256"),
    ]  # fmt: skip


def rows_read(height: int) -> NDArray[np.int64]:
    """The rows of an image that `height` rows of a tensor look at, two for each."""
    place = np.clip((np.arange(height) + 0.5) * HEIGHT_PX / height - 0.5, 0, HEIGHT_PX - 1)
    first = place.astype(np.int64)
    return np.unique(np.concatenate([first, np.minimum(first + 1, HEIGHT_PX - 1)]))


def mean_change(before: Sequence[Jpeg], after: Sequence[Jpeg]) -> float:
    """Mean absolute difference of the pixels of JPEG files, in levels."""
    changes = [
        np.abs(simplejpeg.decode_jpeg(a).astype(np.int16) - simplejpeg.decode_jpeg(b)).mean()
        for a, b in zip(before, after, strict=True)
    ]
    return float(np.mean(changes))
