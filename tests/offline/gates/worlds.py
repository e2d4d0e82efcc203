"""A small world to judge in: drives of known truth, a student that is right nine times in ten."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.gates_changes import Answered, added, kept, one_box, with_boxes
from bench.gates_world import Frames, World
from contracts.labels import FrameLabels
from contracts.scenario_suite import Clear, FrozenScenario, FrozenSuite, Light, Scenario, Told
from offline.gates.policy import read_policy
from tests.models.evaluation_drives import drives, true_prediction
from tests.offline.gates.evidences import OLD_MANIFEST

ASKS = (
    Told(ask="told", who="vehicle", within_m=40, share=0.6),
    Told(ask="told", who="vulnerable", within_m=40, share=0.5),
    Clear(ask="clear", frames=1),
    Light(ask="light", share=0.8),
)


def answered(labels: FrameLabels) -> Answered:
    """Objects with probability 0.9, one in ten missed, and one in ten that is none."""
    place = int(labels.record.drive_id.rpartition("-")[2]) * 1000 + labels.record.mono_ns // 10**8
    rng = np.random.default_rng(place)
    told = true_prediction(labels)
    told = replace(told, scores=np.full(len(told.boxes), 0.9))
    told = replace(told, embedding=np.ones(8, np.float32))
    boxes, k = told.boxes, len(told.boxes)
    told = with_boxes(
        told, centre_m=boxes.centre_m + rng.normal(0, 0.25, (k, 3)),
        size_m=boxes.size_m * np.exp(rng.normal(0, 0.08, (k, 3))),
        yaw_rad=boxes.yaw_rad + rng.normal(0, 0.1, k),
        velocity_mps=boxes.velocity_mps + rng.normal(0, 0.4, (k, 2)),
    )  # fmt: skip
    told = kept(told, rng.random(len(told.boxes)) < 0.9)
    if rng.random() < 0.4:
        false = one_box((-15.0, -12.0), ("car", "pedestrian")[int(rng.integers(2))])
        told = added(told, false, np.array([0.9]))
    return Answered(labels, told)


def frozen(name: str, standing: str, **over: object) -> FrozenScenario:
    scenario = Scenario.model_validate(
        {"name": name, "slice": "plain", "drive": {"scenario": name}, "asks": ASKS} | over
    )
    return FrozenScenario.model_validate(
        {"scenario": scenario, "folder": name, "frames": "f" * 64, "standing": standing}
    )


def world(count: int = 16, frames: int = 9) -> World:
    """Three drives are scenarios, the others are the tails and the random stream."""
    every = [answered(each.labels) for each in drives(count, frames)]
    parts = [every[k * frames : (k + 1) * frames] for k in range(count)]
    names = ("one", "two", "three")
    suite = FrozenSuite(
        name="small", version=1,
        scenarios=tuple(frozen(name, "target" if name == "one" else "must") for name in names),
    )  # fmt: skip
    rest = [frame for part in parts[len(names) :] for frame in part]
    return World(
        suite, dict(zip(names, parts, strict=False)), Frames("hard", rest),
        Frames("random", rest, np.linspace(0.1, 0.9, len(rest))), OLD_MANIFEST, read_policy(),
    )  # fmt: skip
