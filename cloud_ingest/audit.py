"""The audit log: every change that a person or the service made to the fleet. It only grows."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest.database import to_time
from cloud_ingest.fleet_schema import audit_log


async def record(
    connection: AsyncConnection,
    at_utc_ns: int,
    actor: str,
    action: str,
    subject: str,
    reason: str = "",
) -> None:
    """Add a line, in the transaction of the change that it tells."""
    row = {
        "at_utc": to_time(at_utc_ns),
        "actor": actor,
        "action": action,
        "subject": subject,
        "reason": reason,
    }
    await connection.execute(sa.insert(audit_log).values(row))
