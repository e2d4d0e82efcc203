"""Operators' words: releases, rollouts, vehicles. Paths are relative to the cloud's base URL.

| call                                        | body → answer                          |
|---------------------------------------------|----------------------------------------|
| PUT  /v1/ota/files/{sha256}                 | bytes → StoredFile                     |
| GET  /v1/ota/image/roles/{role}             | → RoleState                            |
| POST /v1/ota/image/roles/{role}             | RoleUpdate → RoleState                 |
| GET  /v1/releases?kind=&name=               | → ReleasePage                          |
| POST /v1/rollouts                           | RolloutRequest → RolloutDetail         |
| GET  /v1/rollouts?slot=&live=               | → RolloutPage                          |
| GET  /v1/rollouts/{rollout_id}              | → RolloutDetail                        |
| POST /v1/rollouts/{rollout_id}/commands     | RolloutCommand → RolloutDetail         |
| GET  /v1/vehicles                           | → VehiclePage                          |
| GET  /v1/vehicles/{vehicle_id}              | → VehicleDetail                        |
| GET  /v1/fleet/activity?since_utc_ns=&…     | → FleetActivity                        |
| GET  /v1/fleet/shadow?digest=               | → ShadowPage                           |
| POST /v1/vehicles/{vehicle_id}/revoke       | Order → VehicleDetail                  |
| POST /v1/triggers/{trigger_id}/kill         | Order → KillState                      |
| POST /v1/triggers/{trigger_id}/unkill       | Order → KillState                      |
| GET  /v1/audit                              | → AuditPage                            |

Who reads is a viewer at least, who changes an operator, who puts a vehicle out an admin
(`contracts.people`). `actor` is who orders: of a person with a token of their own the service
writes the name that it knows, of others the name that the caller says.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from contracts.check_in import CheckIn, ShadowModel
from contracts.clip import Wire
from contracts.ids import Name, Sha256Hex
from contracts.ota import Kind

Actor = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=1000, strip_whitespace=True)]
RoleName = Literal["root", "targets", "triggers", "models"]


class StoredFile(Wire):
    """A file that the service holds, ready to be named by signed metadata."""

    sha256: Sha256Hex
    size_bytes: int


class RoleUpdate(Wire):
    """New signed metadata of a role that people sign, as JSON text.

    With too few signatures it waits for more; the same signed part with further signatures, or
    alone with another, adds to what waits.
    """

    metadata: str = Field(max_length=900_000)
    actor: Actor
    reason: str = Field("", max_length=1000)


class RoleState(Wire):
    """A role as it stands. Texts are TUF metadata; `waiting` lacks `missing_signatures`."""

    role: RoleName
    version: int
    metadata: str
    threshold: int
    waiting: str | None = None
    missing_signatures: int = 0


class ReleaseRow(Wire):
    """One published release. `withdrawn` ones can be rolled out no more."""

    kind: Kind
    name: str
    version: int
    digest: Sha256Hex
    size_bytes: int
    published_utc_ns: int
    published_by: str
    withdrawn: bool = False


class ReleasePage(Wire):
    releases: tuple[ReleaseRow, ...]


class StageRequest(Wire):
    """A share of the vehicles. Without a tolerated ratio it needs no finding of "no worse"."""

    fraction: float = Field(gt=0, le=1)
    tolerated_ratio: float | None = None


class RolloutRequest(Wire):
    """Bring a release to vehicles whose labels match, in stages.

    Version 0 brings back what the vehicles have built in. `start` begins at once; otherwise it
    waits for the command. None leaves the service's default. `request_id` makes it idempotent.
    """

    request_id: Name
    kind: Kind
    name: Name
    version: int = Field(ge=0)
    shadow: bool = False
    selector: dict[Name, tuple[str, ...]] = Field(default_factory=dict, max_length=32)
    stages: tuple[StageRequest, ...] | None = Field(None, max_length=20)
    min_canary: int | None = Field(None, ge=1)
    soak_s: float | None = Field(None, ge=0)
    soak_driving_s: float | None = Field(None, ge=0)
    guardrails: bool = True
    start: bool = True
    actor: Actor
    reason: Reason


class RolloutCommand(Wire):
    """An order; `command_id` makes it idempotent."""

    command_id: Name
    verb: Literal["start", "pause", "resume", "abort", "advance", "retry-failures"]
    actor: Actor
    reason: Reason


class RolloutVehicle(Wire):
    """An admitted vehicle. `applied_utc_ns`: when the service first saw the release run there."""

    vehicle_id: Name
    outcome: str
    attempt: int
    applied_utc_ns: int | None = None
    recall: str = "none"
    failure: str = ""


class GuardrailRow(Wire):
    """One guardrail as last read; e-values as base-10 logarithms."""

    name: str
    log10_e_worse: float
    likeliest_ratio: float
    treated_exposure: float
    treated_events: float
    missing: str = ""


class RolloutAudit(Wire):
    number: int
    at_utc_ns: int
    actor: str
    action: str
    reason: str
    from_phase: str
    to_phase: str
    stage: int
    refused: str = ""


class RolloutRow(Wire):
    """A rollout in short. `stage` counts from 1; counts are of admitted vehicles."""

    rollout_id: Name
    kind: Kind
    name: str
    version: int
    shadow: bool
    digest: Sha256Hex
    phase: str
    stage: int
    stages: int
    fraction: float
    matching: int
    never_contacted: int
    offered: int
    applied: int
    succeeded: int
    failed: int
    waiting_for: str = ""
    created_utc_ns: int
    created_by: str


class RolloutPage(Wire):
    rollouts: tuple[RolloutRow, ...]


class RolloutDetail(RolloutRow):
    """A rollout in full."""

    verdict: str = ""
    guardrails: tuple[GuardrailRow, ...] = ()
    vehicles: tuple[RolloutVehicle, ...] = ()
    never_contacted_ids: tuple[str, ...] = ()
    audit: tuple[RolloutAudit, ...] = ()


class AssignedRelease(Wire):
    """What the director orders for one slot of one vehicle."""

    slot: str
    kind: Kind
    name: str
    version: int
    digest: Sha256Hex
    attempt: int


class VehicleRow(Wire):
    """A vehicle in short; times are the service's, None when it never happened."""

    vehicle_id: Name
    labels: dict[str, str] = Field(default_factory=dict)
    enrolled_utc_ns: int
    revoked_utc_ns: int | None = None
    last_contact_utc_ns: int | None = None
    last_check_in_utc_ns: int | None = None
    software_version: str | None = None
    assignment_counter: int = 0
    taken_up_counter: int = 0
    queued_clips: int | None = None
    rejected: int = 0


class VehiclePage(Wire):
    vehicles: tuple[VehicleRow, ...]
    cursor: str | None = None


class VehicleDetail(VehicleRow):
    """A vehicle in full, with its newest manifest as it signed it."""

    assigned: tuple[AssignedRelease, ...] = ()
    check_in: CheckIn | None = None


class FleetActivity(Wire):
    """What all vehicles counted in a stretch of the service's time. A vehicle-day is a UTC day on
    which a vehicle drove. `budget_bytes` is what these days' clips may have come to at most, None
    where no vehicle tells.
    """

    since_utc_ns: int
    until_utc_ns: int
    vehicles: int
    vehicle_days: int
    driving_s: float
    driven_m: float
    fires: int
    clips: int
    clip_bytes: int
    upload_bytes: int
    disengagements: int
    budget_bytes: int | None = None


class ShadowRow(Wire):
    """What a vehicle last counted of a model in its shadow."""

    vehicle_id: Name
    counted: ShadowModel


class ShadowPage(Wire):
    rows: tuple[ShadowRow, ...]
    cursor: str | None = None


class Order(Wire):
    """A change that a person orders, with who and why for the audit log."""

    actor: Actor
    reason: Reason


class KillState(Wire):
    """Whether a trigger is switched off on all vehicles; it acts at each one's next check-in,
    so within `acts_within_s` on every vehicle in contact."""

    trigger_id: Name
    killed: bool
    acts_within_s: float


class AuditRow(Wire):
    """One change that a person or the service made."""

    number: int
    at_utc_ns: int
    actor: str
    action: str
    subject: str
    reason: str = ""


class AuditPage(Wire):
    rows: tuple[AuditRow, ...]
