"""Event records: `/v1/events`. Vehicles write, operators read."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request

from cloud_ingest.auth.policy import VehicleId, Viewer
from cloud_ingest.service import service_of
from contracts.clip_search import EventPage
from contracts.ids import Name
from contracts.upload import EventAnswer, EventRecord

router = APIRouter(prefix="/v1/events", tags=["events"])


@router.post("", summary="Report an event at once, before any payload")
async def add(request: Request, vehicle_id: VehicleId, body: EventRecord) -> EventAnswer:
    return EventAnswer(known=await service_of(request).events.add(vehicle_id, body))


@router.get("", summary="List events from the newest on", dependencies=[Viewer])
async def page(
    request: Request,
    vehicle_id: Name | None = None,
    outcome: Literal["captured", "suppressed", "lost"] | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
) -> EventPage:
    return await service_of(request).events.page(vehicle_id, outcome, limit, cursor)
