"""The stream's rows: requests of vehicles in virtual time, as columns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from sim_fleet.scale.fleet import Bools, Floats, Ints


class Kind(IntEnum):
    """What a row is. A request that carries bytes is told when they have arrived."""

    AUTHENTICATE = 0
    CHECK_IN = 1
    EVENT = 2
    CREATE = 3
    OFFSET = 4
    PART = 5
    DONE = 6
    NOT_WANTED = 7


REQUESTS: dict[Kind, int] = {
    Kind.AUTHENTICATE: 2, Kind.CHECK_IN: 1, Kind.EVENT: 1, Kind.CREATE: 1, Kind.OFFSET: 1,
    Kind.PART: 1, Kind.DONE: 1, Kind.NOT_WANTED: 1,
}  # fmt: skip
"""HTTP requests of a row. `DONE` is the status that proves the commit."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of [t0, t1) in order of time; equal times by vehicle.

    Attributes:
        t0_s, t1_s: virtual seconds since the stream's midnight, UTC.
        time_s: float64 [r]. vehicle: int32 [r]. kind: uint8 [r], see `Kind`.
        size_bytes: int64 [r], of the request with its body.
        clip: int64 [r], number of the clip in the stream, -1 where there is none.
        clip_bytes: int64 [r], its whole size.
        moment: int8 [r], index into the moments, -1. trigger: int8 [r], of an event record.
        free: bool [r], on wifi.
    """

    t0_s: float
    t1_s: float
    time_s: Floats
    vehicle: NDArray[np.int32]
    kind: NDArray[np.uint8]
    size_bytes: Ints
    clip: Ints
    clip_bytes: Ints
    moment: NDArray[np.int8]
    trigger: NDArray[np.int8]
    free: Bools

    def __len__(self) -> int:
        return len(self.time_s)


_COLUMNS = {
    "time_s": np.float64, "vehicle": np.int32, "kind": np.uint8, "size_bytes": np.int64,
    "clip": np.int64, "clip_bytes": np.int64, "moment": np.int8, "trigger": np.int8,
    "free": np.bool_,
}  # fmt: skip


class BatchDraft:
    """Gathers rows of one slice in any order."""

    def __init__(self) -> None:
        self._pieces: list[dict[str, NDArray[np.generic]]] = []

    def add(
        self,
        kind: Kind,
        time_s: Floats,
        vehicle: Ints,
        size_bytes: Ints | int,
        free: Bools | bool,
        clip: Ints | int = -1,
        clip_bytes: Ints | int = 0,
        moment: Ints | int = -1,
        trigger: Ints | int = -1,
    ) -> None:
        """Rows of one kind; numbers stand for columns of them."""
        if not len(time_s):
            return
        values = {
            "time_s": time_s, "vehicle": vehicle, "kind": kind, "size_bytes": size_bytes,
            "clip": clip, "clip_bytes": clip_bytes, "moment": moment, "trigger": trigger,
            "free": free,
        }  # fmt: skip
        self._pieces.append(
            {
                name: np.broadcast_to(np.asarray(values[name], dtype), time_s.shape)
                for name, dtype in _COLUMNS.items()
            }
        )

    def finish(self, t0_s: float, t1_s: float) -> Batch:
        """The rows in order."""
        columns: dict[str, NDArray[np.generic]] = {
            name: np.concatenate([piece[name] for piece in self._pieces])
            if self._pieces
            else np.zeros(0, dtype)
            for name, dtype in _COLUMNS.items()
        }
        order = np.lexsort((columns["kind"], columns["vehicle"], columns["time_s"]))
        return Batch(t0_s, t1_s, **{name: column[order] for name, column in columns.items()})  # type: ignore[arg-type]
