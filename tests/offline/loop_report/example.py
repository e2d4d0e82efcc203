"""A made-up turn with everything in it, for tests of the page. None of it was measured."""

from __future__ import annotations

from contracts.gate_report import GATES, Claim, Evidence, GateOutcome, GateReport, Observed
from offline.gates.evidence import ShadowEvidence
from offline.loop_report.facts import (
    AcquisitionFacts,
    Change,
    DatasetFacts,
    Duration,
    FleetFacts,
    FunnelFacts,
    LineageRow,
    LoopFacts,
    ReviewFacts,
    RolloutStage,
    SpecChange,
    StageFacts,
    StreamFacts,
    TimeFacts,
    TrainingFacts,
)
from offline.sim_to_real.records import GroupFigures, InputFigures, OneSet, SimToReal
from tests.offline.loop_report.example_health import health
from tests.offline.loop_report.example_names import NS, START, digest


def gate_report(failing: str | None = None) -> GateReport:
    """All gates pass, or the one of that name fails and stops the rest."""
    outcomes: list[GateOutcome] = []
    for gate in GATES:
        if outcomes and outcomes[-1].verdict != "pass":
            outcomes.append(
                GateOutcome(
                    gate=gate, verdict="not_run", reason=f"the gate `{failing}` did not pass"
                )
            )
            continue
        fails = gate == failing
        kind = "scenario" if gate == "scenarios" else "comparison"
        claims = tuple(
            Claim(
                name=f"{gate}-{k}",
                requirement="9 of 10 pedestrians within 20 m are told",
                verdict="fail" if fails and k == 1 else "pass",
                told="6 of 10 were told" if fails and k == 1 else "all were told",
                value=0.6 if fails and k == 1 else 1.0,
                limit=0.9,
                evidence=Evidence(kind=kind, digest=digest(f"{gate}{k}")),
            )
            for k in range(3)
        )
        outcomes.append(GateOutcome(gate=gate, verdict="fail" if fails else "pass", claims=claims))
    return GateReport(
        candidate=digest("candidate"),
        candidate_name="student-s v2",
        reference=digest("reference"),
        reference_name="student-s v1",
        policy=digest("policy"),
        suite=digest("suite"),
        gates=tuple(outcomes),
        indicators={"recall/vulnerable": 0.91, "ap_2m/car": 0.987},
        observed=tuple(
            Observed(
                name=f"night-{k}",
                safety_slice="night" if k % 2 else "cut-ins",
                standing="must" if k < 4 else "target",
                passed=k != 5,
                spare=k < 3,
            )
            for k in range(7)
        ),
    )


def changes() -> tuple[Change, ...]:
    rows = [
        ("critical misses", "all", 0.312, 0.184, 0.139, 0.231, "lower", True),
        ("critical misses", "tod=night", 0.41, 0.22, 0.15, 0.30, "lower", False),
        ("critical misses", "object=cyclist", 0.63, 0.35, 0.22, 0.47, "lower", False),
        ("critical misses", "region=old town", 0.22, 0.2, 0.14, 0.27, "lower", False),
        ("critical false alarms", "all", 0.12, 0.085, 0.066, 0.104, "lower", True),
        ("critical false alarms", "weather=fog", 0.2, 0.23, 0.21, 0.26, "lower", False),
        ("disengagements for 100 km", "all", 14.2, 10.9, 9.1, 12.9, "lower", True),
        ("disengagements for 100 km", "region=old town", 22.0, 16.4, 12.0, 21.0, "lower", False),
        ("disengagements for 100 km", "condition=rain", 17.5, 16.9, 12.5, 21.2, "lower", False),
    ]
    return tuple(
        Change(metric=m, slice=s, before=b, after=a, low=lo, high=hi, better=better, headline=top)
        for m, s, b, a, lo, hi, better, top in rows
    )


def tails() -> tuple[Change, ...]:
    return tuple(
        Change(
            metric="recall",
            slice=where,
            before=b,
            after=b + d,
            low=d - 0.02,
            high=d + 0.02,
            interval="difference",
            better="higher",
        )
        for where, b, d in (
            ("vulnerable@tod=night", 0.71, 0.09),
            ("vehicle@range=40-60", 0.83, 0.01),
            ("obstacle", 0.21, 0.2),
        )
    )


def sim_to_real() -> SimToReal:
    def figures(scale: float) -> tuple[GroupFigures, ...]:
        return tuple(
            GroupFigures(group=g, range_m=r, truths=n, ap=ap * scale, recall=ap * scale * 0.9)
            for g, r, n, ap in (
                ("vehicle", "all", 1410, 0.95),
                ("vehicle", "0-20", 380, 0.98),
                ("vehicle", "20-40", 600, 0.96),
                ("vulnerable", "all", 212, 0.81),
            )
        )

    def inputs(scale: float) -> InputFigures:
        return InputFigures(
            points={"0-20": 21_000 * scale, "20-40": 6_000 * scale},
            intensity=0.21,
            filled_cells=3_100 * scale,
            objects=14.0,
            points_per_object={"vehicle": 120 * scale},
        )

    return SimToReal(
        model=digest("reference"),
        model_name="student-s v1",
        sets=(
            OneSet(
                name="argoverse",
                kind="real",
                frames=2,
                drives=1,
                sensors=("lidar",),
                figures=figures(0.3),
                calibration_error=0.11,
                false_per_frame=4.5,
                inputs=inputs(2.4),
                notes=("two sweeps of one log: hardly a measure",),
            ),
            OneSet(
                name="simulated",
                kind="simulated",
                frames=437,
                drives=23,
                sensors=("lidar", "radar", "camera"),
                figures=figures(1.0),
                calibration_error=0.017,
                false_per_frame=0.3,
                inputs=inputs(1.0),
            ),
        ),
    )


def stages(failed: str | None = None) -> tuple[StageFacts, ...]:
    at = START
    rows: list[StageFacts] = []
    for name, wall in (
        ("ingest", 14),
        ("acquire", 42),
        ("auto-label", 310),
        ("QA", 95),
        ("dataset", 4),
        ("train", 640),
        ("evaluate", 260),
        ("shadow", 120),
        ("rollout", 75),
    ):
        if rows and rows[-1].state in ("failed", "waiting"):
            rows.append(StageFacts(name=name, state="waiting"))
            continue
        reused = name == "ingest"
        rows.append(
            StageFacts(
                name=name,
                key=digest(name),
                state="failed" if name == failed else "reused" if reused else "done",
                start_utc_ns=None if reused else at,
                wall_s=None if reused else wall,
                cpu_s=None if reused else wall * 1.6,
                reason="two clips cannot be read" if name == failed else "",
                figures={"clips": 96, "digest": "same as before"} if name == "acquire" else {},
            )
        )
        at += wall * NS
    return tuple(rows)


def lineage() -> tuple[LineageRow, ...]:
    rows = [
        LineageRow(
            way="origins", depth=0, kind="model", name=digest("candidate"), told="student-s v2"
        ),
        LineageRow(
            way="origins", depth=1, kind="dataset version", name=digest("dataset"), told="96 clips"
        ),
        LineageRow(way="origins", depth=2, kind="label set", name=digest("set"), told="71 % auto"),
    ]
    for k in range(9):
        rows.append(
            LineageRow(
                way="origins", depth=3, kind="clip", name=digest(f"clip{k}"), told="triggered"
            )
        )
        rows.append(LineageRow(way="origins", depth=4, kind="vehicle", name=f"vehicle-0{k}"))
    rows.append(
        LineageRow(way="origins", depth=2, kind="label set", name=digest("lost"), missing=True)
    )
    rows.append(LineageRow(way="uses", depth=0, kind="vehicle", name="vehicle-03"))
    rows.append(
        LineageRow(way="uses", depth=1, kind="clip", name=digest("clip3"), told="triggered")
    )
    return tuple(rows)


def complete(gates: GateReport | None = None) -> LoopFacts:
    """Everything; a candidate that passes and is on the canary, unless `gates` says otherwise."""
    judged = gates or gate_report()
    return LoopFacts(
        name="demo",
        seed=7,
        turn=1,
        notes=("Two members and 40 frames an epoch: fewer than a full run.",),
        stages=stages(),
        gates=judged,
        trials=changes(),
        tails=tails(),
        health=health(),
        fleet=FleetFacts(
            vehicles=12,
            vehicle_days=3.4,
            fires=1902,
            clips=611,
            uploads=402,
            kept_bytes=3_100_000_000,
            budget_bytes=6_000_000_000,
        ),
        funnel=FunnelFacts(
            fired=1902,
            kept=611,
            uploaded=402,
            acquired=120,
            labelled=118,
            in_dataset=96,
            trained_on=96,
        ),
        acquisition=AcquisitionFacts(
            unit="boxes",
            budget=900,
            pool=402,
            streams=(
                StreamFacts(stream="random", clips=24, expected_cost=190, actual_cost=171),
                StreamFacts(stream="uncertainty", clips=71, expected_cost=540, actual_cost=602),
                StreamFacts(stream="coverage", clips=25, expected_cost=160),
            ),
        ),
        review=ReviewFacts(
            boxes=2104,
            auto_accepted=0.713,
            consensus=0.2,
            expert=0.04,
            waiting=0.047,
            kappa=0.91,
            icc={"length": 0.88},
            residual_error=0.021,
            error_bound=0.034,
            expected_s=5200,
            labeller_s=6120,
            simulated_people=True,
        ),
        dataset=DatasetFacts(
            digest=digest("dataset"),
            frames=412,
            by_source={"auto": 290, "consensus": 80, "human": 42},
            by_split={"train": 330, "validation": 82},
            replay_share=0.33,
            before={
                "tod": {"day": 0.3, "night": 0.55, "dusk": 0.15},
                "weather": {"clear": 0.5, "rain": 0.5},
            },
            after={
                "tod": {"day": 0.55, "night": 0.3, "dusk": 0.15},
                "weather": {"clear": 0.74, "rain": 0.26},
            },
            reference={
                "tod": {"day": 0.7, "night": 0.2, "dusk": 0.1},
                "weather": {"clear": 0.86, "rain": 0.14},
            },
        ),
        training=TrainingFacts(
            losses=tuple(
                {
                    "total": 4.0 / k + 0.3,
                    "heat": 2.0 / k + 0.1,
                    "boxes": 1.4 / k + 0.12,
                    "ground": 0.5 / k + 0.06,
                }
                for k in range(1, 13)
            ),
            seconds=640,
            device="2 cores",
            parent=digest("reference"),
            model=digest("candidate"),
        ),
        shadow=ShadowEvidence(
            candidate=digest("candidate"),
            active=digest("reference"),
            vehicles=12,
            frames=48_200,
            crashes=0,
            agreed=301_000,
            class_differs=2_100,
            only_active=4_400,
            only_candidate=9_800,
            disagreements=61,
            confirmed=38,
            refuted=12,
        ),
        rollout=(
            RolloutStage(
                name="shadow",
                state="done",
                vehicles=12,
                start_utc_ns=START,
                end_utc_ns=START + 3600 * NS,
            ),
            RolloutStage(
                name="canary", state="running", vehicles=1, start_utc_ns=START + 3600 * NS
            ),
            RolloutStage(name="25 %", state="waiting"),
        ),
        specs=(
            SpecChange(
                trigger_id="novelty",
                version=4,
                told="threshold 0.31 → 0.36, two centroids more",
                state="shadow",
            ),
        ),
        sim_to_real=sim_to_real(),
        lineage=lineage(),
        times=TimeFacts(
            clip_to_canary=Duration(median_s=9_400, least_s=7_800, most_s=12_100, count=96),
            log_to_curated=Duration(median_s=512, count=96, least_s=430, most_s=700),
        ),
    )
