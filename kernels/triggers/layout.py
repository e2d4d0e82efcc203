"""Where the kernels find their values: kinds, parameters, evidence and catalogue rows.

Plain integers, because numba freezes module constants into the compiled code.
"""

from __future__ import annotations

import numpy as np

from contracts.signals import SIGNAL_INDEX

PARAMS = 8
STATES = 8
EVIDENCE = 4
RARE_CLASS_STATE = 3
"""Where `rare_class` keeps the class that it saw, as a place among the model's classes."""

ROW = np.dtype(
    [
        ("kind", np.int32), ("rule", np.int32), ("hold_ns", np.int64), ("refire_ns", np.int64),
        ("since_ns", np.int64), ("fired_ns", np.int64), ("condition", np.float64),
        ("score", np.float64), ("params", np.float64, (PARAMS,)),
        ("state", np.float64, (STATES,)), ("evidence", np.float64, (EVIDENCE,)),
    ],
    align=True,
)  # fmt: skip
"""A spec and where its condition stands. `rule` is its rule in the program or -1; `refire_ns` < 0:
once for each rising edge; `since_ns` and `fired_ns` are -1 for 'not now'.

Records, since a tick takes a microsecond or two: as a dozen arrays these took longer to be handed
over, to the kernel and to the function of each kind, than all conditions do.
"""

HARD_BRAKE = 0
HARD_ACCEL = 1
SWERVE = 2
JERK = 3
DISENGAGEMENT = 4
LOW_CONFIDENCE = 5
RARE_CLASS = 6
TTC = 7
RANDOM_BASELINE = 8
PLANNER_DIVERGENCE = 9
EXPRESSION = 10
SIMILAR_TO = 11
NOVELTY = 12
TRACK_FLICKER = 13
UNKNOWN_OBJECT = 14
SENSOR_DISAGREEMENT = 15
SHADOW_DISAGREEMENT = 16
OPERATOR_BOOKMARK = 17

KIND_CODES: dict[str, int] = {
    "hard_brake": HARD_BRAKE,
    "hard_accel": HARD_ACCEL,
    "swerve": SWERVE,
    "jerk": JERK,
    "disengagement": DISENGAGEMENT,
    "low_confidence": LOW_CONFIDENCE,
    "rare_class": RARE_CLASS,
    "ttc": TTC,
    "random_baseline": RANDOM_BASELINE,
    "planner_divergence": PLANNER_DIVERGENCE,
    "expression": EXPRESSION,
    "similar_to": SIMILAR_TO,
    "novelty": NOVELTY,
    "track_flicker": TRACK_FLICKER,
    "unknown_object": UNKNOWN_OBJECT,
    "sensor_disagreement": SENSOR_DISAGREEMENT,
    "shadow_disagreement": SHADOW_DISAGREEMENT,
    "operator_bookmark": OPERATOR_BOOKMARK,
}

EVIDENCE_NAMES: dict[str, tuple[str, ...]] = {
    "hard_brake": ("decel_mps2", "speed_mps"),
    "hard_accel": ("accel_mps2", "speed_mps"),
    "swerve": ("lat_accel_mps2", "yaw_rate_radps", "reversal_s", "speed_mps"),
    "jerk": ("jerk_mps3", "accel_mps2", "speed_mps"),
    "disengagement": ("cause", "speed_mps"),
    "low_confidence": ("uncertainty", "margin", "frames", "objects"),
    "rare_class": ("class_index", "probability", "frames"),
    "ttc": ("ttc_s", "speed_mps", "distance_m", "closing_mps"),
    "random_baseline": ("inclusion_probability", "slot"),
    "planner_divergence": ("ade_m", "fde_m", "horizon_s", "speed_mps"),
    "expression": (),
    "similar_to": ("similarity", "frames"),
    "novelty": ("distance", "frames"),
    "track_flicker": ("flickers", "frames"),
    "unknown_object": ("points", "distance_m", "unknown_probability", "frames"),
    "sensor_disagreement": ("missed", "checked", "drift_rad", "frames"),
    "shadow_disagreement": ("disagreement", "frames"),
    "operator_bookmark": ("since_s",),
}

CAUSES: tuple[str, ...] = (
    "driver_brake", "driver_steer", "driver_gas", "system", "emergency_stop",
)  # fmt: skip
DRIVER_BRAKE, DRIVER_STEER, DRIVER_GAS, SYSTEM, EMERGENCY_STOP = range(5)
CAUSE_LOOKBACK_NS = 1_000_000_000
"""Driver inputs this shortly before a disengagement count as its cause."""

S_SPEED = SIGNAL_INDEX["ego.speed_mps"]
S_ACCEL = SIGNAL_INDEX["ego.accel_mps2"]
S_LAT_ACCEL = SIGNAL_INDEX["ego.lat_accel_mps2"]
S_JERK = SIGNAL_INDEX["ego.jerk_mps3"]
S_YAW_RATE = SIGNAL_INDEX["ego.yaw_rate_radps"]
S_BRAKE = SIGNAL_INDEX["driver.brake_pressed"]
S_GAS = SIGNAL_INDEX["driver.gas_pressed"]
S_STEER = SIGNAL_INDEX["driver.steer_override"]
S_ENGAGED = SIGNAL_INDEX["autonomy.engaged"]
S_FAULT = SIGNAL_INDEX["autonomy.fault"]
S_ESTOP = SIGNAL_INDEX["autonomy.emergency_stop"]
S_UNCERTAINTY = SIGNAL_INDEX["perception.uncertainty"]
S_MARGIN = SIGNAL_INDEX["perception.margin"]
S_OBJECTS = SIGNAL_INDEX["perception.object_count"]
S_DISTANCE = SIGNAL_INDEX["lead.distance_m"]
S_CLOSING = SIGNAL_INDEX["lead.closing_mps"]
S_TTC = SIGNAL_INDEX["lead.ttc_s"]
S_ADE = SIGNAL_INDEX["planner.ade_m"]
S_FDE = SIGNAL_INDEX["planner.fde_m"]
S_BOOKMARK = SIGNAL_INDEX["driver.bookmark"]
S_FLICKERS = SIGNAL_INDEX["perception.flickers"]
S_UNKNOWN = SIGNAL_INDEX["perception.unknown_probability"]
S_UNEXPLAINED = SIGNAL_INDEX["perception.unexplained_points"]
S_UNEXPLAINED_M = SIGNAL_INDEX["perception.unexplained_m"]
S_LIDAR_CHECKED = SIGNAL_INDEX["perception.lidar_checked"]
S_LIDAR_MISSED = SIGNAL_INDEX["perception.lidar_missed"]
S_DRIFT = SIGNAL_INDEX["calibration.drift_rad"]
S_SHADOW = SIGNAL_INDEX["shadow.disagreement"]
S_SHADOW_FRAMES = SIGNAL_INDEX["shadow.frames"]

REQUIRED_SIGNALS: dict[str, tuple[str, ...]] = {
    "hard_brake": ("ego.accel_mps2",),
    "hard_accel": ("ego.accel_mps2",),
    "swerve": ("ego.lat_accel_mps2", "ego.yaw_rate_radps"),
    "jerk": ("ego.jerk_mps3",),
    "disengagement": ("autonomy.engaged",),
    "low_confidence": ("perception.uncertainty",),
    "rare_class": ("perception.object_count",),
    "ttc": ("lead.ttc_s", "ego.speed_mps"),
    "random_baseline": (),
    "planner_divergence": ("planner.ade_m",),
    "similar_to": ("perception.object_count",),
    "novelty": ("perception.object_count",),
    "track_flicker": ("perception.flickers",),
    "shadow_disagreement": ("shadow.disagreement", "shadow.frames"),
}
"""Signals without which a kind cannot work; what the others need depends on their parameters
(`kernels.triggers.table.required_signals`)."""
