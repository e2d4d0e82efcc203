"""The input tensor against the definition of its resampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from contracts.errors import InputError
from kernels.input_tensor import Fit, fill_input, fit_image


def resample(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.float64]:
    """Bilinear, half-pixel centres, clamped borders, straight from the definition."""

    def taps(size: int, new: int) -> tuple[Any, Any, Any]:
        place = np.clip((np.arange(new) + 0.5) * size / new - 0.5, 0, size - 1)
        low = np.floor(place).astype(int)
        return low, np.minimum(low + 1, size - 1), place - low

    values = pixels.astype(np.float64)
    top, bottom, dy = taps(pixels.shape[0], height)
    left, right, dx = taps(pixels.shape[1], width)
    dy, dx = dy[:, None, None], dx[None, :, None]
    over = values[top][:, left] * (1 - dx) + values[top][:, right] * dx
    under = values[bottom][:, left] * (1 - dx) + values[bottom][:, right] * dx
    result: NDArray[np.float64] = over * (1 - dy) + under * dy
    return result


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))),
    st.integers(8, 48),
    st.integers(8, 48),
    st.booleans(),
    st.sampled_from(["letterbox", "stretch"]),
)
def test_input_tensor_equals_the_reference(
    pixels: NDArray[np.uint8], width: int, height: int, bgr: bool, mode: str
) -> None:
    fit = fit_image(pixels.shape[1], pixels.shape[0], width, height, mode)
    tensor = np.full((1, 3, height, width), np.nan, dtype=np.float32)
    fill_input(pixels, fit, tensor, bgr=bgr, pad_value=114, scale=0.5, offset=-3.0)
    expected = np.full((height, width, 3), 114.0)
    expected[: fit.height, : fit.width] = resample(pixels, fit.width, fit.height)
    if bgr:
        expected = expected[:, :, ::-1]
    np.testing.assert_allclose(
        tensor[0], expected.transpose(2, 0, 1) * 0.5 - 3.0, rtol=0, atol=1e-3
    )


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(8, 700), st.integers(8, 700))
def test_letterbox_fills_one_side_and_keeps_proportions(w: int, h: int, W: int, H: int) -> None:
    fit = fit_image(w, h, W, H, "letterbox")
    assert 1 <= fit.width <= W and 1 <= fit.height <= H
    assert W - fit.width <= 1 or H - fit.height <= 1
    ratio = min(W / w, H / h)
    assert abs(fit.width - w * ratio) <= 1 and abs(fit.height - h * ratio) <= 1


def test_wrong_arrays_are_refused() -> None:
    tensor = np.zeros((1, 3, 8, 8), dtype=np.float32)
    fit = Fit(8, 8, 1.0, 1.0)
    for pixels in (np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(InputError, match="pixels must be"):
            fill_input(pixels, fit, tensor, bgr=False)
    with pytest.raises(InputError, match="does not fit"):
        fill_input(np.zeros((4, 4, 3), np.uint8), Fit(9, 8, 1, 1), tensor, bgr=False)
    with pytest.raises(InputError, match="cannot fit"):
        fit_image(0, 5, 8, 8, "letterbox")
