"""The model manifest: what an ONNX file needs to run, and where it comes from.

YAML written by people or by the export, verified by digest before a session is made.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator

from contracts.geometry import BevGrid
from contracts.ids import Name, Sha256Hex
from contracts.trigger_spec import Strict


class ImageInput(Strict):
    """Preprocessing of the camera image into the model's input tensor, NCHW float32.

    `letterbox` scales to fit and pads right and below with `pad_value`; `scale` and `offset`
    map bytes to `value * scale + offset`, after the colour order is applied.
    """

    tensor: str
    width: int = Field(ge=8, le=8192)
    height: int = Field(ge=8, le=8192)
    colour: Literal["bgr", "rgb"]
    resize: Literal["letterbox", "stretch"] = "letterbox"
    pad_value: int = Field(114, ge=0, le=255)
    scale: float = 1.0
    offset: float = 0.0


class LidarRasterInput(Strict):
    """The lidar raster (`kernels.bev`): sweeps of the last `slots * slot_s`, by age in slots.

    Returns below `z_min_m` or above `z_max_m` over the ground are left out.
    """

    tensor: str
    grid: BevGrid
    slots: int = Field(ge=1, le=16)
    slot_s: float = Field(gt=0, le=2)
    z_min_m: float
    z_max_m: float

    @model_validator(mode="after")
    def _heights_rise(self) -> LidarRasterInput:
        if self.z_min_m >= self.z_max_m:
            raise ValueError(f"z_min_m {self.z_min_m} is not below z_max_m {self.z_max_m}")
        return self


class RadarRasterInput(Strict):
    """The radar raster (`kernels.bev`): the tracks of the last `window_s`."""

    tensor: str
    grid: BevGrid
    window_s: float = Field(gt=0, le=5)


class LiftInput(Strict):
    """The gather table (`kernels.bev`) by which camera features reach bird's-eye cells.

    One entry for each height over each cell of `grid`; `pixel_tensor` names the feature,
    `depth_tensor` the feature's depth bin. `feature_stride` image pixels make one feature;
    `depth_edges_m` are the bins' lower edges, each bin ends where the next begins.
    """

    pixel_tensor: str
    depth_tensor: str
    grid: BevGrid
    heights_m: tuple[float, ...] = Field(min_length=1, max_length=16)
    feature_stride: int = Field(ge=1, le=64)
    depth_edges_m: tuple[float, ...] = Field(min_length=1, max_length=128)

    @model_validator(mode="after")
    def _edges_rise(self) -> LiftInput:
        edges = self.depth_edges_m
        if edges[0] < 0 or any(a >= b for a, b in pairwise(edges)):
            raise ValueError("depth_edges_m rise from 0 or more")
        return self


class BevInputs(Strict):
    """What a bird's-eye model is fed beside its pictures.

    `cameras` are channels in the order of the picture tensor [cameras, 3, h, w], which the
    manifest's `input` describes. `present_tensor` float32 [1, 3] holds the share of cameras
    present, and 1 or 0 for lidar and radar; what is absent has an all-zero raster, and an
    absent camera is no entry of the gather table.
    """

    cameras: tuple[str, ...] = Field(min_length=1, max_length=16)
    lift: LiftInput
    lidar: LidarRasterInput
    radar: RadarRasterInput
    present_tensor: str


class BevCenter(Strict):
    """Outputs of a centre-point model over a bird's-eye grid, beside its heat maps.

    `groups` are class names that share a block of ten box channels (`kernels.bev_decoding`);
    within a group, of two peaks nearer than `suppress_m` (one for each group) the lower goes.
    """

    grid: BevGrid
    groups: tuple[tuple[str, ...], ...] = Field(min_length=1)
    suppress_m: tuple[float, ...]
    boxes_tensor: str
    ground_tensor: str
    light_tensor: str

    @model_validator(mode="after")
    def _one_radius_a_group(self) -> BevCenter:
        if len(self.suppress_m) != len(self.groups) or min(self.suppress_m) < 0:
            raise ValueError("suppress_m holds one distance, 0 or more, for each group")
        return self


class Decoder(Strict):
    """How the output becomes detections: a name in the agent's registry and its parameters.

    `tensor` is the rows of `yolox`, the heat maps of `bev_center`, which also needs `bev`.
    """

    name: Literal["yolox", "bev_center"]
    tensor: str
    strides: tuple[int, ...] = Field((8, 16, 32), min_length=1)
    score_threshold: float = Field(0.3, gt=0, lt=1)
    nms_iou: float = Field(0.45, gt=0, lt=1)
    max_detections: int = Field(300, ge=1, le=10_000)
    bev: BevCenter | None = None

    @model_validator(mode="after")
    def _bev_center_has_its_parameters(self) -> Decoder:
        if (self.name == "bev_center") != (self.bev is not None):
            raise ValueError("bev is for the decoder bev_center, which needs it")
        return self


class ClassCalibration(Strict):
    """One class's sigmoid; `examples` is what it was fitted on, 0 when it is the common one."""

    slope: float = Field(gt=0)
    bias: float
    examples: int = Field(ge=0)


class Calibration(Strict):
    """Score calibration: probability = sigmoid(logit(score) * slope + bias).

    `by_class` overrides slope and bias for the classes that it names; the light's
    logits are divided by `light_temperature` before they become probabilities.
    """

    method: Literal["none", "platt"] = "none"
    slope: float = Field(1.0, gt=0)
    bias: float = 0.0
    by_class: dict[str, ClassCalibration] = Field(default_factory=dict)
    light_temperature: float = Field(1.0, gt=0)


class Probe(Strict):
    """One output value that the self-test expects; of the decoder's tensor unless it is named."""

    tensor: str | None = None
    index: tuple[int, ...]
    value: float
    tolerance: float = Field(gt=0)


class SelfTest(Strict):
    """A stored input and output.

    The input is a pattern that needs no file: channel c, row y, column x holds
    `(37*c + 3*y + 5*x) % 256`, mapped by the input's scale and offset. The other inputs of a
    bird's-eye model follow patterns of the same kind (`kernels.bev.pattern`).
    """

    probes: tuple[Probe, ...] = Field(min_length=1)


class ModelManifest(Strict):
    """All that the perception runtime reads about a model."""

    schema_version: Literal[1] = 1
    name: Name
    version: int = Field(ge=1)
    sha256: Sha256Hex
    size_bytes: int = Field(ge=1)
    licence: str
    input: ImageInput
    bev: BevInputs | None = None
    decoder: Decoder
    classes: tuple[str, ...] = Field(min_length=1, max_length=1000)
    rare_classes: tuple[str, ...] = ()
    calibration: Calibration = Calibration()
    embedding_tensor: str | None = None
    self_test: SelfTest
    lineage: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _rare_classes_exist(self) -> ModelManifest:
        unknown = set(self.rare_classes) - set(self.classes)
        if unknown:
            raise ValueError(f"rare_classes names no class of the model: {sorted(unknown)}")
        unknown = set(self.calibration.by_class) - set(self.classes)
        if unknown:
            raise ValueError(f"calibration.by_class names no class: {sorted(unknown)}")
        return self

    @model_validator(mode="after")
    def _bird_s_eye_parts_fit(self) -> ModelManifest:
        if (self.bev is None) != (self.decoder.bev is None):
            raise ValueError("bev inputs and the decoder bev_center come together")
        if self.decoder.bev is not None:
            grouped = [name for group in self.decoder.bev.groups for name in group]
            if sorted(grouped) != sorted(self.classes):
                raise ValueError("decoder.bev.groups holds each class once")
        return self
