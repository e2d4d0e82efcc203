"""Runs a verified bird's-eye model on one thread, one instant of all sensors at a time.

Guarantees: as `edge_agent.perception.runtime` for models of images: a model is used only when
every tensor that its manifest names is there with its shape, and its self-test gives the
manifest's values in every output that is probed; otherwise it is refused by what differs.

Probabilities are calibrated by class, the light's by its temperature. What the inputs are made
of is `edge_agent.perception.frames`'s.
"""

from __future__ import annotations

import numpy as np

from contracts.channels import BEV
from contracts.errors import CorruptError, InputError
from contracts.labels import GROUND_LAYERS, LIGHT_STATES
from contracts.model_manifest import BevCenter, BevInputs, ModelManifest
from contracts.samples import Cuboid, Detection, Float32s, PerceptionFrame
from edge_agent.perception.decoders import BEV_DECODERS
from edge_agent.perception.scores import bev_uncertainty, frame_margin
from edge_agent.perception.sessions import (
    Arrays,
    check_probes,
    check_shape,
    check_tensor,
    open_session,
    run_session,
    unit_vector,
)
from edge_agent.ports import BevSpec, SessionOpener
from kernels.bev.pattern import input_shapes, self_test_inputs
from kernels.bev.window import BevTensors
from kernels.bev_decoding import BevDecoded, calibrated_by_class, light_probabilities


class OnnxBevModel:
    """A `BevModel` over onnxruntime; checks itself when it is made. Not for several threads."""

    def __init__(
        self,
        manifest: ModelManifest,
        content: bytes,
        place: str,
        opener: SessionOpener = open_session,
    ) -> None:
        self.manifest = manifest
        self._place = place
        self._bev, self._center = _parts(manifest)
        self.spec = BevSpec(manifest.input, self._bev)
        self._decoder = BEV_DECODERS[manifest.decoder.name](manifest)
        self._shapes = self._output_shapes()
        self._session = opener(content, place)
        self._check_interface()
        self._outputs = [name for name in self._shapes if name != self._center.ground_tensor]
        self._self_test()

    @property
    def digest(self) -> str:
        return self.manifest.sha256

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.manifest.classes

    def perceive(self, tensors: BevTensors, mono_ns: int) -> PerceptionFrame:
        """Run one instant.

        Raises `CorruptError` when the model's output is not finite, `InputError` when it does
        not run.
        """
        feed = tensors.feed(self.manifest.input, self._bev)
        outputs = self._run(self._outputs, feed)
        return self._frame(outputs, tensors.present(), mono_ns)

    def _frame(self, outputs: dict[str, Float32s], present: Float32s, mono_ns: int
               ) -> PerceptionFrame:  # fmt: skip
        manifest = self.manifest
        decoded = self._decoder.decode(
            outputs[manifest.decoder.tensor], outputs[self._center.boxes_tensor]
        )
        probabilities = calibrated_by_class(
            decoded.scores, decoded.boxes.class_index, manifest.calibration, manifest.classes
        )
        light = light_probabilities(outputs[self._center.light_tensor], manifest.calibration)
        embedding = None
        if manifest.embedding_tensor is not None:
            embedding = unit_vector(outputs[manifest.embedding_tensor])
        if not np.isfinite(light).all() or (
            embedding is not None and not np.isfinite(embedding).all()
        ):
            raise CorruptError("the model's output is not finite", self._place)
        return PerceptionFrame(
            BEV, mono_ns, self.digest,
            _detections(decoded, probabilities.tolist(), manifest.classes),
            bev_uncertainty(decoded.distributions, decoded.boxes, probabilities),
            frame_margin(decoded.distributions), embedding, light.astype(np.float32), present,
        )  # fmt: skip

    def _run(self, names: list[str], feed: Arrays) -> dict[str, Float32s]:
        return dict(zip(names, run_session(self._session, names, feed, self._place), strict=True))

    def _output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every output that the manifest names; -1 for any size."""
        center, grid = self._center, self._center.grid
        wanted: list[tuple[str, tuple[int, ...]]] = [
            (self.manifest.decoder.tensor, self._decoder.heat_shape),
            (center.boxes_tensor, self._decoder.boxes_shape),
            (center.ground_tensor, (1, len(GROUND_LAYERS), grid.rows, grid.columns)),
            (center.light_tensor, (1, len(LIGHT_STATES))),
        ]
        if self.manifest.embedding_tensor is not None:
            wanted.append((self.manifest.embedding_tensor, (1, -1)))
        names = [name for name, _ in wanted]
        if len(set(names)) < len(names):
            raise InputError(f"an output is named twice: {names}", self._place)
        return dict(wanted)

    def _check_interface(self) -> None:
        inputs = {tensor.name: tensor for tensor in self._session.get_inputs()}
        outputs = {tensor.name: tensor for tensor in self._session.get_outputs()}
        wanted, lift = input_shapes(self.manifest), self._bev.lift
        for name, shape in wanted.items():
            kind = "int64" if name in (lift.pixel_tensor, lift.depth_tensor) else "float"
            check_tensor(name, "input", inputs, shape, self._place, kind)
        if len(inputs) != len(wanted):
            raise InputError(
                f"inputs {sorted(inputs)}, the manifest names {sorted(wanted)}", self._place
            )
        for name, shape in self._shapes.items():
            check_tensor(name, "output", outputs, shape, self._place)

    def _self_test(self) -> None:
        names = list(self._shapes)
        outputs = self._run(names, self_test_inputs(self.manifest))
        for name, shape in self._shapes.items():
            check_shape("output", name, outputs[name].shape, shape, self._place)
        check_probes(self.manifest, outputs, self._place)
        # Decoding belongs to the model's work, and its kernels are loaded by it.
        self._frame(outputs, np.ones(3, dtype=np.float32), 0)


def _parts(manifest: ModelManifest) -> tuple[BevInputs, BevCenter]:
    if manifest.bev is None or manifest.decoder.bev is None:
        raise InputError("no bird's-eye model: its manifest has no `bev`", manifest.name)
    return manifest.bev, manifest.decoder.bev


def _detections(
    decoded: BevDecoded, probabilities: list[float], classes: tuple[str, ...]
) -> tuple[Detection, ...]:
    boxes = decoded.boxes
    return tuple(
        Detection(
            None, classes[kind], probability, distribution,
            Cuboid((x, y, z), (length, width, height), yaw, (vx, vy)),
        )
        for (x, y, z), (length, width, height), yaw, (vx, vy), kind, probability, distribution
        in zip(
            boxes.centre_m.tolist(), boxes.size_m.tolist(), boxes.yaw_rad.tolist(),
            boxes.velocity_mps.tolist(), boxes.class_index.tolist(), probabilities,
            decoded.distributions, strict=True,
        )
    )  # fmt: skip
