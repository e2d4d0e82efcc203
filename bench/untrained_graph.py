"""An untrained int8 network of about 5 GMAC, and this machine's int8 matrix peak.

Stands for a vehicle's perception model where only time matters: six camera images of
128 x 368 in one batch through 3 x 3 convolutions of 32 to 256 channels at strides 2 to 16,
quantised as onnxruntime's static quantiser does it (QDQ, activations uint8, weights int8 with
one scale a channel). Its weights are seeded noise, scaled so that activations keep their
spread and no layer saturates; what it detects means nothing.

The peak is the best that onnxruntime's own int8 matrix product reaches here over several
square sizes. All on one thread that does not spin, as the agent runs its model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference

from bench.figures import Figure, figure, median_cpu_ns

CAMERAS, HEIGHT_PX, WIDTH_PX = 6, 128, 368
INPUT_SHAPE = (CAMERAS, 3, HEIGHT_PX, WIDTH_PX)
LAYERS: tuple[tuple[int, int, int], ...] = (
    (32, 3, 2), (64, 3, 2), (64, 3, 1), (128, 3, 2), (128, 3, 1), (128, 3, 1), (128, 3, 1),
    (256, 3, 2), (256, 3, 1), (256, 3, 1), (256, 1, 1),
)  # fmt: skip
"""Output channels, kernel size and stride of each convolution; each is followed by a ReLU."""

PEAK_SIZES = (256, 512, 768, 1024, 2048)
_INPUT_SCALE, _INPUT_ZERO = np.float32(1 / 58), np.uint8(114)
_SCALE, _ZERO = np.float32(4 / 255), np.uint8(0)
_OPSET, _IR_VERSION = 17, 10
_REPETITIONS = 15

Job = Callable[[], object]


@cache
def untrained_graph(seed: int = 11) -> ModelProto:
    """The network; the same seed gives the same bytes."""
    layers = list(_layers(np.random.default_rng(seed)))
    inputs = [("in.scale", _INPUT_SCALE), ("in.zero", _INPUT_ZERO)]
    inputs += [("scale", _SCALE), ("zero", _ZERO)]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in inputs]
    nodes = _requantise("image", "x0", "in.scale", "in.zero")
    for layer_nodes, layer_constants in layers:
        nodes += layer_nodes
        constants += layer_constants
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, INPUT_SHAPE)
    features = helper.make_tensor_value_info(f"x{len(layers)}", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "untrained", [image], [features], constants)
    return shape_inference.infer_shapes(_model(graph), check_type=True, strict_mode=True)


def count_macs(model: ModelProto) -> int:
    """Multiply-accumulates of one run, over all convolutions of a QDQ graph with known shapes."""
    shapes = {
        each.name: [size.dim_value for size in each.type.tensor_type.shape.dim]
        for each in (*model.graph.value_info, *model.graph.output)
    }
    weights = {each.name: list(each.dims) for each in model.graph.initializer}
    source = {node.output[0]: node.input[0] for node in model.graph.node}
    macs = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            _, *kernel = weights[source[node.input[1]]]
            macs += int(np.prod(shapes[node.output[0]])) * int(np.prod(kernel))
    return macs


def open_session(model: ModelProto) -> Any:
    """An onnxruntime session with one thread that does not spin, as the agent opens it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    content = model.SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def model_job() -> Job:
    """One run of the network on a fixed random input."""
    session = open_session(untrained_graph())
    images = np.random.default_rng(12).normal(0, 1, INPUT_SHAPE).astype(np.float32)
    return lambda: session.run(None, {"image": images})


def throughput_figures(
    sizes: tuple[int, ...] = PEAK_SIZES, repetitions: int = _REPETITIONS
) -> list[Figure]:
    """int8 throughput of the network over the peak of square int8 matrix products."""
    jobs = {"model": model_job()} | {str(size): _product_job(size) for size in sizes}
    spent = median_cpu_ns(jobs, repetitions)
    peak, size = max((size**3 * _runs(size) / spent[str(size)], size) for size in sizes)
    macs = count_macs(untrained_graph())
    return [
        figure(
            f"int8 throughput of an untrained network, {macs / 1e9:.2f} GMAC",
            macs / spent["model"], "GMAC/s",
            reference=f"peak int8 matrix product, {size} x {size}", reference_value=peak,
            goal="ratio >= 0.8",
        )
    ]  # fmt: skip


def _layers(rng: np.random.Generator) -> Iterator[tuple[list[Any], list[Any]]]:
    """Nodes and constants of each layer, from tensor `x{i}` to `x{i + 1}`."""
    channels, scale = INPUT_SHAPE[1], _INPUT_SCALE
    for i, (width, kernel, stride) in enumerate(LAYERS):
        spread = np.sqrt(2 / (channels * kernel**2))
        weights = rng.normal(0, spread, (width, channels, kernel, kernel)).astype(np.float32)
        steps = np.abs(weights).max(axis=(1, 2, 3)) / np.float32(127)
        values: dict[str, NDArray[Any]] = {
            f"w{i}": np.rint(weights / steps[:, None, None, None]).astype(np.int8),
            f"w{i}.scale": steps,
            f"w{i}.zero": np.zeros(width, np.int8),
            f"b{i}": rng.integers(-50, 51, width, dtype=np.int32),
            f"b{i}.scale": steps * scale,
            f"b{i}.zero": np.zeros(width, np.int32),
        }
        parts = [
            helper.make_node(
                "DequantizeLinear", [f"{p}{i}", f"{p}{i}.scale", f"{p}{i}.zero"],
                [f"{p}{i}.real"], axis=0,
            )
            for p in "wb"
        ]  # fmt: skip
        parts.append(
            helper.make_node(
                "Conv", [f"x{i}", f"w{i}.real", f"b{i}.real"], [f"conv{i}"],
                kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4,
            )
        )  # fmt: skip
        parts.append(helper.make_node("Relu", [f"conv{i}"], [f"relu{i}"]))
        parts += _requantise(f"relu{i}", f"x{i + 1}", "scale", "zero")
        yield parts, [numpy_helper.from_array(value, name) for name, value in values.items()]
        channels, scale = width, _SCALE


def _requantise(source: str, target: str, scale: str, zero: str) -> list[Any]:
    return [
        helper.make_node("QuantizeLinear", [source, scale, zero], [f"{target}.q"]),
        helper.make_node("DequantizeLinear", [f"{target}.q", scale, zero], [target]),
    ]


def _model(graph: Any) -> ModelProto:
    opsets = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)


def _product_job(size: int) -> Job:
    """uint8 times a constant int8 square matrix, often enough to last some milliseconds."""
    rng = np.random.default_rng(size)
    right = numpy_helper.from_array(rng.integers(-127, 128, (size, size), dtype=np.int8), "right")
    left = rng.integers(0, 256, (size, size), dtype=np.uint8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["left", "right"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", TensorProto.UINT8, [size, size])],
        [helper.make_tensor_value_info("product", TensorProto.INT32, [size, size])],
        [right],
    )
    session = open_session(_model(graph))

    def multiply() -> None:
        # No product is kept: a fresh page for each would be measured with it.
        for _ in range(_runs(size)):
            session.run(None, {"left": left})

    return multiply


def _runs(size: int) -> int:
    return max(1, 2**30 // size**3)
