"""What the sim-to-real report says: the same figures on real recordings and on simulated drives.

A figure that has no truth to rest on is None, never 0.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.geometry import Finite, Frozen
from contracts.ids import Sha256Hex

Figure = Finite | None


class GroupFigures(Frozen):
    """A class group within a range of distances, `all` for every range.

    `ap` at 2 m and `recall` of what is told with the operating probability.
    """

    group: str
    range_m: str
    truths: int = Field(ge=0)
    ap: Figure = None
    recall: Figure = None


class InputFigures(Frozen):
    """What the model's rasters hold, a frame: lidar points of the newest sweep in `points` by range
    (a cell tells 255 at most), their mean intensity 0..1, and how many cells hold any;
    `points_per_object` is the median over the true boxes that hold any.
    """

    points: dict[str, Finite]
    intensity: Figure = None
    filled_cells: Figure = None
    objects: Figure = None
    points_per_object: dict[str, Finite] = Field(default_factory=dict)


class OneSet(Frozen):
    """One set of frames. `sensors` are those that were there; `ignored` boxes of classes that the
    truth does not tell apart or no taxonomy holds count neither way.
    """

    name: str = Field(min_length=1, max_length=200)
    kind: Literal["real", "simulated"]
    frames: int = Field(ge=0)
    drives: int = Field(ge=0)
    sensors: tuple[str, ...]
    figures: tuple[GroupFigures, ...]
    calibration_error: Figure = None
    false_per_frame: Figure = None
    inputs: InputFigures
    notes: tuple[str, ...] = ()


class SimToReal(Frozen):
    """The whole report."""

    schema_version: Literal[1] = 1
    model: Sha256Hex
    model_name: str = Field(min_length=1, max_length=200)
    sets: tuple[OneSet, ...] = Field(min_length=1)
