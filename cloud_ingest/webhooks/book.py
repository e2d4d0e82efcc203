"""Webhooks and what they are owed. `steps.announce` writes deliveries, in the events' transactions.

The secret lies in the database as it is: it signs, so the service has to know it.
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest import audit
from cloud_ingest.database import to_ns, to_time
from cloud_ingest.problems import AbsentError
from cloud_ingest.steps_schema import webhook_deliveries, webhooks
from contracts.clock import Clock
from contracts.errors import ConflictError
from contracts.webhooks import (
    Delivery,
    DeliveryPage,
    Webhook,
    WebhookMade,
    WebhookPage,
    WebhookRequest,
)

MOST_WEBHOOKS = 20
"""Each of them costs a row with every clip."""


class WebhookBook:
    """The webhooks of the service."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def add(self, request: WebhookRequest, actor: str) -> WebhookMade:
        """From now on; what came before is not told. Raises `ConflictError` for one too many."""
        webhook_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        now_ns = self._clock.utc_ns()
        async with self._engine.begin() as connection:
            count = sa.select(sa.func.count()).select_from(webhooks)
            if (await connection.execute(count)).scalar_one() >= MOST_WEBHOOKS:
                raise ConflictError(f"there are {MOST_WEBHOOKS} webhooks: remove one", "webhooks")
            await connection.execute(
                sa.insert(webhooks).values(
                    webhook_id=webhook_id, url=request.url, secret=secret,
                    created_utc=to_time(now_ns),
                )
            )  # fmt: skip
            await audit.record(connection, now_ns, actor, "add webhook", request.url)
        made = Webhook(webhook_id=webhook_id, url=request.url, created_utc_ns=now_ns)
        return WebhookMade(webhook=made, secret=secret)

    async def remove(self, webhook_id: str, actor: str) -> Webhook:
        """What is owed to it is forgotten. Raises `AbsentError`."""
        async with self._engine.begin() as connection:
            (found,) = await self._told(connection, webhook_id)
            await connection.execute(sa.delete(webhooks).where(webhooks.c.webhook_id == webhook_id))
            now_ns = self._clock.utc_ns()
            await audit.record(connection, now_ns, actor, "remove webhook", found.url)
        return found

    async def page(self) -> WebhookPage:
        async with self._engine.connect() as connection:
            return WebhookPage(webhooks=tuple(await self._told(connection, None)))

    async def deliveries(self, webhook_id: str) -> DeliveryPage:
        """The newest hundred. Raises `AbsentError`."""
        query = (
            sa.select(webhook_deliveries)
            .where(webhook_deliveries.c.webhook_id == webhook_id)
            .order_by(webhook_deliveries.c.created_utc.desc())
            .limit(100)
        )
        async with self._engine.connect() as connection:
            await self._told(connection, webhook_id)
            rows = (await connection.execute(query)).all()
        return DeliveryPage(
            deliveries=tuple(
                Delivery(
                    delivery_id=row.delivery_id, topic=row.topic, clip_id=row.clip_id,
                    state=row.state, attempts=row.attempts, reason=row.reason,
                    created_utc_ns=to_ns(row.created_utc),
                )
                for row in rows
            )
        )  # fmt: skip

    async def _told(self, connection: AsyncConnection, webhook_id: str | None) -> list[Webhook]:
        state = webhook_deliveries.c.state
        query = (
            sa.select(
                webhooks,
                sa.func.count().filter(state == "open").label("waiting"),
                sa.func.count().filter(state == "given_up").label("given_up"),
            )
            .outerjoin(webhook_deliveries, webhook_deliveries.c.webhook_id == webhooks.c.webhook_id)
            .group_by(webhooks.c.webhook_id)
            .order_by(webhooks.c.created_utc)
        )
        if webhook_id is not None:
            query = query.where(webhooks.c.webhook_id == webhook_id)
        rows = (await connection.execute(query)).all()
        if webhook_id is not None and not rows:
            raise AbsentError("there is no such webhook", webhook_id)
        return [
            Webhook(
                webhook_id=row.webhook_id, url=row.url, created_utc_ns=to_ns(row.created_utc),
                waiting=row.waiting, given_up=row.given_up,
            )
            for row in rows
        ]  # fmt: skip
