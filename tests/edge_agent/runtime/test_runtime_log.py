"""A drive during which specs and the model change: its logs, replayed, fire as the agent did."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.ota import Slot
from contracts.trigger_spec import LoadedSpec, load_specs, parse_spec
from edge_agent.app import Agent
from edge_agent.cli import BUNDLED_MODEL
from edge_agent.config import AgentConfig
from edge_agent.ota.ports import Lineup, ModelRelease
from edge_agent.runtime.built_in import built_in
from kernels.backtest.drives import logged_drives
from kernels.backtest.figures import figures_of
from kernels.backtest.replay import ReplayedDrive, replay
from kernels.clip.reader import read_manifest
from tests.edge_agent.agent_drives import PUBLISHED, driven, offer, rule


def check(state: Path, specs: list[LoadedSpec], fired: set[str]) -> ReplayedDrive:
    """Each spec replayed by itself fires, while it ran, exactly as recorded."""
    files = sorted((state / "signals").glob("*.ltsl"))
    found = set()
    for loaded in specs:
        (drive,) = replay([loaded], logged_drives(files))
        assert [note for note in drive.notes if "cannot fire" not in note] == []
        recorded = [f for f in drive.recorded if f.cause.spec_digest == loaded.digest]
        replayed = [f for f in drive.fires if drive.ran(loaded.digest, f.cause.fired_mono_ns)]
        assert [f.cause for f in replayed] == [f.cause for f in recorded], loaded.spec.id
        assert [f.outcome == "cooldown" for f in replayed] == [
            f.outcome == "cooldown" for f in recorded
        ]
        live = figures_of(loaded, [drive], 8.0, {}).live
        if live is not None:
            assert (live.only_replayed, live.only_recorded) == (0, 0)
            assert live.same == len({(f.cause.fired_mono_ns, f.outcome) for f in replayed})
        if recorded:
            found.add(f"{loaded.spec.id} v{loaded.spec.version}")
    assert fired <= found
    return drive


MOVING = rule("moving", "ego.speed_mps > 5", mode="level")
MOVING_2 = rule("moving", "ego.speed_mps > 4", version=2, mode="level")
SHADOW = rule("moving", "ego.speed_mps > 3", version=3, mode="level", cooldown="2s")
BRAKES = rule("brakes", "ego.decel_mps2 > 0.5", cooldown="1s")
RANDOM = parse_spec(
    "apiVersion: longtail/v1\nkind: random_baseline\nid: dice\nversion: 1\nowner: t\n"
    "cooldown: 0s\nwhen: {probability: 0.5, slot_s: 2}\ncapture: {pre: 0s, post: 1s}\n",
    "dice",
)


def test_a_recorded_drive_with_three_swaps(shared_data: Path, tmp_path: Path) -> None:
    acts = {
        12.3: offer((MOVING, False), (RANDOM, False), (BRAKES, False)),
        31.07: offer((MOVING_2, False), (SHADOW, True), (RANDOM, False), (BRAKES, False)),
        46.9: offer((MOVING, False), (SHADOW, False), (RANDOM, False)),
    }
    report, agent = driven(tmp_path, f"comma2k19:{shared_data / 'comma2k19'}", acts)
    specs = [*load_specs(PUBLISHED), MOVING, MOVING_2, SHADOW, BRAKES, RANDOM]
    drive = check(tmp_path, specs, {"moving v1", "moving v2", "moving v3", "brakes v1", "dice v1"})
    assert len(list((tmp_path / "signals").glob("*.ltsl"))) == 4
    assert len(drive.stretches) == 4
    assert drive.driven_s == pytest.approx(60, abs=0.1)
    assert report.signal_log_lost_ticks == 0
    assert agent.runtime.swaps == 3
    assert report.triggers["moving@shadow"].suppressed["shadow"] > 3
    assert {fire.outcome for fire in drive.recorded} >= {"kept", "shadow"}
    assert report.lineup.shadow_triggers == ()  # it left the shadow at the end


def test_a_simulated_drive_with_another_model_in_the_middle(tmp_path: Path) -> None:
    """The same network with its classes in another order, for one half of the drive."""
    found = built_in(AgentConfig(model=BUNDLED_MODEL)).model
    assert found is not None
    names = tuple(reversed(found.manifest.classes))

    def swap(agent: Agent) -> None:
        from edge_agent.perception.runtime import OnnxModel

        manifest = found.manifest.model_copy(update={"classes": names})
        model = OnnxModel(manifest, BUNDLED_MODEL.read_bytes(), "again")
        release = ModelRelease(Slot("model"), "b" * 64, manifest, model)
        # The test's vehicle never parks: the rule of the safe state is tried elsewhere.
        agent.runtime._safe = AlwaysSafe()
        agent.runtime.offer(Lineup(model=release))

    report, _ = driven(
        tmp_path, "sim:seed=1,duration_s=24,lidar=0", {12.0: swap}, model=BUNDLED_MODEL
    )
    assert report.lineup.models[0].digest == "b" * 64
    drive = check(tmp_path, load_specs(PUBLISHED), {"rare-class v1"})
    heads = [stretch.header.class_names for stretch in drive.stretches]
    assert heads == [found.manifest.classes, names]
    for clip in report.clips:
        manifest = read_manifest(tmp_path / "spool" / "clips" / f"{clip.clip_id}.mcap")
        assert manifest.model_digest == found.manifest.sha256


class AlwaysSafe:
    def see(self, now_ns: int, values: object) -> None:
        pass

    def waiting_for(self, now_ns: int) -> str:
        return ""


def test_counters_rise_over_runs_and_an_end_in_order_is_known(tmp_path: Path) -> None:
    source = "sim:seed=2,duration_s=8,lidar=0,camera=0"
    first, _ = driven(tmp_path, source, {})
    again, _ = driven(tmp_path, source, {})
    assert first.counters.starts == 1
    assert again.counters.starts == 2
    assert again.counters.unclean_starts == 0
    assert again.counters.driving_s == pytest.approx(2 * first.counters.driving_s, abs=0.1)
    assert again.counters.driven_m == pytest.approx(2 * first.counters.driven_m, rel=0.01)
    assert first.counters.driving_s == pytest.approx(8, abs=0.1)

    def crash(agent: Agent) -> None:
        raise RuntimeError("the agent dies")

    with pytest.raises(RuntimeError, match="the agent dies"):
        driven(tmp_path, source, {1.0: crash})
    after, _ = driven(tmp_path, source, {})
    assert (after.counters.starts, after.counters.unclean_starts) == (4, 1)
