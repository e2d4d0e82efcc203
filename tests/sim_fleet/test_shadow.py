"""A candidate beside the active model: objects compared, plans compared, the human decides."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from contracts.channels import BEV
from contracts.errors import CorruptError
from contracts.samples import Detection, PerceptionFrame
from contracts.shadow_evidence import ShadowEvidence
from edge_agent.perception.manifests import read_manifest
from kernels.bev.window import BevTensors
from offline.gates.shadow import read_shadow
from sim_fleet.cli import app
from sim_fleet.drivers.policy import RulePlanner
from sim_fleet.scenarios.library import load_scenario
from sim_fleet.source import DriveOptions, SimFleetSource
from sim_fleet.trials.shadow import InShadow, alike, total_of
from tests.edge_agent.bev_models import CONFIG, SPEC, cuboid_seen, write_tiny

# The ego drives alone at its own speed: the human has nothing to do but to go on.
OPTIONS = DriveOptions(load_scenario("everyday-country"), 3, "light", 1.0)


class Fixed:
    """A model that always tells the same, or fails."""

    digest = "ab" * 32
    class_names = CONFIG.taxonomy.names
    spec = SPEC

    def __init__(self, *found: Detection, fails: bool = False) -> None:
        self._found, self._fails = found, fails

    def perceive(self, tensors: BevTensors, mono_ns: int) -> PerceptionFrame:
        if self._fails:
            raise CorruptError("the model's output is not finite")
        return PerceptionFrame(BEV, mono_ns, self.digest, self._found, 0.0, 1.0, None,
                               np.array([1.0, 0, 0, 0], np.float32))  # fmt: skip


WALL = cuboid_seen("car", 0.9, 9.0)
"""A car right ahead, which is not there."""
BESIDE = cuboid_seen("car", 0.9, 9.0, 20.0)


def driven(active: Fixed, candidate: Fixed) -> dict[str, int]:
    both = InShadow(active, candidate)
    counts: Counter[str] = Counter()
    source = SimFleetSource(
        replace(OPTIONS, perceiver=both), lambda tick: both.decide(tick, RulePlanner(), counts)
    )
    for _ in source.samples():
        pass
    found = both.agreement
    counts.update(agreed=found.agreed, only_active=found.only_active,
                  only_candidate=found.only_candidate)  # fmt: skip
    return total_of(counts)


def test_who_sees_the_same_agrees() -> None:
    found = driven(Fixed(BESIDE), Fixed(BESIDE))
    assert found["frames"] == found["agreed"] == 10
    assert not any(found[name] for name in ("crashes", "disagreements", "confirmed", "refuted"))


def test_the_human_sides_with_the_one_who_is_right() -> None:
    worse = driven(Fixed(BESIDE), Fixed(BESIDE, WALL))
    assert worse["agreed"] == worse["only_candidate"] == worse["disagreements"] == 10
    assert worse["refuted"] == 10 and worse["confirmed"] == 0
    better = driven(Fixed(WALL), Fixed())
    assert better["only_active"] == 10 and better["confirmed"] > 0 and better["refuted"] == 0


def test_a_candidate_that_fails_is_counted_and_harms_nobody() -> None:
    found = driven(Fixed(BESIDE), Fixed(fails=True))
    assert found["crashes"] == found["frames"] == 10
    assert not found["agreed"] and not found["disagreements"]


def test_what_anybody_would_notice_is_another_plan() -> None:
    drive = SimFleetSource(OPTIONS).drive()
    plan = drive.step_once(()).plan
    assert plan is not None and alike(plan, plan)
    assert alike(plan, replace(plan, accel_mps2=plan.accel_mps2 - 1.4))
    assert not alike(plan, replace(plan, accel_mps2=plan.accel_mps2 - 1.6))
    assert not alike(plan, replace(plan, offset_m=plan.offset_m + 0.5))
    assert not alike(plan, replace(plan, change=1))


def test_the_command_writes_what_the_gate_takes(tmp_path: Path) -> None:
    recipe, out = tmp_path / "tiny.yaml", tmp_path / "evidence.json"
    recipe.write_text(
        "apiVersion: longtail/trials/v1\nname: tiny\ndrives:\n"
        "  - {slice: one, scenario: cut-in, seeds: [1, 2], seconds: 2}\n"
    )
    model = write_tiny(tmp_path)
    asked = ["shadow", str(recipe), "--active", str(model), "--candidate", str(model),
             "--workers", "1", "--out", str(out)]  # fmt: skip
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == 0, told.output
    assert "2 vehicles, 0 without an answer" in told.stdout
    digest = read_manifest(model.with_suffix(".manifest.yaml")).sha256
    found = read_shadow(out, digest, digest)
    assert isinstance(found, ShadowEvidence)
    assert (found.vehicles, found.frames, found.crashes) == (2, 40, 0)
    assert found.candidate == found.active == digest
    assert found.only_active == found.only_candidate == found.disagreements == 0
