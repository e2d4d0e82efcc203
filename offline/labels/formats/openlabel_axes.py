"""OpenLABEL's coordinate systems: any of them to any other, in one frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from contracts.errors import InputError
from contracts.geometry import (
    Finite,
    SE3_of_quaternion,
    checked_SE3,
    inverse_SE3,
)
from contracts.samples import Float64s

DEFAULT_SEQUENCE = "ZYX"


class Loose(BaseModel):
    """A record of a foreign file: what is not asked for is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TransformData(Loose):
    """One of OpenLABEL's three ways to tell a transform."""

    matrix4x4: tuple[Finite, ...] | None = Field(None, min_length=16, max_length=16)
    quaternion: tuple[Finite, Finite, Finite, Finite] | None = None
    euler_angles: tuple[Finite, Finite, Finite] | None = None
    sequence: str = DEFAULT_SEQUENCE
    translation: tuple[Finite, Finite, Finite] | None = None

    def matrix(self) -> Float64s:
        """Float64 [4, 4]. Raises `InputError` when it is no rigid motion, or none is told."""
        if self.matrix4x4 is not None:
            return checked_SE3(np.array(self.matrix4x4).reshape(4, 4))
        if self.translation is None:
            raise InputError("neither a matrix nor a translation is told")
        if self.quaternion is not None:
            return SE3_of_quaternion(np.array(self.translation), np.array(self.quaternion))
        if self.euler_angles is None:
            raise InputError("no rotation is told")
        result = np.eye(4)
        result[:3, :3] = euler_rotation(self.euler_angles, self.sequence)
        result[:3, 3] = self.translation
        return result


class CoordinateSystem(Loose):
    """A frame of reference and where it is in its parent, if that never changes."""

    parent: str = ""
    pose_wrt_parent: TransformData | None = None


class Transform(Loose):
    """A transform that holds in one frame."""

    src: str
    dst: str
    transform_src_to_dst: TransformData


def euler_rotation(angles_rad: Sequence[float], sequence: str = DEFAULT_SEQUENCE) -> Float64s:
    """Rotation [3, 3] of angles about x, y and z, composed in the order of `sequence`: ZYX is
    `Rz @ Ry @ Rx`. Raises `InputError` for another sequence than of X, Y and Z.
    """
    if sorted(sequence.upper()) != ["X", "Y", "Z"]:
        raise InputError(f"angles are told about X, Y and Z, not {sequence!r}")
    result = np.eye(3)
    for axis in sequence.upper():
        place = "XYZ".index(axis)
        cos, sin = np.cos(angles_rad[place]), np.sin(angles_rad[place])
        one, two = (place + 1) % 3, (place + 2) % 3
        turn = np.eye(3)
        turn[one, one], turn[one, two], turn[two, one], turn[two, two] = cos, -sin, sin, cos
        result = result @ turn
    return result


def between(
    source: str,
    target: str,
    systems: Mapping[str, CoordinateSystem],
    transforms: Sequence[Transform],
) -> Float64s:
    """`target_SE3_source`. A frame's transforms come before fixed poses.

    Raises `InputError` when nothing leads from one to the other.
    """
    edges: dict[str, dict[str, Float64s]] = {}

    def tie(a: str, b: str, b_SE3_a: Float64s) -> None:
        edges.setdefault(a, {})[b] = b_SE3_a
        edges.setdefault(b, {})[a] = inverse_SE3(b_SE3_a)

    for name, system in systems.items():
        if system.pose_wrt_parent is not None and system.parent:
            tie(name, system.parent, system.pose_wrt_parent.matrix())
    for transform in transforms:
        tie(transform.src, transform.dst, transform.transform_src_to_dst.matrix())
    reached: dict[str, Float64s] = {source: np.eye(4)}
    waiting = deque([source])
    while waiting:
        here = waiting.popleft()
        if here == target:
            return reached[here]
        for there, there_SE3_here in edges.get(here, {}).items():
            if there not in reached:
                reached[there] = there_SE3_here @ reached[here]
                waiting.append(there)
    raise InputError(f"nothing tells where {source!r} is in {target!r}")
