"""Clips as history: a spec run over a clip fires where it fired on the vehicle."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.spec_clips import fires_in_clips
from contracts.errors import CorruptError
from contracts.trigger_spec import load_specs
from edge_agent.app import run_agent
from edge_agent.config import AgentConfig
from kernels.clip.reader import read_manifest
from tests.cli.test_spec_tools import PUBLISHED, as_json, longtail, rule


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Clips of a simulated drive with an emergency in it, without a model."""
    folder = tmp_path_factory.mktemp("agent")
    values = {"state": folder, "source": "sim:seed=7,duration_s=40", "specs": (PUBLISHED,)}
    run_agent(AgentConfig.model_validate(values))
    return sorted((folder / "spool").rglob("*.mcap"))


def test_the_clip_s_own_causes_fire_again(clips: list[Path]) -> None:
    seen = 0
    specs = load_specs(PUBLISHED)
    for found in fires_in_clips(specs, clips):
        causes = read_manifest(found.clip).causes
        # The random baseline counts its slots from the drive's start, which no clip knows.
        wanted = {c.trigger_id: c for c in causes if c.kind != "random_baseline"}
        replayed = {f.cause.trigger_id: f.cause for f in found.drive.fires if f.outcome == "fire"}
        for trigger_id, cause in wanted.items():
            again = replayed[trigger_id]
            assert again.fired_mono_ns == cause.fired_mono_ns
            # Filters have no past before the clip; after its pre-roll that is forgotten.
            assert again.score == pytest.approx(cause.score, rel=1e-6)
            assert again.evidence == pytest.approx(cause.evidence, rel=1e-6)
            seen += 1
    assert seen >= 2


def test_backtest_and_diff_over_clips(clips: list[Path], tmp_path: Path) -> None:
    brake = PUBLISHED / "hard-brake.yaml"
    never = rule(tmp_path / "never.yaml", "ego.speed_mps > 100")
    caught = as_json("backtest", brake, "--in-clips", clips[0].parent)["clips"]
    hit = {one["clip"] for one in caught if one["triggers"] == ["hard-brake"]}
    assert len(caught) == len(clips)
    assert hit
    assert "no rate follows" in longtail("backtest", brake, "--in-clips", clips[0].parent).output
    lost = as_json("diff", brake, never, "--in-clips", clips[0].parent)
    assert (set(lost["clips_lost"]), lost["clips_gained"]) == (hit, [])
    gained = longtail("diff", never, brake, "--in-clips", clips[0].parent).output
    assert f"{len(hit)} clips gained, 0 lost among those given" in gained


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.mcap"
    bad.write_bytes(b"not a clip")
    done = longtail("backtest", PUBLISHED / "hard-brake.yaml", "--in-clips", bad)
    assert isinstance(done.exception, CorruptError)
