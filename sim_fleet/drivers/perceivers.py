"""Perceivers that know the truth: all that is visible, or less."""

from __future__ import annotations

import numpy as np

from sim_fleet.classes import Kind
from sim_fleet.drivers.ports import Moment, Perceived
from sim_fleet.world.oracle import OracleFrame
from sim_fleet.world.roadmap import GREEN

_SEEN_M = 90.0
_SIGNAL_M = 55.0


class TruthPerceiver:
    """Sees every visible object within range as it is.

    Args:
        min_visibility: share of an object that must show; 0 sees through walls.
    """

    wants_samples = False

    def __init__(self, min_visibility: float = 0.08) -> None:
        self._min_visibility = min_visibility

    def perceive(self, moment: Moment) -> Perceived:
        truth = moment.truth
        return chosen(truth, self._visible(truth), red_ahead(truth))

    def _visible(self, truth: OracleFrame) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        away = np.hypot(truth.centre_ego_m[:, 0], truth.centre_ego_m[:, 1])
        shown = np.nan_to_num(truth.visibility, nan=1.0) >= self._min_visibility
        sight = min(_SEEN_M, truth.conditions.visibility_m)
        return np.asarray((away < sight) & shown)


class BlindSpotPerceiver(TruthPerceiver):
    """The truth without some classes: what a model that never learned them would see."""

    def __init__(self, missing: frozenset[Kind]) -> None:
        super().__init__()
        self._missing = [int(kind) for kind in missing]

    def perceive(self, moment: Moment) -> Perceived:
        truth = moment.truth
        known = ~np.isin(truth.kind, self._missing)
        return chosen(truth, self._visible(truth) & known, red_ahead(truth))


def chosen(
    truth: OracleFrame, rows: np.ndarray[tuple[int], np.dtype[np.bool_]], red: bool
) -> Perceived:
    """The chosen rows of the truth as perceived objects."""
    return Perceived(
        truth.centre_ego_m[rows, :2], truth.yaw_ego_rad[rows], truth.size_m[rows, :2],
        truth.velocity_ego_mps[rows], truth.kind[rows], red,
    )  # fmt: skip


def signal_ahead(truth: OracleFrame) -> int | None:
    """State of the nearest signal that faces the ego, `GREEN`, `AMBER` or `RED`; None without."""
    signals = truth.signals
    if not signals.shape[0]:
        return None
    group = round(truth.ego.yaw_rad / (np.pi / 2)) % 2
    ahead = (signals[:, 0] > 1.0) & (signals[:, 0] < _SIGNAL_M) & (np.abs(signals[:, 1]) < 10.0)
    mine = np.flatnonzero(ahead & (signals[:, 3] == group) & (signals[:, 1] < 0.0))
    if not mine.size:
        return None
    return int(signals[mine[np.argmin(signals[mine, 0])], 2])


def red_ahead(truth: OracleFrame) -> bool:
    """Whether the nearest signal that faces the ego is red or amber."""
    return signal_ahead(truth) not in (None, GREEN)
