"""Webhooks, for operators."""

from __future__ import annotations

from fastapi import APIRouter, Request

from cloud_ingest.auth.policy import Operator, actor_of
from cloud_ingest.service import service_of
from contracts.ids import Name
from contracts.webhooks import DeliveryPage, Webhook, WebhookMade, WebhookPage, WebhookRequest

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], dependencies=[Operator])


@router.post("", summary="Have events about clips sent to a URL")
async def add(request: Request, body: WebhookRequest) -> WebhookMade:
    return await service_of(request).after.webhooks.add(body, actor_of(request))


@router.get("", summary="All webhooks, and what they are owed")
async def page(request: Request) -> WebhookPage:
    return await service_of(request).after.webhooks.page()


@router.delete("/{webhook_id}", summary="Send nothing there any more")
async def remove(request: Request, webhook_id: Name) -> Webhook:
    return await service_of(request).after.webhooks.remove(webhook_id, actor_of(request))


@router.get("/{webhook_id}/deliveries", summary="The newest deliveries of a webhook")
async def deliveries(request: Request, webhook_id: Name) -> DeliveryPage:
    return await service_of(request).after.webhooks.deliveries(webhook_id)
