"""A camera's image into the input tensor of a network.

Rules: bilinear resampling with half-pixel centres and clamped borders, as OpenCV's
`INTER_LINEAR` (which YOLOX uses) but without its rounding to whole levels; letterboxing pads
right and below. Everything is fused into one pass and releases the interpreter lock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.errors import InputError
from kernels.arrays import read_only

Float32s = NDArray[np.float32]
U8s = NDArray[np.uint8]
U64s = NDArray[np.uint64]

# New rows that are made at a time; `_pick` is written out for as many.
_ROWS = 4
_RGB = 3
# Two pixels are read as one word, so a row must not be shorter.
_WORD_BYTES = 8
_LEAST_WIDTH_PX = 3


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
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != _RGB or not pixels.size:
        raise InputError(f"pixels must be uint8 [h, w, 3], not {pixels.dtype} {pixels.shape}")
    if tensor.dtype != np.float32 or tensor.ndim != 4 or tensor.shape[:2] != (1, _RGB):
        raise InputError(f"tensor must be float32 [1, 3, h, w], not {tensor.dtype} {tensor.shape}")
    if fit.height > tensor.shape[2] or fit.width > tensor.shape[3]:
        raise InputError(f"{fit.width} x {fit.height} does not fit into {tensor.shape}")
    width = pixels.shape[1]
    if width < _LEAST_WIDTH_PX:
        pixels = np.pad(pixels, ((0, 0), (0, _LEAST_WIDTH_PX - width), (0, 0)))
    _fill(
        read_only(pixels),
        width,
        fit.width,
        fit.height,
        tensor[0],
        2 if bgr else 0,
        np.float32(pad_value * scale + offset),
        np.float32(scale),
        np.float32(offset),
    )


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _place(i: int, size: int, new_size: int) -> float:
    """Where new pixel `i` lies among the old ones."""
    return min(max((i + 0.5) * size / new_size - 0.5, 0.0), size - 1.0)


@njit(nogil=True, cache=True, error_model="numpy")
def _row_taps(size: int, new_size: int, stride: int) -> tuple[U64s, U64s, Float32s]:
    """For each new row: where the two old ones begin that it lies between, and the weight of the
    second.
    """
    first = np.empty(new_size, dtype=np.uint64)
    second = np.empty(new_size, dtype=np.uint64)
    weight = np.empty(new_size, dtype=np.float32)
    for i in range(new_size):
        place = _place(i, size, new_size)
        row = int(place)
        first[i] = stride * row
        second[i] = stride * min(row + 1, size - 1)
        weight[i] = place - row
    return first, second, weight


@njit(nogil=True, cache=True, error_model="numpy")
def _column_taps(size: int, new_size: int, stride: int) -> tuple[U64s, U64s, Float32s]:
    """For each new column: where in a row to read the word that begins with the two old pixels
    that it lies between, once so many of its bits are gone, and the weight of the second.

    Behind the last pixel of a row zeros are read, with no weight.
    """
    begin = np.empty(new_size, dtype=np.uint64)
    gone_bits = np.empty(new_size, dtype=np.uint64)
    weight = np.empty(new_size, dtype=np.float32)
    for i in range(new_size):
        place = _place(i, size, new_size)
        pixel = int(place)
        # A word never reaches into the next row: behind the last one is nothing to be read.
        start = min(_RGB * pixel, stride - _WORD_BYTES)
        begin[i] = start
        gone_bits[i] = 8 * (_RGB * pixel - start)
        weight[i] = place - pixel
    return begin, gone_bits, weight


@njit(nogil=True, cache=True, error_model="numpy")
def _fill(
    pixels: U8s,
    width: int,
    new_width: int,
    new_height: int,
    planes: Float32s,
    first_channel: int,
    pad: np.float32,
    scale: np.float32,
    offset: np.float32,
) -> None:
    height, held_width, _ = pixels.shape
    stride = _RGB * held_width
    begin, gone_bits, across = _column_taps(width, new_width, stride)
    top, bottom, down = _row_taps(height, new_height, stride)
    flat = pixels.reshape(-1)
    words = np.empty((2 * _ROWS, new_width), dtype=np.uint64)
    for first in range(0, new_height, _ROWS):
        # Words first, in scalar code; all the arithmetic on them runs in vector registers.
        _pick(flat, top, bottom, first, begin, gone_bits, words)
        for y in range(first, min(first + _ROWS, new_height)):
            red = planes[first_channel, y]
            green = planes[1, y]
            blue = planes[2 - first_channel, y]
            upper, lower = words[2 * (y - first)], words[2 * (y - first) + 1]
            _mix(upper, lower, down[y], across, scale, offset, red, green, blue)
        planes[:, first : first + _ROWS, new_width:] = pad
    planes[:, new_height:, :] = pad


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _word(row: U8s, i: np.uint64) -> np.uint64:
    """Eight bytes, the first the lowest, in the form that becomes one load."""
    low = (
        np.uint64(row[i])
        | np.uint64(row[i + np.uint64(1)]) << np.uint64(8)
        | np.uint64(row[i + np.uint64(2)]) << np.uint64(16)
        | np.uint64(row[i + np.uint64(3)]) << np.uint64(24)
    )
    return (
        low
        | np.uint64(row[i + np.uint64(4)]) << np.uint64(32)
        | np.uint64(row[i + np.uint64(5)]) << np.uint64(40)
        | np.uint64(row[i + np.uint64(6)]) << np.uint64(48)
        | np.uint64(row[i + np.uint64(7)]) << np.uint64(56)
    )


@njit(nogil=True, cache=True, error_model="numpy")
def _pick(
    flat: U8s, top: U64s, bottom: U64s, first: int, begin: U64s, gone_bits: U64s, words: U64s
) -> None:
    """The pixels of four new rows from `first` on (past the end, the last one again), for each new
    row those of the upper old row and of the lower one.

    All in one loop, since memory serves eight streams sooner than two after two.
    """
    end = top.size - 1
    y0, y1, y2, y3 = first, min(first + 1, end), min(first + 2, end), min(first + 3, end)
    upper0, lower0 = flat[np.int64(top[y0]) :], flat[np.int64(bottom[y0]) :]
    upper1, lower1 = flat[np.int64(top[y1]) :], flat[np.int64(bottom[y1]) :]
    upper2, lower2 = flat[np.int64(top[y2]) :], flat[np.int64(bottom[y2]) :]
    upper3, lower3 = flat[np.int64(top[y3]) :], flat[np.int64(bottom[y3]) :]
    for x in range(begin.size):
        # Unsigned, as an index that could be negative costs a third of such a loop.
        i, gone = begin[x], gone_bits[x]
        words[0, x] = _word(upper0, i) >> gone
        words[1, x] = _word(lower0, i) >> gone
        words[2, x] = _word(upper1, i) >> gone
        words[3, x] = _word(lower1, i) >> gone
        words[4, x] = _word(upper2, i) >> gone
        words[5, x] = _word(lower2, i) >> gone
        words[6, x] = _word(upper3, i) >> gone
        words[7, x] = _word(lower3, i) >> gone


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _level(upper: np.uint32, lower: np.uint32, bits: int, weight: np.float32) -> np.float32:
    """Between the bytes that lie so many bits up in two words."""
    above = np.float32(np.int32((upper >> np.uint32(bits)) & np.uint32(255)))
    below = np.float32(np.int32((lower >> np.uint32(bits)) & np.uint32(255)))
    return above + (below - above) * weight


@njit(nogil=True, cache=True, error_model="numpy")
def _mix(
    upper: U64s,
    lower: U64s,
    weight: np.float32,
    across: Float32s,
    scale: np.float32,
    offset: np.float32,
    red: Float32s,
    green: Float32s,
    blue: Float32s,
) -> None:
    """One new row of each channel. In a word's bytes: red, green, blue, and those of the next."""
    for x in range(across.size):
        upper_low, upper_high = np.uint32(upper[x]), np.uint32(upper[x] >> np.uint64(32))
        lower_low, lower_high = np.uint32(lower[x]), np.uint32(lower[x] >> np.uint64(32))
        left = _level(upper_low, lower_low, 0, weight)
        right = _level(upper_low, lower_low, 24, weight)
        red[x] = (left + (right - left) * across[x]) * scale + offset
        left = _level(upper_low, lower_low, 8, weight)
        right = _level(upper_high, lower_high, 0, weight)
        green[x] = (left + (right - left) * across[x]) * scale + offset
        left = _level(upper_low, lower_low, 16, weight)
        right = _level(upper_high, lower_high, 8, weight)
        blue[x] = (left + (right - left) * across[x]) * scale + offset
