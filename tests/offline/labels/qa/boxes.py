"""Boxes for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.geometry import Boxes


def cars(rows: Sequence[Sequence[float]], class_index: int = 0, frame: str = "ego") -> Boxes:
    """Cars of 4.5 x 1.9 x 1.6 m from rows (x, y, yaw)."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    n = len(table)
    return Boxes(
        np.column_stack([table[:, :2], np.full(n, 0.8)]), np.tile([4.5, 1.9, 1.6], (n, 1)),
        table[:, 2], np.full((n, 2), np.nan), np.full(n, class_index), np.full(n, -1), frame,
    )  # fmt: skip
