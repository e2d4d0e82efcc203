"""The float graph as an int8 one: static, QDQ, unsigned activations, signed weights by channel.

Ranges come from a calibration set that must look like what the vehicle will see, frames with a
sensor missing included. A few activations reach far beyond all others; a range that held them
would leave few steps for the rest, so one in 100,000 is cut off. The last layer of each task
stays in float, and all behind it: it is small, a probability of 0.02 must not become 0 or 0.04, and
the box channels share a tensor, in which one step for all would be a fifth of a length. What it
costs in accuracy is measured by the evaluation, not assumed.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from contracts.errors import InputError
from kernels.bev.pattern import Tensors
from models.student.inputs import StudentFrame, feed_of

_PERCENTILE = 99.999
_TAIL = "/tail_"
_FLOAT_PARTS = ("/absent/", "/presence/")
_FLOAT_OPS = frozenset({"Softmax", "Sigmoid", "ReduceMax", "Gemm", "ReduceMean", "Expand"})


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, frames: Sequence[StudentFrame]) -> None:
        self._feeds: Iterator[Tensors] = (feed_of(frame) for frame in frames)

    def get_next(self) -> Tensors | None:
        return next(self._feeds, None)


def quantised(content: bytes, frames: Sequence[StudentFrame]) -> bytes:
    """The int8 graph of a float graph's bytes. Raises `InputError` without frames."""
    if not frames:
        raise InputError("no frame to calibrate the int8 ranges on")
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
    # The library prints its progress on standard output, where commands tell their results.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            _Reader(frames),
            quant_format=QuantFormat.QDQ,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": _PERCENTILE},
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=float_nodes(model),
        )
        result = path.read_bytes()
    onnx.checker.check_model(onnx.load_from_string(result))
    return result


def float_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that stay in float; `model` holds its nodes in the order of their use."""
    names: list[str] = []
    told: set[str] = set()  # what the last layers say, and what is made of it
    for node in model.graph.node:
        if _TAIL in node.name or not told.isdisjoint(node.input):
            told.update(node.output)
            names.append(node.name)
        elif node.op_type in _FLOAT_OPS or any(part in node.name for part in _FLOAT_PARTS):
            names.append(node.name)
    return names
