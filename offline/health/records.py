"""What the health monitors say.

A test's `p_value` holds for itself; `adjusted` (Benjamini and Hochberg 1995) is what is judged, so
that of all cohorts that are told as drifted at most the stated share is so by chance. None where
too few drives are at hand to tell: that is no all-clear.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.geometry import Finite, Frozen
from contracts.ids import Sha256Hex

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=300)]
EMBEDDING = "embedding"


class Tested(Frozen):
    """One measure of one cohort, now against the reference.

    `measure` is `embedding`, or the name of a figure, whose weighted means are `before` and
    `now`. `distance` is the energy distance of both distributions; of a figure it is in the
    figure's unit. `size` tells how large that is beside what the reference spreads: 0 for alike,
    1 for wholly apart (`offline.health.energy`).
    """

    cohort: Text
    measure: Text
    clips: int = Field(ge=0)
    drives: int = Field(ge=0)
    reference_clips: int = Field(ge=0)
    reference_drives: int = Field(ge=0)
    distance: Finite = Field(ge=0)
    size: Probability
    before: Finite | None = None
    now: Finite | None = None
    p_value: Probability | None
    adjusted: Probability | None = None
    drifted: bool = False


class NotTested(Frozen):
    """A cohort that could not be compared, and why."""

    cohort: Text
    reason: Text


class DriftReport(Frozen):
    """Input distribution by cohort, `tag=value`, against the reference's random stream.

    `level`: of what is told as drifted at most this share is so by chance. `space` is the model
    whose embeddings were compared.
    """

    schema_version: Literal[1] = 1
    space: Sha256Hex
    level: Probability
    rounds: int = Field(ge=1)
    clips: int = Field(ge=0)
    reference_clips: int = Field(ge=0)
    tests: tuple[Tested, ...]
    not_tested: tuple[NotTested, ...] = ()

    @property
    def drifted(self) -> tuple[Tested, ...]:
        """What is told as drifted, the largest first."""
        found = [each for each in self.tests if each.drifted]
        return tuple(sorted(found, key=lambda each: (-each.size, each.cohort, each.measure)))


class ShareDifference(Frozen):
    """How often a value is met: among triggered clips, and in the fleet by the random stream.

    `low` and `high` bound the fleet's share with 95 %; None where drives are too few.
    """

    tag: Text
    value: Text
    triggered: Probability
    fleet: Probability
    low: Probability | None = None
    high: Probability | None = None

    @property
    def ratio(self) -> float | None:
        """How many times as often it is sent as it is met; None where nobody met it."""
        return self.triggered / self.fleet if self.fleet else None


class SelectionBias(Frozen):
    """Triggered clips against the random stream.

    `effective` is how many clips of equal weight the random stream is worth (Kish 1965).
    `unreached` are cohorts that triggers brought and the random stream does not hold: no figure of
    the fleet speaks of them. `size` and `p_value` as `Tested` has them, of embeddings; the latter
    is None where random clips weigh differently, or drives are few.
    """

    schema_version: Literal[1] = 1
    space: Sha256Hex
    triggered: int = Field(ge=0)
    random: int = Field(ge=0)
    effective: Finite = Field(ge=0)
    size: Probability
    p_value: Probability | None = None
    shares: tuple[ShareDifference, ...]
    unreached: tuple[Text, ...] = ()


class MountSample(Frozen):
    """One clip's word on a sensor's mount: how much it is turned and raised beside what the
    clip declares, ego axes, with standard errors. `yaw_rad` where it drove straight enough.
    """

    clip_id: Sha256Hex
    vehicle_id: Text
    sensor: Text
    utc_ns: int
    roll_rad: Finite
    pitch_rad: Finite
    height_m: Finite
    yaw_rad: Finite | None = None
    sweeps: int = Field(ge=1)


class MountAlarm(Frozen):
    """`angle` left its place: told at `at_utc_ns`, by that clip; since then it is about `value`,
    in radians or metres.
    """

    angle: Literal["roll", "pitch", "height", "yaw"]
    clip_id: Sha256Hex
    at_utc_ns: int
    value: Finite


class MountHealth(Frozen):
    """A vehicle's sensor over time: medians over its clips, radians and metres, and alarms."""

    vehicle_id: Text
    sensor: Text
    clips: int = Field(ge=1)
    roll_rad: Finite
    pitch_rad: Finite
    height_m: Finite
    yaw_rad: Finite | None = None
    alarms: tuple[MountAlarm, ...] = ()
    samples: tuple[MountSample, ...] = ()


class HealthReport(Frozen):
    """All monitors; a part that could not be measured is None, and `unmeasured` tells why."""

    schema_version: Literal[1] = 1
    drift: DriftReport | None = None
    selection: SelectionBias | None = None
    mounts: tuple[MountHealth, ...] = ()
    unmeasured: dict[str, str] = Field(default_factory=dict)
