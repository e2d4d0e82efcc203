"""Peaks to boxes against a plain search, suppression, refusals, and calibration by class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import CorruptError, InputError
from contracts.geometry import BevGrid
from contracts.model_manifest import BevCenter, Calibration, ClassCalibration, Decoder
from kernels.bev_decoding import (
    BOX_CHANNELS,
    BevDecoder,
    calibrated_by_class,
    light_probabilities,
)

GRID = BevGrid(x_min_m=-4.0, y_min_m=0.0, cell_m=0.5, rows=12, columns=10)
CLASSES = ("car", "pedestrian", "truck")


def decoder(
    suppress_m: tuple[float, float] = (0.0, 0.0), threshold: float = 0.3, most: int = 300
) -> BevDecoder:
    bev = BevCenter(
        grid=GRID, groups=(("car", "truck"), ("pedestrian",)), suppress_m=suppress_m,
        boxes_tensor="b", ground_tensor="g", light_tensor="l",
    )  # fmt: skip
    return BevDecoder(
        Decoder(
            name="bev_center", tensor="h", score_threshold=threshold, max_detections=most, bev=bev
        ),
        CLASSES,
    )


def blank() -> tuple[np.ndarray, np.ndarray]:
    heat = np.zeros((1, 3, 12, 10), np.float32)
    boxes = np.zeros((1, 2 * len(BOX_CHANNELS), 12, 10), np.float32)
    return heat, boxes


def test_a_peak_becomes_its_box() -> None:
    heat, boxes = blank()
    heat[0, :, 3, 7] = 0.6, 0.1, 0.7
    heat[0, 0, 3, 8] = 0.5
    boxes[0, :10, 3, 7] = 0.25, 0.75, 0.9, *np.log([8, 2.5, 3]), 2.0, 2.0, 11.0, -1.0
    found = decoder().decode(heat, boxes)
    assert found.boxes.class_index.tolist() == [2] and found.scores[0] == np.float32(0.7)
    np.testing.assert_allclose(found.boxes.centre_m[0], [-4 + 3.25 * 0.5, 7.75 * 0.5, 0.9], 1e-6)
    np.testing.assert_allclose(found.boxes.size_m[0], [8, 2.5, 3], 1e-6)
    assert found.boxes.yaw_rad[0] == pytest.approx(np.pi / 4)
    np.testing.assert_allclose(found.boxes.velocity_mps[0], [11, -1])
    np.testing.assert_allclose(found.distributions[0], np.array([0.6, 0.1, 0.7]) / 1.4, 1e-5)
    assert found.cells.tolist() == [[3, 7]]


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from([2, 5, 1000]))
def test_peaks_are_those_of_a_plain_search(seed: int, levels: int) -> None:
    """Few levels make many ties."""
    rng = np.random.default_rng(seed)
    heat, boxes = blank()
    heat[:] = rng.integers(0, levels + 1, heat.shape) / levels
    found = decoder().decode(heat, boxes)
    expected = set()
    for group, members in enumerate(((0, 2), (1,))):
        best = heat[0, list(members)].max(axis=0)
        for i in range(12):
            for j in range(10):
                around = [
                    (best[a, b], (a, b) < (i, j))
                    for a in range(max(0, i - 1), min(12, i + 2))
                    for b in range(max(0, j - 1), min(10, j + 2))
                    if (a, b) != (i, j)
                ]
                beaten = any(v > best[i, j] or (v == best[i, j] and e) for v, e in around)
                if best[i, j] > np.float32(0.3) and not beaten:
                    expected.add((group, i, j))
    groups = [0 if kind != 1 else 1 for kind in found.boxes.class_index.tolist()]
    cells = [tuple(cell) for cell in found.cells.tolist()]
    assert {(g, *cell) for g, cell in zip(groups, cells, strict=True)} == expected
    assert len(cells) == len(expected)
    assert (np.diff(found.scores) <= 0).all() and (found.distributions.sum(axis=1) < 1.0001).all()


def test_near_peaks_of_one_group_yield_to_the_better() -> None:
    heat, boxes = blank()
    boxes[0, [0, 1, 10, 11]] = 0.5
    heat[0, 0, 2, 2], heat[0, 2, 4, 2], heat[0, 1, 6, 2] = 0.9, 0.8, 0.7
    assert len(decoder((0.9, 0.9)).decode(heat, boxes).boxes) == 3
    found = decoder((1.1, 1.1)).decode(heat, boxes)
    assert found.boxes.class_index.tolist() == [0, 1]  # the truck was 1 m off, other groups stay
    assert decoder(most=1).decode(heat, boxes).boxes.class_index.tolist() == [0]
    assert len(decoder().decode(heat, boxes, threshold=0.85).boxes) == 1
    assert len(decoder().decode(*blank()).boxes) == 0


def test_broken_outputs_are_refused() -> None:
    heat, boxes = blank()
    with pytest.raises(InputError, match="heat: expected"):
        decoder().decode(heat[:, :2], boxes)
    with pytest.raises(InputError, match="boxes: expected"):
        decoder().decode(heat, boxes.astype(np.float64))
    boxes[0, 3, 1, 1] = np.nan
    with pytest.raises(CorruptError, match="boxes: the model's output is not finite"):
        decoder().decode(heat, boxes)
    with pytest.raises(InputError, match="no group"):
        BevDecoder(decoder()._decoder, ("car", "boat"))
    with pytest.raises(InputError, match="no bird's-eye"):
        BevDecoder(Decoder(name="yolox", tensor="t"), CLASSES)


def test_sizes_stay_finite_whatever_the_network_says() -> None:
    heat, boxes = blank()
    heat[0, 0, 5, 5] = 1.0
    boxes[0, 3:6, 5, 5] = 80, -80, 0
    size = decoder().decode(heat, boxes).boxes.size_m[0]
    assert np.isfinite(size).all() and size.min() > 0.01 and size.max() < 100


def test_calibration_by_class_overrides_the_common_one() -> None:
    scores, kinds = np.array([0.5, 0.5, 0.8]), np.array([0, 1, 1])
    curve = Calibration(
        method="platt", slope=2.0, bias=0.0,
        by_class={"pedestrian": ClassCalibration(slope=1.0, bias=-1.0, examples=40)},
    )  # fmt: skip
    found = calibrated_by_class(scores, kinds, curve, CLASSES)
    odds = np.array([0.0, -1.0, np.log(4.0) - 1])
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-odds)))
    np.testing.assert_array_equal(
        calibrated_by_class(scores, kinds, Calibration(), CLASSES), scores
    )


@given(st.lists(st.floats(-4, 4), min_size=4, max_size=4), st.floats(0.2, 5))
def test_the_light_s_temperature_divides_its_logits(logits: list[float], heat: float) -> None:
    values = np.array(logits)
    soft = np.exp(values - values.max())
    told = light_probabilities(
        (soft / soft.sum()).astype(np.float32)[None], Calibration(light_temperature=heat)
    )
    expected = np.exp((values - values.max()) / heat)
    np.testing.assert_allclose(told, expected / expected.sum(), atol=1e-5)
