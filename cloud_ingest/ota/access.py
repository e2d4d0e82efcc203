"""Who may read updates: any enrolled vehicle the image repository, each vehicle its own
director's word, a person everything.

A token decides who calls, also in laptop mode: there only a call without one is a person's.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from cloud_ingest.auth.policy import bearer_token, caller_of, require_vehicle
from cloud_ingest.problems import UnknownCallerError
from cloud_ingest.service import service_of
from contracts.errors import RefusedError


async def require_reader(request: Request) -> str | None:
    """The calling vehicle's id; None for a person.

    Raises `UnknownCallerError` or `RefusedError`.
    """
    if bearer_token(request) is None:
        await caller_of(request)
        return None
    if not service_of(request).settings.is_laptop:
        try:
            await caller_of(request)
        except (UnknownCallerError, RefusedError):
            return await require_vehicle(request)
        return None
    return await require_vehicle(request)


async def require_own(
    vehicle_id: str, caller: Annotated[str | None, Depends(require_reader)]
) -> None:
    """Let pass the vehicle that the path names, and people. Raises `RefusedError`."""
    if caller is not None and caller != vehicle_id:
        raise RefusedError("this is another vehicle's", "vehicle_id")


Reader = Depends(require_reader)
Owner = Depends(require_own)
