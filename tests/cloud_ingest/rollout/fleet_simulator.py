"""A fleet under a rollout, day by day: gamma-distributed rates, Poisson events, parked cars.

It plays the other side of `step`: it takes the decisions, installs at the next drive, counts,
and signs. Rates differ between vehicles (gamma, or log-normal to break the model's shape), are
shared by the weather of the day, and rise by `effect` on vehicles that run the release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cloud_ingest.rollout.guardrails import Guardrail
from cloud_ingest.rollout.machine import step
from cloud_ingest.rollout.observation import Exposure, InstallFailure, Interval, VehicleView
from cloud_ingest.rollout.state import (
    HOUR_NS,
    Command,
    Offer,
    Phase,
    RollBack,
    RolloutPlan,
    RolloutState,
    StepResult,
    Verb,
    new_rollout,
)
from contracts.clock import NS_PER_DAY

TARGET, OLD = "b" * 64, "a" * 64
KM_PER_H = 40.0

BASE_RATES = {"disengagements": 0.02, "agent_crashes": 0.002, "fires": 1.0}
"""Per km, per hour, per hour: about 3, 0.01 and 4 a driven day."""

GUARDRAILS = (
    Guardrail("disengagements", Exposure.DRIVEN_KM, min_exposure=2000.0),
    Guardrail("agent_crashes", Exposure.CONNECTED_H, min_exposure=50.0, negligible_rate=0.05),
    Guardrail("fires", Exposure.CONNECTED_H, min_exposure=50.0),
)

START = Command("start", Verb.START, actor="operator", reason="release day")


def plan(salt: str, **changes: object) -> RolloutPlan:
    return RolloutPlan(
        **{
            "rollout_id": "r1",
            "salt": salt,
            "target_digest": TARGET,
            "guardrails": GUARDRAILS,
            **changes,
        }  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class World:
    """What is true of a fleet.

    `dispersion` is k of the vehicles' rates, `weather_dispersion` that of the factor all share on
    a day, `day_dispersion` that of each vehicle's own day, which the model does not know (None:
    days are alike). `effect` multiplies the release's rates by guardrail.
    """

    vehicles: int = 200
    dispersion: float = 2.0
    lognormal: bool = False
    weather_dispersion: float = 10.0
    day_dispersion: float | None = None
    base_rates: Mapping[str, float] = field(default_factory=lambda: BASE_RATES)
    parked_share: float = 0.2
    effect: Mapping[str, float] = field(default_factory=dict)
    dies_share: float = 0.0
    cannot_install: frozenset[str] = frozenset()


class SimulatedFleet:
    """Vehicles `v0000`, `v0001`, ... and their days. Deterministic in `seed`."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = np.random.default_rng(seed)
        n = world.vehicles
        self.vehicle_ids = tuple(f"v{i:04d}" for i in range(n))
        self.place = {vehicle_id: i for i, vehicle_id in enumerate(self.vehicle_ids)}
        self.rates = {name: base * self._frailty(n) for name, base in world.base_rates.items()}
        self.installed: list[str | None] = [OLD] * n
        self.wanted: dict[int, tuple[str | None, int]] = {}
        self.driving_h = np.zeros(n)
        self.silent_h = np.zeros(n)
        self.dead = np.zeros(n, dtype=bool)
        self.failures: dict[int, InstallFailure] = {}
        self.day = 0

    def _frailty(self, n: int) -> np.ndarray:
        k = self.world.dispersion
        if self.world.lognormal:
            sigma = np.sqrt(np.log1p(1.0 / k))
            return self.rng.lognormal(-(sigma**2) / 2, sigma, n)
        return self.rng.gamma(k, 1.0 / k, n)

    @property
    def now_ns(self) -> int:
        return self.day * NS_PER_DAY

    def drive_a_day(self) -> Interval:
        n, rng = self.world.vehicles, self.rng
        hours = rng.gamma(4.0, 1.0, n) * (rng.random(n) >= self.world.parked_share)
        self._install(hours > 0)
        treated = np.array([digest == TARGET for digest in self.installed])
        weather = rng.gamma(self.world.weather_dispersion, 1.0 / self.world.weather_dispersion)
        told_h = np.where(self.dead, 0.0, hours)
        events = {}
        for name, rate in self.rates.items():
            exposure = told_h * KM_PER_H if name == "disengagements" else told_h
            factor = np.where(treated, self.world.effect.get(name, 1.0), 1.0)
            if self.world.day_dispersion is not None:
                k = self.world.day_dispersion
                factor = factor * rng.gamma(k, 1.0 / k, n)
            events[name] = rng.poisson(rate * exposure * factor * weather).astype(float)
        self.driving_h += np.where(treated, hours, 0.0)
        self.silent_h = np.where(self.dead, self.silent_h + hours, 0.0)
        interval = Interval(
            start_utc_ns=self.now_ns,
            end_utc_ns=self.now_ns + NS_PER_DAY,
            vehicle_ids=self.vehicle_ids,
            installed_digests=tuple(self.installed),
            driven_km=told_h * KM_PER_H,
            connected_h=told_h,
            events=events,
        )
        self.day += 1
        return interval

    def _install(self, drove: np.ndarray) -> None:
        for i in [i for i in self.wanted if drove[i]]:
            digest, attempt = self.wanted.pop(i)
            if digest == TARGET and self.vehicle_ids[i] in self.world.cannot_install:
                self.failures[i] = InstallFailure(attempt, "out of disk")
                continue
            self.installed[i] = digest
            self.driving_h[i] = 0.0
            self.dead[i] = digest == TARGET and self.rng.random() < self.world.dies_share

    def views(self) -> list[VehicleView]:
        driving = (self.driving_h * HOUR_NS).astype(np.int64).tolist()
        silent = (self.silent_h * HOUR_NS).astype(np.int64).tolist()
        return [
            VehicleView(
                vehicle_id=vehicle_id,
                first_contact_ns=0,
                last_contact_ns=self.now_ns,
                installed_digest=self.installed[i],
                manifest_utc_ns=self.now_ns,
                driving_since_applied_ns=driving[i],
                silent_driving_ns=silent[i],
                failure=self.failures.get(i),
            )
            for i, vehicle_id in enumerate(self.vehicle_ids)
        ]

    def take(self, result: StepResult) -> None:
        for decision in result.decisions:
            i = self.place[decision.vehicle_id]
            match decision:
                case Offer(digest=digest, attempt=attempt):
                    self.wanted[i] = (digest, attempt)
                case RollBack(digest=digest):
                    self.wanted[i] = (digest, 0)
                case _:
                    self.wanted.pop(i, None)


@dataclass(frozen=True)
class Ending:
    """How a simulated rollout went. `halted_stage` is None when it did not halt."""

    state: RolloutState
    halted_stage: int | None
    day: int
    fleet: SimulatedFleet


STOPPED = frozenset({Phase.HALTED, Phase.ABORTED, Phase.DONE})


def roll_out(
    world: World, seed: int, *, max_days: int = 60, history_days: int = 10, **changes: object
) -> Ending:
    """One rollout from its plan to its end, or for `max_days` of it."""
    fleet = SimulatedFleet(world, seed)
    state = new_rollout(plan(f"salt-{seed}", **changes))
    for _ in range(history_days):
        state = step(state, fleet.views(), [fleet.drive_a_day()], None, fleet.now_ns).state
    result = step(state, fleet.views(), [], START, fleet.now_ns)
    halted_stage = None
    while result.state.phase not in STOPPED and fleet.day < history_days + max_days:
        fleet.take(result)
        interval = fleet.drive_a_day()
        result = step(result.state, fleet.views(), [interval], None, fleet.now_ns)
        if result.state.phase in (Phase.ROLLING_BACK, Phase.HALTED):
            halted_stage = result.state.stage
    return Ending(result.state, halted_stage, fleet.day - history_days, fleet)
