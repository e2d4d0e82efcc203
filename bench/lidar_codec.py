"""Lidar codec: size, speed and error on a simulated grid and on recorded scans.

Sizes and speeds count 16 raw bytes a point, float32 x, y, z and intensity, as recorded scans
have them. Peers are zstd level 1 on those raw floats, and Draco and LAZ at a step of 4 mm a
coordinate (`bench.lidar_peers`); the physical limit is a memcpy of them. Speed is of one thread,
in CPU time, over a stream of different sweeps that do not fit the core's own cache, as on a
vehicle, and with the jobs taking turns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import zstandard
from numpy.typing import NDArray

from bench.figures import Figure, figure, median_cpu_ns
from bench.lidar_peers import Peer, draco, largest_error_m, laz
from bench.street_grid import street_grid
from contracts.errors import InputError
from kernels.lidar.grid import grid_points
from kernels.lidar_codec import (
    LidarGrid,
    LidarPoints,
    decode_grid,
    decode_sweep,
    encode_grid,
    encode_sweep,
    intensity_from_unit,
)

RAW_BYTES_PER_POINT = 16
_REPETITIONS = 21
_SCANS = 30
_BATCH = 8
_PEER_SCANS, _PEER_REPETITIONS = 3, 3

Float32s = NDArray[np.float32]
Job = Callable[[], object]


def run(recorded: Path | None = None) -> list[Figure]:
    """All figures; those on recorded scans only when `recorded` holds KITTI's.

    Args:
        recorded: folder with `kitti_tracking/velodyne_0000/*.pcd`, or None.

    Raises:
        InputError: a scan there is not a binary PCD of x, y, z, intensity.
    """
    figures = _grid_figures(street_grid())
    scans = [] if recorded is None else sorted(recorded.glob("kitti_tracking/velodyne_*/*.pcd"))
    if scans:
        figures += _scan_figures([read_scan(path) for path in scans[:_SCANS]])
    return figures


def read_scan(path: Path) -> Float32s:
    """x, y, z and intensity float32 [n, 4] of a binary PCD with exactly those fields."""
    head, _, body = path.read_bytes().partition(b"DATA binary\n")
    fields = dict(line.partition(" ")[::2] for line in head.decode("ascii").splitlines())
    if fields.get("FIELDS") != "x y z intensity" or fields.get("TYPE") != "F F F F":
        raise InputError("is not a binary PCD of float x y z intensity", path.name)
    return np.frombuffer(body, "<f4", 4 * int(fields["POINTS"])).reshape(-1, 4)


def scan_points(scan: Float32s) -> LidarPoints:
    """A scan with its intensity in [0, 1] as the codec takes it."""
    return LidarPoints(np.ascontiguousarray(scan[:, :3]), intensity_from_unit(scan[:, 3]))


def _grid_figures(grid: LidarGrid) -> list[Figure]:
    name = f"simulated grid {grid.range_m.shape[0]}x{grid.range_m.shape[1]}, sigma 5 mm"
    encoded = encode_grid(grid)
    grids = [replace(grid, range_m=grid.range_m.copy()) for _ in range(_BATCH)]
    points = grid_points(grid)
    cells = np.zeros((grid.range_m.size, 4), np.float32)
    held = (grid.range_m != 0).reshape(-1)
    cells[held, :3] = points.xyz_m
    cells[held, 3] = points.intensity
    error_m = np.abs(decode_grid(encoded).range_m - grid.range_m)
    return [
        *_size_and_speed(
            name,
            [cells] * _BATCH,
            [encoded] * _BATCH,
            lambda: [encode_grid(grid) for grid in grids],
            lambda: [decode_grid(encoded) for _ in grids],
            ">= 9",
        ),
        *_peer_figures(name, [cells[held]], [encoded], lambda: encode_grid(grids[0])),
        figure(f"{name}: largest range error", float(error_m.max()) * 1e3, "mm", goal="<= 1.01"),
    ]


def _scan_figures(scans: list[Float32s]) -> list[Figure]:
    sweeps = [scan_points(scan) for scan in scans]
    encoded = [encode_sweep(sweep) for sweep in sweeps]
    near, all_errors = 0.0, []
    for sweep, payload in zip(sweeps, encoded, strict=True):
        error_m = np.linalg.norm(decode_sweep(payload).xyz_m - sweep.xyz_m, axis=1)
        range_m = np.linalg.norm(sweep.xyz_m, axis=1)
        near = max(near, float(error_m[range_m <= 50.0].max()))
        all_errors.append(error_m)
    errors_m = np.concatenate(all_errors)
    name = "KITTI HDL-64"
    ratio = sum(map(len, sweeps)) * RAW_BYTES_PER_POINT / sum(map(len, encoded))
    size, *speed = _size_and_speed(
        name,
        scans[:_BATCH],
        encoded[:_BATCH],
        lambda: [encode_sweep(sweep) for sweep in sweeps[:_BATCH]],
        lambda: [decode_sweep(payload) for payload in encoded[:_BATCH]],
        "",
    )
    return [
        figure(
            f"{name}: raw bytes over encoded bytes, {len(scans)} scans", ratio, "ratio",
            reference=size.reference, reference_value=size.reference_value, goal=">= 7.5",
        ),
        *speed,
        *_peer_figures(
            name, scans[:_PEER_SCANS], encoded[:_PEER_SCANS],
            lambda: [encode_sweep(sweep) for sweep in sweeps[:_PEER_SCANS]],
        ),
        figure(f"{name}: mean point error", float(errors_m.mean()) * 1e3, "mm"),
        figure(f"{name}: largest point error", float(errors_m.max()) * 1e3, "mm"),
        figure(f"{name}: largest point error within 50 m", near * 1e3, "mm", goal="<= 10"),
    ]  # fmt: skip


def _size_and_speed(
    name: str,
    raw: list[Float32s],
    encoded: list[bytes],
    encode: Job,
    decode: Job,
    size_goal: str,
) -> list[Figure]:
    contents = [np.ascontiguousarray(each) for each in raw]
    raw_bytes = sum(each.nbytes for each in contents)
    peer = zstandard.ZstdCompressor(level=1)
    targets = [np.empty_like(each) for each in contents]
    spent = median_cpu_ns(
        {
            "encode": encode,
            "decode": decode,
            "memcpy": lambda: _copy_all(contents, targets),
            "zstd": lambda: peer.compress(contents[0].data),
        },
        _REPETITIONS,
    )
    spent["zstd"] *= raw_bytes / contents[0].nbytes
    speed = {job: raw_bytes / nanoseconds for job, nanoseconds in spent.items()}
    unit = "GB/s of raw floats a core"
    return [
        figure(
            f"{name}: raw bytes over encoded bytes",
            raw_bytes / sum(map(len, encoded)), "ratio",
            reference="zstd -1 on the raw floats",
            reference_value=contents[0].nbytes / len(peer.compress(contents[0].data)),
            goal=size_goal,
        ),
        figure(
            f"{name}: encode", speed["encode"], unit,
            reference="zstd -1 on the raw floats", reference_value=speed["zstd"], goal=">= 1.5",
        ),
        figure(
            f"{name}: encode against memcpy", speed["encode"], unit,
            reference="memcpy of the raw floats", reference_value=speed["memcpy"],
        ),
        figure(
            f"{name}: decode", speed["decode"], unit,
            reference="memcpy of the raw floats", reference_value=speed["memcpy"],
        ),
    ]  # fmt: skip


def _peer_figures(
    name: str, scans: list[Float32s], encoded: list[bytes], encode: Job
) -> list[Figure]:
    """Size and speed beside those of each peer, on points alone: a grid's empty cells are free."""
    peers = [draco(), laz()]
    jobs = {peer.name: _encoding(peer, scans) for peer in peers}
    spent = median_cpu_ns({"encode": encode, **jobs}, _PEER_REPETITIONS)
    raw_bytes = sum(scan.nbytes for scan in scans)
    figures = []
    for peer in peers:
        packed = [peer.encode(scan) for scan in scans]
        error_mm = 1e3 * max(largest_error_m(peer, scan) for scan in scans)
        figures += [
            figure(
                f"{name}: raw bytes of points over encoded bytes, beside {peer.name}",
                raw_bytes / sum(map(len, encoded)), "ratio",
                reference=f"{peer.name}, {error_mm:.1f} mm off a coordinate at most",
                reference_value=raw_bytes / sum(map(len, packed)), goal="ratio >= 1",
            ),
            figure(
                f"{name}: encode beside {peer.name}", raw_bytes / spent["encode"],
                "GB/s of raw floats a core", reference=peer.name,
                reference_value=raw_bytes / spent[peer.name], goal="ratio >= 1",
            ),
        ]  # fmt: skip
    return figures


def _encoding(peer: Peer, scans: list[Float32s]) -> Job:
    return lambda: [peer.encode(scan) for scan in scans]


def _copy_all(sources: list[Float32s], targets: list[Float32s]) -> None:
    for source, target in zip(sources, targets, strict=True):
        np.copyto(target, source)
