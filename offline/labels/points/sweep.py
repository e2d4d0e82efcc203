"""One turn of a lidar, and where the labeller gets them from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from contracts.errors import InputError
from contracts.samples import Float32s, Float64s
from kernels.lidar.scan_files import parse_scan


@dataclass(frozen=True, slots=True)
class Sweep:
    """Points of one frame, the sensor's motion taken out where their times are known: `xyz_m`
    float64 or float32 [n, 3] in the frame that boxes are in, `intensity` float64 [n] in 0..1.
    `late` float64 [n]: how many frames after the frame's instant each was measured, negative
    before it; what moves was elsewhere then. None where nobody knows. `origin_m` [n, 3]: where the
    lidar of each point sits in that frame; in its origin where it is None.
    """

    xyz_m: Float64s | Float32s
    intensity: Float64s
    late: Float64s | None = None
    origin_m: Float64s | None = None

    def __post_init__(self) -> None:
        n = self.intensity.shape[0]
        if self.xyz_m.shape != (n, 3):
            raise InputError(f"has shape {list(self.xyz_m.shape)}, expected {[n, 3]}", "xyz_m")
        if self.late is not None and self.late.shape != (n,):
            raise InputError(f"has shape {list(self.late.shape)}, expected {[n]}", "late")
        if self.origin_m is not None and self.origin_m.shape != (n, 3):
            raise InputError(
                f"has shape {list(self.origin_m.shape)}, expected {[n, 3]}", "origin_m"
            )


class Sweeps(Protocol):
    """Sweeps by frame; a `dict` is one."""

    def get(self, frame: int, /) -> Sweep | None:
        """None where the frame has no sweep."""
        ...


@dataclass(frozen=True, slots=True)
class SweepFiles:
    """`.bin` and `.pcd` files that are read when they are asked for. They tell no times of their
    points, so the sensor's motion stays in them. `boxes_SE3_lidar` float64 [4, 4].
    """

    files: Mapping[int, Path]
    boxes_SE3_lidar: Float64s

    def get(self, frame: int, /) -> Sweep | None:
        """As `Sweeps.get`. Raises `CorruptError` or `InputError` with the file."""
        path = self.files.get(frame)
        if path is None:
            return None
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", str(path)) from None
        scan = parse_scan(content, path.suffix, str(path))
        turn, place = self.boxes_SE3_lidar[:3, :3], self.boxes_SE3_lidar[:3, 3]
        xyz: Float32s = scan.xyz_m @ turn.T.astype(np.float32) + place.astype(np.float32)
        return Sweep(xyz, scan.intensity / 255)


def files_of(folder: Path, sequence: str) -> dict[int, Path]:
    """Files by frame, in their order, of the one folder `SEQUENCE`, `SEQUENCE_*` or `*_SEQUENCE`:
    `.bin` or `.pcd` named by their frame. Raises `InputError` where there are none or two of a
    frame.
    """
    places = [each for each in sorted(folder.iterdir()) if each.is_dir()]
    places = [
        place for place in places
        if place.name == sequence
        or place.name.startswith(f"{sequence}_")
        or place.name.endswith(f"_{sequence}")
    ]  # fmt: skip
    if len(places) != 1:
        known = ", ".join(place.name for place in places) or "none"
        raise InputError(
            f"needs one folder {sequence}, {sequence}_* or *_{sequence}, has {known}", str(folder)
        )
    result: dict[int, Path] = {}
    for path in sorted(places[0].iterdir()):
        if path.suffix not in {".bin", ".pcd"} or not path.stem.isdecimal():
            continue
        if int(path.stem) in result:
            raise InputError(f"frame {int(path.stem)} is there twice", str(places[0]))
        result[int(path.stem)] = path
    if not result:
        raise InputError("no FRAME.bin or FRAME.pcd", str(places[0]))
    return dict(sorted(result.items()))
