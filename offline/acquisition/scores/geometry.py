"""How far the boxes that ensemble members draw for one object lie apart.

For each box, over the members that see it:

- `centre_spread_m`: root mean square distance, in the plane, from their mean centre;
- `size_spread`: 1 - mean overlap of each size with the mean size, centres and headings laid
  upon each other (nuScenes' scale error);
- `heading_spread`: 1 - length of the mean heading vector, the circular variance;
- `missed`: share of the members that see nothing.

`disagreement` in 0..1 joins them: missed + (1 - missed) * mean of the centre's spread over
`CENTRE_FULL_M` (at most 1), the size's and the heading's. Of one box alone it is 0, of none 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Boxes
from contracts.samples import Float64s

CENTRE_FULL_M = 2.0
"""Spread from which on centres disagree wholly: the distance at which nuScenes matches."""


@dataclass(frozen=True, slots=True)
class MemberBoxes:
    """Each member's box for each of k objects; NaN throughout where a member sees none.

    `centre_m`, `size_m` float64 [members, k, 3]; `yaw_rad` [members, k].
    """

    centre_m: Float64s
    size_m: Float64s
    yaw_rad: Float64s

    def __post_init__(self) -> None:
        members_k = self.yaw_rad.shape
        if len(members_k) != 2 or not members_k[0]:
            raise InputError(f"has shape {list(members_k)}, expected [members, k]", "yaw_rad")
        for name in ("centre_m", "size_m"):
            if getattr(self, name).shape != (*members_k, 3):
                shape = list(getattr(self, name).shape)
                raise InputError(f"has shape {shape}, expected {[*members_k, 3]}", name)
        whole = np.isfinite(np.dstack([self.centre_m, self.size_m, self.yaw_rad[..., None]]))
        if (whole.any(axis=-1) != whole.all(axis=-1)).any():
            raise InputError("a member's box is finite throughout or NaN throughout")
        if (self.size_m <= 0).any():
            raise InputError("sizes must be positive", "size_m")


@dataclass(frozen=True, slots=True)
class GeometryScores:
    """Columns float64 [k] as the module defines them."""

    centre_spread_m: Float64s
    size_spread: Float64s
    heading_spread: Float64s
    missed: Float64s
    disagreement: Float64s


def geometry_scores(boxes: MemberBoxes) -> GeometryScores:
    """Spread of each object's boxes over the members."""
    seen = np.isfinite(boxes.yaw_rad)
    sightings = np.maximum(seen.sum(axis=0), 1)

    def mean(values: Float64s) -> Float64s:
        """Over the members that see it; 0 where none does."""
        held = seen.reshape(seen.shape + (1,) * (values.ndim - 2))
        count = sightings.reshape(sightings.shape + (1,) * (values.ndim - 2))
        return np.asarray(np.where(held, values, 0.0).sum(axis=0) / count)

    away = boxes.centre_m[..., :2] - mean(boxes.centre_m[..., :2])
    centre = np.sqrt(mean((away**2).sum(axis=-1)))
    some: Bools = np.asarray(seen.any(axis=0))
    typical = np.where(some[:, None], mean(boxes.size_m), 1.0)
    both = np.minimum(boxes.size_m, typical).prod(axis=-1)
    union = boxes.size_m.prod(axis=-1) + typical.prod(axis=-1) - both
    size = np.where(some, 1 - mean(both / union), 0.0)
    turn = np.hypot(mean(np.cos(boxes.yaw_rad)), mean(np.sin(boxes.yaw_rad)))
    heading = np.where(some, 1 - turn, 0.0)
    missed = 1 - seen.mean(axis=0)
    apart = (np.minimum(centre / CENTRE_FULL_M, 1.0) + size + heading) / 3
    joint = np.clip(missed + (1 - missed) * apart, 0.0, 1.0)
    return GeometryScores(centre, size, heading, missed, joint)


def member_boxes(reference: Boxes, members: Sequence[Boxes], within_m: float = 2.0) -> MemberBoxes:
    """Each member's boxes laid to those of the reference: nearest pairs first, one to one, of
    any class, no farther apart in the plane than `within_m`.

    Raises `InputError` when there is no member or a box is in another frame.
    """
    if not members:
        raise InputError("there are no members to compare", "members")
    n = len(reference)
    centre, size = np.full((len(members), n, 3), np.nan), np.full((len(members), n, 3), np.nan)
    yaw = np.full((len(members), n), np.nan)
    for number, boxes in enumerate(members):
        if boxes.frame != reference.frame:
            raise InputError(f"is in {boxes.frame!r}, not {reference.frame!r}", f"member {number}")
        away = reference.centre_m[:, None, :2] - boxes.centre_m[None, :, :2]
        distance = np.hypot(away[..., 0], away[..., 1])
        free, unused = np.ones(n, dtype=bool), np.ones(len(boxes), dtype=bool)
        for flat in np.argsort(distance, axis=None, kind="stable"):
            row, column = divmod(int(flat), len(boxes))
            if distance[row, column] > within_m:
                break
            if free[row] and unused[column]:
                free[row] = unused[column] = False
                centre[number, row], size[number, row] = (
                    boxes.centre_m[column],
                    boxes.size_m[column],
                )
                yaw[number, row] = boxes.yaw_rad[column]
    return MemberBoxes(centre, size, yaw)
