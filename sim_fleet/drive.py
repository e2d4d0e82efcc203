"""One simulated drive, tick by tick: the world, the ego, and whoever drives it.

Each tick of 20 ms: observe, perceive and plan (ten times a second), let the human watch, move
the ego, move the world. Whoever records the drive reads `Tick`s; sensors may be rendered from
them before the planner is told what they saw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.samples import Sample
from sim_fleet.drivers.ego import Command, EgoState
from sim_fleet.drivers.human import Human, Wheel
from sim_fleet.drivers.perceivers import chosen, red_ahead
from sim_fleet.drivers.policy import HUMAN_MANNER, RulePlanner
from sim_fleet.drivers.ports import Moment, Perceiver, Plan, Planner, Route
from sim_fleet.drivers.route import moved_ego, route_of
from sim_fleet.sensors.mounts import EgoMotion
from sim_fleet.sensors.surroundings import Surveyor
from sim_fleet.world.oracle import OracleFrame, observe
from sim_fleet.world.world import RATE_HZ, STEP_S, World

PLAN_EVERY = RATE_HZ // 10
_HUMAN_SEES_M = 100.0


@dataclass(frozen=True, slots=True)
class Tick:
    """One instant: the world, the ego, who drives and what was asked of the car.

    `plan` is the planner's on its `route`, and `own` what the human would have done, who sees the
    truth (all None between the planner's ten times a second); `command` what drove the step before
    this instant.
    """

    index: int
    world: World
    ego: EgoState
    wheel: Wheel
    command: Command
    steering_override: bool
    plan: Plan | None
    own: Plan | None
    route: Route | None
    truth: OracleFrame | None

    @property
    def t_s(self) -> float:
        return self.index * STEP_S

    @property
    def motion(self) -> EgoMotion:
        return self.ego.motion(self.t_s)


class SimDrive:
    """The state of one drive.

    Args:
        autonomy: whether the planner drives at all; the human alone does if not.
        wanted_mps: the ego's wished speed, or None for the limit.
    """

    def __init__(
        self, world: World, ego: EgoState, planner: Planner, perceiver: Perceiver, *,
        human: Human | None = None, autonomy: bool = True, wanted_mps: float | None = None,
        judge_visibility: bool = True,
    ) -> None:  # fmt: skip
        self._world = moved_ego(world, ego)
        self._ego = ego
        self._planner = planner
        self._perceiver = perceiver
        self._human = human or Human()
        self._driver = RulePlanner(HUMAN_MANNER, wanted_mps)
        self._autonomy = autonomy
        self._wheel = Wheel(autonomy)
        self._command = Command(0.0, 0.0)
        self._override = False
        self._plan: Plan | None = None
        self._own: Plan | None = None
        self._route: Route | None = None
        self._index = 0
        self._wait_s = 0.0
        self._surveyor = Surveyor(world.roads, world.conditions)
        self._judge_visibility = judge_visibility

    @property
    def surveyor(self) -> Surveyor:
        """Shared with the sensors, so that what stands is kept once."""
        return self._surveyor

    @property
    def wants_samples(self) -> bool:
        return self._perceiver.wants_samples

    @property
    def plans_now(self) -> bool:
        """Whether this instant is one of the planner's ten a second."""
        return self._index % PLAN_EVERY == 0

    def observe(self) -> OracleFrame:
        """The exact truth of this instant."""
        motion = self._ego.motion(self._index * STEP_S)
        scene = self._surveyor.scene(self._world.actors, motion) if self._judge_visibility else None
        return observe(self._world, motion, scene)

    def tick(self, truth: OracleFrame | None, plan: Plan | None) -> Tick:
        """This instant as it will be recorded."""
        own, route = (None, None) if plan is None else (self._own, self._route)
        return Tick(self._index, self._world, self._ego, self._wheel, self._command,
                    self._override, plan, own, route, truth)  # fmt: skip

    def think(self, moment: Moment) -> Plan:
        """Perceive and plan; the human looks on. Returns the planner's plan."""
        route = route_of(self._world, self._wait_s)
        plan = self._planner.plan(self._ego, route, self._perceiver.perceive(moment))
        self._consult_human(moment.truth, route, plan)
        self._plan, self._route = plan, route
        return plan

    def _consult_human(self, truth: OracleFrame, route: Route, plan: Plan) -> None:
        away = np.hypot(truth.centre_ego_m[:, 0], truth.centre_ego_m[:, 1])
        real = chosen(truth, away < _HUMAN_SEES_M, red_ahead(truth))
        self._own = self._driver.plan(self._ego, route, real)
        before = self._wheel.engaged
        if self._autonomy:
            self._wheel = self._human.watch(
                self._wheel, plan, self._own, route, self._ego, real, PLAN_EVERY * STEP_S
            )
        if before and not self._wheel.engaged:
            turned = self._own.curvature_per_m - plan.curvature_per_m
            self._override = abs(turned) > 0.008 or self._wheel.why == "lane"
        elif self._wheel.engaged or self._wheel.since_s > 1.2:
            self._override = False

    def advance(self) -> None:
        """Move ego and world by one tick, after `think` where it was due."""
        plan = self._plan if self._wheel.engaged else self._own
        if plan is not None:
            self._command = Command(plan.accel_mps2, plan.curvature_per_m)
        self._ego = self._ego.driven(self._command, STEP_S, self._world.conditions.friction)
        self._wait_s = self._wait_s + STEP_S if self._ego.speed_mps < 0.3 else 0.0
        self._world = moved_ego(self._world.step(STEP_S), self._ego)
        self._index += 1

    def run(self, ticks: int) -> list[Tick]:
        """Drive without sensors; every instant, for tests and statistics."""
        return [self.step_once(()) for _ in range(ticks)]

    def step_once(self, samples: tuple[Sample, ...]) -> Tick:
        """Observe, think where it is due, and advance. Returns the instant before moving."""
        truth, plan = None, None
        if self.plans_now:
            truth = self.observe()
            plan = self.think(Moment(truth, samples))
        tick = self.tick(truth, plan)
        self.advance()
        return tick
