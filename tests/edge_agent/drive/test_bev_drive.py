"""Drives with bird's-eye models: frame sets, blind frames, triggers, swaps and shadows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.channels import BEV
from contracts.clock import NS_PER_S, ClockQuality
from contracts.errors import CorruptError
from contracts.ids import sha256_hex
from contracts.model_manifest import SelfTest
from contracts.ota import Slot
from contracts.samples import Detection, LidarSample, PerceptionFrame, Sample, SignalSample
from contracts.trigger_spec import parse_spec
from edge_agent.app import Agent
from edge_agent.clips.summary import clip_embedding, frames_of, summarise
from edge_agent.config import AgentConfig
from edge_agent.health.status import AgentReport
from edge_agent.ota.ports import ModelRelease
from edge_agent.perception.runtime import open_model
from edge_agent.perception.sessions import SharedSessions
from edge_agent.ports import SourceDescription
from edge_agent.runtime import BuiltIn
from edge_agent.signals.suitable import signals_of
from kernels.clip.perception import encode_perception
from kernels.clip.reader import read_samples
from tests.edge_agent.bev_models import (
    CONFIG,
    MS,
    MadeBevModel,
    content,
    cuboid_seen,
    driven,
    latched,
    made_release,
    manifest,
    write_tiny,
)
from tests.edge_agent.runtime_rig import Rig, model_release, release, spec

SPEED = frozenset({"ego.speed_mps"})
RARE = parse_spec(
    "apiVersion: longtail/v1\nkind: rare_class\nid: rare\nversion: 1\nowner: tests\n"
    "when: {classes: [debris, animal], probability: 0.5, frames: 2, of_frames: 4}\n"
    "cooldown: 3s\ncapture: {pre: 1s, post: 500ms}\n",
    "rare",
)


def described(**more: object) -> SourceDescription:
    values = {
        "camera_channels": CONFIG.cameras, "lidar_channels": ("/lidar/top",), "has_pose": True,
        "has_radar": True, **more,
    }  # fmt: skip
    clock = ClockQuality(synchronised=True)
    return SourceDescription("drive", "boot", 0, clock, SPEED, **values)  # type: ignore[arg-type]


class Recorded:
    """A source over given samples."""

    def __init__(self, samples: list[Sample], description: SourceDescription | None = None) -> None:
        self._samples = samples
        self._description = description or described()

    def describe(self) -> SourceDescription:
        return self._description

    def samples(self) -> Iterator[Sample]:
        yield from self._samples


def agent_over(
    folder: Path, samples: list[Sample], model: Path, specs: tuple[str, ...] = (),
    opener: SharedSessions | None = None,
) -> tuple[AgentReport, list[Path]]:  # fmt: skip
    for number, text in enumerate(specs):
        (folder / f"{number}.yaml").write_text(text)
    config = AgentConfig(
        state=folder / "state", ring="64MB", model=model,
        specs=tuple(folder / f"{n}.yaml" for n in range(len(specs))),
    )  # fmt: skip
    agent = Agent(config, Recorded(samples), "recorded", opener=opener)
    report = asyncio.run(agent.run(stay=False))
    return report, sorted((folder / "state" / "spool").rglob("*.mcap"))


def test_an_agent_drives_with_an_exported_student_and_its_clip_tells_it(tmp_path: Path) -> None:
    seldom = (
        "apiVersion: longtail/v1\nkind: expression\nid: many\nversion: 1\nowner: tests\n"
        "when: perception.object_count > 3 and perception.uncertainty >= 0\n"
        "cooldown: 10s\ncapture: {pre: 500ms, post: 500ms}\n"
    )
    shared = SharedSessions()
    samples = [*latched(), *driven(2 * NS_PER_S)]
    report, clips = agent_over(tmp_path, samples, write_tiny(tmp_path), (seldom,), shared)
    (session,) = shared.sessions.values()
    assert not report.rejected and not report.blind_frames and not report.inactive
    assert report.timing is not None and report.timing.frames == 20
    assert session.runs == 20 + 2  # self-test, warm-up
    assert report.triggers["many"].kept == 1
    (clip,) = clips
    frames = [s for s in read_samples(clip) if isinstance(s, PerceptionFrame)]
    assert len(frames) == 6 and {frame.channel for frame in frames} == {BEV}
    first = frames[0]
    assert first.detections and all(d.cuboid is not None for d in first.detections)
    assert first.light is not None and first.light.sum() == pytest.approx(1.0)
    assert first.present is not None and first.present.tolist() == [1.0, 1.0, 1.0]
    assert first.embedding is not None


def test_without_poses_the_drive_goes_on_and_tells_what_it_could_not_judge(tmp_path: Path) -> None:
    known = driven(NS_PER_S)
    lost = driven(2 * NS_PER_S, NS_PER_S, poses=False)
    samples = [*latched(), *known, *lost, *driven(3 * NS_PER_S, 2 * NS_PER_S)]
    report, _ = agent_over(tmp_path, samples, write_tiny(tmp_path))
    # The way goes on for 0.15 s past the newest pose (at 0.98 s).
    assert report.blind_frames == {"ego motion is unknown": 8}
    assert report.timing is not None and report.timing.frames == 22
    assert report.finished and report.samples["LidarSample"] == 30


def test_a_sweep_that_is_not_finite_blinds_its_window_and_no_model_is_blamed(
    tmp_path: Path,
) -> None:
    samples = [*latched(), *driven(2 * NS_PER_S)]
    broken = next(
        i for i, s in enumerate(samples) if isinstance(s, LidarSample) and s.mono_ns == NS_PER_S
    )
    sweep = samples[broken]
    assert isinstance(sweep, LidarSample)
    points = sweep.xyz_m.copy()
    points[7, 1] = np.nan
    made = MadeBevModel("made", script)
    release = made_release(made)
    made._trial = False
    rig = rig_of(tmp_path, release)
    fed(rig, [*samples[:broken], replace(sweep, xyz_m=points), *samples[broken + 1 :]])
    rig.runtime.finish()
    # Three slots of a tenth of a second hold it.
    assert rig.runtime.drive.blind == {"samples cannot be used": 3}
    assert len(made.at_ns) == 17 and rig.runtime.report().faults == ()


def test_other_specs_do_not_disturb_the_frames(tmp_path: Path) -> None:
    made = MadeBevModel("made", script)
    release_ = made_release(made)
    made._trial = False
    rig = rig_of(tmp_path, release_)
    for number, sample in enumerate([*latched(), *driven(NS_PER_S)]):
        if number % 7 == 0:
            rig.offer(release(spec("braking", version=1 + number)))
        rig.feed(sample)
    rig.runtime.finish()
    assert made.at_ns == [n * 100 * MS for n in range(10)]
    assert rig.runtime.swaps > 5


def rig_of(folder: Path, model: ModelRelease | None, **more: object) -> Rig:
    return Rig(folder, BuiltIn((RARE, spec("torn", when="perception.margin < 0.2")), model),
               shadow_every=1, **more)  # type: ignore[arg-type]  # fmt: skip


def fed(rig: Rig, samples: list[Sample]) -> None:
    for sample in samples:
        rig.feed(sample)


def script(n: int) -> list[Detection]:
    rare = [cuboid_seen("debris", 0.8, 30.0)] if n in (12, 13) else []
    return [cuboid_seen(), *rare] if n > 5 else []


def test_triggers_fire_from_bird_s_eye_frames(tmp_path: Path) -> None:
    model = MadeBevModel("made", script)
    release = made_release(model)
    model._trial = False
    rig = rig_of(tmp_path, release)
    fed(rig, [*latched(), *driven(2 * NS_PER_S)])
    rig.runtime.finish()
    assert model.at_ns == [n * 100 * MS for n in range(20)]
    fires = {name: at_ns for name, _, at_ns in reversed(rig.fires)}
    # Judged at 1.1 and 1.2 s: the second makes it two of four, in the very next tick.
    assert fires["rare"] == 1_200 * MS
    assert fires["torn"] == 500 * MS  # the first frame with any detection
    (messages,) = [m for job, m in rig.clips if "rare" in {c.trigger_id for c in job.causes}]
    assert {m.channel for m in messages} >= {"/perception/bev", "/perception/bev/scene"}
    summary = summarise(messages, frames_of(messages), {}, 0)
    assert summary.detected_objects["debris"].max_probability == 0.8
    assert summary.detected_objects["car"].max_in_frame == 1
    assert summary.max_uncertainty == 0.6


def test_the_embedding_of_a_clip_comes_from_bird_s_eye_frames() -> None:
    vector = np.array([3.0, 4.0], np.float32) / 5
    frame = PerceptionFrame(BEV, 5, "ab" * 32, (), 0.0, 1.0, vector)
    found = clip_embedding(frames_of(encode_perception(frame, 0)), "ab" * 32)
    assert found is not None and found.vector == pytest.approx((0.6, 0.8))


def test_signals_of_perception_need_what_the_model_looks_at() -> None:
    names = CONFIG.taxonomy.names
    no_camera = described(camera_channels=())
    assert "perception.margin" not in signals_of(no_camera, names)
    assert "perception.margin" in signals_of(no_camera, names, bev=True)
    assert "perception.margin" not in signals_of(
        described(has_pose=False), names, bev=True
    )  # sweeps cannot be compensated
    only_camera = described(has_pose=False, has_radar=False, lidar_channels=())
    assert "perception.margin" in signals_of(only_camera, names, bev=True)
    assert "perception.margin" not in signals_of(no_camera, (), bev=True)


def parked(from_ns: int, until_ns: int) -> list[Sample]:
    """Standing, not engaged: a model may change."""
    found: list[Sample] = []
    for sample in driven(until_ns, from_ns):
        found += [SignalSample("ego.speed_mps", sample.mono_ns, 0.0),
                  SignalSample("autonomy.engaged", sample.mono_ns, 0.0), sample]  # fmt: skip
    return found


def test_models_of_images_and_of_all_sensors_take_turns(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, model_release("image"))
    fed(rig, [*latched(), *parked(0, 2 * NS_PER_S)])
    made = MadeBevModel("made", script)
    rig.offer(model=made_release(made))
    fed(rig, parked(2 * NS_PER_S, 6 * NS_PER_S))
    assert rig.runtime.report().models[0].file_sha256 == made.digest
    # The new model's window knows the sweeps from before it came.
    assert len(made.at_ns) >= 20 and made.present[0] == [1.0, 1.0, 1.0]
    assert np.diff(made.at_ns).tolist() == [100 * MS] * (len(made.at_ns) - 1)
    rig.offer()
    fed(rig, parked(6 * NS_PER_S, 10 * NS_PER_S))
    report = rig.runtime.report()
    assert (report.models[0].name, report.faults) == ("image", ())
    assert rig.swaps and made.at_ns[-1] < 10 * NS_PER_S
    count = len(made.at_ns)
    fed(rig, parked(10 * NS_PER_S, 11 * NS_PER_S))
    assert len(made.at_ns) == count


def test_a_real_student_that_does_not_pass_is_refused_and_the_old_one_stays(
    tmp_path: Path,
) -> None:
    good = open_model(manifest(), content(), "good")
    release = ModelRelease(Slot("model"), sha256_hex(b"good"), manifest(), good)
    rig = rig_of(tmp_path, release)
    probe = manifest().self_test.probes[0]
    bad = manifest().model_copy(
        update={"self_test": SelfTest(probes=(probe.model_copy(update={"value": 5.0}),))}
    )
    with pytest.raises(CorruptError, match="self-test failed"):
        open_model(bad, content(), "bad")

    class Broken(MadeBevModel):
        def perceive(self, tensors: object, mono_ns: int) -> PerceptionFrame:
            raise RuntimeError("cannot run")

    rig.offer(model=made_release(Broken("broken", script)))
    (fault,) = rig.runtime.report().faults
    assert fault.stage == "activate" and "cannot run" in fault.reason
    fed(rig, [*latched(), *driven(NS_PER_S)])
    assert rig.runtime.drive.model is good
    assert rig.runtime.drive.timer.report() is not None


def test_a_candidate_beside_it_is_compared_over_the_ground(tmp_path: Path) -> None:
    active = MadeBevModel("active", lambda n: [cuboid_seen(x=12.0), cuboid_seen(x=30.0)])
    release = made_release(active)
    active._trial = False
    rig = rig_of(tmp_path, release)
    near = MadeBevModel("near", lambda n: [cuboid_seen("truck", 0.7, x=13.5), cuboid_seen(x=40.0)])
    rig.offer(shadow_model=made_release(near, shadow=True))
    fed(rig, [*latched(), *driven(NS_PER_S)])
    found = rig.runtime.report().shadow_model
    assert found is not None and near.at_ns == active.at_ns
    assert (found.frames, found.agreed, found.class_differs) == (10, 0, 10)
    assert (found.only_active, found.only_candidate) == (10, 10)
    assert found.probability_gap == pytest.approx(0.2)
    rig.offer(shadow_model=replace(model_release("image", shadow=True)))
    (fault,) = rig.runtime.report().faults
    assert "cannot be compared" in fault.reason


def test_a_model_that_fails_on_the_road_becomes_a_fault_and_the_drive_goes_on(
    tmp_path: Path,
) -> None:
    def wobbly(n: int) -> list[Detection]:
        if n > 3:
            raise RuntimeError("breaks")
        return [cuboid_seen()]

    rig = rig_of(tmp_path, model_release("image"))
    fed(rig, [*latched(), *parked(0, 2 * NS_PER_S)])
    rig.offer(model=made_release(MadeBevModel("wobbly", wobbly)))
    fed(rig, parked(2 * NS_PER_S, 6 * NS_PER_S))
    (fault,) = rig.runtime.report().faults
    assert (fault.slot, fault.stage) == (Slot("model"), "soak") and "breaks" in fault.reason
    assert rig.runtime.drive.door.rejections[BEV, "cannot be used"] > 3
    assert rig.runtime.drive.now_ns == 5_980 * MS
