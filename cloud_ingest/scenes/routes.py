"""The list of scenes that the fleet has enough of: for vehicles, and for operators to look at."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from cloud_ingest.ota.access import Reader
from cloud_ingest.service import service_of

router = APIRouter(prefix="/v1", tags=["updates"])


@router.get(
    "/fleet-scenes/{sha256}",
    summary="A list of scenes that the fleet has enough of",
    response_class=Response,
    responses={200: {"content": {"application/json": {}}}},
    dependencies=[Reader],
)
async def fleet_scenes(
    request: Request, sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
) -> Response:
    content = await service_of(request).after.scene_lists.read(sha256)
    headers = {"Cache-Control": "private, max-age=604800"}
    return Response(content, headers=headers, media_type="application/json")
