"""Rollouts, vehicles, kill switches and the audit log: people's calls (`contracts.fleet`)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from cloud_ingest.auth.policy import Admin, NamedVehicle, Operator, Viewer, acting
from cloud_ingest.service import service_of
from contracts.check_in import CheckInAnswer, SignedCheckIn
from contracts.fleet import (
    AuditPage,
    FleetActivity,
    KillState,
    Order,
    RolloutCommand,
    RolloutDetail,
    RolloutPage,
    RolloutRequest,
    ShadowPage,
    VehicleDetail,
    VehiclePage,
)
from contracts.ids import Name, Sha256Hex
from contracts.ota import parse_slot

router = APIRouter(prefix="/v1")
_people = APIRouter(tags=["fleet"])


@router.post(
    "/check-ins", tags=["fleet"], summary="A vehicle tells what it runs and counts, signed"
)
async def check_in(
    request: Request, vehicle_id: NamedVehicle, body: SignedCheckIn
) -> CheckInAnswer:
    return await service_of(request).fleet.check_ins.accept(vehicle_id, body)


@_people.post(
    "/rollouts", summary="Bring a release to vehicles, in stages", dependencies=[Operator]
)
async def create_rollout(request: Request, body: RolloutRequest) -> RolloutDetail:
    return await service_of(request).fleet.rollouts.create(acting(request, body))


@_people.get("/rollouts", summary="List rollouts from the newest on", dependencies=[Viewer])
async def rollouts(
    request: Request,
    slot: Annotated[str | None, Query(max_length=200)] = None,
    live: bool | None = None,
) -> RolloutPage:
    text = None if slot is None else parse_slot(slot).text
    return await service_of(request).fleet.rollouts.page(text, live)


@_people.get(
    "/rollouts/{rollout_id}", summary="How a rollout stands, in full", dependencies=[Viewer]
)
async def rollout(request: Request, rollout_id: Name) -> RolloutDetail:
    return await service_of(request).fleet.rollouts.detail(rollout_id)


@_people.post(
    "/rollouts/{rollout_id}/commands",
    summary="Start, pause, resume, abort, advance a rollout, or retry its failures",
    dependencies=[Operator],
)
async def command(request: Request, rollout_id: Name, body: RolloutCommand) -> RolloutDetail:
    return await service_of(request).fleet.rollouts.command(rollout_id, acting(request, body))


@_people.get("/vehicles", summary="List vehicles by their ids", dependencies=[Viewer])
async def vehicles(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Name | None = None,
) -> VehiclePage:
    return await service_of(request).fleet.vehicles.page(limit, cursor)


@_people.get(
    "/vehicles/{vehicle_id}",
    summary="A vehicle with its orders and its manifest",
    dependencies=[Viewer],
)
async def vehicle(request: Request, vehicle_id: Name) -> VehicleDetail:
    return await service_of(request).fleet.vehicles.detail(vehicle_id)


@_people.get(
    "/fleet/activity", summary="What all vehicles counted in some time", dependencies=[Viewer]
)
async def activity(
    request: Request,
    since_utc_ns: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
    until_utc_ns: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
) -> FleetActivity:
    return await service_of(request).fleet.activity.between(since_utc_ns, until_utc_ns)


@_people.get(
    "/fleet/shadow", summary="What vehicles counted of a model in shadow", dependencies=[Viewer]
)
async def shadow(
    request: Request,
    digest: Sha256Hex,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Name | None = None,
) -> ShadowPage:
    return await service_of(request).fleet.vehicles.shadow(digest, limit, cursor)


@_people.post(
    "/vehicles/{vehicle_id}/revoke", summary="Refuse a vehicle from now on", dependencies=[Admin]
)
async def revoke(request: Request, vehicle_id: Name, body: Order) -> VehicleDetail:
    return await service_of(request).fleet.vehicles.revoke(vehicle_id, acting(request, body))


@_people.post(
    "/triggers/{trigger_id}/kill",
    summary="Switch a trigger off on all vehicles",
    dependencies=[Operator],
)
async def kill(request: Request, trigger_id: Name, body: Order) -> KillState:
    return await service_of(request).fleet.vehicles.kill(
        trigger_id, acting(request, body), killed=True
    )


@_people.post(
    "/triggers/{trigger_id}/unkill", summary="Let a trigger run again", dependencies=[Operator]
)
async def unkill(request: Request, trigger_id: Name, body: Order) -> KillState:
    return await service_of(request).fleet.vehicles.kill(
        trigger_id, acting(request, body), killed=False
    )


@_people.get(
    "/audit", summary="Every change to the fleet, from the newest on", dependencies=[Viewer]
)
async def audit(
    request: Request,
    subject: Annotated[str | None, Query(max_length=300)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> AuditPage:
    return await service_of(request).fleet.vehicles.audit(subject, limit, before)


router.include_router(_people)
