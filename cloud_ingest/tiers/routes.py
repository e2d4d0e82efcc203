"""Tiers and pins, for people."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request

from cloud_ingest.auth.policy import Labeller, Viewer, actor_of
from cloud_ingest.service import service_of
from cloud_ingest.tiers.rules import lifecycle_policy
from contracts.ids import Name
from contracts.storage import Pin, PinKind, PinPage, PinRequest, TierReport

router = APIRouter(prefix="/v1", tags=["storage"])


@router.get("/tiers", summary="What lies where, and what it costs", dependencies=[Viewer])
async def tiers(request: Request) -> TierReport:
    return await service_of(request).after.storage.report()


@router.get(
    "/tiers/lifecycle", summary="The rules as a bucket's lifecycle policy", dependencies=[Viewer]
)
async def lifecycle(request: Request) -> dict[str, Any]:
    service = service_of(request)
    path = urlsplit(service.settings.object_store_url or "").path.strip("/")
    prefix = f"{path}/" if path else ""
    days = -(-service.settings.upload_expiry_s // 86_400)
    return lifecycle_policy(service.after.storage.rules, prefix, days)


@router.get(
    "/pins", summary="Label sets and dataset versions that keep clips hot", dependencies=[Viewer]
)
async def pins(request: Request) -> PinPage:
    return await service_of(request).after.pins.page()


@router.put("/pins/{kind}/{name}", summary="Keep the clips of a set hot", dependencies=[Labeller])
async def pin(request: Request, kind: PinKind, name: Name, body: PinRequest) -> Pin:
    return await service_of(request).after.pins.pin(kind, name, body.clip_ids, actor_of(request))


@router.delete("/pins/{kind}/{name}", summary="Let go of a set", dependencies=[Labeller])
async def unpin(request: Request, kind: PinKind, name: Name) -> Pin:
    return await service_of(request).after.pins.unpin(kind, name, actor_of(request))
