"""Writes a trained network as ONNX plus the manifest that the vehicle needs to run it.

Everything in the manifest is measured on the written file through onnxruntime: the probes of
its self-test, the calibration, and the figures of its lineage.
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
from contracts.model_manifest import ModelManifest
from models.demo_detector.frames import HEIGHT, PAD_VALUE, WIDTH, Frames
from models.demo_detector.network import STRIDES, DemoDetector, Deployed
from models.demo_detector.scoring import (
    NMS_IOU,
    Matches,
    calibration_error,
    fit_platt,
    match_frames,
    recall_and_precision,
)

INPUT, OUTPUT, EMBEDDING = "images", "detections", "embedding"
OPSET = 17
SCORE_THRESHOLD = 0.4
_PROBES = 12


def onnx_bytes(network: DemoDetector) -> bytes:
    """The deployed graph, checked, as one ONNX file."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder) / "model.onnx"
        # The newer exporter needs a further package and yields the same graph.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Deployed(network).eval(),
            (torch.zeros(1, 3, HEIGHT, WIDTH),),
            path,
            input_names=[INPUT],
            output_names=[OUTPUT, EMBEDDING],
            opset_version=OPSET,
            dynamo=False,
        )
        content = path.read_bytes()
    onnx.checker.check_model(onnx.load_from_string(content))
    return content


def _session(content: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _probes(run_all: ort.InferenceSession) -> list[dict[str, object]]:
    """Values of the stored input's output, spread over rows and columns."""
    c, y, x = np.ogrid[0:3, 0:HEIGHT, 0:WIDTH]
    pattern = (((37 * c + 3 * y + 5 * x) % 256) / np.float32(255)).astype(np.float32)[None]
    raw = run_all.run([OUTPUT], {INPUT: pattern})[0]
    rows = np.linspace(0, raw.shape[1] - 1, _PROBES).astype(int)
    return [
        {
            "index": [0, int(row), k % 5],
            "value": round(float(raw[0, row, k % 5]), 5),
            "tolerance": 0.01,
        }
        for k, row in enumerate(rows)
    ]


def _figures(matches: Matches, names: tuple[str, ...], slope: float, bias: float) -> dict[str, str]:
    recall, precision = recall_and_precision(matches, SCORE_THRESHOLD)
    inside = np.clip(matches.scores, 1e-6, 1 - 1e-6)
    probabilities = 1 / (1 + np.exp(-(np.log(inside / (1 - inside)) * slope + bias)))
    figures = {
        f"{name}_recall_precision_at_iou50": f"{recall[i]:.3f} {precision[i]:.3f}"
        for i, name in enumerate(names)
    }
    figures["calibration_error"] = f"{calibration_error(probabilities, matches.right):.3f}"
    return figures


def write_model(
    network: DemoDetector, calibration: Frames, test: Frames, out: Path, lineage: dict[str, str]
) -> dict[str, str]:
    """Write `demo_detector.onnx` and its manifest into `out`; returns the measured figures.

    Raises `InputError` when the scores carry no information.
    """
    content = onnx_bytes(network)
    session = _session(content)

    def run(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = session.run([OUTPUT], {INPUT: tensor})[0]
        return result

    slope, bias = fit_platt(match_frames(run, calibration))
    if slope <= 0:
        raise InputError(
            f"a higher score does not mean more often right (Platt's slope is {slope:.3g}): "
            "train longer before this is deployed"
        )
    figures = _figures(match_frames(run, test), test.class_names, slope, bias)
    document = {
        "schema_version": 1,
        "name": "demo_detector",
        "version": 1,
        "sha256": sha256_hex(content),
        "size_bytes": len(content),
        "licence": "Apache-2.0",
        "input": {
            "tensor": INPUT,
            "width": WIDTH,
            "height": HEIGHT,
            "colour": "rgb",
            "resize": "letterbox",
            "pad_value": PAD_VALUE,
            "scale": 1 / 255,
        },
        "decoder": {
            "name": "yolox",
            "tensor": OUTPUT,
            "strides": list(STRIDES),
            "score_threshold": SCORE_THRESHOLD,
            "nms_iou": NMS_IOU,
        },
        "classes": list(test.class_names),
        "rare_classes": [n for n in ("truck", "pedestrian") if n in test.class_names],
        "calibration": {"method": "platt", "slope": round(slope, 4), "bias": round(bias, 4)},
        "embedding_tensor": EMBEDDING,
        "self_test": {"probes": _probes(session)},
        "lineage": {
            **lineage,
            "tested_on": f"seeds {test.seeds[0]} to {test.seeds[-1]}, "
            f"{test.images.shape[0]} frames, score above {SCORE_THRESHOLD}",
            **figures,
        },
    }
    ModelManifest.model_validate(document)
    out.mkdir(parents=True, exist_ok=True)
    (out / "demo_detector.onnx").write_bytes(content)
    (out / "demo_detector.manifest.yaml").write_text(
        yaml.safe_dump(document, sort_keys=False, width=96), "utf-8"
    )
    return figures
