"""The candidate in the fleet's shadow: what keeps it from there is told, and not waited for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from contracts.check_in import ShadowModel
from contracts.errors import ConflictError
from offline.pipeline.cloud import Releases
from offline.pipeline.stages import shadow
from offline.pipeline.work import Result, Waiting, Work

CANDIDATE, ACTIVE = "c" * 64, "a" * 64


@dataclass
class StandIn:
    """The cloud's answers; `asked` is what was asked for."""

    missing: str = ""
    phase: str = "running"
    live: bool = False
    asked: list[str] = field(default_factory=list)

    def publish_model(self, manifest: Path) -> str:
        self.asked.append("publish")
        return self.missing

    def begin(self, manifest: Path, *, in_shadow: bool) -> SimpleNamespace:
        assert in_shadow
        self.asked.append("begin")
        if self.live:
            raise ConflictError("model has a live rollout; let it end, or abort it")
        return SimpleNamespace(
            rollout_id="r1", phase=self.phase, verdict="the guardrail `faults`", waiting_for=""
        )

    def shadow_counts(self, digest: str) -> Mapping[str, ShadowModel]:
        self.asked.append("counts")
        return {}


def told_by(cloud: StandIn, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(Releases, "of", lambda work: cloud)
    monkeypatch.setattr(shadow, "model_manifest", lambda folder: folder / "m.manifest.yaml")
    monkeypatch.setattr(shadow, "policy_of", lambda work: SimpleNamespace(shadow=None))
    work = cast(Work, SimpleNamespace(needs={"train": Path("train")}))
    return shadow._of_the_fleet(work, CANDIDATE, ACTIVE)


def test_a_release_that_people_have_still_to_sign_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cloud = StandIn(missing="1 more people have to sign")
    assert told_by(cloud, monkeypatch) == Waiting("1 more people have to sign")
    assert cloud.asked == ["publish"]  # no rollout of what is not published


def test_another_rollout_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    found = told_by(StandIn(live=True), monkeypatch)
    assert isinstance(found, Waiting)
    assert "live rollout" in found.why


@pytest.mark.parametrize("phase", ["halted", "aborted", "rolling_back"])
def test_a_shadow_that_was_taken_back_ends_the_turn(
    monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    found = told_by(StandIn(phase=phase), monkeypatch)
    assert isinstance(found, Result)
    assert found.state == "refused"
    assert phase in found.why and "faults" in found.why


def test_a_fleet_that_has_not_looked_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = StandIn()
    found = told_by(cloud, monkeypatch)
    assert isinstance(found, Waiting)
    assert "no vehicle" in found.why
    assert cloud.asked == ["publish", "begin", "counts"]
