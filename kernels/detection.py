"""Before and after a detector: the image into its input tensor, and overlapping boxes out.

Rules: bilinear resampling with half-pixel centres and clamped borders, as OpenCV's
`INTER_LINEAR` (which YOLOX uses) but without its rounding to whole levels; letterboxing pads
right and below. Suppression is greedy by falling score within a class, ties in the order of
the rows. Everything is fused into one pass and releases the interpreter lock.

Does not do: run a model, or know an output's layout (`kernels.yolox` does).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.errors import InputError

Float32s = NDArray[np.float32]
U8s = NDArray[np.uint8]
U64s = NDArray[np.uint64]
Int64s = NDArray[np.int64]


# New rows that are made at a time; `_blend` is written out for as many.
_ROWS = 4


@dataclass(frozen=True, slots=True)
class Fit:
    """Where an image lies in the input tensor: its top left `width` x `height` pixels.

    `scale_x` and `scale_y` are tensor pixels for each image pixel.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float


def fit_image(image_width: int, image_height: int, width: int, height: int, mode: str) -> Fit:
    """How an image fits a tensor of `width` x `height`; `mode` is 'letterbox' or 'stretch'."""
    if min(image_width, image_height, width, height) < 1:
        raise InputError(f"cannot fit {image_width} x {image_height} into {width} x {height}")
    if mode == "stretch":
        new_width, new_height = width, height
    elif mode == "letterbox":
        ratio = min(height / image_height, width / image_width)
        new_width = max(1, int(image_width * ratio))
        new_height = max(1, int(image_height * ratio))
    else:
        raise InputError(f"resize {mode!r} is neither 'letterbox' nor 'stretch'")
    return Fit(new_width, new_height, new_width / image_width, new_height / image_height)


def fill_input(
    pixels: U8s,
    fit: Fit,
    tensor: Float32s,
    *,
    bgr: bool,
    pad_value: int = 114,
    scale: float = 1.0,
    offset: float = 0.0,
) -> None:
    """Write `pixels` (uint8 [h, w, 3] RGB) into `tensor` (float32 [1, 3, H, W]), all of it.

    Each level v becomes `v * scale + offset`; `bgr` reverses the channels. Raises `InputError`
    when an array has another shape or type.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise InputError(f"pixels must be uint8 [h, w, 3], not {pixels.dtype} {pixels.shape}")
    if tensor.dtype != np.float32 or tensor.ndim != 4 or tensor.shape[:2] != (1, 3):
        raise InputError(f"tensor must be float32 [1, 3, h, w], not {tensor.dtype} {tensor.shape}")
    if fit.height > tensor.shape[2] or fit.width > tensor.shape[3]:
        raise InputError(f"{fit.width} x {fit.height} does not fit into {tensor.shape}")
    _fill(
        _read_only(pixels),
        fit.width,
        fit.height,
        tensor[0],
        2 if bgr else 0,
        np.float32(pad_value * scale + offset),
        np.float32(scale),
        np.float32(offset),
    )


def _read_only(pixels: U8s) -> U8s:
    """Contiguous, and of one type for the kernel: one that may be written to is another."""
    seen = np.ascontiguousarray(pixels)[:]
    seen.flags.writeable = False
    return seen


@njit(nogil=True, cache=True, error_model="numpy")
def _taps(size: int, new_size: int, step: int) -> tuple[U64s, U64s, Float32s]:
    """For each new pixel: the two old ones it lies between, and the weight of the second.

    Pixels are told by where they begin, `step` bytes after each other; unsigned, as an index
    that could be negative costs a third of the loop that reads with it.
    """
    first = np.empty(new_size, dtype=np.uint64)
    second = np.empty(new_size, dtype=np.uint64)
    weight = np.empty(new_size, dtype=np.float32)
    for i in range(new_size):
        place = min(max((i + 0.5) * size / new_size - 0.5, 0.0), size - 1.0)
        pixel = int(place)
        first[i] = step * pixel
        second[i] = step * min(pixel + 1, size - 1)
        weight[i] = place - pixel
    return first, second, weight


@njit(nogil=True, cache=True, error_model="numpy")
def _fill(
    pixels: U8s,
    new_width: int,
    new_height: int,
    planes: Float32s,
    first_channel: int,
    pad: np.float32,
    scale: np.float32,
    offset: np.float32,
) -> None:
    height, width, _ = pixels.shape
    stride = 3 * width
    left, right, across = _taps(width, new_width, 3)
    top, bottom, down = _taps(height, new_height, stride)
    flat = pixels.reshape(-1)
    between = np.empty((_ROWS, stride), dtype=np.float32)
    for begin in range(0, new_height, _ROWS):
        # Whole rows first: that loop runs in vector registers, the gather below cannot.
        _blend(flat, top, bottom, down, begin, between)
        for y in range(begin, min(begin + _ROWS, new_height)):
            for plane in range(3):
                channel = between[y - begin, abs(first_channel - plane) :]
                row = planes[plane, y]
                for x in range(new_width):
                    a = channel[left[x]]
                    b = channel[right[x]]
                    row[x] = (a + (b - a) * across[x]) * scale + offset
                row[new_width:] = pad
    planes[:, new_height:, :] = pad


@njit(nogil=True, cache=True, error_model="numpy")
def _blend(
    flat: U8s, top: U64s, bottom: U64s, down: Float32s, begin: int, between: Float32s
) -> None:
    """Four new rows from `begin` on (past the end, the last one again) between their old ones.

    All in one loop, since memory serves eight streams sooner than two after two.
    """
    end = top.size - 1
    y0, y1, y2, y3 = begin, min(begin + 1, end), min(begin + 2, end), min(begin + 3, end)
    upper0, lower0 = flat[np.int64(top[y0]) :], flat[np.int64(bottom[y0]) :]
    upper1, lower1 = flat[np.int64(top[y1]) :], flat[np.int64(bottom[y1]) :]
    upper2, lower2 = flat[np.int64(top[y2]) :], flat[np.int64(bottom[y2]) :]
    upper3, lower3 = flat[np.int64(top[y3]) :], flat[np.int64(bottom[y3]) :]
    weight0, weight1, weight2, weight3 = down[y0], down[y1], down[y2], down[y3]
    for i in range(between.shape[1]):
        a0, a1 = np.float32(upper0[i]), np.float32(upper1[i])
        a2, a3 = np.float32(upper2[i]), np.float32(upper3[i])
        between[0, i] = a0 + (np.float32(lower0[i]) - a0) * weight0
        between[1, i] = a1 + (np.float32(lower1[i]) - a1) * weight1
        between[2, i] = a2 + (np.float32(lower2[i]) - a2) * weight2
        between[3, i] = a3 + (np.float32(lower3[i]) - a3) * weight3


def suppress(boxes: Float32s, scores: Float32s, classes: Int64s, iou: float, most: int) -> Int64s:
    """Rows that survive non-maximum suppression, by falling score, at most `most`.

    `boxes` float32 [n, 4] x0, y0, x1, y1; of two boxes of one class that overlap by more than
    `iou` the one of lower score goes.
    """
    order = np.argsort(-scores, kind="stable")
    return order[_survivors(boxes[order], classes[order], iou, most)]


@njit(nogil=True, cache=True, error_model="numpy")
def _survivors(boxes: Float32s, classes: Int64s, iou: float, most: int) -> Int64s:
    count = boxes.shape[0]
    kept = np.empty(min(count, most), dtype=np.int64)
    found = 0
    for i in range(count):
        if found == kept.size:
            break
        area = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
        good = True
        for k in range(found):
            j = kept[k]
            if classes[j] != classes[i]:
                continue
            wide = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            high = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if wide <= 0 or high <= 0:
                continue
            both = wide * high
            other = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
            if both > iou * (area + other - both):
                good = False
                break
        if good:
            kept[found] = i
            found += 1
    return kept[:found]


def presence(
    probabilities: NDArray[np.floating], distributions: NDArray[np.floating], class_index: Int64s
) -> NDArray[np.float64]:
    """How probable it is that anything is there, float64 [k].

    Of what is hard to name, each class is improbable, and yet something is there: P(class) =
    P(anything) P(class | anything), of which a distribution tells the latter.

    Args:
        probabilities: of the named class, [k].
        distributions: over all classes, [k, classes]; only their ratios count.
        class_index: of the named class, [k].
    """
    spread = distributions.astype(np.float64)
    of_it, total = np.take_along_axis(spread, class_index[:, None], 1)[:, 0], spread.sum(axis=1)
    share = np.divide(of_it, total, out=np.zeros(total.shape), where=total > 0)
    named = probabilities.astype(np.float64)
    anything: NDArray[np.float64] = np.divide(named, share, out=named.copy(), where=share > 0)
    return np.minimum(anything, 1.0)
