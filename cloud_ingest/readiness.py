"""Whether this process should get requests: `/readyz`, for load balancers and orchestrators.

`/healthz` says that process and database live; a replica that cannot reach its object store, or of
which a loop is down, lives, but should be left alone until it can.

A store without room is no reason: it is all replicas', whoever searches or erases needs them, and
uploads are told to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import sqlalchemy as sa
import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from cloud_ingest.service import Service, service_of
from contracts.clip import Wire

WAIT_S = 5.0
_NO_CLIP = "0" * 64
_log = structlog.get_logger(__name__)
router = APIRouter(tags=["service"])


class Readiness(Wire):
    """Each part's word: `ok`, or `away`; of the service's loops which are `down`."""

    ready: bool
    parts: dict[str, str]


@router.get(
    "/readyz", summary="Whether this replica should get requests",
    response_model=Readiness, responses={503: {"model": Readiness}},
)  # fmt: skip
async def readyz(request: Request) -> JSONResponse:
    service = service_of(request)
    asked = {"database": _database(service), "objects": service.objects.size_bytes(_NO_CLIP)}
    words = await asyncio.gather(*(_word(name, each) for name, each in asked.items()))
    parts = dict(zip(asked, words, strict=True))
    down = service.background.down()
    parts["loops"] = f"down: {', '.join(down)}" if down else "ok"
    is_ready = all(word == "ok" for word in parts.values())
    found = Readiness(ready=is_ready, parts=parts)
    return JSONResponse(found.model_dump(), 200 if is_ready else 503)


async def _database(service: Service) -> None:
    async with service.engine.connect() as connection:
        await connection.execute(sa.select(1))


async def _word(name: str, asked: Awaitable[object]) -> str:
    try:
        await asyncio.wait_for(asked, WAIT_S)
    except Exception as error:  # noqa: BLE001 - whatever it is, this part does not answer
        _log.warning("not ready", part=name, reason=f"{type(error).__name__}: {error}")
        return "away"
    return "ok"
