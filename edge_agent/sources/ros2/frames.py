"""Static transforms of a bag: from any frame to the ego frame, over whatever chain there is."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from contracts.errors import InputError
from contracts.geometry import SE3_of_quaternion, inverse_SE3
from contracts.samples import Float64s


def clean(frame_id: str) -> str:
    """Frame names without the slash that old drivers put before them."""
    return frame_id.lstrip("/")


def se3_of(translation: Any, rotation: Any) -> Float64s:
    """[4, 4] of a message's translation (x, y, z) and quaternion (x, y, z, w)."""
    return SE3_of_quaternion(
        np.array([translation.x, translation.y, translation.z], np.float64),
        np.array([rotation.x, rotation.y, rotation.z, rotation.w], np.float64),
    )


class StaticFrames:
    """All static transforms, as edges that can be walked both ways."""

    def __init__(self, ego_frame: str) -> None:
        self._ego = clean(ego_frame)
        self._edges: dict[str, dict[str, Float64s]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._edges))

    def add(self, message: Any) -> None:
        """Take a TFMessage. Raises `InputError` for a rotation that is none."""
        for transform in message.transforms:
            parent, child = clean(transform.header.frame_id), clean(transform.child_frame_id)
            try:
                parent_SE3_child = se3_of(
                    transform.transform.translation, transform.transform.rotation
                )
            except InputError as error:
                raise InputError(error.message, f"/tf_static: {parent} to {child}") from error
            self._edges.setdefault(parent, {})[child] = parent_SE3_child
            self._edges.setdefault(child, {})[parent] = inverse_SE3(parent_SE3_child)

    def ego_SE3(self, frame_id: str) -> Float64s | None:  # noqa: N802
        """Maps points of a frame to the ego frame; None where no chain joins them."""
        wanted = clean(frame_id)
        found: dict[str, Float64s] = {self._ego: np.eye(4)}
        waiting = deque([self._ego])
        while waiting:
            here = waiting.popleft()
            if here == wanted:
                return found[here]
            for child, here_SE3_child in self._edges.get(here, {}).items():
                if child not in found:
                    found[child] = found[here] @ here_SE3_child
                    waiting.append(child)
        return None
