"""A student that gives the same answers and works twice for them."""

from __future__ import annotations

from dataclasses import replace

import onnx
from onnx import TensorProto, helper

from contracts.ids import sha256_hex
from offline.gates.model_file import ModelFile

_TWIN = "twin_"
_SCALE = 0.75
"""Of the twin's inputs: were they the same, the runtime would run both as one."""


def slowed(model: ModelFile) -> ModelFile:
    """The graph with a twin beside it, whose answer is added to the heat map times zero."""
    graph_of = onnx.load_from_string(model.content)
    graph = graph_of.graph
    stored = {tensor.name for tensor in graph.initializer}
    first = {
        each.name for each in graph.input if each.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    heat = model.manifest.decoder.tensor
    twins, scaled = [], []
    for node in graph.node:
        twin = onnx.NodeProto()
        twin.CopyFrom(node)
        twin.name = f"{_TWIN}{node.name}"
        for k, name in enumerate(node.input):
            if name and (name in stored or name in first or _made(name, graph)):
                twin.input[k] = f"{_TWIN}{name}"
        for k, name in enumerate(node.output):
            twin.output[k] = f"{_TWIN}{name}"
        twins.append(twin)
    scale = helper.make_tensor(f"{_TWIN}scale", TensorProto.FLOAT, [], [_SCALE])
    nothing = helper.make_tensor(f"{_TWIN}nothing", TensorProto.FLOAT, [], [0.0])
    scaled = [helper.make_node("Mul", [n, scale.name], [f"{_TWIN}{n}"]) for n in sorted(first)]
    for node in graph.node:
        for k, name in enumerate(node.output):
            if name == heat:
                node.output[k] = f"{heat}_alone"
    for node in [*graph.node, *twins]:
        for k, name in enumerate(node.input):
            if name == heat:
                node.input[k] = f"{heat}_alone"
    ends = [
        helper.make_node("Mul", [f"{_TWIN}{heat}", nothing.name], [f"{_TWIN}zero"]),
        helper.make_node("Add", [f"{heat}_alone", f"{_TWIN}zero"], [heat]),
    ]
    # Weights of its own: the runtime folds what reads them, under a name made from theirs.
    own = [_renamed(tensor) for tensor in graph.initializer]
    graph.initializer.extend([*own, scale, nothing])
    nodes = [*scaled, *graph.node, *twins, *ends]
    del graph.node[:]
    graph.node.extend(nodes)
    content = graph_of.SerializeToString()
    manifest = model.manifest.model_copy(
        update={"sha256": sha256_hex(content), "size_bytes": len(content)}
    )
    return replace(model, manifest=manifest, content=content)


def _renamed(tensor: onnx.TensorProto) -> onnx.TensorProto:
    twin = onnx.TensorProto()
    twin.CopyFrom(tensor)
    twin.name = f"{_TWIN}{tensor.name}"
    return twin


def _made(name: str, graph: onnx.GraphProto) -> bool:
    return any(name in node.output for node in graph.node)
