"""Sends what webhooks are owed.

Guarantees: at least once, until a 2xx or `MOST_ATTEMPTS`, each pause longer than the one before;
one replica has a delivery at a time: it is put off by more than the time limit before it is tried,
so that one that was claimed before a kill is tried again by another. A round sends at most
`MOST_A_ROUND`, all at once, each within `TIMEOUT_S`. Redirects are not followed, and answers are
not read.

The URL is an operator's word: an operator can make the service POST its events to whatever the
service can reach.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.database import to_time
from cloud_ingest.steps_schema import webhook_deliveries, webhooks
from contracts.clock import NS_PER_S, Clock
from contracts.webhooks import signature

MOST_ATTEMPTS = 20
MOST_A_ROUND = 20
TIMEOUT_S = 10.0
FIRST_WAIT_S, LONGEST_WAIT_S = 10.0, 6 * 3600.0
KEPT = dt.timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Due:
    """One delivery to try. `attempts` counts this one."""

    delivery_id: str
    url: str
    secret: str
    body: bytes
    attempts: int


Post = Callable[[Due, dict[str, str]], Awaitable[str]]
"""POSTs a delivery; empty when it was taken, else why not."""


async def post(due: Due, headers: dict[str, str]) -> str:
    """Over HTTP. Raises nothing for what the other side does."""
    try:
        async with (
            httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False) as client,
            client.stream("POST", due.url, content=due.body, headers=headers) as answer,
        ):
            return "" if answer.is_success else f"HTTP {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return f"{type(error).__name__}: {error}"[:300]


class WebhookSender:
    """One chore of each replica."""

    def __init__(self, engine: AsyncEngine, clock: Clock, send: Post = post) -> None:
        self._engine = engine
        self._clock = clock
        self._send = send

    async def send_due(self) -> int:
        """Try what is due; returns how many were tried."""
        found = await self._claim()
        await asyncio.gather(*(self._try(each) for each in found))
        return len(found)

    async def _claim(self) -> list[Due]:
        now_ns = self._clock.utc_ns()
        now = to_time(now_ns)
        due = (
            sa.select(webhook_deliveries.c.delivery_id)
            .where(webhook_deliveries.c.state == "open", webhook_deliveries.c.due_utc <= now)
            .order_by(webhook_deliveries.c.due_utc)
            .limit(MOST_A_ROUND)
            .with_for_update(skip_locked=True)
        )
        held = (
            sa.update(webhook_deliveries)
            .where(
                webhook_deliveries.c.delivery_id.in_(due),
                webhooks.c.webhook_id == webhook_deliveries.c.webhook_id,
            )
            .values(
                attempts=webhook_deliveries.c.attempts + 1,
                due_utc=to_time(now_ns + int(2 * TIMEOUT_S * NS_PER_S)),
            )
            .returning(
                webhook_deliveries.c.delivery_id, webhook_deliveries.c.body,
                webhook_deliveries.c.attempts, webhooks.c.url, webhooks.c.secret,
            )
        )  # fmt: skip
        async with self._engine.begin() as connection:
            # What was settled long ago is of no use to anybody.
            await connection.execute(
                sa.delete(webhook_deliveries).where(
                    webhook_deliveries.c.state != "open",
                    webhook_deliveries.c.created_utc < now - KEPT,
                )
            )
            rows = (await connection.execute(held)).all()
        return [
            Due(row.delivery_id, row.url, row.secret, row.body.encode(), row.attempts)
            for row in rows
        ]

    async def _try(self, due: Due) -> None:
        timestamp_s = self._clock.utc_ns() // NS_PER_S
        headers = {
            "Content-Type": "application/json",
            "Longtail-Delivery": due.delivery_id,
            "Longtail-Timestamp": str(timestamp_s),
            "Longtail-Signature": signature(due.secret, timestamp_s, due.body),
        }
        reason = await self._send(due, headers)
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (due.attempts - 1))
        state = "open" if reason else "delivered"
        if reason and due.attempts >= MOST_ATTEMPTS:
            state = "given_up"
        async with self._engine.begin() as connection:
            await connection.execute(
                sa.update(webhook_deliveries)
                .where(webhook_deliveries.c.delivery_id == due.delivery_id)
                .values(
                    state=state,
                    reason=reason,
                    due_utc=to_time(self._clock.utc_ns() + int(wait_s * NS_PER_S)),
                )
            )
