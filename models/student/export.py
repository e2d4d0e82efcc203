"""A trained student as ONNX, and the manifest that the vehicle needs to run it.

The manifest's digest, size and self-test are measured on the bytes that are written, through
onnxruntime. Lineage and figures are the caller's: they come from a recipe and an evaluation.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
import yaml
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.ids import sha256_hex
from contracts.model_manifest import (
    BevCenter,
    Calibration,
    Decoder,
    ModelManifest,
    Probe,
    SelfTest,
)
from kernels.bev.pattern import Tensors, self_test_inputs
from models.student.config import (
    IMAGES,
    LIDAR,
    LIFT_DEPTH,
    LIFT_PIXEL,
    PRESENT,
    RADAR,
    StudentConfig,
)
from models.student.inputs import batch_of, empty_frame
from models.student.network import Deployed, Student

HEAT, BOXES, GROUND, LIGHT, EMBEDDING = "heat", "boxes", "ground", "light", "embedding"
INPUTS = (IMAGES, LIFT_PIXEL, LIFT_DEPTH, LIDAR, RADAR, PRESENT)
OUTPUTS = (HEAT, BOXES, GROUND, LIGHT, EMBEDDING)
OPSET = 17
_PROBES = 6
_RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE = 0.05, 0.02

Outputs = dict[str, NDArray[np.float32]]


def onnx_bytes(network: Student) -> bytes:
    """The deployed float graph, checked, as one ONNX file.

    Raises `InputError` for a network that looks ahead: no vehicle can.
    """
    if network.config.ahead_slots:
        raise InputError("this network looks ahead of the instant: it cannot drive")
    example = batch_of([empty_frame(network.config)])
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder) / "model.onnx"
        # The newer exporter needs a further package and yields the same graph.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Deployed(network).eval(),
            tuple(example),
            path,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            dynamo=False,
        )
        content = path.read_bytes()
    model = _without_shared_weights(onnx.load_from_string(content))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _without_shared_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give each node its own constants: the exporter stores equal ones once, behind `Identity`,
    and the quantiser then leaves their nodes in float.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    copies = [
        node for node in model.graph.node if node.op_type == "Identity" and node.input[0] in stored
    ]
    for node in copies:
        own = model.graph.initializer.add()
        own.CopyFrom(stored[node.input[0]])
        own.name = node.output[0]
        model.graph.node.remove(node)
    return model


class Graph:
    """An exported graph on one thread that never spins, as the vehicle runs it."""

    def __init__(self, content: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.x64quantprecision", "1")
        options.log_severity_level = 3
        self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(self, feed: Tensors) -> Outputs:
        """All outputs of one frame by tensor name."""
        return dict(zip(OUTPUTS, self._session.run(list(OUTPUTS), feed), strict=True))


def student_manifest(
    config: StudentConfig,
    content: bytes,
    *,
    name: str,
    version: int,
    calibration: Calibration,
    score_threshold: float,
    lineage: dict[str, str],
) -> ModelManifest:
    """The manifest of a graph's bytes; its self-test is what they say now."""
    taxonomy = config.taxonomy
    draft = ModelManifest(
        name=name, version=version, sha256=sha256_hex(content), size_bytes=len(content),
        licence="Apache-2.0",
        input=config.image_input(), bev=config.bev_inputs(),
        decoder=Decoder(
            name="bev_center", tensor=HEAT, score_threshold=score_threshold,
            bev=BevCenter(
                grid=config.grid, groups=taxonomy.groups, suppress_m=config.suppress_m,
                boxes_tensor=BOXES, ground_tensor=GROUND, light_tensor=LIGHT,
            ),
        ),
        classes=taxonomy.names, rare_classes=taxonomy.rare_names, calibration=calibration,
        embedding_tensor=EMBEDDING,
        self_test=SelfTest(probes=(Probe(index=(0,), value=0.0, tolerance=1.0),)),
        lineage={"taxonomy_version": str(config.taxonomy_version), **lineage},
    )  # fmt: skip
    found = Graph(content).run(self_test_inputs(draft))
    return draft.model_copy(update={"self_test": SelfTest(probes=_probes(found))})


def _probes(outputs: Outputs) -> tuple[Probe, ...]:
    """Values spread over every output."""
    probes = []
    for name, values in outputs.items():
        for flat in np.linspace(0, values.size - 1, _PROBES).astype(int):
            index = tuple(int(i) for i in np.unravel_index(flat, values.shape))
            value = round(float(values[index]), 5)
            # Another kind of CPU may round int8 sums differently.
            slack = max(_ABSOLUTE_TOLERANCE, _RELATIVE_TOLERANCE * float(np.abs(values).max()))
            probes.append(Probe(tensor=name, index=index, value=value, tolerance=round(slack, 5)))
    return tuple(probes)


def write_student(folder: Path, content: bytes, manifest: ModelManifest) -> Path:
    """Write `<name>.onnx` and `<name>.manifest.yaml`; returns the model's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{manifest.name}.onnx"
    path.write_bytes(content)
    document = manifest.model_dump(mode="json", exclude_none=True)
    path.with_suffix(".manifest.yaml").write_text(
        yaml.safe_dump(document, sort_keys=False, width=96), "utf-8"
    )
    return path
