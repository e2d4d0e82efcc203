"""Adapter for phone recordings of labelled manoeuvres: earth-frame IMU to ego signals.

A phone on a windscreen knows no heading and no speed, so longitudinal acceleration is not in
the recording. What physics gives without tuning: while the vehicle does not turn (yaw rate
below 0.1 rad/s, which at 10 m/s is 1 m/s² of lateral acceleration) all horizontal acceleration
is along the road, and a passenger car brakes harder than it accelerates, so the magnitude is
read as deceleration. While it turns, the longitudinal part is unknown and told as absent.

The phone's gravity estimate follows any sustained acceleration within a second or two, so the
recording holds the onset of each brake at full height and not its plateau, and after a turn
shows the swing back: the longitudinal part is absent for a second more.

For swerves a vehicle multiplies its speed by its yaw rate. The phone knows no speed, but it can be
read where a turn begins: for half a second, before the gravity estimate follows, horizontal
acceleration is speed times yaw rate. That speed is taken for the rest of the turn and of one that
follows within a second; at any other time it is unknown. A driver who brakes into the turn makes
it too high.

Where no label is, nothing is known: the authors dropped eleven lane changes from the labels, which
are still in the recordings.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.signals import SIGNAL_INDEX
from contracts.trigger_spec import LoadedSpec
from kernels.triggers.engine import TickInputs, TriggerEngine, absent_values

TURNING_RADPS = 0.1
SWING_BACK_S = 1.0
SMOOTHING_S = 0.1
ONSET_S = 0.5


@dataclass(frozen=True)
class PhoneDrive:
    """`t_s` since the trip's start, horizontal acceleration, |yaw rate|, both smoothed, and yaw
    rate, all [n]; what the driver did when, by the labels: `others_s` is what is no swerve (brakes,
    accelerations, events without aggression).
    """

    t_s: NDArray[np.float64]
    horizontal_mps2: NDArray[np.float64]
    yaw_rate_radps: NDArray[np.float64]
    turning_radps: NDArray[np.float64]
    brakes_s: list[tuple[float, float]]
    lane_changes_s: list[tuple[float, float]]
    turns_s: list[tuple[float, float]]
    others_s: list[tuple[float, float]]

    @property
    def hours(self) -> float:
        return float(self.t_s[-1]) / 3600.0


def _low_pass(t_s: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    y = np.empty_like(x)
    y[0] = x[0]
    for i in range(1, len(x)):
        y[i] = y[i - 1] + (1 - np.exp(-(t_s[i] - t_s[i - 1]) / SMOOTHING_S)) * (x[i] - y[i - 1])
    return y


def load_phone_drive(trip: Path) -> PhoneDrive:
    """Read one trip's folder."""

    def table(name: str) -> NDArray[np.float64]:
        return np.genfromtxt(trip / name, delimiter=",", skip_header=1, usecols=(1, 2, 3, 4))

    accel, gyro = table("aceleracaoLinear_terra.csv"), table("giroscopio_terra.csv")
    start_ns = min(accel[0, 0], gyro[0, 0])
    t_s = (accel[:, 0] - start_ns) / 1e9
    yaw = np.interp(t_s, (gyro[:, 0] - start_ns) / 1e9, gyro[:, 3])
    horizontal = np.hypot(_low_pass(t_s, accel[:, 1]), _low_pass(t_s, accel[:, 2]))
    with (trip / "groundTruth.csv").open() as file:
        rows = list(csv.reader(file))[1:]

    def labelled(word: str) -> list[tuple[float, float]]:
        return [(float(row[1]), float(row[2])) for row in rows if row[0].startswith(word)]

    turning = yaw - np.median(yaw)  # the gyroscope's bias is what it shows for most of the time
    brakes = labelled("freada_agressiva")
    return PhoneDrive(
        t_s, horizontal, np.abs(_low_pass(t_s, turning)), turning, brakes,
        labelled("troca_faixa"), labelled("curva"),
        [*brakes, *labelled("aceleracao_agressiva"), *labelled("evento_nao_agressivo")],
    )  # fmt: skip


def fires_s(drive: PhoneDrive, spec: LoadedSpec) -> list[float]:
    """When the spec would have kept an event, its cooldown applied, in trip seconds."""
    engine = TriggerEngine([spec], "phone")
    values = absent_values()
    row = SIGNAL_INDEX["ego.accel_mps2"]
    kept: list[float] = []
    turned_s = -np.inf
    for t, accel, yaw in zip(
        drive.t_s.tolist(), drive.horizontal_mps2.tolist(), drive.yaw_rate_radps.tolist(),
        strict=True,
    ):  # fmt: skip
        turned_s = t if yaw >= TURNING_RADPS else turned_s
        values[row] = -accel if t - turned_s > SWING_BACK_S else np.nan
        for _ in engine.step(TickInputs(round(t * 1e9), values)):
            if not kept or t - kept[-1] >= spec.spec.cooldown / 1e9:
                kept.append(t)
    return kept


def speeds_mps(drive: PhoneDrive) -> NDArray[np.float64]:
    """Speed [n] while the vehicle turns, as read where each turn begins; NaN where it is unknown.

    Within the first half second of a turn it is what is known by then.
    """
    found = np.full(len(drive.t_s), np.nan)
    began_s = turned_s = -np.inf
    over = under = 0.0
    for i, (t, accel, yaw) in enumerate(zip(
        drive.t_s.tolist(), drive.horizontal_mps2.tolist(), drive.yaw_rate_radps.tolist(),
        strict=True,
    )):  # fmt: skip
        if yaw >= TURNING_RADPS:
            if t - turned_s > SWING_BACK_S:
                began_s, over, under = t, 0.0, 0.0
            turned_s = t
            if t - began_s <= ONSET_S:
                over, under = over + accel * yaw, under + yaw * yaw
        if t - turned_s <= SWING_BACK_S:
            found[i] = over / under
    return found


def swerves_s(drive: PhoneDrive, spec: LoadedSpec) -> list[float]:
    """When a swerve spec would have fired, in trip seconds; its cooldown is not applied."""
    engine = TriggerEngine([spec], "phone")
    values = absent_values()
    speed, lateral, yaw_rate = (
        SIGNAL_INDEX[name] for name in ("ego.speed_mps", "ego.lat_accel_mps2", "ego.yaw_rate_radps")
    )
    fired: list[float] = []
    for t, mps, turning in zip(
        drive.t_s.tolist(), speeds_mps(drive).tolist(), drive.turning_radps.tolist(), strict=True
    ):
        values[speed], values[yaw_rate], values[lateral] = mps, turning, mps * turning
        fired += [t for _ in engine.step(TickInputs(round(t * 1e9), values))]
    return fired
