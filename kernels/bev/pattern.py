"""The stored inputs of a bird's-eye model's self-test: patterns that need no file.

Pictures: camera k, channel c, row y, column x hold `(37*c + 3*y + 5*x + 11*k) % 256`, mapped by
the input's scale and offset. Rasters: channel c, row i, column j hold
`((37*c + 3*i + 5*j) % 256) / 255`. Gather tables: entry n holds `(7919 * n) % rows` of the
rows that the table may name, the empty row included. Everything is present.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.model_manifest import ModelManifest
from kernels.bev.radar import RADAR_CHANNELS
from kernels.bev.raster import lidar_channels

_STEP = 7919
Tensors = dict[str, NDArray[np.float32] | NDArray[np.int64]]


def input_shapes(manifest: ModelManifest) -> dict[str, tuple[int, ...]]:
    """Every input of a bird's-eye model with its shape. Raises `InputError` for another model."""
    bev = manifest.bev
    if bev is None:
        raise InputError("no bird's-eye model: its manifest has no `bev`", manifest.name)
    lift, lidar, radar = bev.lift, bev.lidar, bev.radar
    entries = len(lift.heights_m) * lift.grid.rows * lift.grid.columns
    return {
        manifest.input.tensor: (len(bev.cameras), 3, manifest.input.height, manifest.input.width),
        lift.pixel_tensor: (1, entries),
        lift.depth_tensor: (1, entries),
        lidar.tensor: (1, len(lidar_channels(lidar)), lidar.grid.rows, lidar.grid.columns),
        radar.tensor: (1, len(RADAR_CHANNELS), radar.grid.rows, radar.grid.columns),
        bev.present_tensor: (1, 3),
    }


def self_test_inputs(manifest: ModelManifest) -> Tensors:
    """All inputs of the self-test by tensor name."""
    shapes = input_shapes(manifest)
    bev, how = manifest.bev, manifest.input
    if bev is None:
        raise InputError("no bird's-eye model: its manifest has no `bev`", manifest.name)
    k, c, y, x = np.ogrid[tuple(slice(n) for n in shapes[how.tensor])]
    pictures = ((37 * c + 3 * y + 5 * x + 11 * k) % 256) * how.scale + how.offset
    stride = bev.lift.feature_stride
    features = len(bev.cameras) * (how.width // stride) * (how.height // stride)
    entries = np.arange(shapes[bev.lift.pixel_tensor][1], dtype=np.int64)[None]
    depths = features * len(bev.lift.depth_edges_m)
    return {
        how.tensor: pictures.astype(np.float32),
        bev.lift.pixel_tensor: (_STEP * entries) % (features + 1),
        bev.lift.depth_tensor: (_STEP * entries) % (depths + 1),
        bev.lidar.tensor: _raster(shapes[bev.lidar.tensor]),
        bev.radar.tensor: _raster(shapes[bev.radar.tensor]),
        bev.present_tensor: np.ones((1, 3), dtype=np.float32),
    }


def _raster(shape: tuple[int, ...]) -> NDArray[np.float32]:
    _, c, i, j = np.ogrid[tuple(slice(n) for n in shape)]
    return np.asarray(((37 * c + 3 * i + 5 * j) % 256) / 255, dtype=np.float32)
