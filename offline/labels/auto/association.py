"""Which box goes on with which track, frame by frame, in either direction of time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s
from offline.labels.auto.filter import Bank, WorldBoxes
from offline.labels.auto.parameters import Association
from offline.labels.auto.planar import turned

_NEVER = 1e6


@dataclass(slots=True)
class Associator:
    """Fed with one frame after the other; holds the live tracks and nothing else."""

    settings: Association
    bank: Bank = field(default_factory=Bank.empty)
    begun: int = 0

    def step(self, seen: WorldBoxes) -> Int64s:
        """The track of each box of this frame, int64 [n]; -1 for one that neither goes on with a
        track nor begins one.
        """
        bank, settings = self.bank, self.settings
        tracks: Int64s = np.full(seen.yaw_rad.size, -1, dtype=np.int64)
        if not len(bank) and not tracks.size:
            return tracks  # Most classes are in few frames of a clip.
        bank.predict(settings)
        cost = distances(bank, seen, settings)
        strong = seen.probability >= settings.strong_score
        weak = ~strong & (seen.probability >= settings.weak_score)
        rows, boxes = matched(cost, np.ones(len(bank), dtype=np.bool_), strong, settings.gate)
        free = np.ones(len(bank), dtype=np.bool_)
        free[rows] = False
        more_rows, more_boxes = matched(cost, free, weak, settings.weak_gate)
        rows, boxes = np.concatenate([rows, more_rows]), np.concatenate([boxes, more_boxes])
        tracks[boxes] = bank.track[rows]
        bank.update(rows, seen, boxes, settings)
        bank.keep((bank.misses <= settings.patience) & ((bank.hits > 1) | (bank.misses <= 1)))
        new = np.flatnonzero((tracks < 0) & (seen.probability >= settings.birth_score))
        tracks[new] = np.arange(self.begun, self.begun + new.size)
        bank.begin(seen, new, self.begun, settings)
        self.begun += new.size
        return tracks


def distances(bank: Bank, seen: WorldBoxes, settings: Association) -> Float64s:
    """From where tracks should be to boxes, in parts of the object: float64 [k, n]."""
    if not len(bank) or not seen.yaw_rad.size:
        return np.zeros((len(bank), seen.yaw_rad.size))
    size = (bank.size_m[:, None] + seen.size_m[None]) / 2
    away = seen.xy_m[None] - bank.xy_m[:, None]
    local = turned(away, -np.broadcast_to(bank.yaw_rad[:, None], away.shape[:2]))
    # A track of unknown speed may be anywhere along its heading; across, cars do not jump.
    loose = np.sqrt(bank.spread[:, 0, 0])[:, None]
    along = local[..., 0] / (size[..., 0] / 2 + settings.slack_m + loose)
    across = local[..., 1] / (size[..., 1] / 2 + settings.slack_m + 0.5 * loose)
    up = (seen.z_m[None] - bank.z_m[:, None]) / (size[..., 2] / 2 + settings.slack_m)
    grown = np.abs(np.log(seen.size_m[None] / bank.size_m[:, None])).sum(axis=-1)
    return np.asarray(np.sqrt(along**2 + across**2 + 0.5 * up**2) + settings.size_weight * grown)


def matched(cost: Float64s, rows: Bools, columns: Bools, gate: float) -> tuple[Int64s, Int64s]:
    """The cheapest one-to-one pairs among some rows and columns, most pairs first."""
    row, column = np.flatnonzero(rows), np.flatnonzero(columns)
    if not row.size or not column.size:
        return row[:0], column[:0]
    part = cost[np.ix_(row, column)]
    part = np.where(part < gate, part, _NEVER)
    one, two = linear_sum_assignment(part)
    good = part[one, two] < gate
    return row[one[good]], column[two[good]]
