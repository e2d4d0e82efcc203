"""Networks as predictors: the exported graph with its manifest, the network in training, the
teacher.

Boxes are told from a lower score on than on the vehicle, since an AP needs the whole curve.
A teacher takes frames whose lidar looks ahead; the caller makes them.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import ValidationError

from contracts.errors import InputError
from contracts.geometry import taxonomy_of
from contracts.model_manifest import BevCenter, Calibration, Decoder, ModelManifest
from kernels.bev.pattern import input_shapes
from kernels.bev_decoding import BevDecoder, calibrated_by_class, light_probabilities
from models.evaluation.predictor import Prediction
from models.student.config import StudentConfig, student_m, student_s
from models.student.export import (
    BOXES,
    EMBEDDING,
    GROUND,
    HEAT,
    LIGHT,
    OUTPUTS,
    Graph,
    Outputs,
)
from models.student.inputs import StudentFrame, batch_of, feed_of
from models.student.network import Deployed, Student
from models.teacher.predict import TeacherView

EVALUATION_THRESHOLD = 0.03
"""Raw score from which on boxes are told."""


class Maps:
    """Turns the output maps of a bird's-eye network into a prediction.

    Args:
        decoder: as a manifest has it, or `decoder_of` a configuration.
        classes: in the order of the heat maps.
        calibration: of the scores and of the light.
        threshold: raw score from which on boxes are told.
    """

    def __init__(
        self, decoder: Decoder, classes: tuple[str, ...], calibration: Calibration,
        threshold: float,
    ) -> None:  # fmt: skip
        self._decoder = BevDecoder(decoder, classes)
        self._classes, self._calibration, self._threshold = classes, calibration, threshold
        if decoder.bev is None:
            raise InputError("no bird's-eye decoder", decoder.name)
        self._grid = decoder.bev.grid

    def prediction(self, frame: StudentFrame, maps: Outputs) -> Prediction:
        """Of one frame's maps, probabilities as the exported graph gives them."""
        decoded = self._decoder.decode(maps[HEAT], maps[BOXES], self._threshold)
        scores = calibrated_by_class(
            decoded.scores, decoded.boxes.class_index, self._calibration, self._classes
        )
        # Without any camera the light's output means nothing.
        seen = bool(frame.cameras_present.any())
        light = light_probabilities(maps[LIGHT], self._calibration) if seen else None
        return Prediction(
            decoded.boxes, np.clip(scores, 0.0, 1.0), decoded.distributions, self._grid,
            maps[GROUND][0], light, maps[EMBEDDING].reshape(-1),
        )  # fmt: skip


def decoder_of(config: StudentConfig) -> Decoder:
    """How a network's maps become boxes, where there is no manifest."""
    bev = BevCenter(
        grid=config.grid, groups=config.taxonomy.groups, suppress_m=config.suppress_m,
        boxes_tensor=BOXES, ground_tensor=GROUND, light_tensor=LIGHT,
    )  # fmt: skip
    return Decoder(name="bev_center", tensor=HEAT, bev=bev)


class GraphPredictor:
    """An exported student, float or int8, on one thread.

    Args:
        manifest: of exactly these bytes; who reads them from disk has compared the digest.
        content: the ONNX file.
        threshold: raw score from which on boxes are told.

    Raises `InputError` for a model of another kind or another taxonomy.
    """

    def __init__(
        self, manifest: ModelManifest, content: bytes, threshold: float = EVALUATION_THRESHOLD
    ) -> None:
        if manifest.bev is None:
            raise InputError("no bird's-eye model: its manifest has no `bev`", manifest.name)
        version = manifest.lineage.get("taxonomy_version", "1")
        if not version.isdecimal() or manifest.classes != taxonomy_of(int(version)).names:
            raise InputError(f"its classes are not taxonomy version {version}'s", manifest.name)
        self.lift = manifest.bev.lift
        self._shapes = input_shapes(manifest)
        self._maps = Maps(manifest.decoder, manifest.classes, manifest.calibration, threshold)
        self._graph = Graph(content)

    def predict(self, frame: StudentFrame) -> Prediction:
        """Raises `InputError` for a frame that was made for another model."""
        feed = feed_of(frame)
        for name, array in feed.items():
            if array.shape != self._shapes.get(name):
                wanted = list(self._shapes.get(name, ()))
                raise InputError(f"frame has {list(array.shape)}, the model takes {wanted}", name)
        return self._maps.prediction(frame, self._graph.run(feed))


class NetworkPredictor:
    """A network as torch runs it, calibrated or not: how training looks at its progress."""

    def __init__(
        self,
        network: Student,
        calibration: Calibration | None = None,
        threshold: float = EVALUATION_THRESHOLD,
    ) -> None:
        config = network.config
        self.lift = config.lift
        self._deployed = Deployed(network).eval()
        self._device = next(network.parameters()).device
        self._maps = Maps(
            decoder_of(config), config.taxonomy.names, calibration or Calibration(), threshold
        )

    def predict(self, frame: StudentFrame) -> Prediction:
        with torch.no_grad():
            found = self._deployed(*(part.to(self._device) for part in batch_of([frame])))
        outputs = {
            name: part.float().cpu().numpy() for name, part in zip(OUTPUTS, found, strict=True)
        }
        return self._maps.prediction(frame, outputs)


class TeacherPredictor:
    """A teacher's fused word, calibrated or not; its frames' lidar looks ahead."""

    def __init__(
        self,
        view: TeacherView,
        calibration: Calibration | None = None,
        threshold: float = EVALUATION_THRESHOLD,
    ) -> None:
        config = view.teacher.config
        self.lift = config.lift
        self._view = view
        self._maps = Maps(
            decoder_of(config), config.taxonomy.names, calibration or Calibration(), threshold
        )

    def predict(self, frame: StudentFrame) -> Prediction:
        maps = self._view.maps(frame)
        outputs = {
            HEAT: maps.heat[None], BOXES: maps.boxes[None], GROUND: maps.ground[None],
            LIGHT: maps.light[None], EMBEDDING: maps.embedding,
        }  # fmt: skip
        return self._maps.prediction(frame, outputs)


def config_for(manifest: ModelManifest) -> StudentConfig:
    """A configuration whose inputs are the manifest's, by which its frames are made.

    For the sizes that are built it is exactly theirs; for others the network's widths, which
    the inputs do not depend on, are those of size `s`. Raises `InputError` for another model.
    """
    bev, how = manifest.bev, manifest.input
    if bev is None or manifest.decoder.bev is None:
        raise InputError("no bird's-eye model: its manifest has no `bev`", manifest.name)
    for known in (student_s(bev.cameras), student_m(bev.cameras)):
        if known.image_input() == how and known.bev_inputs() == bev:
            return known
    stride = bev.lidar.grid.rows // manifest.decoder.bev.grid.rows
    try:
        found = StudentConfig.model_validate({
            **student_s(bev.cameras).model_dump(), "size": "other", "raster_stride": stride,
            "image_width": how.width, "image_height": how.height, "lidar": bev.lidar,
            "radar": bev.radar, "lift": bev.lift,
        })  # fmt: skip
    except ValidationError as error:
        raise InputError(
            f"no student's inputs: {error.errors()[0]['msg']}", manifest.name
        ) from error
    if found.image_input() != how or found.bev_inputs() != bev:
        raise InputError("its inputs are not a student's", manifest.name)
    return found
