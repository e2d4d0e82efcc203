"""Lidar sweeps in a twelfth to an eighth of their bytes, fast enough to encode always.

One format (`kernels.lidar.container`) with three layouts, chosen by what the sweep is:

- grid (`encode_grid`): an organised sensor's range image. Range within 1 mm, angles exact.
- rings (`encode_sweep`, with `ring` or with points listed beam after beam as in KITTI's
  HDL-64 scans, whose beams are then recovered): horizontal range within 1 mm, height within
  2 mm, azimuth within 5.1e-5 rad of each point, so within 3.4 mm in space at 50 m.
- plain (any other cloud): within 1 mm in each axis.

Guarantees: number and order of points, intensity, ring and per-point time come back exactly;
the geometry within the bounds above; a point that the steps cannot hold (beyond 131.07 m,
infinite) comes back exactly, a no-return (0, 0, 0 or NaN) as such. The same sweep gives the
same bytes on any machine with the same zstd. A decoder fed with anything raises `CorruptError`
or returns, and allocates at most what 8 Mi points need. Thread-safe; the kernels and zstd
release the GIL.

It does not compensate motion, and keeps no bits of the float coordinates below its steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError
from kernels.arrays import read_only
from kernels.lidar.beams import ring_of_points
from kernels.lidar.cloud import MAX_POINTS, LidarGrid, LidarPoints, intensity_from_unit
from kernels.lidar.container import Flag, Header, Kind, Layout, Sections, pack, pack_in_pieces, peek
from kernels.lidar.grid import grid_points, grid_sections, read_grid
from kernels.lidar.plain import plain_sections, read_plain
from kernels.lidar.rings import read_rings, ring_sections
from kernels.lidar.streams import read_words, word_planes
from kernels.lidar.weave import unwoven, woven

__all__ = [
    "MAX_POINTS",
    "Layout",
    "LidarGrid",
    "LidarPoints",
    "decode_grid",
    "decode_sweep",
    "encode_grid",
    "encode_sweep",
    "encode_sweep_in_pieces",
    "intensity_from_unit",
    "peek",
]


def encode_sweep(points: LidarPoints) -> bytes:
    """Encodes a sweep of points: by its rings where it has or shows them, else plainly.

    A sweep whose rings were recovered from the order of its points decodes with `ring` set,
    numbered from 0 in that order.
    """
    return b"".join(encode_sweep_in_pieces(points))


def encode_sweep_in_pieces(points: LidarPoints) -> list[bytes]:
    """What `encode_sweep` joins, for whom has a place to put it together."""
    xyz_m = read_only(points.xyz_m)
    ring = read_only(points.ring) if points.ring is not None else None
    coded = ring_sections(xyz_m, ring) if len(points) else None
    if coded is None:
        header = Header(Layout.PLAIN, Flag.NONE, len(points))
        sections = plain_sections(xyz_m)
    else:
        flags, segments, sections = coded
        header = Header(Layout.RINGS, flags, len(points), segments=segments)
    sections.append((Kind.INTENSITY, woven("intensity", read_only(points.intensity))))
    if points.time_offset_ns is not None:
        sections.append((Kind.TIME, word_planes(read_only(points.time_offset_ns).view(np.uint32))))
    return pack_in_pieces(header, sections)


def decode_sweep(payload: bytes | memoryview) -> LidarPoints:
    """Decodes any layout to points; a grid gives its returns, row by row, `ring` the row.

    Raises:
        CorruptError: the bytes are not a whole, intact encoded sweep.
    """
    sections = Sections(payload)
    if sections.header.layout is Layout.GRID:
        grid = read_grid(sections)
        sections.finish()
        return grid_points(grid)
    count = sections.header.points
    ring: NDArray[np.uint16] | None = None
    if sections.header.layout is Layout.RINGS:
        xyz_m, beams = read_rings(sections)
        ring = ring_of_points(beams)
    else:
        xyz_m = read_plain(sections)
    intensity = unwoven(sections.read(Kind.INTENSITY, count))
    time_ns: NDArray[np.int32] | None = None
    if Kind.TIME in sections:
        time_ns = read_words(sections.read(Kind.TIME, 4 * count), count).view(np.int32)
    sections.finish()
    return LidarPoints(xyz_m, intensity, ring, time_ns)


def encode_grid(grid: LidarGrid) -> bytes:
    """Encodes an organised sweep."""
    return pack(*grid_sections(grid))


def decode_grid(payload: bytes | memoryview) -> LidarGrid:
    """Decodes a sweep that `encode_grid` made, cell by cell.

    Raises:
        CorruptError: the bytes are not a whole, intact encoded sweep.
        InputError: they are, but of points: use `decode_sweep`.
    """
    sections = Sections(payload)
    if sections.header.layout is not Layout.GRID:
        raise InputError("this sweep is no grid; decode_sweep reads it", "layout")
    grid = read_grid(sections)
    sections.finish()
    return grid
