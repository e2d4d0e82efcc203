"""Boxes as lines: where a camera sees them, and what it does not see."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.samples import CalibrationSample
from sim_fleet.overlay import Drawn, camera_outlines

OPTICAL = np.array([[0, 0, 1.0, 0], [-1.0, 0, 0, 0], [0, -1.0, 0, 1.5], [0, 0, 0, 1.0]])
CAMERA = CalibrationSample(
    "/camera/front", 0, 200, 100, np.array([[100.0, 0, 100], [0, 100.0, 50], [0, 0, 1]]), OPTICAL,
    "front",
)  # fmt: skip


def boxes(*middles: tuple[float, float, float], yaw: float = 0.0) -> Drawn:
    n = len(middles)
    return Drawn(
        np.array(middles), np.tile([4.0, 2.0, 1.0], (n, 1)), np.full(n, yaw), np.zeros((n, 2)),
        tuple(f"box {i}" for i in range(n)),
    )  # fmt: skip


def test_a_box_ahead_is_where_the_pinhole_puts_it() -> None:
    (found,) = camera_outlines(boxes((12.0, 0.0, 1.5)), CAMERA)
    assert found.edges_px.shape == (12, 2, 2)
    low, high = found.edges_px.min(axis=(0, 1)), found.edges_px.max(axis=(0, 1))
    # Its near side is 10 m away, 2 m wide and 1 m high.
    assert low.tolist() == pytest.approx([90.0, 45.0]) and high.tolist() == pytest.approx([110, 55])
    assert found.top_px.tolist() == pytest.approx([100.0, 45.0])


def test_what_is_behind_or_aside_is_not_drawn_and_what_is_beside_is_cut() -> None:
    shown = camera_outlines(boxes((-12.0, 0, 1.5), (12.0, 40.0, 1.5), (1.0, 1.2, 1.5)), CAMERA)
    (near,) = shown
    assert near.caption == "box 2" and np.isfinite(near.edges_px).all()
    assert near.edges_px.shape[0] < 12  # the edges behind the camera are gone


def test_footprints_turn_with_the_yaw() -> None:
    (ring,) = boxes((10.0, 5.0, 0.5), yaw=np.pi / 2).outlines_m()
    assert ring[0].tolist() == ring[-1].tolist() == pytest.approx([9.0, 7.0])
    assert boxes((30.0, 0, 0), (3.0, 0, 0)).within(10.0).captions == ("box 1",)
