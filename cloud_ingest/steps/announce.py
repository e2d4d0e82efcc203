"""Events about clips, on their way to webhooks: written in the transaction that makes them true."""

from __future__ import annotations

import json
import secrets
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest.database import to_time
from cloud_ingest.steps_schema import webhook_deliveries, webhooks
from contracts.clock import Clock


async def announce(
    connection: AsyncConnection, topic: str, clip_id: str, payload: dict[str, Any], clock: Clock
) -> None:
    """Owe each webhook one delivery of an event. Costs one query when there is none."""
    found = (await connection.execute(sa.select(webhooks.c.webhook_id))).scalars().all()
    now_ns = clock.utc_ns()
    rows = []
    for webhook_id in found:
        delivery_id = secrets.token_hex(16)
        body = {
            "delivery_id": delivery_id, "topic": topic, "clip_id": clip_id, "utc_ns": now_ns,
            **payload,
        }  # fmt: skip
        rows.append(
            {
                "delivery_id": delivery_id, "webhook_id": webhook_id, "topic": topic,
                "clip_id": clip_id, "body": json.dumps(body, sort_keys=True), "state": "open",
                "created_utc": to_time(now_ns), "due_utc": to_time(now_ns),
            }
        )  # fmt: skip
    if rows:
        await connection.execute(sa.insert(webhook_deliveries).values(rows))
