"""What a lens spreads: box blurs against their definition, and bloom from a single bright spot."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.samples import Float32s
from sim_fleet.sensors.finish import bloom, blur_motion


def plainly_blurred(field: Float32s, radius: int, axis: int) -> Float32s:
    """The mean over a window whose ends repeat the edge."""
    width = [(0, 0)] * field.ndim
    width[axis] = (radius, radius)
    padded = np.pad(field.astype(np.float64), width, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1, axis=axis)
    return windows.mean(axis=-1).astype(np.float32)


@pytest.mark.parametrize("shape", [(48, 64, 3), (7, 5, 3), (1, 9, 3), (9, 1, 3)])
@pytest.mark.parametrize("radius", [1, 4])
def test_bloom_is_three_box_blurs_each_way(shape: tuple[int, int, int], radius: int) -> None:
    light = np.random.default_rng(3).exponential(1.0, shape).astype(np.float32)
    over = np.clip(light - np.float32(1.5), 0, 12.0).astype(np.float32)
    for _ in range(3):
        over = plainly_blurred(plainly_blurred(over, radius, 1), radius, 0)
    wanted = light + np.float32(0.5) * over
    bloom(light, 1.5, radius, 0.5)
    assert light == pytest.approx(wanted, abs=1e-4)


def test_a_bright_spot_spills_and_a_dark_picture_stays() -> None:
    dark = np.full((21, 21, 3), 0.5, np.float32)
    spot = dark.copy()
    spot[10, 10] = 9.0
    for light in (dark, spot):
        bloom(light, 1.0, 2, 1.0)
    assert (dark == 0.5).all()
    assert spot[10, 12, 0] > 0.51
    assert spot[10, 12] == pytest.approx(spot[12, 10], abs=1e-6), "alike in both directions"
    assert spot[0, 0, 0] == pytest.approx(0.5, abs=1e-6)


def test_turning_blurs_along_the_rows_only() -> None:
    light = np.zeros((3, 31, 3), np.float32)
    light[1, 15] = 7.0
    blurred = blur_motion(light, 6.0)
    assert blurred[1, 12:19, 0] == pytest.approx(np.ones(7), abs=1e-5)
    assert blurred.sum() == pytest.approx(light.sum(), abs=1e-3)
    assert blur_motion(light, 0.5) is light, "less than a pixel"
