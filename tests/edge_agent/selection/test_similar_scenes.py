"""Vehicles that look for scenes like a known one: what fires, what is told, what is replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cli.spec_clips import fires_in_clips
from contracts.embedding import embedding_text
from contracts.ids import sha256_hex
from contracts.ota import Slot
from contracts.samples import ImageSample, PerceptionFrame
from contracts.trigger_spec import LoadedSpec, SimilarToSpec, parse_spec
from edge_agent.cli import BUNDLED_MODEL
from edge_agent.clips.summary import clip_embedding, frames_of
from edge_agent.config import AgentConfig
from edge_agent.ota.ports import ModelRelease, SpecRelease
from edge_agent.ota.releases import try_spec
from edge_agent.ports import ImageModel
from edge_agent.runtime import BuiltIn
from edge_agent.runtime.built_in import built_in
from kernels.backtest.drives import logged_drives
from kernels.backtest.figures import figures_of
from kernels.backtest.replay import replay
from kernels.clip.perception import encode_perception
from kernels.signal_log import read_signal_log
from tests.edge_agent.agent_drives import driven
from tests.edge_agent.runtime_rig import MadeModel, Rig, model_release, spec

ROAD = np.array([0.6, 0.8, 0.0], np.float32)
TUNNEL = np.array([0.8, 0.0, 0.6], np.float32)
Scene = Callable[[int], NDArray[np.float32]]


def similar(
    vector: NDArray[np.float32] = TUNNEL, model: str = "a", name: str = "tunnels",
    similarity: float = 0.9, more: str = "cooldown: 0s\n", space: str | None = None,
) -> LoadedSpec:  # fmt: skip
    return parse_spec(
        f"apiVersion: longtail/v1\nkind: similar_to\nid: {name}\nversion: 1\nowner: tests\n"
        f"when: {{space: {space or sha256_hex(model.encode())}, similarity: {similarity}, "
        f"reference: {embedding_text(vector)}}}\ncapture: {{pre: 1s, post: 1s}}\n{more}",
        f"{name}.yaml",
    )


class Seer(MadeModel):
    """Sees a scene on its n-th frame."""

    scene: Scene

    def detect(self, image: ImageSample, pixels: NDArray[np.uint8]) -> PerceptionFrame:
        return replace(super().detect(image, pixels), embedding=self.scene(self.calls))


def seeing(name: str, scene: Scene) -> ModelRelease:
    found = model_release(name)
    model = Seer(name)
    model.scene = scene
    return replace(found, model=model)


def in_tunnel(n: int) -> NDArray[np.float32]:
    """The road, and a second of tunnel from the 21st frame on."""
    return TUNNEL if 20 < n <= 30 else ROAD


def test_it_fires_on_the_scene_and_on_no_other(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((similar(),), seeing("a", in_tunnel)))
    rig.go(6.0, camera_hz=10, speed=0.0)
    (fire,) = rig.fires
    # The third such frame is the 23rd, at 2.2 s; ticks see what was known before them.
    assert fire[2] == pytest.approx(2.22e9, abs=2e7)
    assert len(rig.clips) == 1
    assert rig.ticks[-1].class_scores[-1] == pytest.approx(0.48, abs=1e-3)


def test_of_another_model_it_does_not_run_and_says_so(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((similar(),), seeing("b", lambda n: TUNNEL)))
    rig.go(3.0, camera_hz=10, speed=0.0)
    (told,) = rig.runtime.report().triggers
    a, b = (sha256_hex(name.encode())[:12] for name in "ab")
    assert told.state == "inactive"
    assert told.reason == f"its reference is of model {a}, but model {b} runs"
    assert rig.fires == []
    rig.offer(model=seeing("a", lambda n: TUNNEL))
    rig.go(6.0, camera_hz=10, speed=0.0)
    assert rig.runtime.report().triggers[0].state == "active"
    assert len(rig.fires) == 1
    rig.offer(model=seeing("c", lambda n: TUNNEL))
    rig.go(9.0, camera_hz=10, speed=0.0)
    assert rig.runtime.report().triggers[0].state == "inactive"
    assert len(rig.fires) == 1 and len(rig.ticks[-1].class_scores) == 2


def test_without_a_model_it_does_not_run(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((similar(),)))
    rig.go(1.0, camera_hz=10)
    (told,) = rig.runtime.report().triggers
    assert (told.state, "perception.object_count" in told.reason) == ("inactive", True)


def test_it_comes_and_goes_during_a_drive(tmp_path: Path) -> None:
    """Beside others, in shadow too; what the model has seen of classes stays."""
    rig = Rig(tmp_path, BuiltIn((spec("fast", when="ego.speed_mps > 90"),), seeing("a", in_tunnel)))
    rig.go(1.05, camera_hz=10)
    before = rig.ticks[-1].class_scores[:2].copy()
    road = similar(ROAD, name="roads")
    rig.offer(
        SpecRelease(Slot("trigger", "tunnels"), similar()),
        SpecRelease(Slot("trigger", "roads", True), road),
    )
    rig.go(1.06, camera_hz=10)
    np.testing.assert_array_equal(rig.ticks[-1].class_scores[:2], before)
    rig.go(4.0, camera_hz=10)
    assert [fire[0] for fire in rig.fires] == ["tunnels"]
    assert [name for name, _ in rig.shadow_fires] == ["roads", "roads"]
    assert len(rig.ticks[-1].class_scores) == 4
    rig.offer()
    rig.go(5.0, camera_hz=10)
    assert len(rig.ticks[-1].class_scores) == 2


def test_a_reference_of_another_length_is_told_and_harms_nothing(tmp_path: Path) -> None:
    odd = similar(np.ones(5, np.float32))
    rig = Rig(tmp_path, BuiltIn((odd, similar(name="good")), seeing("a", in_tunnel)))
    rig.go(4.0, camera_hz=10)
    assert [fire[0] for fire in rig.fires] == ["good"]
    assert rig.runtime.drive.door.rejections[("/camera/front", "cannot be used")] == 40


def test_a_release_of_it_passes_its_self_test() -> None:
    try_spec(similar())
    try_spec(similar(more="mode: level\ncooldown: 1s\n"))


def test_log_and_clips_of_a_real_drive_fire_as_the_vehicle_did(tmp_path: Path) -> None:
    folder, state = tmp_path / "specs", tmp_path / "state"
    folder.mkdir()
    space = sha256_hex(BUNDLED_MODEL.read_bytes())
    release = built_in(AgentConfig(model=BUNDLED_MODEL)).model
    assert release is not None and isinstance(release.model, ImageModel)
    grey = np.full((360, 640, 3), 90, np.uint8)
    picture = ImageSample("/camera/front", 0, "rgb8", grey.tobytes(), 640, 360, "camera")
    direction = release.model.detect(picture, grey).embedding
    assert direction is not None
    loaded = similar(
        direction, space=space, name="turning", similarity=0.3, more="mode: level\ncooldown: 1s\n"
    )
    (folder / "turning.yaml").write_text(loaded.text)
    report, _ = driven(
        state, "sim:seed=1,duration_s=6,lidar=0", {}, specs=(folder,), model=BUNDLED_MODEL
    )
    assert report.triggers["turning"].kept >= 1
    logs = sorted((state / "signals").glob("*.ltsl"))
    assert isinstance(loaded.spec, SimilarToSpec)
    assert read_signal_log(logs[0]).header.class_names[-1] == loaded.spec.when.column
    (drive,) = replay([loaded], logged_drives(logs))
    live = figures_of(loaded, [drive], 8.0, {}).live
    assert live is not None and live.same >= 3
    assert (live.only_replayed, live.only_recorded) == (0, 0)
    assert [f.cause for f in drive.fires] == [f.cause for f in drive.recorded]
    # Another scene was not looked for on that drive, and the log alone cannot tell of it.
    other = similar(-direction, space=space, name="other", similarity=0.01)
    (drive,) = replay([other], logged_drives(logs))
    assert drive.notes == ("other cannot fire: likeness to its scene was not told on this drive",)
    # Clips hold the embeddings, so there any scene may be looked for.
    clips = sorted((state / "spool").rglob("*.mcap"))
    elsewhere = similar(direction, space="e" * 64, name="elsewhere", similarity=0.01)
    for found in fires_in_clips([loaded, elsewhere], clips):
        assert found.ids() == ("turning",)
        assert any("elsewhere cannot fire" in note for note in found.drive.notes)


def test_a_clip_s_embedding_is_of_one_model() -> None:
    frames = [
        PerceptionFrame("/camera/front", k, digest, (), 0.0, 1.0, vector)
        for k, (digest, vector) in enumerate([("a" * 64, ROAD), ("b" * 64, TUNNEL)])
    ]
    messages = [encode_perception(frame, 0)[0] for frame in frames]
    found = clip_embedding(frames_of(messages), "b" * 64)
    assert found is not None and found.vector == pytest.approx(TUNNEL.tolist(), abs=1e-6)
    assert clip_embedding(frames_of(messages), "c" * 64) is None
