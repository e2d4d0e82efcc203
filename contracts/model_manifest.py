"""The model manifest: what an ONNX file needs to run, and where it comes from.

YAML written by people or by the export, verified by digest before a session is made.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

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


class Decoder(Strict):
    """How the output becomes detections: a name in the agent's registry and its parameters."""

    name: Literal["yolox"]
    tensor: str
    strides: tuple[int, ...] = Field((8, 16, 32), min_length=1)
    score_threshold: float = Field(0.3, gt=0, lt=1)
    nms_iou: float = Field(0.45, gt=0, lt=1)
    max_detections: int = Field(300, ge=1, le=10_000)


class Calibration(Strict):
    """Score calibration: probability = sigmoid(logit(score) * slope + bias)."""

    method: Literal["none", "platt"] = "none"
    slope: float = Field(1.0, gt=0)
    bias: float = 0.0


class Probe(Strict):
    """One output value that the self-test expects."""

    index: tuple[int, ...]
    value: float
    tolerance: float = Field(gt=0)


class SelfTest(Strict):
    """A stored input and output.

    The input is a pattern that needs no file: channel c, row y, column x holds
    `(37*c + 3*y + 5*x) % 256`, mapped by the input's scale and offset.
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
        return self
