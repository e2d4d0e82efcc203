"""Precision and recall of every trigger kind in the simulator, against the true cause.

Every built-in scenario is driven through the agent's own drive with the published specs as they
stand (shadow and adaptive thresholds aside). What was the case is the simulator's exact state, not
its sensors: acceleration, takeovers, gaps, plan against path, who was in view. Recall is over
events clearly beyond a bound, precision counts a fire as right when the truth is near it; what lies
within a fifth of the bound is neither. Cooldowns are not applied.

Kinds that watch the model are driven with a model that sees the truth and makes mistakes on
purpose, so they are the trigger's merit alone: on the road the model's own mistakes are added.
Embeddings are those of the bundled detector. The phone drives (hard brake, lane change) are
recorded and labelled by their drivers; they need the folder of recorded drives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import trigger_specs
from bench.figures import Figure, figure
from bench.phone_drives import fires_s, load_phone_drive, swerves_s
from bench.trigger_mistakes import model_kinds
from bench.trigger_world import DrivenDrive, Interval, driven, stretches
from contracts.trigger_spec import LoadedSpec, RandomBaselineSpec, load_specs
from sim_fleet.drive import PLAN_EVERY
from sim_fleet.scenarios.library import built_in
from sim_fleet.source import DriveOptions
from sim_fleet.world.oracle import OracleFrame

SEEDS = (0, 1)
SECONDS = 20.0
BEFORE_S, AFTER_S = 0.5, 1.5
CLEARLY, BARELY = 1.2, 0.8
_BUMPER_M = 3.8


@dataclass(slots=True)
class Score:
    """Right fires of all, found events of all."""

    right: int = 0
    fires: int = 0
    found: int = 0
    events: int = 0

    def add(self, fires: Sequence[float], sure: Sequence[Interval], near: Sequence[Interval]
            ) -> None:  # fmt: skip
        """Fires at these times; events that must be found, and where a fire is right.

        Events between which the bound was not clearly left are one: a trigger fires on its edge.
        """
        spans = _joined(sorted(near), 2 * BEFORE_S)
        events = [[e for e in sure if each[0] - 0.1 <= e[0] <= each[1] + 0.1] for each in spans]
        self.fires += len(fires)
        self.right += sum(any(_near(t, each) for each in spans) for t in fires)
        for each in filter(None, events):
            self.events += 1
            self.found += any(_near(t, (each[0][0], each[-1][1])) for t in fires)

    def figures(self, name: str, least: float = 0.9) -> list[Figure]:
        """Recall and precision; those of nothing are left out."""
        found = []
        if self.events:
            found.append(figure(f"{name}: recall of {self.events}", self.found / self.events,
                                "ratio", goal=f">= {least}"))  # fmt: skip
        if self.fires:
            found.append(figure(f"{name}: precision of {self.fires}", self.right / self.fires,
                                "ratio", goal=f">= {least}"))  # fmt: skip
        return found


def _near(t_s: float, span: Interval) -> bool:
    return span[0] - BEFORE_S <= t_s <= span[1] + AFTER_S


def run(
    recorded: Path | None = None, seeds: Sequence[int] = SEEDS, scenarios: Iterable[str] = ()
) -> list[Figure]:
    """All figures.

    Args:
        recorded: folder of recorded drives; without it the phone drives are left out.
        seeds: of each scenario; of drives whose model errs, of which there are many, the first.
        scenarios: ids; all built-in ones when none is given.
    """
    specs = published()
    scores = {name: Score() for name in CAUSES}
    slots = kept = 0
    for scenario in list(scenarios) or sorted(built_in().names):
        for seed in seeds:
            options = DriveOptions(built_in().scenario(scenario), seed, "light", SECONDS)
            drive = driven(options, specs)
            for name, cause in CAUSES.items():
                scores[name].add(drive.fires_s[name], *cause(drive))
            slots += 1
            kept += len(drive.fires_s["random-baseline"])
    found = [each for name, score in scores.items() for each in score.figures(name)]
    chance = next(s.spec.when.probability for s in specs if isinstance(s.spec, RandomBaselineSpec))
    found.append(figure(
        f"random-baseline: kept slots of {slots}", kept / slots, "ratio",
        reference="its inclusion probability", reference_value=chance,
    ))  # fmt: skip
    found += model_kinds(specs, seeds[:1])
    if recorded is not None:
        found += phone_figures(recorded, specs)
    return found


def published() -> list[LoadedSpec]:
    """The published specs, each for itself: nothing in shadow, no threshold that adapts."""
    return [
        each.model_copy(update={"spec": each.spec.model_copy(update={"rate": None})})
        for each in load_specs(Path(trigger_specs.__path__[0]))
    ]


# The true causes ----------------------------------------------------------------------------

Cause = Callable[[DrivenDrive], tuple[list[Interval], list[Interval]]]


def _beyond(value: Callable[[DrivenDrive], np.ndarray], bound: float, hold_s: float) -> Cause:
    """A true value of each tick clearly beyond a bound for a hold time, and barely at all."""

    def cause(drive: DrivenDrive) -> tuple[list[Interval], list[Interval]]:
        times, values = [tick.t_s for tick in drive.ticks], value(drive)
        sure = stretches(times, (values > CLEARLY * bound).tolist(), hold_s + 0.1)
        return sure, stretches(times, (values > BARELY * bound).tolist())

    return cause


def _accel(drive: DrivenDrive) -> np.ndarray:
    return np.array([tick.ego.accel_mps2 for tick in drive.ticks])


def _filtered(values: np.ndarray, tau_s: float = 0.15) -> np.ndarray:
    """As the triggers filter: what shorter shocks leave of themselves."""
    keep, last = 1.0 - np.exp(-0.02 / tau_s), float(values[0])
    found = np.empty_like(values)
    for i, value in enumerate(values.tolist()):
        last += keep * (value - last)
        found[i] = last
    return found


def _slope(values: np.ndarray, window: int = 15) -> np.ndarray:
    """Derivative over 0.3 s, as it is known at the end of it."""
    late = np.concatenate([np.full(window, values[0]), values[:-window]])
    return np.asarray((values - late) / (window * 0.02))


def _takeovers(drive: DrivenDrive) -> tuple[list[Interval], list[Interval]]:
    engaged = [tick.wheel.engaged for tick in drive.ticks]
    at = [
        drive.ticks[i].t_s
        for i in range(1, len(engaged))
        # One that ends within the hold time of 100 ms, or with the drive, is none.
        if engaged[i - 1] and not any(engaged[i : i + 8]) and i + 8 < len(engaged)
    ]
    spans = [(t_s, t_s) for t_s in at]
    return spans, [
        (drive.ticks[i].t_s, drive.ticks[i].t_s)
        for i in range(1, len(engaged))
        if engaged[i - 1] and not engaged[i]
    ]


def _gap(truth: OracleFrame, aside_m: float) -> float:
    """Time to collision with the nearest thing ahead that lies in the path; inf without any."""
    x = truth.centre_ego_m[:, 0] - truth.size_m[:, 0] / 2 - _BUMPER_M
    side = np.abs(truth.centre_ego_m[:, 1]) - truth.size_m[:, 1] / 2
    closing = truth.ego.speed_mps - truth.velocity_ego_mps[:, 0]
    shown = np.nan_to_num(truth.visibility, nan=0.0) > 0.05
    ahead = (x > 0) & (side < aside_m) & (closing > 0.5) & shown
    return float((x[ahead] / closing[ahead]).min()) if ahead.any() else np.inf


def _collision(drive: DrivenDrive) -> tuple[list[Interval], list[Interval]]:
    sure = drive.observed(lambda t: t.ego.speed_mps > 2.5 and _gap(t, 0.5) < 1.5 / CLEARLY, 0.25)
    return sure, drive.observed(lambda t: _gap(t, 1.6) < 1.5 / BARELY)


def _parted(drive: DrivenDrive) -> tuple[list[Interval], list[Interval]]:
    """Plan and path over the plan's horizon, both true; known at its end."""
    sure: list[Interval] = []
    near: list[Interval] = []
    place = np.array([(t.ego.motion(0.0).x_m, t.ego.motion(0.0).y_m) for t in drive.ticks])
    for i in range(0, len(drive.ticks), PLAN_EVERY):
        plan = drive.ticks[i].plan
        if plan is None:
            continue
        at = i + np.rint(plan.t_s * 50).astype(int)
        if at[-1] >= len(drive.ticks):
            continue
        yaw = drive.ticks[i].motion.yaw_rad
        moved = place[at] - place[i]
        cos, sin = np.cos(yaw), np.sin(yaw)
        path = np.stack(
            [cos * moved[:, 0] + sin * moved[:, 1], -sin * moved[:, 0] + cos * moved[:, 1]], axis=1
        )
        apart = np.hypot(*(path - plan.xy_m).T)
        score = max(float(apart.mean()) / 1.5, float(apart[-1]) / 4.0)
        end_s = drive.ticks[int(at[-1])].t_s
        moving = drive.ticks[int(at[-1])].ego.speed_mps > 1.5
        if score > CLEARLY and moving:
            sure.append((end_s, end_s + 0.1))
        if score > BARELY:
            near.append((end_s, end_s + 0.1))
    return _joined(sure), _joined(near)


def _joined(spans: list[Interval], gap_s: float = 0.25) -> list[Interval]:
    found: list[Interval] = []
    for start, end in spans:
        if found and start - found[-1][1] <= gap_s:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _swerved(drive: DrivenDrive) -> tuple[list[Interval], list[Interval]]:
    """Lateral acceleration, or yaw rate on both sides within the reversal time."""
    times = [tick.t_s for tick in drive.ticks]
    lateral = np.abs([tick.ego.lat_accel_mps2 for tick in drive.ticks])
    yaw = np.array([tick.ego.yaw_rate_radps for tick in drive.ticks])
    fast = np.array([tick.ego.speed_mps for tick in drive.ticks])

    def reversed_at(ratio: float) -> np.ndarray:
        left, right = yaw > 0.25 * ratio, yaw < -0.25 * ratio
        window = round(1.5 / ratio * 50)
        lately = [
            (left[i] and right[max(0, i - window) : i].any())
            or (right[i] and left[max(0, i - window) : i].any())
            for i in range(len(yaw))
        ]
        return np.array(lately) & (fast > 5.0 * ratio)

    sure = stretches(times, ((lateral > 4.0 * CLEARLY) | reversed_at(CLEARLY)).tolist(), 0.3)
    return sure, stretches(times, ((lateral > 4.0 * BARELY) | reversed_at(BARELY)).tolist())


CAUSES: dict[str, Cause] = {
    "hard-brake": _beyond(lambda d: -_filtered(_accel(d)), 3.0, 0.3),
    "hard-accel": _beyond(lambda d: _filtered(_accel(d)), 3.0, 0.4),
    "jerk": _beyond(lambda d: np.abs(_filtered(_slope(_accel(d)))), 12.0, 0.06),
    "swerve": _swerved,
    "disengagement": _takeovers,
    "time-to-collision": _collision,
    "planner-divergence": _parted,
}


# Recorded -----------------------------------------------------------------------------------


def phone_figures(data: Path, specs: Sequence[LoadedSpec]) -> list[Figure]:
    folder = data / "driverBehavior"
    if not folder.is_dir():
        return []
    by_id = {each.spec.id: each for each in specs}
    brakes, turns = load_phone_drive(folder / "17"), load_phone_drive(folder / "20")
    found: list[Figure] = []
    score = Score()
    fires = fires_s(brakes, by_id["hard-brake"])
    score.add(fires, brakes.brakes_s, brakes.brakes_s)
    found += score.figures("hard-brake on the phone drive with brakes")
    calm = fires_s(turns, by_id["hard-brake"])
    found.append(figure(
        "hard-brake on the phone drive of turns: false alarms", len(calm) / turns.hours, "/h",
        goal="<= 15",
    ))  # fmt: skip
    score = Score()
    score.add(swerves_s(brakes, by_id["swerve"]), brakes.lane_changes_s,
              [*brakes.lane_changes_s, *brakes.turns_s])  # fmt: skip
    found += score.figures("swerve on the phone drive with lane changes")
    score = Score()
    score.add(swerves_s(turns, by_id["swerve"]), turns.turns_s, turns.turns_s)
    found += score.figures("swerve on the phone drive of aggressive turns", 0.5)
    return found
