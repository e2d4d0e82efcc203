"""Opens a verified ONNX model, and runs one of images, one image at a time.

A model over the ground (`edge_agent.perception.bev`) is opened by the same functions; the
manifest tells which it is.

Guarantees: a model is used only when its file has the manifest's digest, its tensors have the
manifest's names and shapes, and its self-test gives the manifest's values; otherwise it is
refused with an error that names what differs, and the caller keeps the model that it had.

Not safe for use from several threads at once: the input tensor is reused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.model_manifest import ModelManifest
from contracts.samples import Detection, ImageSample, PerceptionFrame
from edge_agent.perception.bev import OnnxBevModel
from edge_agent.perception.decoders import DECODERS, OUTPUT_SHAPES
from edge_agent.perception.manifests import verified_model
from edge_agent.perception.scores import calibrated, frame_margin, frame_uncertainty
from edge_agent.perception.sessions import (
    check_probes,
    check_shape,
    check_tensor,
    open_session,
    run_session,
    unit_vector,
)
from edge_agent.ports import SessionOpener
from kernels.input_tensor import Fit, fill_input, fit_image


def load_model(
    path: Path, manifest: Path | None = None, opener: SessionOpener = open_session
) -> OnnxModel | OnnxBevModel:
    """Verify, open and self-test the model at `path`; `manifest` overrides the search for it.

    Raises `InputError` for a file that is not the model its manifest describes, `CorruptError`
    for a wrong digest or a failed self-test.
    """
    verified = verified_model(path, manifest)
    return open_model(verified.manifest, verified.content, str(path), opener)


def open_model(
    manifest: ModelManifest, content: bytes, place: str, opener: SessionOpener = open_session
) -> OnnxModel | OnnxBevModel:
    """Open and self-test verified bytes as the kind of model that the manifest tells."""
    kind = OnnxModel if manifest.bev is None else OnnxBevModel
    return kind(manifest, content, place, opener)


class OnnxModel:
    """An `ImageModel` over onnxruntime; checks itself when it is made."""

    def __init__(
        self,
        manifest: ModelManifest,
        content: bytes,
        place: str,
        opener: SessionOpener = open_session,
    ) -> None:
        self.manifest = manifest
        self._place = place
        self._session = opener(content, place)
        self._check_interface()
        self._decode = DECODERS[manifest.decoder.name](manifest)
        self._input: NDArray[np.float32] = np.zeros(
            (1, 3, manifest.input.height, manifest.input.width), dtype=np.float32
        )
        self._outputs = [manifest.decoder.tensor]
        if manifest.embedding_tensor is not None:
            self._outputs.append(manifest.embedding_tensor)
        self._self_test()

    @property
    def digest(self) -> str:
        return self.manifest.sha256

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.manifest.classes

    def detect(self, image: ImageSample, pixels: NDArray[np.uint8]) -> PerceptionFrame:
        """Run one frame; `pixels` is uint8 [h, w, 3] RGB of any size.

        Raises `CorruptError` when the model's output is not finite.
        """
        size = (int(pixels.shape[1]), int(pixels.shape[0]))
        fit = self._fill(pixels, size)
        outputs = self._run()
        decoded = self._decode(outputs[0], fit, size)
        probabilities = calibrated(decoded.scores, self.manifest.calibration)
        names = self.manifest.classes
        detections = tuple(
            Detection((box[0], box[1], box[2], box[3]), names[which], probability, distribution)
            for box, which, probability, distribution in zip(
                decoded.boxes_px.tolist(),
                decoded.classes.tolist(),
                probabilities.tolist(),
                decoded.distributions,
                strict=True,
            )
        )
        return PerceptionFrame(
            channel=image.channel,
            mono_ns=image.mono_ns,
            model_digest=self.digest,
            detections=detections,
            uncertainty=frame_uncertainty(
                decoded.distributions, decoded.boxes_px, probabilities, size
            ),
            margin=frame_margin(decoded.distributions),
            embedding=unit_vector(outputs[1]) if len(outputs) > 1 else None,
        )

    def _fill(self, pixels: NDArray[np.uint8], size: tuple[int, int]) -> Fit:
        how = self.manifest.input
        fit = fit_image(*size, how.width, how.height, how.resize)
        fill_input(
            pixels,
            fit,
            self._input,
            bgr=how.colour == "bgr",
            pad_value=how.pad_value,
            scale=how.scale,
            offset=how.offset,
        )
        return fit

    def _run(self) -> list[NDArray[np.float32]]:
        return run_session(
            self._session, self._outputs, {self.manifest.input.tensor: self._input}, self._place
        )

    def _check_interface(self) -> None:
        manifest = self.manifest
        inputs = {tensor.name: tensor for tensor in self._session.get_inputs()}
        outputs = {tensor.name: tensor for tensor in self._session.get_outputs()}
        shape: tuple[int, ...] = (1, 3, manifest.input.height, manifest.input.width)
        check_tensor(manifest.input.tensor, "input", inputs, shape, self._place)
        if len(inputs) != 1:
            raise InputError(f"expected one input, found {sorted(inputs)}", self._place)
        shape = OUTPUT_SHAPES[manifest.decoder.name](manifest)
        check_tensor(manifest.decoder.tensor, "output", outputs, shape, self._place)
        if manifest.embedding_tensor is not None:
            check_tensor(manifest.embedding_tensor, "output", outputs, (1, -1), self._place)

    def _self_test(self) -> None:
        """Run the stored input and compare; see `contracts.model_manifest.SelfTest`."""
        how = self.manifest.input
        _, channels, height, width = self._input.shape
        c, y, x = np.ogrid[0:channels, 0:height, 0:width]
        self._input[0] = ((37 * c + 3 * y + 5 * x) % 256) * how.scale + how.offset
        raw = self._run()[0]
        expected = OUTPUT_SHAPES[self.manifest.decoder.name](self.manifest)
        check_shape("output", self._outputs[0], raw.shape, expected, self._place)
        check_probes(self.manifest, {self._outputs[0]: raw}, self._place)
