"""Clips of simulated scenarios as a catalog knows them, for searches by sentence.

Each scenario is driven as it is written, and twice again at another time of day and in other
weather; what a clip's manifest says of it is told from the exact world: what came near and in
sight, how the vehicle drove, whether the driver took over. No sensors are rendered.

`python -m bench.mining_scenes` drives them all anew, some minutes, and writes
`scene_sentences/clips.json`, which the bench reads.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contracts.clip import Cause, ClipManifest, ClipSummary, ObjectSummary, Window
from contracts.clock import NS_PER_S, ClockQuality
from contracts.ids import EventKey
from sim_fleet.classes import KIND_NAMES, Kind
from sim_fleet.drive import Tick
from sim_fleet.scenarios.library import built_in
from sim_fleet.scenarios.spec import ScenarioSpec, WeatherSpec
from sim_fleet.source import DriveOptions, SimFleetSource
from sim_fleet.world.conditions import TimeOfDay, Weather
from sim_fleet.world.oracle import OracleFrame

DRIVE_S = 6.0
CLIPS = Path(__file__).with_name("scene_sentences") / "clips.json"
_OTHERS: tuple[tuple[TimeOfDay, Weather], ...] = (
    ("day", "clear"), ("night", "clear"), ("dusk", "rain"), ("day", "fog"), ("night", "rain"),
    ("glare", "clear"),
)  # fmt: skip
_SEEN_M = 45.0
_LEAST_VISIBLE = 0.3
_HARD_MPS2 = 4.0


@dataclass(frozen=True, slots=True)
class SimClip:
    """A clip by its scenario, time of day and weather."""

    key: str
    manifest: ClipManifest


def variations(spec: ScenarioSpec, number: int) -> list[ScenarioSpec]:
    """The scenario as written, and in two other conditions; which ones `number` tells."""
    own = (spec.tod or "day", spec.weather.kind or "clear")
    others = [pair for pair in _OTHERS if pair != own]
    chosen = [others[(number + step) % len(others)] for step in (0, 2)]
    return [spec] + [
        spec.model_copy(update={"tod": tod, "weather": WeatherSpec(kind=weather)})
        for tod, weather in chosen
    ]


def driven_clips(names: tuple[str, ...], duration_s: float = DRIVE_S) -> list[SimClip]:
    """Drives of some scenarios, three of each."""
    library = built_in()
    return [
        _driven(spec, duration_s)
        for number, name in enumerate(names)
        for spec in variations(library.scenario(name), number)
    ]


def stored_clips() -> list[SimClip]:
    """The clips of all scenarios, as they were driven."""
    stored = json.loads(CLIPS.read_text("utf-8"))
    return [SimClip(key, ClipManifest.model_validate(told)) for key, told in stored.items()]


def key_of(spec: ScenarioSpec) -> str:
    return f"{spec.id} {spec.tod} {spec.weather.kind or 'clear'}"


def _driven(spec: ScenarioSpec, duration_s: float) -> SimClip:
    source = SimFleetSource(DriveOptions(spec, seed=1, duration_s=duration_s))
    world = source.staged.world
    ticks = source.drive().run(round(duration_s * 50))
    speeds = np.array([tick.ego.speed_mps for tick in ticks])
    accels = np.array([tick.ego.accel_mps2 for tick in ticks])
    across = np.array([abs(tick.ego.lat_accel_mps2) for tick in ticks])
    causes = []
    if -accels.min() > _HARD_MPS2:
        causes.append("hard_brake")
    if source.staged.autonomy and not ticks[-1].wheel.engaged:
        causes.append("disengagement")
    summary = ClipSummary(
        weather=world.conditions.weather, tod=world.conditions.tod,
        road_type=world.roads.road_type, min_speed_mps=float(speeds.min()),
        mean_speed_mps=float(speeds.mean()), max_speed_mps=float(speeds.max()),
        max_decel_mps2=float(-accels.min()), max_accel_mps2=float(accels.max()),
        max_lat_accel_mps2=float(across.max()), detected_objects=_objects(ticks),
    )  # fmt: skip
    return SimClip(key_of(spec), _manifest(spec.id, summary, causes or ["random_baseline"]))


def _objects(ticks: list[Tick]) -> dict[str, ObjectSummary]:
    frames, most = Counter[str](), Counter[str]()
    for tick in ticks:
        if tick.truth is None:
            continue
        for name, count in _seen(tick.truth).items():
            frames[name] += 1
            most[name] = max(most[name], count)
    return {
        name: ObjectSummary(frames=frames[name], max_in_frame=most[name], max_probability=0.9)
        for name in sorted(frames)
    }


def _seen(truth: OracleFrame) -> Counter[str]:
    ahead, aside = truth.centre_ego_m[:, 0], truth.centre_ego_m[:, 1]
    near = (ahead > 0) & (ahead < _SEEN_M) & (np.abs(aside) < ahead + 2)
    clear = np.nan_to_num(truth.visibility, nan=1.0) >= _LEAST_VISIBLE
    return Counter(KIND_NAMES[Kind(int(kind))] for kind in truth.kind[near & clear])


def _manifest(name: str, summary: ClipSummary, kinds: list[str]) -> ClipManifest:
    end_ns = 8 * NS_PER_S
    window = Window(start_mono_ns=0, end_mono_ns=end_ns)
    causes = tuple(
        Cause(
            trigger_id=kind.replace("_", "-"), trigger_version=1, spec_digest="0" * 64, kind=kind,
            fired_mono_ns=0, start_mono_ns=0, end_mono_ns=end_ns, score=1.0,
        )
        for kind in kinds
    )  # fmt: skip
    event = EventKey(vehicle_id="car-1", boot_id=name, start_mono_ns=0, end_mono_ns=end_ns)
    return ClipManifest(
        event=event, drive_id=name, software_version="0.1.0", stream="triggered", causes=causes,
        requested=window, actual=window, utc_minus_mono_ns=0,
        clock=ClockQuality(synchronised=True), summary=summary,
    )  # fmt: skip


if __name__ == "__main__":
    found = driven_clips(built_in().names)
    told = {
        each.key: each.manifest.model_dump(mode="json", exclude_defaults=True) for each in found
    }
    CLIPS.parent.mkdir(exist_ok=True)
    CLIPS.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
