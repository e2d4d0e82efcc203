"""Erasures: asked for by admins, seen by people."""

from __future__ import annotations

from fastapi import APIRouter, Request

from cloud_ingest.auth.policy import Admin, Viewer, acting
from cloud_ingest.service import service_of
from contracts.ids import Name
from contracts.storage import Erasure, ErasurePage, ErasureRequest

router = APIRouter(prefix="/v1/erasures", tags=["storage"])


@router.post("", summary="Erase a clip, or a vehicle's clips, for good", dependencies=[Admin])
async def ask(request: Request, body: ErasureRequest) -> Erasure:
    return await service_of(request).after.erasures.ask(acting(request, body))


@router.get("", summary="The newest erasures", dependencies=[Viewer])
async def page(request: Request) -> ErasurePage:
    return await service_of(request).after.erasures.page()


@router.get(
    "/{request_id}",
    summary="How far an erasure has come, and which sets it flags",
    dependencies=[Viewer],
)
async def show(request: Request, request_id: Name) -> Erasure:
    return await service_of(request).after.erasures.show(request_id)
