"""A made-up report on the health of inputs, for tests of the page. None of it was measured."""

from __future__ import annotations

from offline.health.records import (
    DriftReport,
    HealthReport,
    MountAlarm,
    MountHealth,
    MountSample,
    NotTested,
    SelectionBias,
    ShareDifference,
    Tested,
)
from tests.offline.loop_report.example_names import NS, START, digest


def drift_report() -> DriftReport:
    cohorts = ("all", "region=old town", "region=city", "tod=night", "weather=rain", "vehicle=van")
    measures = (
        "embedding",
        "cars a frame",
        "pedestrians a frame",
        "cyclists a frame",
        "confidence",
    )
    tests = []
    for i, cohort in enumerate(cohorts):
        for j, measure in enumerate(measures):
            size = ((7 * i + 5 * j) % 11) / 20 if cohort != "region=city" else 0.02
            unknown = cohort == "vehicle=van"
            q = None if unknown else min(1.0, max(0.004, 0.6 - 1.3 * size))
            tests.append(
                Tested(
                    cohort=cohort,
                    measure=measure,
                    clips=40 + i,
                    drives=12,
                    reference_clips=300,
                    reference_drives=60,
                    distance=size * 0.3,
                    size=size,
                    before=None if measure == "embedding" else 1.4,
                    now=None if measure == "embedding" else 1.4 + size,
                    p_value=q,
                    adjusted=q,
                    drifted=q is not None and q <= 0.05,
                )
            )
    return DriftReport(
        space=digest("model"),
        level=0.05,
        rounds=2000,
        clips=412,
        reference_clips=1800,
        tests=tuple(tests),
        not_tested=(NotTested(cohort="region=port", reason="no reference clip"),),
    )


def mounts() -> tuple[MountHealth, ...]:
    samples = tuple(
        MountSample(
            clip_id=digest(f"clip{k}"),
            vehicle_id="vehicle-07",
            sensor="lidar_top",
            utc_ns=START + k * NS,
            roll_rad=0.001 * (k % 3 - 1),
            pitch_rad=0.0006 * (k % 4) + (0.012 if k > 14 else 0),
            height_m=0.002 * (k % 3),
            yaw_rad=0.001 * (k % 2),
            sweeps=20,
        )
        for k in range(28)
    )
    alarm = MountAlarm(
        angle="pitch", clip_id=digest("clip19"), at_utc_ns=START + 19 * NS, value=0.012
    )
    steady = MountHealth(
        vehicle_id="vehicle-02",
        sensor="lidar_top",
        clips=31,
        roll_rad=0.0004,
        pitch_rad=-0.0007,
        height_m=0.001,
        yaw_rad=0.0002,
    )
    bad = MountHealth(
        vehicle_id="vehicle-07",
        sensor="lidar_top",
        clips=28,
        roll_rad=0.0002,
        pitch_rad=0.0121,
        height_m=0.002,
        yaw_rad=0.0004,
        alarms=(alarm,),
        samples=samples,
    )
    return steady, bad


def health() -> HealthReport:
    shares = tuple(
        ShareDifference(tag=t, value=v, triggered=a, fleet=b, low=max(b - 0.05, 0), high=b + 0.05)
        for t, v, a, b in (
            ("tod", "night", 0.52, 0.18),
            ("tod", "day", 0.4, 0.74),
            ("weather", "rain", 0.3, 0.11),
            ("object", "cyclist", 0.24, 0.03),
            ("region", "port", 0.04, 0.0),
        )
    )
    bias = SelectionBias(
        space=digest("model"),
        triggered=380,
        random=96,
        effective=81.4,
        size=0.23,
        p_value=0.0005,
        shares=shares,
        unreached=("region=port",),
    )
    return HealthReport(drift=drift_report(), selection=bias, mounts=mounts())
