"""Sends what webhooks are owed.

Guarantees: at least once, until a 2xx or `MOST_ATTEMPTS`, each pause longer than the one before;
one replica has a delivery at a time: it is put off by more than the time limit before it is tried,
so that one that was claimed before a kill is tried again by another. A webhook is sent at most
`MOST_AT_ONCE`, each within `TIMEOUT_S` from first to last byte, whatever the other side does, and
at its own pace: one that does not answer holds up none of the others. Redirects are not followed,
and answers are not read.

The URL is an operator's word: an operator can make the service POST its events to whatever the
service can reach.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx
import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.database import to_time
from cloud_ingest.steps_schema import webhook_deliveries, webhooks
from contracts.clock import NS_PER_S, Clock
from contracts.errors import LongtailError
from contracts.webhooks import signature

LOOP = "webhooks"
MOST_ATTEMPTS = 20
MOST_AT_ONCE = 8
"""Deliveries to one webhook; there are at most `book.MOST_WEBHOOKS` of these."""
TIMEOUT_S = 10.0
FIRST_WAIT_S, LONGEST_WAIT_S = 10.0, 6 * 3600.0
KEPT = dt.timedelta(days=7)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Due:
    """One delivery to try. `attempts` counts this one."""

    delivery_id: str
    url: str
    secret: str
    body: bytes
    attempts: int


Result = TypeVar("Result")
Post = Callable[[Due, dict[str, str]], Awaitable[str]]
"""POSTs a delivery; empty when it was taken, else why not."""


async def post(due: Due, headers: dict[str, str]) -> str:
    """Over HTTP. Raises nothing for what the other side does."""
    try:
        # httpx's own limit is for each read: an answer of a byte at a time would go on for ever.
        async with (
            asyncio.timeout(TIMEOUT_S),
            httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False) as client,
            client.stream("POST", due.url, content=due.body, headers=headers) as answer,
        ):
            return "" if answer.is_success else f"HTTP {answer.status_code}"
    except TimeoutError:
        return f"took longer than {TIMEOUT_S:g} s"
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return f"{type(error).__name__}: {error}"[:300]


class WebhookSender:
    """One loop of each replica.

    Args:
        poll_s: how often to look for what is owed.
        failed: told of each failure of the service itself.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        poll_s: float = 1.0,
        failed: Callable[[str], None] = lambda _: None,
        send: Post = post,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._poll_ns = int(poll_s * NS_PER_S)
        self._failed = failed
        self._send = send

    async def run(self) -> None:
        """Until cancelled: each webhook in a task of its own, for as long as it is owed."""
        sending: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                for webhook_id in await self._quietly(self._owed()) or ():
                    if webhook_id not in sending or sending[webhook_id].done():
                        sending[webhook_id] = group.create_task(self._send_all(webhook_id))
                await self._clock.sleep_ns(self._poll_ns)

    async def send_due(self) -> int:
        """Try what is due, some of each webhook; returns how many were tried."""
        async with asyncio.TaskGroup() as group:
            rounds = [group.create_task(self._round(each)) for each in await self._owed()]
        return sum(each.result() for each in rounds)

    async def _send_all(self, webhook_id: str) -> None:
        while await self._quietly(self._round(webhook_id)):
            pass

    async def _quietly(self, work: Awaitable[Result]) -> Result | None:
        """None for a failure, which is logged: what is owed stays so."""
        try:
            return await work
        except (LongtailError, SQLAlchemyError, OSError) as error:
            _log.warning("webhooks wait", error=str(error))
        except Exception:  # noqa: BLE001 - one webhook's trouble is not the others'
            _log.exception("webhooks wait")
        self._failed(LOOP)
        return None

    async def _round(self, webhook_id: str) -> int:
        """Try some of what is due to a webhook, all at once; returns how many."""
        found = await self._claim(webhook_id)
        tried = await asyncio.gather(*(self._try(each) for each in found), return_exceptions=True)
        for each in tried:
            if each is not None:
                raise each
        return len(found)

    async def _owed(self) -> list[str]:
        """Webhooks to which something is due."""
        now = to_time(self._clock.utc_ns())
        due = sa.exists().where(
            webhook_deliveries.c.webhook_id == webhooks.c.webhook_id,
            webhook_deliveries.c.state == "open",
            webhook_deliveries.c.due_utc <= now,
        )
        async with self._engine.begin() as connection:
            # What was settled long ago is of no use to anybody.
            await connection.execute(
                sa.delete(webhook_deliveries).where(
                    webhook_deliveries.c.state != "open",
                    webhook_deliveries.c.created_utc < now - KEPT,
                )
            )
            found = await connection.execute(sa.select(webhooks.c.webhook_id).where(due))
            return list(found.scalars())

    async def _claim(self, webhook_id: str) -> list[Due]:
        now_ns = self._clock.utc_ns()
        due = (
            sa.select(webhook_deliveries.c.delivery_id)
            .where(
                webhook_deliveries.c.webhook_id == webhook_id,
                webhook_deliveries.c.state == "open",
                webhook_deliveries.c.due_utc <= to_time(now_ns),
            )
            .order_by(webhook_deliveries.c.due_utc)
            .limit(MOST_AT_ONCE)
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
