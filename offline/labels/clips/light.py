"""The light ahead over a whole clip: a hidden course of states under what was seen of each instant.

Lights change in one order, green, amber, red, green, and amber lasts for seconds; a light comes
into sight in any state and goes out of sight in any. Instants after one another see alike, so
each one's word counts for a part only. How a network mistakes one state for another is part of
what it is worth as a witness.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from contracts.geometry import Frozen, Int64s
from contracts.labels import LIGHT_STATES, LightState
from contracts.samples import Float32s, Float64s

_STATES = len(LIGHT_STATES)
_NONE, _GREEN, _AMBER, _RED = (LIGHT_STATES.index(name) for name in LIGHT_STATES)
_LEAST = 1e-12
Share = Annotated[float, Field(gt=0, lt=1)]
Row = tuple[Share, Share, Share, Share]


class LightFusion(Frozen):
    """Times are in seconds. `taken_for` [4][4]: what each state is taken for, in the order of
    `LIGHT_STATES`, on average; `word` is the part for which one instant's word counts.
    """

    taken_for: tuple[Row, Row, Row, Row]
    word: float = Field(0.3, gt=0, le=1)
    amber_s: float = Field(2.0, ge=0)
    """That it lasts at least."""
    phase_s: float = Field(12.0, gt=0)
    """How long green or red last, about."""
    sight_s: float = Field(8.0, gt=0)
    """How long a light stays in sight, about, and how long there is none."""
    least: Share = 0.8
    """Probability under which the state is told as unknown."""

    @model_validator(mode="after")
    def _rows_sum_up(self) -> LightFusion:
        if any(abs(sum(row) - 1) > 1e-3 for row in self.taken_for):
            raise ValueError("taken_for: a row is a distribution, and sums up to 1")
        return self


def fused_light(told: Float32s, frame: Int64s, how: LightFusion, period_s: float) -> Float64s:
    """Probability of each state at each instant, float64 [f, 4].

    Args:
        told: by the network, probabilities [f, 4].
        frame: of each instant, rising from 0 on.
        how: what is believed of lights and of the network.
        period_s: of the frames.
    """
    state_of, step = _chain(how, period_s)
    word = np.log(np.maximum(told.astype(np.float64) @ np.array(how.taken_for).T, _LEAST))
    seen = np.zeros((int(frame[-1]) + 1, _STATES))
    seen[frame] = how.word * word
    likely = np.exp(seen - seen.max(axis=1, keepdims=True))[:, state_of]
    first = 1 / np.bincount(state_of)[state_of]
    ahead = np.empty_like(likely)
    ahead[0] = _unit(first * likely[0])
    for k in range(1, likely.shape[0]):
        ahead[k] = _unit((ahead[k - 1] @ step) * likely[k])
    back = np.ones(state_of.size)
    result = np.empty((likely.shape[0], _STATES))
    for k in reversed(range(likely.shape[0])):
        both = _unit(ahead[k] * back)
        result[k] = np.bincount(state_of, both, _STATES)
        back = _unit(step @ (back * likely[k]))
    return np.asarray(result[frame])


def light_labels(probability: Float64s, how: LightFusion) -> list[LightState | None]:
    """The state of each instant, None where it is unknown."""
    best = probability.argmax(axis=1)
    sure = probability.max(axis=1) >= how.least
    return [
        LIGHT_STATES[state] if good else None
        for state, good in zip(best.tolist(), sure.tolist(), strict=True)
    ]


def _chain(how: LightFusion, period_s: float) -> tuple[Int64s, Float64s]:
    """Which light each hidden state shows, and the chances of each following another [k, k].

    Amber is as many states in a row as it lasts frames: it cannot be over sooner.
    """
    ambers = max(1, round(how.amber_s / period_s))
    state_of = np.array([_NONE, _GREEN, _RED, *[_AMBER] * ambers])
    none, green, red, amber = 0, 1, 2, np.arange(3, 3 + ambers)
    gone, changes = period_s / how.sight_s, period_s / how.phase_s
    step = np.zeros((state_of.size, state_of.size))
    step[none, [green, red]] = gone * 0.45
    step[none, amber] = gone * 0.1 / ambers
    step[green, [none, amber[0]]] = gone, changes
    step[red, [none, green]] = gone, changes
    step[amber, none] = gone
    step[amber[:-1], amber[1:]] = 1 - gone
    step[amber[-1], red] = min(1 - gone, 0.5)
    step[np.diag_indices_from(step)] = 1 - step.sum(axis=1)
    return state_of, step


def _unit(weight: Float64s) -> Float64s:
    return np.asarray(weight / weight.sum())
