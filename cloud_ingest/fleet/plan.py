"""From an operator's request to a rollout's plan: the service's defaults.

| what goes out | stages, % | canary | soak of a vehicle | guardrails |
|---|---|---|---|---|
| trigger | 1, 5, 25, 100 | 5 | 12 h and 2 h of connected driving | `GUARDRAILS` |
| model | 1, 5, 25, 100 | 5 | 24 h and 4 h of connected driving | `GUARDRAILS` |
| shadow of either | 100 | - | none | none: it changes nothing |
| back to the built-in one | 100 | - | none | none: it is no release |

A request's own values come before these. Guardrails are named after the counters that they read.
"""

from __future__ import annotations

from cloud_ingest.fleet.views import BUILT_IN_DIGEST
from cloud_ingest.rollout.cohort import Selector
from cloud_ingest.rollout.guardrails import Guardrail
from cloud_ingest.rollout.observation import Exposure
from cloud_ingest.rollout.state import HOUR_NS, STAGES, RolloutPlan, Stage
from contracts.clock import NS_PER_DAY, NS_PER_S
from contracts.fleet import RolloutRequest

TYPICAL_CLIP_BYTES = 13e6
"""20 s of one camera and one lidar."""

GUARDRAILS = (
    # One disengagement in 1,000 km is what good fleets report; below it a ratio tells nothing.
    Guardrail("disengagements", Exposure.DRIVEN_KM, 2000.0, negligible_rate=0.001),
    Guardrail("unclean_starts", Exposure.CONNECTED_H, 50.0, negligible_rate=0.05),
    Guardrail("fires", Exposure.CONNECTED_H, 50.0, negligible_rate=0.2),
    # A stall of a second or two makes some twenty slow frames in a row.
    Guardrail("slow_frames", Exposure.CONNECTED_H, 50.0, negligible_rate=20.0, burst=20.0),
    Guardrail(
        "upload_bytes", Exposure.CONNECTED_H, 50.0,
        negligible_rate=TYPICAL_CLIP_BYTES / 2, burst=TYPICAL_CLIP_BYTES,
    ),
)  # fmt: skip
AT_ONCE = (Stage(1.0, None),)


def plan_of(request: RolloutRequest, rollout_id: str, digest: str | None) -> RolloutPlan:
    """The plan. `digest` None: back to the built-in one. Raises `InputError` by field."""
    plain = request.shadow or digest is None
    soak_ns, soak_driving_ns = _soak_ns(request, plain)
    stages: tuple[Stage, ...] = AT_ONCE if plain else STAGES
    if request.stages is not None:
        stages = tuple(Stage(stage.fraction, stage.tolerated_ratio) for stage in request.stages)
    return RolloutPlan(
        rollout_id=rollout_id,
        salt=rollout_id,
        target_digest=digest or BUILT_IN_DIGEST,
        guardrails=GUARDRAILS if request.guardrails and not plain else (),
        selector=Selector({name: frozenset(values) for name, values in request.selector.items()}),
        stages=stages,
        min_canary=request.min_canary or 5,
        soak_ns=soak_ns,
        soak_driving_ns=soak_driving_ns,
    )


def _soak_ns(request: RolloutRequest, plain: bool) -> tuple[int, int]:
    """Wall time and connected driving."""
    if plain:
        soak_ns, driving_ns = 0, 0
    elif request.kind == "model":
        soak_ns, driving_ns = NS_PER_DAY, 4 * HOUR_NS
    else:
        soak_ns, driving_ns = 12 * HOUR_NS, 2 * HOUR_NS
    if request.soak_s is not None:
        soak_ns = round(request.soak_s * NS_PER_S)
    if request.soak_driving_s is not None:
        driving_ns = round(request.soak_driving_s * NS_PER_S)
    return soak_ns, driving_ns
