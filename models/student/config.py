"""All parameters of a student, and the two sizes that are built.

The specifications of inputs are those of the manifest, so that what is trained is what the
vehicle is told. Three grids lie over one another: the lidar raster's, the output's (the same,
or `raster_stride` times coarser), and the lift's, twice as coarse as the output.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from contracts.geometry import BevGrid, Frozen, Taxonomy, taxonomy_of
from contracts.model_manifest import (
    BevInputs,
    ImageInput,
    LidarRasterInput,
    LiftInput,
    RadarRasterInput,
)

IMAGES, LIDAR, RADAR, PRESENT = "images", "lidar", "radar", "present"
LIFT_PIXEL, LIFT_DEPTH = "lift_pixel", "lift_depth"
IMAGE_SCALE = 1 / 255
IMAGE_STRIDE = 8
LIFT_OVER_OUTPUT = 2
TRUNK_STRIDE = 4


class StudentConfig(Frozen):
    """One student.

    `image_channels` at strides 4, 8 and 16 and `image_blocks` there; `trunk_channels` at the
    output's cells and twice and four times as coarse, with `trunk_blocks`. `light_camera` is
    the camera that looks for traffic lights. `suppress_m` by class group, in the taxonomy's
    order of groups. `ahead_slots` of the lidar's slots lie after the instant: never on a vehicle.
    """

    size: str
    taxonomy_version: int = 1
    cameras: tuple[str, ...] = Field(min_length=1)
    light_camera: int = Field(0, ge=0)
    image_width: int = Field(ge=16, multiple_of=16)
    image_height: int = Field(ge=16, multiple_of=16)
    lidar: LidarRasterInput
    radar: RadarRasterInput
    lift: LiftInput
    raster_stride: Literal[1, 2] = 1
    image_channels: tuple[int, int, int]
    image_blocks: tuple[int, int, int]
    lift_channels: int = Field(ge=1)
    trunk_channels: tuple[int, int, int]
    trunk_blocks: tuple[int, int, int]
    head_channels: int = Field(ge=1)
    embedding_size: int = Field(256, ge=1)
    suppress_m: tuple[float, ...] = (2.0, 0.6, 0.8, 0.6)
    ahead_slots: int = Field(0, ge=0)

    @property
    def taxonomy(self) -> Taxonomy:
        return taxonomy_of(self.taxonomy_version)

    @property
    def grid(self) -> BevGrid:
        """The output's grid."""
        return self.lidar.grid.coarser(self.raster_stride)

    @property
    def ahead_s(self) -> float:
        """How far the lidar looks ahead, for `kernels.bev.window.BevWindow`."""
        return self.ahead_slots * self.lidar.slot_s

    @property
    def features(self) -> int:
        """How many camera features there are: the empty row of the gather table."""
        cells = (self.image_height // IMAGE_STRIDE) * (self.image_width // IMAGE_STRIDE)
        return len(self.cameras) * cells

    def image_input(self) -> ImageInput:
        """What becomes of a picture, as the manifest tells it."""
        return ImageInput(
            tensor=IMAGES, width=self.image_width, height=self.image_height, colour="rgb",
            resize="stretch", pad_value=0, scale=IMAGE_SCALE,
        )  # fmt: skip

    def bev_inputs(self) -> BevInputs:
        """The other inputs, as the manifest tells them."""
        return BevInputs(
            cameras=self.cameras, lift=self.lift, lidar=self.lidar, radar=self.radar,
            present_tensor=PRESENT,
        )  # fmt: skip

    @model_validator(mode="after")
    def _parts_fit(self) -> StudentConfig:
        grid = self.grid
        if grid.rows % TRUNK_STRIDE or grid.columns % TRUNK_STRIDE:
            raise ValueError(f"the output's cells must divide by {TRUNK_STRIDE}")
        if self.radar.grid != grid:
            raise ValueError("radar.grid must be the output's grid")
        if self.lift.grid != grid.coarser(LIFT_OVER_OUTPUT):
            raise ValueError(f"lift.grid must be the output's, {LIFT_OVER_OUTPUT} times as coarse")
        if self.lift.feature_stride != IMAGE_STRIDE:
            raise ValueError(f"lift.feature_stride must be {IMAGE_STRIDE}")
        if self.light_camera >= len(self.cameras):
            raise ValueError(f"light_camera {self.light_camera} of {len(self.cameras)} cameras")
        if len(self.suppress_m) != len(self.taxonomy.groups):
            raise ValueError("suppress_m holds one distance for each class group")
        if self.ahead_slots >= self.lidar.slots:
            raise ValueError(f"{self.ahead_slots} of {self.lidar.slots} lidar slots ahead")
        return self


def inputs_for(
    output: BevGrid, *, raster_stride: int = 1, slots: int = 3, bins: int = 12, far_m: float = 64.0
) -> tuple[LidarRasterInput, RadarRasterInput, LiftInput]:
    """The three grid inputs over one output grid; depth bins grow evenly in the logarithm."""
    raster = output.model_copy(
        update={
            "cell_m": output.cell_m / raster_stride,
            "rows": output.rows * raster_stride,
            "columns": output.columns * raster_stride,
        }
    )
    near_m = 1.5
    edges = tuple(round(near_m * (far_m / near_m) ** (k / bins), 3) for k in range(bins))
    return (
        LidarRasterInput(
            tensor=LIDAR, grid=raster, slots=slots, slot_s=0.1, z_min_m=-0.5, z_max_m=4.0
        ),
        RadarRasterInput(tensor=RADAR, grid=output, window_s=0.5),
        LiftInput(
            pixel_tensor=LIFT_PIXEL,
            depth_tensor=LIFT_DEPTH,
            grid=output.coarser(LIFT_OVER_OUTPUT),
            heights_m=(0.0, 0.7, 1.5, 3.0),
            feature_stride=IMAGE_STRIDE,
            depth_edges_m=edges,
        ),
    )


def student_s(
    cameras: tuple[str, ...] = ("/camera/front", "/camera/left", "/camera/rear", "/camera/right"),
) -> StudentConfig:
    """Size `s`: 4 pictures of 128 x 256, 128 x 128 cells of 0.8 m; trains on a CPU."""
    grid = BevGrid(x_min_m=-32.0, y_min_m=-51.2, cell_m=0.8, rows=128, columns=128)
    lidar, radar, lift = inputs_for(grid)
    return StudentConfig(
        size="s", cameras=cameras, image_width=256, image_height=128,
        lidar=lidar, radar=radar, lift=lift,
        image_channels=(24, 48, 64), image_blocks=(1, 2, 1), lift_channels=32,
        trunk_channels=(32, 64, 96), trunk_blocks=(0, 2, 2), head_channels=40,
    )  # fmt: skip


def student_m(
    cameras: tuple[str, ...] = (
        "/camera/front", "/camera/front_left", "/camera/front_right", "/camera/rear_left",
        "/camera/rear_right", "/camera/rear",
    ),
) -> StudentConfig:  # fmt: skip
    """Size `m`: 6 pictures of 256 x 512, 256 x 256 raster cells of 0.4 m; wants a GPU to train."""
    grid = BevGrid(x_min_m=-32.0, y_min_m=-51.2, cell_m=0.8, rows=128, columns=128)
    lidar, radar, lift = inputs_for(grid, raster_stride=2, slots=4, bins=16)
    return StudentConfig(
        size="m", cameras=cameras, image_width=512, image_height=256, raster_stride=2,
        lidar=lidar, radar=radar, lift=lift,
        image_channels=(32, 56, 80), image_blocks=(1, 1, 1), lift_channels=48,
        trunk_channels=(40, 80, 128), trunk_blocks=(1, 2, 2), head_channels=48,
    )  # fmt: skip
