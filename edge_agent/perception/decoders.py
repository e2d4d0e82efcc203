"""Output decoders by the name that a manifest gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from contracts.model_manifest import ModelManifest
from kernels.bev_decoding import BevDecoder
from kernels.input_tensor import Fit
from kernels.yolox import Decoded, decode_yolox, grid_of

Decode = Callable[[NDArray[np.float32], Fit, tuple[int, int]], Decoded]
"""Raw output, where the image lay in the input, image width and height: to detections."""


def _yolox(manifest: ModelManifest) -> Decode:
    decoder = manifest.decoder
    grid = grid_of(manifest.input.width, manifest.input.height, decoder.strides)

    def decode(raw: NDArray[np.float32], fit: Fit, image_size: tuple[int, int]) -> Decoded:
        return decode_yolox(
            raw,
            grid,
            fit,
            image_size,
            threshold=decoder.score_threshold,
            iou=decoder.nms_iou,
            most=decoder.max_detections,
        )

    return decode


def _yolox_shape(manifest: ModelManifest) -> tuple[int, ...]:
    cells = grid_of(manifest.input.width, manifest.input.height, manifest.decoder.strides)
    return 1, cells.shape[0], 5 + len(manifest.classes)


def _bev_center(manifest: ModelManifest) -> BevDecoder:
    return BevDecoder(manifest.decoder, manifest.classes)


DECODERS: dict[str, Callable[[ModelManifest], Decode]] = {"yolox": _yolox}
OUTPUT_SHAPES: dict[str, Callable[[ModelManifest], tuple[int, ...]]] = {"yolox": _yolox_shape}
BEV_DECODERS: dict[str, Callable[[ModelManifest], BevDecoder]] = {"bev_center": _bev_center}
"""Of models whose outputs lie over the ground, not over one image."""
