"""People and their tokens: `/v1/people`, `/v1/me`."""

from __future__ import annotations

from fastapi import APIRouter, Request

from cloud_ingest.auth.policy import Admin, Person, acting
from cloud_ingest.service import service_of
from contracts.fleet import Order
from contracts.people import (
    PeoplePage,
    PersonName,
    PersonRequest,
    PersonRow,
    PersonToken,
    WhoAmI,
)

router = APIRouter(prefix="/v1", tags=["identity"])


@router.get("/me", summary="Who the service takes the caller for")
async def me(caller: Person) -> WhoAmI:
    return WhoAmI(name=caller.name, role=caller.role)


@router.get("/people", summary="Everybody with a token", dependencies=[Admin])
async def everybody(request: Request) -> PeoplePage:
    return PeoplePage(people=await service_of(request).people.all())


@router.post("/people", summary="Let somebody in; the token is told once", dependencies=[Admin])
async def add(request: Request, body: PersonRequest) -> PersonToken:
    return await service_of(request).people.add(acting(request, body))


@router.post("/people/{name}/revoke", summary="Refuse somebody from now on", dependencies=[Admin])
async def revoke(request: Request, name: PersonName, body: Order) -> PersonRow:
    return await service_of(request).people.revoke(name, acting(request, body))
