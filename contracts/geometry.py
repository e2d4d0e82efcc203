"""Boxes, frames, grids and the taxonomy: what labels, models and evaluation share.

Frames follow ISO 8855 (x forward, y left, z up, metres, yaw positive to the left). The ego
frame sits on the ground under the middle of the rear axle. A transform is named after what it
does: `a_SE3_b`, float64 [4, 4], maps points of frame b to frame a, so
`world_SE3_ego @ ego_SE3_lidar` is `world_SE3_lidar`.

A box's centre is its geometric middle, its size is length, width, height; its velocity is over
ground along the axes of its frame, NaN where nobody knows it.

The taxonomy is versioned and only grows by a new version: a class never changes its meaning or
its place. What is not in it (a traffic cone) is no object here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from contracts.errors import InputError
from contracts.samples import Float64s

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]
EGO_FRAME, WORLD_FRAME = "ego", "world"

Finite = Annotated[float, Field(allow_inf_nan=False)]
Length = Annotated[float, Field(gt=0, le=200, allow_inf_nan=False)]


class Frozen(BaseModel):
    """A frozen record that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ObjectClass(Frozen):
    """One class: `group` shares a head of the model; `rare` ones are what triggers hunt for."""

    name: str
    group: str
    rare: bool = False


class Taxonomy(Frozen):
    """The classes in their order, which is the order of a model's heat maps."""

    version: int = Field(ge=1)
    classes: tuple[ObjectClass, ...] = Field(min_length=1)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.classes)

    @property
    def rare_names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.classes if one.rare)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Class names by group, groups in the order in which they first come."""
        order = dict.fromkeys(one.group for one in self.classes)
        return tuple(tuple(c.name for c in self.classes if c.group == group) for group in order)

    def index(self, name: str) -> int:
        """Place of a class. Raises `InputError` for one that is not in this version."""
        try:
            return self.names.index(name)
        except ValueError:
            known = ", ".join(self.names)
            raise InputError(
                f"{name!r} is no class of taxonomy version {self.version}; known: {known}"
            ) from None


_ROUNDING_M = 1e-6
"""More than a turn of coordinates can be off by."""
TAXONOMY = Taxonomy(
    version=1,
    classes=(
        ObjectClass(name="car", group="vehicle"),
        ObjectClass(name="truck", group="vehicle"),
        ObjectClass(name="bus", group="vehicle"),
        ObjectClass(name="pedestrian", group="on_foot"),
        ObjectClass(name="cyclist", group="two_wheels", rare=True),
        ObjectClass(name="motorcycle", group="two_wheels", rare=True),
        ObjectClass(name="animal", group="on_foot", rare=True),
        ObjectClass(name="debris", group="debris", rare=True),
        ObjectClass(name="road_worker", group="on_foot", rare=True),
    ),
)
"""Version 1, the present one."""
TAXONOMIES: dict[int, Taxonomy] = {TAXONOMY.version: TAXONOMY}


def taxonomy_of(version: int) -> Taxonomy:
    """The taxonomy of a version. Raises `InputError` for one that this software does not know."""
    if version not in TAXONOMIES:
        raise InputError(f"taxonomy version {version} is unknown; known: {sorted(TAXONOMIES)}")
    return TAXONOMIES[version]


class Box3D(Frozen):
    """One box as it is stored and sent."""

    centre_m: tuple[Finite, Finite, Finite]
    size_m: tuple[Length, Length, Length]
    yaw_rad: Finite
    class_name: str
    velocity_mps: tuple[Finite, Finite] | None = None
    track_id: int | None = Field(None, ge=0)
    frame: str = EGO_FRAME


class BevGrid(Frozen):
    """A bird's-eye grid in the ego frame: arrays [rows, columns], rows along x, columns along y.

    Cell (i, j) covers x from `x_min_m + i * cell_m` and y from `y_min_m + j * cell_m`, upper
    edges excluded.
    """

    x_min_m: Finite
    y_min_m: Finite
    cell_m: float = Field(gt=0, le=10, allow_inf_nan=False)
    rows: int = Field(ge=1, le=4096)
    columns: int = Field(ge=1, le=4096)

    @property
    def x_max_m(self) -> float:
        return self.x_min_m + self.rows * self.cell_m

    @property
    def y_max_m(self) -> float:
        return self.y_min_m + self.columns * self.cell_m

    def coarser(self, factor: int) -> BevGrid:
        """The same ground in cells `factor` times as wide. Raises `InputError` if uneven."""
        if factor < 1 or self.rows % factor or self.columns % factor:
            raise InputError(f"{self.rows} x {self.columns} cells do not divide by {factor}")
        return self.model_copy(
            update={
                "cell_m": self.cell_m * factor,
                "rows": self.rows // factor,
                "columns": self.columns // factor,
            }
        )

    def places(self, xy_m: Float64s) -> Float64s:
        """Positions [n, 2] in cells, as real numbers: (0, 0) is the grid's lower corner."""
        return np.asarray((xy_m - (self.x_min_m, self.y_min_m)) / self.cell_m)

    def inside(self, xy_m: Float64s) -> Bools:
        """Whether positions [n, 2] lie on the grid."""
        row, column = np.moveaxis(self.places(xy_m), -1, 0)
        on_a_row = (row >= 0) & (row < self.rows)
        return np.asarray(on_a_row & (column >= 0) & (column < self.columns))

    def centres(self) -> tuple[Float64s, Float64s]:
        """x [rows] and y [columns] of the cells' middles."""
        rows: Float64s = np.arange(self.rows, dtype=np.float64)
        columns: Float64s = np.arange(self.columns, dtype=np.float64)
        return (
            self.x_min_m + (rows + 0.5) * self.cell_m,
            self.y_min_m + (columns + 0.5) * self.cell_m,
        )


@dataclass(frozen=True, slots=True)
class Boxes:
    """Columns over n boxes of one frame.

    `centre_m`, `size_m` float64 [n, 3]; `yaw_rad` [n]; `velocity_mps` [n, 2], NaN where unknown;
    `class_index` int64 [n] into the taxonomy; `track_id` int64 [n], -1 where there is none.
    """

    centre_m: Float64s
    size_m: Float64s
    yaw_rad: Float64s
    velocity_mps: Float64s
    class_index: Int64s
    track_id: Int64s
    frame: str = EGO_FRAME

    def __post_init__(self) -> None:
        n = self.yaw_rad.shape[0]
        wanted = {
            "centre_m": (n, 3), "size_m": (n, 3), "yaw_rad": (n,), "velocity_mps": (n, 2),
            "class_index": (n,), "track_id": (n,),
        }  # fmt: skip
        for name, shape in wanted.items():
            found = getattr(self, name).shape
            if found != shape:
                raise InputError(f"has shape {list(found)}, expected {list(shape)}", name)

    def __len__(self) -> int:
        return int(self.yaw_rad.shape[0])

    def take(self, rows: Int64s | Bools) -> Boxes:
        """The chosen rows, by index or mask."""
        return replace(
            self, centre_m=self.centre_m[rows], size_m=self.size_m[rows],
            yaw_rad=self.yaw_rad[rows], velocity_mps=self.velocity_mps[rows],
            class_index=self.class_index[rows], track_id=self.track_id[rows],
        )  # fmt: skip

    def moved(self, to_SE3_here: Float64s, frame: str) -> Boxes:
        """The same boxes told in another frame; the transform may turn about z only."""
        turn = checked_SE3(to_SE3_here)[:3, :3]
        if abs(turn[2, 2] - 1.0) > 1e-3:
            raise InputError("boxes have a yaw only: this transform tilts them")
        return replace(
            self, centre_m=apply_SE3(to_SE3_here, self.centre_m),
            yaw_rad=wrapped(self.yaw_rad + yaw_of(to_SE3_here)),
            velocity_mps=self.velocity_mps @ turn[:2, :2].T, frame=frame,
        )  # fmt: skip

    def corners_m(self) -> Float64s:
        """Footprints float64 [n, 4, 2], from front left on, against the clock."""
        half = self.size_m[:, None, :2] / 2 * np.array([[1, 1], [-1, 1], [-1, -1], [1, -1.0]])
        cos, sin = np.cos(self.yaw_rad)[:, None], np.sin(self.yaw_rad)[:, None]
        x = cos * half[..., 0] - sin * half[..., 1] + self.centre_m[:, None, 0]
        y = sin * half[..., 0] + cos * half[..., 1] + self.centre_m[:, None, 1]
        return np.stack([x, y], axis=-1)

    def contain(self, points_m: Float64s, margin_m: float = 0.0) -> Bools:
        """Which points [p, 3] lie in which box, grown by a margin: bool [n, p]."""
        inside = np.zeros((len(self), len(points_m)), dtype=np.bool_)
        x, y, z = (np.ascontiguousarray(column) for column in points_m.T)
        half = self.size_m / 2 + margin_m
        # A sweep has tens of thousands of points, of which a box is near to a handful.
        reach = np.hypot(half[:, 0], half[:, 1]) + _ROUNDING_M
        for row, centre in enumerate(self.centre_m):
            near = np.flatnonzero(np.abs(x - centre[0]) <= reach[row])
            near = near[np.abs(y[near] - centre[1]) <= reach[row]]
            cos, sin = np.cos(self.yaw_rad[row]), np.sin(self.yaw_rad[row])
            away_x, away_y = x[near] - centre[0], y[near] - centre[1]
            along, across = cos * away_x + sin * away_y, -sin * away_x + cos * away_y
            inside[row, near] = (
                (np.abs(along) <= half[row, 0]) & (np.abs(across) <= half[row, 1])
                & (np.abs(z[near] - centre[2]) <= half[row, 2])
            )  # fmt: skip
        return inside

    def as_records(self, taxonomy: Taxonomy = TAXONOMY) -> tuple[Box3D, ...]:
        """One record a box."""
        names = taxonomy.names
        return tuple(
            Box3D(
                centre_m=tuple(centre), size_m=tuple(size), yaw_rad=yaw, class_name=names[kind],
                velocity_mps=None if np.isnan(velocity).any() else tuple(velocity),
                track_id=None if track < 0 else track, frame=self.frame,
            )
            for centre, size, yaw, velocity, kind, track in zip(
                self.centre_m.tolist(), self.size_m.tolist(), self.yaw_rad.tolist(),
                self.velocity_mps.tolist(), self.class_index.tolist(), self.track_id.tolist(),
                strict=True,
            )
        )  # fmt: skip


def boxes_of(
    records: Iterable[Box3D], taxonomy: Taxonomy = TAXONOMY, frame: str = EGO_FRAME
) -> Boxes:
    """Columns of records. Raises `InputError` for another frame or an unknown class."""
    rows = list(records)
    for number, row in enumerate(rows):
        if row.frame != frame:
            raise InputError(f"is in frame {row.frame!r}, expected {frame!r}", f"box {number}")
    nothing = (np.nan, np.nan)
    return Boxes(
        _table([row.centre_m for row in rows], 3),
        _table([row.size_m for row in rows], 3),
        np.array([row.yaw_rad for row in rows], dtype=np.float64),
        _table([row.velocity_mps or nothing for row in rows], 2),
        np.array([taxonomy.index(row.class_name) for row in rows], dtype=np.int64),
        np.array([-1 if row.track_id is None else row.track_id for row in rows], dtype=np.int64),
        frame,
    )


def no_boxes(frame: str = EGO_FRAME) -> Boxes:
    return boxes_of((), frame=frame)


def _table(rows: Sequence[Sequence[float]], width: int) -> Float64s:
    return np.array(rows, dtype=np.float64).reshape(-1, width)


def wrapped(angle_rad: Float64s) -> Float64s:
    """Angles in (-pi, pi]."""
    return np.asarray(-((-angle_rad + np.pi) % (2 * np.pi) - np.pi))


def checked_SE3(matrix: Float64s) -> Float64s:  # noqa: N802
    """The transform itself. Raises `InputError` when it is no rigid motion."""
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise InputError(f"a transform is a finite [4, 4], not {list(matrix.shape)}")
    turn = matrix[:3, :3]
    rigid = np.abs(turn @ turn.T - np.eye(3)).max() < 1e-5 and np.linalg.det(turn) > 0
    if not rigid or not np.array_equal(matrix[3], (0, 0, 0, 1)):
        raise InputError("the matrix is no rigid motion: its rotation is not orthonormal")
    return matrix


def apply_SE3(a_SE3_b: Float64s, points_m: Float64s) -> Float64s:  # noqa: N802
    """Points [n, 3] of frame b in frame a."""
    return np.asarray(points_m @ a_SE3_b[:3, :3].T + a_SE3_b[:3, 3])


def inverse_SE3(a_SE3_b: Float64s) -> Float64s:  # noqa: N802
    """`b_SE3_a`."""
    turn = a_SE3_b[:3, :3].T
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = turn, -turn @ a_SE3_b[:3, 3]
    return result


def yaw_of(a_SE3_b: Float64s) -> float:
    """Heading of b's x axis in a, in (-pi, pi]."""
    return float(np.arctan2(a_SE3_b[1, 0], a_SE3_b[0, 0]))


def flat_SE3(x_m: float, y_m: float, yaw_rad: float, z_m: float = 0.0) -> Float64s:  # noqa: N802
    """A motion in the plane as a transform."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[cos, -sin, 0, x_m], [sin, cos, 0, y_m], [0, 0, 1, z_m], [0, 0, 0, 1.0]])


def SE3_of_quaternion(position_m: Float64s, orientation_xyzw: Float64s) -> Float64s:  # noqa: N802
    """The transform of a position [3] and a unit quaternion [4] (x, y, z, w)."""
    length = float(np.linalg.norm(orientation_xyzw))
    if not abs(length - 1.0) < 1e-3:
        raise InputError(f"a rotation's quaternion has length 1, not {length:.4g}")
    x, y, z, w = orientation_xyzw / length
    result = np.eye(4)
    result[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    result[:3, 3] = position_m
    return result
