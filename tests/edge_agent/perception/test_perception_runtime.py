"""The runtime on real models: what it sees, and what it refuses to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from contracts.clock import VirtualClock
from contracts.errors import CorruptError, InputError
from contracts.ids import sha256_hex
from contracts.model_manifest import Calibration
from contracts.samples import ImageSample
from edge_agent.cli import BUNDLED_MODEL
from edge_agent.perception import sessions
from edge_agent.perception.manifests import BUNDLED_MANIFESTS, read_manifest
from edge_agent.perception.pixels import decode_pixels
from edge_agent.perception.reopening import reopening
from edge_agent.perception.runtime import OnnxModel, load_model
from edge_agent.perception.scores import calibrated, frame_margin, frame_uncertainty
from edge_agent.perception.sessions import open_session
from edge_agent.ports import Session
from edge_agent.sources.registry import open_source
from tests.edge_agent.agent_drives import driven

CELLS, CLASSES = 4, 2
STUDENT = Path(__file__).parents[3] / "models" / "zoo" / "student-s.onnx"


def test_more_threads_give_the_very_same_answers() -> None:
    rng = np.random.default_rng(5)
    answers = []
    feed: dict[str, Any] = {}
    for threads in (1, 2, 3):
        opener = reopening(None, VirtualClock(), threads=threads)
        session = opener(STUDENT.read_bytes(), STUDENT.name)
        feed = feed or {
            each.name: rng.normal(size=each.shape).astype(np.float32)
            if each.type == "tensor(float)"
            else np.zeros(each.shape, np.int64 if each.type == "tensor(int64)" else np.int32)
            for each in session.get_inputs()
        }
        names = [each.name for each in session.get_outputs()]
        answers.append([each.tobytes() for each in session.run(names, feed)])
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_configured_model_runs_in_so_many_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    opened: list[int] = []

    def spy(content: bytes, place: str, threads: int = 1) -> Session:
        opened.append(threads)
        return open_session(content, place, threads)

    monkeypatch.setattr(sessions, "open_session", spy)
    report, _ = driven(
        tmp_path / "state", "sim:seed=7,duration_s=5,lidar=0", {}, model=BUNDLED_MODEL,
        model_threads=threads,
    )  # fmt: skip
    assert report.timing is not None
    assert opened == [threads]


def tiny_onnx(*, rows: int = CELLS, columns: int = 5 + CLASSES, width: int = 16) -> bytes:
    """A real graph: pixels are averaged and added to a constant output of the yolox layout.

    One cell holds a box of class 1 with objectness .9 whose place does not depend on the image.
    """
    table = np.zeros((1, rows, columns), dtype=np.float32)
    table[0, min(1, rows - 1), : min(7, columns)] = [0.5, 0.5, 0.0, 0.0, 0.9, 0.1, 0.8][
        : min(7, columns)
    ]
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["mean"], ["level"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["level", "zero"], ["nothing"]),
        helper.make_node("Add", ["table", "nothing"], ["found"]),
        helper.make_node("Identity", ["mean"], ["scene"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, 16, width])],
        [
            helper.make_tensor_value_info("found", TensorProto.FLOAT, [1, rows, columns]),
            helper.make_tensor_value_info("scene", TensorProto.FLOAT, [1, 3]),
        ],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.zeros(1, dtype=np.float32), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def document_for(content: bytes, **changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": "tiny",
        "version": 1,
        "sha256": sha256_hex(content),
        "size_bytes": len(content),
        "licence": "Apache-2.0",
        "input": {"tensor": "pixels", "width": 16, "height": 16, "colour": "rgb"},
        "decoder": {"name": "yolox", "tensor": "found", "strides": [8]},
        "classes": ["car", "dog"],
        "rare_classes": ["dog"],
        "embedding_tensor": "scene",
        "self_test": {"probes": [{"index": [0, 1, 4], "value": 0.9, "tolerance": 0.001}]},
    }
    return {**document, **changes}


def write(folder: Path, content: bytes, **changes: Any) -> Path:
    path = folder / "tiny.onnx"
    path.write_bytes(content)
    text = yaml.safe_dump(document_for(content, **changes))
    (folder / "tiny.manifest.yaml").write_text(text)
    return path


def image(width: int, height: int) -> ImageSample:
    return ImageSample("/camera/front", 5, "rgb8", b"", width, height, "front")


def test_a_model_runs_with_the_manifest_beside_it(tmp_path: Path) -> None:
    model = load_model(write(tmp_path, tiny_onnx()))
    pixels = np.full((32, 32, 3), (10, 20, 40), dtype=np.uint8)
    frame = model.detect(image(32, 32), pixels)
    (found,) = frame.detections
    # Cell (1, 0) of stride 8: centre (12, 4), size 8, in a tensor half as large as the image.
    assert found.box_px == pytest.approx((16, 0, 32, 16))
    assert (found.class_name, round(found.probability, 5)) == ("dog", 0.72)
    np.testing.assert_allclose(found.distribution, [0.09, 0.72], rtol=1e-5)
    assert frame.margin == pytest.approx(0.63, abs=1e-5) and 0 < frame.uncertainty < 1
    assert frame.model_digest == model.digest and model.class_names == ("car", "dog")
    assert frame.embedding is not None
    np.testing.assert_allclose(frame.embedding, np.array([10, 20, 40]) / 45.8258, rtol=1e-4)


def test_calibration_of_the_manifest_is_applied(tmp_path: Path) -> None:
    path = write(tmp_path, tiny_onnx(), calibration={"method": "platt", "slope": 2.0, "bias": -1.0})
    frame = load_model(path).detect(image(16, 16), np.zeros((16, 16, 3), np.uint8))
    logit = 2 * np.log(0.72 / 0.28) - 1
    assert frame.detections[0].probability == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-4)


def test_an_empty_frame_is_certain(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        tiny_onnx(),
        decoder={"name": "yolox", "tensor": "found", "strides": [8], "score_threshold": 0.8},
    )
    frame = load_model(path).detect(image(16, 16), np.zeros((16, 16, 3), np.uint8))
    assert (frame.detections, frame.uncertainty, frame.margin) == ((), 0.0, 1.0)


@pytest.mark.parametrize(
    ("content", "changes", "kind", "message"),
    [
        (b"hello", {}, InputError, "not a usable ONNX model"),
        (
            tiny_onnx(width=24),
            {},
            InputError,
            r"input 'pixels' has shape \[1, 3, 16, 24\], expected \[1, 3, 16, 16\]",
        ),
        (
            tiny_onnx(rows=9),
            {},
            InputError,
            r"output 'found' has shape \[1, 9, 7\], expected \[1, 4, 7\]",
        ),
        (
            tiny_onnx(),
            {"classes": ["car", "dog", "cat"]},
            InputError,
            r"output 'found' has shape \[1, 4, 7\], expected \[1, 4, 8\]",
        ),
        (
            tiny_onnx(),
            {"input": {"tensor": "image", "width": 16, "height": 16, "colour": "rgb"}},
            InputError,
            r"no input is called 'image'; found \['pixels'\]",
        ),
        (
            tiny_onnx(),
            {"embedding_tensor": "feature"},
            InputError,
            r"no output is called 'feature'; found \['found', 'scene'\]",
        ),
        (
            tiny_onnx(),
            {"self_test": {"probes": [{"index": [0, 1, 4], "value": 0.8, "tolerance": 0.01}]}},
            CorruptError,
            r"self_test.probes.0: the self-test failed: output \[0, 1, 4\] is 0.9, expected 0.8",
        ),
        (
            tiny_onnx(),
            {"self_test": {"probes": [{"index": [0, 9, 4], "value": 0.8, "tolerance": 0.01}]}},
            InputError,
            r"index \(0, 9, 4\) is outside \[1, 4, 7\]",
        ),
        (tiny_onnx(), {"sha256": "0" * 64}, CorruptError, "speaks of 000000"),
    ],
)
def test_a_model_that_is_not_the_manifests_is_refused(
    tmp_path: Path, content: bytes, changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    path = write(tmp_path, content, **changes)
    with pytest.raises(kind, match=message):
        load_model(path)


def test_a_probe_that_is_not_a_number_fails(tmp_path: Path) -> None:
    content = tiny_onnx()
    model = onnx.load_from_string(content)
    table = model.graph.initializer[0]
    values = numpy_helper.to_array(table).copy()
    values[0, 1, 4] = np.nan
    table.CopyFrom(numpy_helper.from_array(values, "table"))
    path = write(tmp_path, model.SerializeToString())
    with pytest.raises(CorruptError, match="is nan"):
        load_model(path)


def test_manifest_complaints_carry_line_and_column(tmp_path: Path) -> None:
    path = write(tmp_path, tiny_onnx())
    manifest = tmp_path / "tiny.manifest.yaml"
    lines = manifest.read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if line.startswith("licence"))
    lines.insert(number, "license: x")
    manifest.write_text("\n".join(lines))
    with pytest.raises(InputError, match=rf"tiny.manifest.yaml:{number + 1}:1: .*'license'"):
        load_model(path)


def test_a_file_without_a_manifest_is_told_where_to_put_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(tiny_onnx())
    with pytest.raises(InputError, match=r"put mine.manifest.yaml beside it.*yolox_nano"):
        load_model(path)
    with pytest.raises(InputError, match="no model can be read here"):
        load_model(tmp_path / "absent.onnx")


def test_bundled_manifests_are_valid() -> None:
    names = [read_manifest(path).name for path in BUNDLED_MANIFESTS.glob("*.yaml")]
    assert "yolox_nano" in names


@pytest.fixture(scope="module")
def yolox(shared_data: Path) -> OnnxModel:
    return load_model(shared_data / "models" / "yolox_nano.onnx")


def test_a_third_party_detector_sees_the_recorded_road(yolox: OnnxModel, shared_data: Path) -> None:
    first = next(iter(open_source(f"kitti:{shared_data / 'kitti_approach78'}").samples()))
    assert isinstance(first, ImageSample)
    frame = yolox.detect(first, decode_pixels(first))
    best = {d.class_name: d for d in reversed(frame.detections)}
    assert best["car"].probability >= 0.85 and best["truck"].probability >= 0.75
    assert best["car"].box_px == pytest.approx((64, 179, 419, 375), abs=8)
    assert best["truck"].box_px == pytest.approx((781, 34, 1094, 374), abs=12)
    assert "truck" in yolox.manifest.rare_classes and frame.embedding is None


def test_detections_keep_their_promises_on_recorded_frames(
    yolox: OnnxModel, shared_data: Path
) -> None:
    seen = 0
    for number, sample in enumerate(
        open_source(f"kitti:{shared_data / 'kitti_approach78'}").samples()
    ):
        if number % 13:
            continue
        assert isinstance(sample, ImageSample)
        frame = yolox.detect(sample, decode_pixels(sample))
        for found in frame.detections:
            x0, y0, x1, y1 = found.box_px
            assert 0 <= x0 < x1 <= 1242 and 0 <= y0 < y1 <= 375
            assert found.probability > yolox.manifest.decoder.score_threshold
            assert found.distribution.shape == (80,) and found.distribution.sum() <= 1 + 1e-5
            assert yolox.class_names[int(found.distribution.argmax())] == found.class_name
        assert 0 <= frame.uncertainty <= 1 and 0 <= frame.margin <= 1
        seen += len(frame.detections)
    assert seen > 15


def test_the_demo_detector_is_whole_and_sees_the_simulated_road() -> None:
    from edge_agent.perception.manifests import DEMO_MODEL

    assert DEMO_MODEL.stat().st_size < 1_500_000
    model = load_model(DEMO_MODEL)
    source = open_source("sim:seed=3,duration_s=5,lidar=0")
    images = [s for s in source.samples() if isinstance(s, ImageSample)][::10]
    for sample in images:
        frame = model.detect(sample, decode_pixels(sample))
        assert any(d.class_name == "car" and d.probability > 0.6 for d in frame.detections)
        assert frame.embedding is not None and frame.embedding.shape == (64,)
        assert np.linalg.norm(frame.embedding) == pytest.approx(1, abs=1e-5)


@given(st.floats(0.01, 0.99), st.floats(0.2, 4), st.floats(-2, 2))
def test_calibration_rises_and_is_undone_by_its_inverse(
    score: float, slope: float, bias: float
) -> None:
    forward = Calibration(method="platt", slope=slope, bias=bias)
    low, high = calibrated(np.array([score, score + 0.005]), forward)
    assert 0 < low < high < 1
    back = Calibration(method="platt", slope=1 / slope, bias=-bias / slope)
    if 1e-4 < low < 1 - 1e-4:
        assert calibrated(np.array([low]), back)[0] == pytest.approx(score, rel=1e-3, abs=1e-3)


def test_uncertainty_is_that_of_the_objects_that_matter() -> None:
    sure, unsure = [0.99, 0.0], [0.34, 0.33]
    near, far = [0.0, 0.0, 90.0, 90.0], [0.0, 0.0, 3.0, 3.0]
    probabilities, size = np.array([0.9, 0.9]), (100, 100)
    boxes = np.array([near, far])
    calm = frame_uncertainty(np.array([sure, unsure]), boxes, probabilities, size)
    alarmed = frame_uncertainty(np.array([unsure, sure]), boxes, probabilities, size)
    assert calm < 0.15 < 0.8 < alarmed
    assert frame_margin(np.array([sure, unsure])) == pytest.approx(0.01)
    assert frame_margin(np.array([[0.7], [0.6]])) == pytest.approx(0.6)
