"""Training frames from the npz file that the simulator's export writes.

Images are decoded and letterboxed once, by the same kernel that the vehicle runs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from contracts.errors import InputError
from kernels.input_tensor import fill_input, fit_image

WIDTH, HEIGHT = 384, 224
PAD_VALUE = 114
_KEYS = {"jpeg", "starts", "seed", "box_image", "boxes_px", "classes", "ignored", "class_names"}


@dataclass(frozen=True, slots=True)
class Frames:
    """`images` uint8 [n, 3, 224, 384] RGB; boxes in tensor pixels float32 [k, 4], with the
    image of each `box_image` [k], `classes` [k] and `ignored` [k].
    """

    images: NDArray[np.uint8]
    box_image: NDArray[np.int64]
    boxes_px: NDArray[np.float32]
    classes: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    class_names: tuple[str, ...]
    seeds: tuple[int, ...]


def load_frames(path: Path) -> Frames:
    """Read one export. Raises `InputError` when arrays are missing or do not fit."""
    with np.load(path, allow_pickle=False) as stored:
        missing = _KEYS - set(stored.files)
        if missing:
            raise InputError(f"lacks the arrays {sorted(missing)}", str(path))
        arrays = {name: stored[name] for name in _KEYS}
    starts = arrays["starts"]
    images = np.empty((starts.size - 1, 3, HEIGHT, WIDTH), dtype=np.uint8)
    tensor = np.empty((1, 3, HEIGHT, WIDTH), dtype=np.float32)
    scales = np.empty((starts.size - 1, 2), dtype=np.float32)
    for i, (start, end) in enumerate(itertools.pairwise(starts)):
        pixels = simplejpeg.decode_jpeg(arrays["jpeg"][start:end].tobytes(), colorspace="RGB")
        fit = fit_image(pixels.shape[1], pixels.shape[0], WIDTH, HEIGHT, "letterbox")
        fill_input(pixels, fit, tensor, bgr=False, pad_value=PAD_VALUE)
        images[i] = np.rint(tensor[0])
        scales[i] = fit.scale_x, fit.scale_y
    owner = arrays["box_image"]
    return Frames(
        images,
        owner,
        arrays["boxes_px"] * np.tile(scales[owner], 2),
        arrays["classes"],
        arrays["ignored"],
        tuple(arrays["class_names"].tolist()),
        tuple(sorted(set(arrays["seed"].tolist()))),
    )
