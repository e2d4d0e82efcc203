"""Pictures to vectors, by an image encoder in ONNX that the operator gives (such as CLIP's).

The model takes float32 [1, 3, h, w] and tells one vector [1, d]; pictures are JPEG, scaled so
that the shorter side fits, cut in the middle and normalised with CLIP's mean and spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.samples import Float32s

MAX_BYTES = 16 * 2**20
_MAX_SIDE_PX = 16_384
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
_SPREAD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


class PictureEncoder:
    """One model. `path` is its file, `space` the digest of that, `name` for people.

    Raises `InputError` for a file that is no such model.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        try:
            with path.open("rb") as file:
                self.space = file_digest(file, "sha256").hexdigest()
            self._session = onnxruntime.InferenceSession(
                str(path), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise InputError(f"is no model that can be run: {error}", str(path)) from error
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or shape[1] != 3 or not all(isinstance(side, int) for side in shape[2:]):
            raise InputError("must take one input [1, 3, h, w] with h and w given", str(path))
        self._input, (self._height, self._width) = inputs[0].name, shape[2:]
        self.path, self.name = path.resolve(), path.stem

    def encode(self, pictures: Sequence[bytes]) -> Float32s:
        """Unit vectors float32 [m, d] of JPEGs. Blocks. Raises `InputError`."""
        found = np.concatenate([self._one(picture) for picture in pictures])
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        if not np.all((lengths > 0) & np.isfinite(lengths)):
            raise InputError("the model makes nothing of it", "picture")
        vectors: Float32s = found / lengths
        return vectors

    def _one(self, picture: bytes) -> Float32s:
        pixels = _resized(_decoded(picture), self._height, self._width)
        ready = ((pixels / np.float32(255) - _MEAN) / _SPREAD).transpose(2, 0, 1)[None]
        told = self._session.run(None, {self._input: np.ascontiguousarray(ready)})[0]
        found: Float32s = np.asarray(told, np.float32).reshape(1, -1)
        return found


def _decoded(picture: bytes) -> NDArray[np.uint8]:
    import simplejpeg

    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(picture)
        if max(height, width) > _MAX_SIDE_PX:
            raise InputError(f"has more than {_MAX_SIDE_PX} px on a side", "picture")
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(picture)
    except ValueError as error:
        raise InputError("is no JPEG that can be read", "picture") from error
    return pixels


def _resized(pixels: NDArray[np.uint8], height: int, width: int) -> Float32s:
    """Cut to the model's shape in the middle, then averaged over areas: float32 [h, w, 3]."""
    scale = min(pixels.shape[0] / height, pixels.shape[1] / width)
    rows = _edges(pixels.shape[0], height, scale)
    columns = _edges(pixels.shape[1], width, scale)
    sums = np.zeros((pixels.shape[0] + 1, pixels.shape[1] + 1, 3), np.float64)
    sums[1:, 1:] = pixels.cumsum(0, dtype=np.float64).cumsum(1)
    top, bottom, left, right = rows[:-1], rows[1:], columns[:-1], columns[1:]
    bottom, right = np.maximum(bottom, top + 1), np.maximum(right, left + 1)
    total = (
        sums[np.ix_(bottom, right)] - sums[np.ix_(top, right)]
        - sums[np.ix_(bottom, left)] + sums[np.ix_(top, left)]
    )  # fmt: skip
    areas = (bottom - top)[:, None, None] * (right - left)[None, :, None]
    return (total / areas).astype(np.float32)


def _edges(size: int, wanted: int, scale: float) -> NDArray[np.int64]:
    """Where cells begin and end on one side, [wanted + 1]."""
    first = (size - scale * wanted) / 2
    found = np.rint(first + scale * np.arange(wanted + 1)).astype(np.int64)
    kept: NDArray[np.int64] = np.clip(found, 0, size - 1 if scale < 1 else size)
    return kept
