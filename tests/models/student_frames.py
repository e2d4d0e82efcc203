"""Synthetic frames: a few random boxes drawn into real rasters and pictures.

Lidar returns lie on the boxes and on the ground, radar tracks at their middles, and each
camera shows their projected outlines in the colour of their class. Everything goes through the
vehicle's own kernels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from contracts.geometry import TAXONOMY, BevGrid, Boxes, flat_SE3
from contracts.labels import LIGHT_STATES, FrameLabels, FrameRecord, LabelledBox, Provenance
from contracts.samples import Float32s
from kernels.bev.lift import CameraView, lift_table
from kernels.bev.radar import RadarTracks, fill_radar
from kernels.bev.raster import LidarRaster, Sweep
from models.student.config import StudentConfig, inputs_for
from models.student.inputs import StudentFrame, empty_frame
from models.student.targets import BoxRows, targets_of
from models.student.train import Example

OPTICAL = np.array([[0, 0, 1.0, 0], [-1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]])
SIZES_M = np.array(
    [[4.4, 1.8, 1.5], [8, 2.5, 3], [11, 2.5, 3], [0.7, 0.7, 1.7], [1.8, 0.7, 1.7],
     [2.1, 0.8, 1.5], [1.4, 0.5, 1.2], [0.9, 0.9, 0.4], [0.7, 0.7, 1.8]]
)  # fmt: skip


def tiny_config(raster_stride: int = 1, rows: int = 32) -> StudentConfig:
    grid = BevGrid(x_min_m=-rows / 2, y_min_m=-rows / 2, cell_m=1.0, rows=rows, columns=rows)
    lidar, radar, lift = inputs_for(grid, raster_stride=raster_stride, bins=6, far_m=30.0)
    return StudentConfig(
        size="tiny", cameras=("/camera/front", "/camera/rear"), image_width=64, image_height=32,
        lidar=lidar, radar=radar, lift=lift, raster_stride=1 if raster_stride == 1 else 2,
        image_channels=(8, 12, 16), image_blocks=(0, 1, 0), lift_channels=8,
        trunk_channels=(16, 24, 32), trunk_blocks=(1, 1, 1), head_channels=24,
        embedding_size=32,
    )  # fmt: skip


def views(config: StudentConfig) -> list[CameraView]:
    wide, high = config.image_width, config.image_height
    intrinsics = np.array([[wide / 2, 0, wide / 2], [0, wide / 2, high * 0.45], [0, 0, 1.0]])
    step = 2 * np.pi / len(config.cameras)
    return [
        CameraView(wide, high, intrinsics, flat_SE3(0.0, 0.0, k * step, 1.6) @ OPTICAL)
        for k in range(len(config.cameras))
    ]


def random_scene(rng: np.random.Generator, config: StudentConfig, most: int = 4) -> Boxes:
    """Boxes apart from one another and from the ego."""
    reach = config.grid.x_max_m - 3
    places: list[np.ndarray] = []
    while len(places) < most:
        place = rng.uniform(-reach, reach, 2)
        if np.hypot(*place) > 4 and all(np.hypot(*(place - other)) > 6 for other in places):
            places.append(place)
    kind = rng.choice([0, 0, 3, 4, 8], most)
    size = SIZES_M[kind]
    yaw = rng.uniform(-np.pi, np.pi, most)
    speed = rng.uniform(0, 8, most)
    return Boxes(
        np.column_stack([np.array(places), size[:, 2] / 2]), size, yaw,
        speed[:, None] * np.stack([np.cos(yaw), np.sin(yaw)], axis=1),
        kind.astype(np.int64), np.arange(most),
    )  # fmt: skip


def frame_of(rng: np.random.Generator, config: StudentConfig, boxes: Boxes) -> StudentFrame:
    empty = empty_frame(config)
    lidar = LidarRaster(config.lidar)
    lidar.fill([_sweep(rng, boxes, age) for age in (0.0, 0.1, 0.2)], empty.lidar)
    away = np.hypot(*boxes.centre_m[:, :2].T)
    closing = -(boxes.velocity_mps * boxes.centre_m[:, :2]).sum(axis=1) / away
    tracks = np.column_stack([boxes.track_id, boxes.centre_m[:, :2], closing])
    fill_radar(config.radar, [RadarTracks(tracks, 0.0, np.eye(4), 0.0)], empty.radar)
    return replace(
        empty, images=_pictures(config, boxes), table=lift_table(config.lift, views(config)),
        cameras_present=np.ones(len(config.cameras), dtype=np.bool_), lidar_present=True,
        radar_present=True,
    )  # fmt: skip


def _sweep(rng: np.random.Generator, boxes: Boxes, age_s: float) -> Sweep:
    parts = [np.column_stack([rng.uniform(-16, 16, (1500, 2)), rng.normal(0, 0.02, 1500)])]
    for centre, size, yaw, velocity in zip(
        boxes.centre_m, boxes.size_m, boxes.yaw_rad, boxes.velocity_mps, strict=True
    ):
        local = rng.uniform(-0.5, 0.5, (60, 3)) * size
        cos, sin = np.cos(yaw), np.sin(yaw)
        turned = local @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        parts.append(turned + centre - np.append(velocity * age_s, 0.0))
    xyz = np.concatenate(parts).astype(np.float32)
    # The road is bright: what is to be learned must be in sight.
    bright = (xyz[:, 2] < 0.1) & (np.abs(xyz[:, 1]) < 5)
    return Sweep(xyz, np.where(bright, 250, 40).astype(np.uint8), age_s, np.eye(4))


def _pictures(config: StudentConfig, boxes: Boxes) -> np.ndarray:
    shape = (len(config.cameras), 3, config.image_height, config.image_width)
    images = np.full(shape, 60, np.uint8)
    for image, view in zip(images, views(config), strict=True):
        order = np.argsort(-np.hypot(*boxes.centre_m[:, :2].T))
        for row in order:
            ground = boxes.corners_m()[row]
            height = boxes.size_m[row, 2]
            points = np.concatenate(
                [np.column_stack([ground, np.full(4, z)]) for z in (0.0, height)]
            )
            pixels, depth = view.projected(points)
            if (depth < 0.5).any():
                continue
            low = np.clip(np.floor(pixels.min(axis=0)), 0, (view.width, view.height)).astype(int)
            high = np.clip(np.ceil(pixels.max(axis=0)), 0, (view.width, view.height)).astype(int)
            kind = int(boxes.class_index[row])
            colour = np.array([25 * kind, 255 - 25 * kind, 128 + (kind % 2) * 100], np.uint8)
            image[:, low[1] : high[1], low[0] : high[0]] = colour[:, None, None]
    return images


def labels_of(
    config: StudentConfig, boxes: Boxes, ignored: tuple[int, ...] = (), light: int | None = None
) -> FrameLabels:
    """Truth of a scene; the ground is drivable along a strip."""
    grid = config.grid
    ground = np.zeros((2, grid.rows, grid.columns), np.uint8)
    ground[0, :, grid.columns // 2 - 5 : grid.columns // 2 + 5] = 1
    ground[1, :, grid.columns // 2] = 1
    record = FrameRecord(
        drive_id="synthetic", mono_ns=0, ground_grid=grid,
        provenance=Provenance(source="oracle", made_by="tests"),
        light=None if light is None else LIGHT_STATES[light],
        boxes=tuple(
            LabelledBox(box=box, ignored=row in ignored)
            for row, box in enumerate(boxes.as_records(TAXONOMY))
        ),
    )  # fmt: skip
    return FrameLabels(record, ground)


def examples(config: StudentConfig, count: int, seed: int = 0) -> tuple[list[Example], list[Boxes]]:
    rng = np.random.default_rng(seed)
    found, scenes = [], []
    for _ in range(count):
        boxes = random_scene(rng, config)
        labels = labels_of(config, boxes)
        found.append(Example(frame_of(rng, config, boxes), targets_of(config, labels)))
        scenes.append(boxes)
    return found, scenes


def box_maps(config: StudentConfig, rows: BoxRows) -> Float32s:
    """The box channels over all cells, float32 [10 * groups, r, c], 0 where none is asked for."""
    grid, groups = config.grid, len(config.taxonomy.groups)
    maps = np.zeros((groups, 10, grid.rows, grid.columns), dtype=np.float32)
    group, row, column = rows.cells.T
    maps[group, :, row, column] = rows.values
    return maps.reshape(-1, grid.rows, grid.columns)
