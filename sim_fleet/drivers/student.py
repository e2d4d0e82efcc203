"""A perceiver that knows what the vehicle's own model sees, and nothing else.

It runs a bird's-eye model over the drive's samples by the agent's own means, so planner and agent
see the same; with a session that remembers (`edge_agent.perception.sessions`), which the two
share, the network runs once a frame. The truth is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from contracts.errors import InputError
from contracts.labels import LIGHT_STATES
from contracts.samples import Detection, Float32s, PerceptionFrame
from edge_agent.perception.frames import BevFrames
from edge_agent.ports import BevModel
from kernels.bev.motion import UnknownMotionError
from kernels.detection import presence
from sim_fleet.classes import Kind
from sim_fleet.drivers.ports import Moment, Perceived

ACT_PROBABILITY = 0.4
"""Calibrated probability that something is there, from which the planner drives for it. Below even
odds, since to overlook something costs more than to brake for nothing; not far below, since a
planner that brakes for every guess is no better: the human takes over from it all the same."""

STOP_PROBABILITY = 0.5
"""Probability of amber or red together from which the light counts as one to stop for."""

ANIMAL_M = 2.0
"""Length and width that the planner keeps clear of an animal at the least: it may turn on the spot,
and which way it faces is hard to see."""

_STOP_STATES = [LIGHT_STATES.index("amber"), LIGHT_STATES.index("red")]


class StudentPerceiver:
    """A `Perceiver` over one drive. Make a new one for each: it remembers the drive's samples.

    Raises `InputError` for a model that knows a class which the simulator does not.

    Args:
        frames: the drive's samples so far, from one who drove by another model before.

    Attributes:
        last: what the model saw last; None before the first answer and where it gave none.
    """

    wants_samples = True

    def __init__(
        self, model: BevModel, act_probability: float = ACT_PROBABILITY,
        frames: BevFrames | None = None,
    ) -> None:  # fmt: skip
        self._model = model
        self._act = act_probability
        self._frames = frames or BevFrames()
        self._kinds = {name: _kind_of(name) for name in model.class_names}
        self._places = {name: place for place, name in enumerate(model.class_names)}
        self.last: PerceptionFrame | None = None

    def perceive(self, moment: Moment) -> Perceived:
        """What is there by the model; nothing when it gives no answer."""
        for sample in moment.samples:
            self._frames.add(sample)
        self.last = self._seen(max((sample.mono_ns for sample in moment.samples), default=0))
        if self.last is None:
            return self._perceived((), None)
        return self._perceived(self._sure(self.last.detections), self.last.light)

    def _sure(self, told: Sequence[Detection]) -> list[Detection]:
        if not told:
            return []
        there = presence(
            np.array([found.probability for found in told]),
            np.stack([found.distribution for found in told]),
            np.array([self._places[found.class_name] for found in told]),
        )
        return [found for found, sure in zip(told, there >= self._act, strict=True) if sure]

    def _seen(self, now_ns: int) -> PerceptionFrame | None:
        try:
            tensors = self._frames.tensors(self._model.spec, now_ns)
        except UnknownMotionError:
            return None
        return self._model.perceive(tensors, now_ns)

    def _perceived(self, sure: Sequence[Detection], light: Float32s | None) -> Perceived:
        boxes = [found.cuboid for found in sure if found.cuboid is not None]
        kinds = np.array(
            [self._kinds[f.class_name] for f in sure if f.cuboid is not None], np.int64
        )
        size_m = np.array([box.size_m[:2] for box in boxes], np.float64).reshape(-1, 2)
        return Perceived(
            np.array([box.centre_m[:2] for box in boxes], np.float64).reshape(-1, 2),
            np.array([box.yaw_rad for box in boxes], np.float64),
            np.maximum(size_m, np.where(kinds == Kind.ANIMAL, ANIMAL_M, 0.0)[:, None]),
            np.array([box.velocity_mps for box in boxes], np.float64).reshape(-1, 2),
            kinds,
            light is not None and float(light[_STOP_STATES].sum()) >= STOP_PROBABILITY,
        )


class RunningPerceiver:
    """A perceiver by whichever model the vehicle runs now; without one nothing is seen.

    Args:
        running: the model that runs, asked at each moment; equal answers are one object.
    """

    wants_samples = True

    def __init__(self, running: Callable[[], BevModel | None]) -> None:
        self._running = running
        self._frames = BevFrames()
        self._model: BevModel | None = None
        self._student: StudentPerceiver | None = None

    def perceive(self, moment: Moment) -> Perceived:
        model = self._running()
        if model is not self._model:
            self._model = model
            self._student = None if model is None else StudentPerceiver(model, frames=self._frames)
        if self._student is not None:
            return self._student.perceive(moment)
        for sample in moment.samples:
            self._frames.add(sample)
        return NOTHING


NOTHING = Perceived(
    np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, np.int64), False
)


def _kind_of(name: str) -> int:
    try:
        return int(Kind[name.upper()])
    except KeyError:
        raise InputError(f"the simulator knows no class {name!r}", "model") from None
