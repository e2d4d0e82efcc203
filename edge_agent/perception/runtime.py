"""Runs a verified ONNX model on one thread, one image at a time.

Guarantees: a model is used only when its file has the manifest's digest, its tensors have the
manifest's names and shapes, and its self-test gives the manifest's values; otherwise it is
refused with an error that names what differs, and the caller keeps the model that it had.

One intra-op thread that never spins: spinning burns a whole core for nothing. Not safe for use
from several threads at once: the input tensor is reused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from contracts.errors import CorruptError, InputError
from contracts.model_manifest import ModelManifest
from contracts.samples import Detection, ImageSample, PerceptionFrame
from edge_agent.perception.decoders import DECODERS, OUTPUT_SHAPES
from edge_agent.perception.manifests import verified_model
from edge_agent.perception.scores import calibrated, frame_margin, frame_uncertainty
from kernels.detection import Fit, fill_input, fit_image

_ORT_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    RuntimeError,
    ValueError,
)


def load_model(path: Path, manifest: Path | None = None) -> OnnxModel:
    """Verify, open and self-test the model at `path`; `manifest` overrides the search for it.

    Raises `InputError` for a file that is not the model its manifest describes, `CorruptError`
    for a wrong digest or a failed self-test.
    """
    verified = verified_model(path, manifest)
    return OnnxModel(verified.manifest, verified.content, str(path))


class OnnxModel:
    """A `PerceptionModel` over onnxruntime; checks itself when it is made."""

    def __init__(self, manifest: ModelManifest, content: bytes, place: str) -> None:
        self.manifest = manifest
        self._place = place
        self._session = _open_session(content, place)
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
            embedding=_unit_vector(outputs[1]) if len(outputs) > 1 else None,
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
        try:
            outputs: list[NDArray[np.float32]] = self._session.run(
                self._outputs, {self.manifest.input.tensor: self._input}
            )
        except _ORT_ERRORS as error:
            raise InputError(f"the model does not run: {_short(error)}", self._place) from error
        return outputs

    def _check_interface(self) -> None:
        manifest = self.manifest
        inputs = {tensor.name: tensor for tensor in self._session.get_inputs()}
        outputs = {tensor.name: tensor for tensor in self._session.get_outputs()}
        shape: tuple[int, ...] = (1, 3, manifest.input.height, manifest.input.width)
        _check_tensor(manifest.input.tensor, "input", inputs, shape, self._place)
        if len(inputs) != 1:
            raise InputError(f"expected one input, found {sorted(inputs)}", self._place)
        shape = OUTPUT_SHAPES[manifest.decoder.name](manifest)
        _check_tensor(manifest.decoder.tensor, "output", outputs, shape, self._place)
        if manifest.embedding_tensor is not None:
            _check_tensor(manifest.embedding_tensor, "output", outputs, (1, -1), self._place)

    def _self_test(self) -> None:
        """Run the stored input and compare; see `contracts.model_manifest.SelfTest`."""
        how = self.manifest.input
        _, channels, height, width = self._input.shape
        c, y, x = np.ogrid[0:channels, 0:height, 0:width]
        self._input[0] = ((37 * c + 3 * y + 5 * x) % 256) * how.scale + how.offset
        raw = self._run()[0]
        expected = OUTPUT_SHAPES[self.manifest.decoder.name](self.manifest)
        if raw.shape != expected:
            raise _wrong_shape(
                "output", self._outputs[0], list(raw.shape), list(expected), self._place
            )
        for number, probe in enumerate(self.manifest.self_test.probes):
            place = f"{self._place}: self_test.probes.{number}"
            inside = len(probe.index) == raw.ndim and all(
                0 <= i < n for i, n in zip(probe.index, raw.shape, strict=True)
            )
            if not inside:
                raise InputError(f"index {probe.index} is outside {list(raw.shape)}", place)
            found = float(raw[probe.index])
            if not abs(found - probe.value) <= probe.tolerance:
                raise CorruptError(
                    f"the self-test failed: output {list(probe.index)} is {found:.6g}, expected "
                    f"{probe.value:.6g} within {probe.tolerance:g}",
                    place,
                )


def _open_session(content: bytes, place: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _ORT_ERRORS as error:
        raise InputError(f"not a usable ONNX model: {_short(error)}", place) from error


def _check_tensor(
    name: str, side: str, found: dict[str, Any], shape: tuple[int, ...], place: str
) -> None:
    """Compare a declared tensor; -1 stands for any size, a name in the file for one not fixed."""
    tensor = found.get(name)
    if tensor is None:
        raise InputError(f"no {side} is called {name!r}; found {sorted(found)}", place)
    if tensor.type != "tensor(float)":
        raise InputError(f"{side} {name!r} is {tensor.type}, expected tensor(float)", place)
    matches = len(tensor.shape) == len(shape) and all(
        -1 in (want, have) or not isinstance(have, int) or have == want
        for have, want in zip(tensor.shape, shape, strict=True)
    )
    if not matches:
        raise _wrong_shape(side, name, list(tensor.shape), list(shape), place)


def _wrong_shape(
    side: str, name: str, found: list[Any], expected: list[Any], place: str
) -> InputError:
    wanted = ["any" if size == -1 else size for size in expected]
    return InputError(f"{side} {name!r} has shape {found}, expected {wanted}", place)


def _short(error: BaseException) -> str:
    """The first line of a foreign error, bounded."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _unit_vector(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """The embedding [d] scaled to length 1; a zero vector stays zero."""
    flat = raw.reshape(-1).astype(np.float64)
    return (flat / max(float(np.linalg.norm(flat)), 1e-12)).astype(np.float32)
