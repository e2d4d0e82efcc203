"""The runner of bird's-eye models: what it gives, what it refuses, and what it remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.channels import BEV
from contracts.errors import CorruptError, InputError
from contracts.geometry import Boxes
from contracts.labels import LIGHT_STATES
from contracts.model_manifest import Calibration, ClassCalibration, ModelManifest, Probe, SelfTest
from contracts.samples import ImageSample
from edge_agent.config import AgentConfig
from edge_agent.health.doctor import examine
from edge_agent.perception import frames as frames_module
from edge_agent.perception.bev import OnnxBevModel
from edge_agent.perception.frames import LEAST_PERIOD_NS, BevFrames, FrameClock
from edge_agent.perception.pixels import decode_pixels
from edge_agent.perception.runtime import load_model, open_model
from edge_agent.perception.scores import bev_uncertainty
from edge_agent.perception.sessions import RememberingSession, SharedSessions, open_session
from edge_agent.perception.views import BevView, look, trial_view
from kernels.bev.motion import UnknownMotionError
from kernels.bev.pattern import self_test_inputs
from kernels.bev_decoding import BevDecoder, light_probabilities
from models.student.export import Graph
from tests.edge_agent.bev_models import (
    CONFIG,
    MS,
    SPEC,
    content,
    driven,
    instant,
    latched,
    manifest,
    write_tiny,
)

NAMES = CONFIG.taxonomy.names
NOW_NS = 300 * MS


def filled(poses: bool = True, **sensors: bool) -> BevFrames:
    frames = BevFrames()
    for sample in [*latched(), *driven(NOW_NS + 1, poses=poses, **sensors)]:
        frames.add(sample)
    return frames


@pytest.fixture(scope="module")
def model() -> OnnxBevModel:
    return OnnxBevModel(manifest(), content(), "tiny")


def test_the_runner_gives_what_the_exported_graph_gives(tmp_path: Path) -> None:
    curve = ClassCalibration(slope=2.0, bias=0.5, examples=9)
    calibration = Calibration(method="platt", slope=1.5, by_class={"debris": curve},
                              light_temperature=2.0)  # fmt: skip
    path = write_tiny(tmp_path, calibration=calibration)
    model = load_model(path)
    assert isinstance(model, OnnxBevModel) and model.class_names == NAMES
    tensors = filled().tensors(SPEC, NOW_NS)
    frame = model.perceive(tensors, NOW_NS)
    outputs = Graph(content()).run(tensors.feed(SPEC.image, SPEC.bev))
    decoded = BevDecoder(model.manifest.decoder, NAMES).decode(outputs["heat"], outputs["boxes"])
    assert (frame.channel, frame.mono_ns, frame.model_digest) == (BEV, NOW_NS, model.digest)
    assert len(frame.detections) == len(decoded.boxes) > 3
    for row, found in enumerate(frame.detections):
        assert found.box_px is None and found.cuboid is not None
        np.testing.assert_array_equal(found.cuboid.centre_m, decoded.boxes.centre_m[row])
        np.testing.assert_array_equal(found.cuboid.size_m, decoded.boxes.size_m[row])
        np.testing.assert_array_equal(found.cuboid.velocity_mps, decoded.boxes.velocity_mps[row])
        assert found.cuboid.yaw_rad == decoded.boxes.yaw_rad[row]
        assert found.class_name == NAMES[decoded.boxes.class_index[row]]
        np.testing.assert_array_equal(found.distribution, decoded.distributions[row])
        score = float(decoded.scores[row])
        slope, bias = (2.0, 0.5) if found.class_name == "debris" else (1.5, 0.0)
        logit = np.log(score / (1 - score)) * slope + bias
        assert found.probability == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-6)
    light = light_probabilities(outputs["light"], calibration)
    assert frame.light is not None and frame.light.shape == (len(LIGHT_STATES),)
    np.testing.assert_allclose(frame.light, light, rtol=1e-6)
    assert not np.allclose(frame.light, outputs["light"][0], rtol=1e-3)
    unit = outputs["embedding"][0] / np.linalg.norm(outputs["embedding"])
    np.testing.assert_allclose(frame.embedding, unit, rtol=1e-5)
    assert frame.present is not None and frame.present.tolist() == [1.0, 1.0, 1.0]
    assert 0 < frame.uncertainty <= 1 and 0 <= frame.margin < 1


def test_near_and_likely_objects_count_more_for_uncertainty() -> None:
    sure, torn = [0.98, 0.01], [0.5, 0.5]
    boxes = Boxes(
        np.array([[5.0, 0, 0.7], [50.0, 0, 0.7]]), np.tile([4.5, 1.8, 1.5], (2, 1)), np.zeros(2),
        np.zeros((2, 2)), np.zeros(2, np.int64), np.zeros(2, np.int64),
    )  # fmt: skip
    even = np.array([0.9, 0.9])
    near_torn = bev_uncertainty(np.array([torn, sure]), boxes, even)
    far_torn = bev_uncertainty(np.array([sure, torn]), boxes, even)
    alone = bev_uncertainty(np.array([torn, torn]), boxes, even)
    assert 0 < far_torn < near_torn < alone <= 1
    assert far_torn < bev_uncertainty(np.array([sure, torn]), boxes, np.array([0.1, 0.9]))
    assert bev_uncertainty(np.zeros((0, 2)), boxes.take(np.zeros(0, np.int64)), np.zeros(0)) == 0


@pytest.mark.parametrize(
    ("sensors", "present"),
    [
        ({"cameras": False}, [0.0, 1.0, 1.0]),
        ({"lidar": False}, [1.0, 0.0, 1.0]),
        ({"radar": False}, [1.0, 1.0, 0.0]),
        ({"lidar": False, "radar": False, "poses": False}, [1.0, 0.0, 0.0]),
    ],
)
def test_a_sensor_may_be_missing(
    model: OnnxBevModel, sensors: dict[str, bool], present: list[float]
) -> None:
    frame = look(model, BevView(NOW_NS, filled(**sensors)))
    assert frame.present is not None and frame.present.tolist() == present


def test_without_poses_there_is_no_answer_and_a_broken_picture_is_an_absent_camera(
    model: OnnxBevModel,
) -> None:
    with pytest.raises(UnknownMotionError):
        look(model, BevView(NOW_NS, filled(poses=False)))
    told: list[str] = []
    frames = BevFrames(lambda image, _: told.append(image.channel))
    for sample in [*latched(), *driven(NOW_NS + 1)]:
        if isinstance(sample, ImageSample) and sample.channel == CONFIG.cameras[1]:
            sample = ImageSample(sample.channel, sample.mono_ns, "jpeg", b"?", 80, 40, "")
        frames.add(sample)
    found = look(model, BevView(NOW_NS, frames))
    assert found.present is not None and found.present.tolist() == [0.5, 1.0, 1.0]
    frames.tensors(SPEC, NOW_NS)
    assert told == [CONFIG.cameras[1]]


def test_pictures_that_are_expected_are_decoded_once_and_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded: list[str] = []

    def counted(image: ImageSample, least: tuple[int, int]) -> NDArray[np.uint8]:
        decoded.append(image.channel)
        return decode_pixels(image, least)

    monkeypatch.setattr(frames_module, "decode_pixels", counted)
    told: list[str] = []
    expecting = BevFrames(lambda image, _: told.append(image.channel))
    for sample in [*latched(), *driven(NOW_NS + 1)]:
        expecting.add(sample)
        if isinstance(sample, ImageSample) and sample.mono_ns >= NOW_NS:
            expecting.expect(sample, SPEC)
    found = expecting.tensors(SPEC, NOW_NS).feed(SPEC.image, SPEC.bev)
    assert sorted(decoded) == sorted(CONFIG.cameras) and not told
    for name, values in filled().tensors(SPEC, NOW_NS).feed(SPEC.image, SPEC.bev).items():
        np.testing.assert_array_equal(found[name], values)
    broken = ImageSample(CONFIG.cameras[0], NOW_NS + 100 * MS, "jpeg", b"?", 80, 40, "")
    for sample in driven(NOW_NS + 100 * MS + 1):
        if sample.mono_ns > NOW_NS:
            expecting.add(sample)
    expecting.add(broken)
    expecting.expect(broken, SPEC)
    expecting.tensors(SPEC, NOW_NS + 100 * MS)
    assert told == [CONFIG.cameras[0]]


def test_a_model_that_comes_later_is_told_what_was_seen_before(model: OnnxBevModel) -> None:
    early, late = BevFrames(), BevFrames()
    early.tensors(SPEC, 0)
    for sample in [*latched(), *driven(NOW_NS + 1)]:
        early.add(sample)
        late.add(sample)
    for a, b in zip(
        early.tensors(SPEC, NOW_NS).feed(SPEC.image, SPEC.bev).values(),
        late.tensors(SPEC, NOW_NS).feed(SPEC.image, SPEC.bev).values(), strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(a, b)


def _changed(**changes: Any) -> ModelManifest:
    return manifest().model_copy(update=changes)


def test_what_the_manifest_does_not_describe_is_refused() -> None:
    good = manifest()
    wrong = [probe.model_copy(update={"value": probe.value + 9}) for probe in good.self_test.probes]
    for n, probe in enumerate(wrong):
        if n % 6:
            continue
        with pytest.raises(CorruptError, match=rf"self_test.probes.0: .* output {probe.tensor}\["):
            open_model(_changed(self_test=SelfTest(probes=(probe,))), content(), "tiny")
    nowhere = Probe(tensor="boxes", index=(0, 99, 0, 0), value=0, tolerance=1)
    with pytest.raises(InputError, match="outside"):
        open_model(_changed(self_test=SelfTest(probes=(nowhere,))), content(), "tiny")
    unknown = Probe(tensor="depth", index=(0,), value=0, tolerance=1)
    with pytest.raises(InputError, match="no output is called 'depth'"):
        open_model(_changed(self_test=SelfTest(probes=(unknown,))), content(), "tiny")
    assert good.bev is not None
    three = good.bev.model_copy(update={"cameras": ("/a", "/b", "/c")})
    with pytest.raises(InputError, match=r"input 'images' has shape \[2, 3, 32, 64\], expected"):
        open_model(_changed(bev=three), content(), "tiny")
    renamed = good.bev.model_copy(update={"present_tensor": "there"})
    with pytest.raises(InputError, match="no input is called 'there'"):
        open_model(_changed(bev=renamed), content(), "tiny")
    center = good.decoder.bev
    assert center is not None
    for name, message in (
        ("embedding", r"output 'embedding' has shape \[1, 32\], expected \[1, 4\]"),
        ("ground", "named twice"),
    ):
        lamp = center.model_copy(update={"light_tensor": name})
        decoder = good.decoder.model_copy(update={"bev": lamp})
        with pytest.raises(InputError, match=message):
            changed = _changed(decoder=decoder, embedding_tensor=None)
            open_model(changed, content(), "tiny")
    with pytest.raises(InputError, match="not a usable ONNX model"):
        open_model(good, b"hello", "tiny")


def test_doctor_and_trial_know_the_model(tmp_path: Path, model: OnnxBevModel) -> None:
    path = write_tiny(tmp_path)
    found = {f.check: f for f in examine(AgentConfig(state=tmp_path, model=path))}
    assert found["model"].ok and "9 classes" in found["model"].detail
    frame = look(model, trial_view(model))
    assert frame.present is not None and frame.present.tolist() == [1.0, 1.0, 1.0]


def test_a_session_that_remembers_gives_the_same_and_runs_once() -> None:
    plain, remembering = open_session(content(), "tiny"), RememberingSession(
        open_session(content(), "tiny")
    )  # fmt: skip
    feed = self_test_inputs(manifest())
    names = ["heat", "light"]
    first = remembering.run(names, feed)
    for ours, theirs in zip(first, plain.run(names, feed), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    again = remembering.run(names, {name: array.copy() for name, array in feed.items()})
    assert remembering.runs == 1
    assert all(a is b for a, b in zip(first, again, strict=True))
    remembering.run(["heat"], feed)  # other outputs
    assert remembering.runs == 2
    feed["images"][0, 0, 0, 0] += np.float32(1e-6)  # in place, as the agent's buffers change
    changed = remembering.run(["heat"], feed)
    assert remembering.runs == 3
    np.testing.assert_array_equal(changed[0], plain.run(["heat"], feed)[0])
    feed["radar"][0, 0, 0, 0] = np.nan
    remembering.run(["heat"], feed)
    remembering.run(["heat"], feed)
    assert remembering.runs == 5
    with pytest.raises(ValueError, match="read-only"):
        changed[0][:] = 0


def test_two_users_of_one_opener_share_the_network() -> None:
    shared = SharedSessions()
    one, two = (open_model(manifest(), content(), "tiny", shared) for _ in range(2))
    (session,) = shared.sessions.values()
    assert session.runs == 1  # both self-tests
    assert isinstance(one, OnnxBevModel) and isinstance(two, OnnxBevModel)
    a = one.perceive(filled().tensors(SPEC, NOW_NS), NOW_NS)
    b = two.perceive(filled().tensors(SPEC, NOW_NS), NOW_NS)
    assert session.runs == 2
    assert [d.cuboid for d in a.detections] == [d.cuboid for d in b.detections]


def _instants(clock: FrameClock, channels: dict[str, list[int]]) -> list[int]:
    """Instants at which the clock has a model run, of channels with frames at milliseconds."""
    every = {s.channel: s for s in instant(0) if hasattr(s, "channel")}
    found = []
    order = sorted((ms, name) for name, times in channels.items() for ms in times)
    for ms, name in order:
        due = clock.due(ms * MS)
        found += [] if due is None else [due // MS]
        sample = every[name]
        clock.see(type(sample)(*(ms * MS if field == "mono_ns" else getattr(sample, field)
                                 for field in sample.__dataclass_fields__)))  # fmt: skip
    last = clock.due(None)
    return found if last is None else [*found, last // MS]


def test_the_lead_opens_frame_sets_and_hands_on() -> None:
    front, rear, lidar = CONFIG.cameras[0], CONFIG.cameras[1], "/lidar/top"
    tens = list(range(0, 600, 100))
    clock = lambda: FrameClock(CONFIG.cameras)  # noqa: E731
    assert _instants(clock(), {front: tens, rear: tens, lidar: tens}) == tens
    # Another phase: the first to speak opens, then the lead does.
    assert _instants(clock(), {front: [t + 30 for t in tens], lidar: tens}) == [
        0, 130, 230, 330, 430, 530,
    ]  # fmt: skip
    # Twice as fast is judged at half the rate, a little jitter changes nothing.
    assert _instants(clock(), {front: list(range(0, 600, 50))}) == tens
    assert _instants(clock(), {front: [0, 110, 190, 305, 398]}) == [0, 110, 190, 305, 398]
    # The lead stops: after a while the next goes on.
    assert _instants(clock(), {front: [0, 100], lidar: tens}) == [0, 100, 300, 400, 500]
    assert _instants(clock(), {lidar: tens}) == tens
    assert _instants(clock(), {"/radar/front": tens}) == tens
    assert LEAST_PERIOD_NS == 75 * MS
