"""Whether two looks at a scene show the same: pictures, sweeps, and what a model saw in them.

Each comparison errs on the side of a difference. A picture is compared twice: by its perceptual
hash, which sees the whole, and block by block, which sees what is small; a sweep by the cells of
the ground plane that hold points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from contracts.errors import LongtailError
from contracts.samples import Detection, ImageSample, LidarSample, PerceptionFrame
from edge_agent.perception.pixels import decode_pixels
from kernels.clip.decoding import OwnDecoder
from kernels.clip.encoding import EncodedMessage
from kernels.jpeg import jpeg_pixels, jpeg_size
from kernels.phash import hamming_distance, phash64

SAME_BITS = 3
"""Of 64: JPEG noise moves one or two at the median."""
LEAST_WIDTH_PX = 640
"""Pictures are decoded at the smallest eighth that is still this wide: far objects stay visible."""
BLOCK_PX = 8
BLOCK_STEP = 9.0
"""Mean change of one colour in one block, of 255; sensor noise of a block's mean is below 3."""
CELL_M = 0.5
REACH_M = 60.0
LEAST_POINTS = 3
"""In a cell and its eight neighbours together, where there were none before."""
SURE = 0.25
SAME_PX = 0.15
"""How far a box's edges may move, as a share of its size."""
SAME_M = 0.3
SAME_LIGHT = 0.3
"""How far the probability of a traffic light's state may move."""

U8s = NDArray[np.uint8]
_CELLS = int(2 * REACH_M / CELL_M)


class Look(Protocol):
    """What one message shows."""

    def is_same(self, other: Self) -> bool: ...


def look_at(message: EncodedMessage) -> PictureLook | SweepLook | None:
    """What a picture or a sweep shows; None for what cannot be read."""
    try:
        sample = OwnDecoder().decode(message)
        if isinstance(sample, ImageSample):
            return PictureLook.of(_small(sample))
        if isinstance(sample, LidarSample):
            return SweepLook.of(sample.xyz_m)
    except LongtailError:
        return None
    return None


def _small(image: ImageSample) -> U8s:
    """The picture [h, w, 3], in a fraction of the time that all of it takes.

    Raises `LongtailError`.
    """
    if image.encoding != "jpeg":
        pixels = decode_pixels(image)
        step = max(1, pixels.shape[1] // LEAST_WIDTH_PX)
        return np.ascontiguousarray(pixels[::step, ::step])
    _, width = jpeg_size(image.content)
    return jpeg_pixels(image.content, (1, min(width, LEAST_WIDTH_PX)), is_rough=True)


@dataclass(frozen=True, slots=True)
class PictureLook:
    """A picture: its hash, and the mean colour of each of its blocks."""

    hash64: int
    shape: tuple[int, ...]
    blocks: NDArray[np.float32]

    @classmethod
    def of(cls, pixels: U8s) -> PictureLook:
        """Raises `InputError` for one too small to hash."""
        rows, columns = pixels.shape[0] // BLOCK_PX, pixels.shape[1] // BLOCK_PX
        used = pixels[: rows * BLOCK_PX, : columns * BLOCK_PX]
        # Rows first: sums of neighbours in memory are the fast ones.
        by_rows = used.reshape(rows, BLOCK_PX, -1).sum(axis=1, dtype=np.uint16)
        blocks = by_rows.reshape(rows, columns, BLOCK_PX, 3).sum(axis=2, dtype=np.uint32)
        means = blocks.astype(np.float32) / (BLOCK_PX * BLOCK_PX)
        return cls(phash64(pixels), pixels.shape, means)

    def is_same(self, other: PictureLook) -> bool:
        if self.shape != other.shape or self.blocks.shape != other.blocks.shape:
            return False
        if hamming_distance(self.hash64, other.hash64) > SAME_BITS:
            return False
        return not self.blocks.size or float(np.abs(self.blocks - other.blocks).max()) < BLOCK_STEP


@dataclass(frozen=True, slots=True)
class SweepLook:
    """A sweep: how many points each cell of the ground plane holds, uint16 [cells, cells]."""

    points: NDArray[np.uint16]

    @classmethod
    def of(cls, xyz_m: NDArray[np.float32]) -> SweepLook:
        cells = np.floor((xyz_m[:, :2] + REACH_M) / CELL_M)
        with np.errstate(invalid="ignore"):
            inside = ((cells >= 0) & (cells < _CELLS)).all(axis=1)
        index = cells[inside].astype(np.int64)
        counts = np.bincount(index[:, 0] * _CELLS + index[:, 1], minlength=_CELLS * _CELLS)
        capped = np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16)
        return cls(capped.reshape(_CELLS, _CELLS))

    def is_same(self, other: SweepLook) -> bool:
        return not (_appeared(self.points, other.points) or _appeared(other.points, self.points))


def _appeared(before: NDArray[np.uint16], after: NDArray[np.uint16]) -> bool:
    """Whether a few points lie together where none were, not even next to it."""
    nothing = _around(before) == 0
    new = np.where(nothing, after, 0)
    if not new.any():
        return False
    return bool((_around(new) >= LEAST_POINTS).any())


def _around(points: NDArray[np.uint16]) -> NDArray[np.uint32]:
    """The sum over each cell and its eight neighbours."""
    wide = np.pad(points.astype(np.uint32), 1)
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    found: NDArray[np.uint32] = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return found


@dataclass(frozen=True, slots=True)
class Detections:
    """What a model saw in one frame, as far as it is half-way sure."""

    found: tuple[Detection, ...]
    light: NDArray[np.float32] | None

    def differ(self, other: Detections) -> bool:
        """Whether an object has come, gone, moved, or is taken for another class; or a light."""
        if len(self.found) != len(other.found) or _light_differs(self.light, other.light):
            return True
        left = dict(enumerate(other.found))
        for one in self.found:
            match = next((at for at, each in left.items() if _is_same_object(one, each)), None)
            if match is None:
                return True
            del left[match]
        return False


def detections_of(frame: PerceptionFrame) -> Detections:
    """What counts of a frame."""
    sure = tuple(one for one in frame.detections if one.probability >= SURE)
    return Detections(sure, frame.light)


def _light_differs(one: NDArray[np.float32] | None, other: NDArray[np.float32] | None) -> bool:
    if one is None or other is None:
        return (one is None) != (other is None)
    return one.shape != other.shape or bool(np.abs(one - other).max(initial=0.0) > SAME_LIGHT)


def _is_same_object(one: Detection, other: Detection) -> bool:
    if one.class_name != other.class_name:
        return False
    if one.box_px is not None and other.box_px is not None:
        a, b = np.array(one.box_px), np.array(other.box_px)
        size_px = max(4.0, float(max(a[2] - a[0], a[3] - a[1])))
        if float(np.abs(a - b).max()) > SAME_PX * size_px:
            return False
    elif (one.box_px is None) != (other.box_px is None):
        return False
    if one.cuboid is not None and other.cuboid is not None:
        apart = np.subtract(one.cuboid.centre_m, other.cuboid.centre_m)
        return float(np.hypot(apart[0], apart[1])) <= SAME_M
    return (one.cuboid is None) == (other.cuboid is None)
