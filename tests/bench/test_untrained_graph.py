"""The benchmark's network is what it says: its size, its arithmetic, its bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from bench import untrained_graph as network


def test_macs_are_those_of_the_layers() -> None:
    height, width, channels, macs = network.HEIGHT_PX, network.WIDTH_PX, 3, 0
    for out, kernel, stride in network.LAYERS:
        height, width = -(-height // stride), -(-width // stride)
        macs += network.CAMERAS * height * width * out * channels * kernel**2
        channels = out
    assert network.count_macs(network.untrained_graph()) == macs
    assert 4.5e9 < macs < 5.5e9


def test_the_same_seed_gives_the_same_bytes() -> None:
    make = network.untrained_graph.__wrapped__
    assert make(3).SerializeToString() == make(3).SerializeToString()
    assert make(3).SerializeToString() != make(4).SerializeToString()


def test_every_convolution_runs_in_int8(tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    content = network.untrained_graph().SerializeToString()
    ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == len(network.LAYERS)
    assert "Conv" not in kinds
    assert "Relu" not in kinds


def test_activations_keep_their_spread() -> None:
    (features,) = network.open_session(network.untrained_graph()).run(
        None, {"image": np.random.default_rng(1).normal(0, 1, (6, 3, 128, 368)).astype("f4")}
    )
    assert features.shape == (6, 256, 8, 23)
    assert 0.2 < float((features > 0).mean()) < 0.8
    assert float((features >= 4.0).mean()) < 0.05


def test_throughput_is_judged_against_the_best_product() -> None:
    (found,) = network.throughput_figures(sizes=(64, 128), repetitions=1)
    assert found.goal == "ratio >= 0.8"
    assert found.reference.startswith("peak int8 matrix product")
    assert found.reference_value is not None
