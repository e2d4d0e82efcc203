"""Steps and views of a clip, for people."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from cloud_ingest.auth.policy import Operator, Viewer, require_clip_reader
from cloud_ingest.problems import AbsentError
from cloud_ingest.service import service_of
from cloud_ingest.steps.views import media_type
from contracts.steps import ClipSteps

router = APIRouter(prefix="/v1/clips/{clip_id}", tags=["clips"])

ClipId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


@router.get("/steps", summary="What happened to a clip since it came", dependencies=[Viewer])
async def steps(request: Request, clip_id: ClipId) -> ClipSteps:
    return await service_of(request).after.progress.of(clip_id)


@router.post(
    "/steps/redo",
    summary="Run again what failed or was skipped; read again what was set aside",
    dependencies=[Operator],
)
async def redo(request: Request, clip_id: ClipId) -> ClipSteps:
    after = service_of(request).after
    await service_of(request).committer.read_again(clip_id)
    await after.book.redo(clip_id)
    return await after.progress.of(clip_id)


@router.get(
    "/views/{name}",
    summary="A key frame or the preview of a clip",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}, "video/mp4": {}}}},
)
async def view(
    request: Request,
    clip_id: ClipId,
    name: Annotated[str, Path(max_length=100)],
    access: Annotated[str | None, Query(max_length=4096, description="from `mcap_url`")] = None,
) -> Response:
    await require_clip_reader(request, clip_id, access)
    kind = media_type(name)
    content = await asyncio.to_thread(service_of(request).after.views.read, clip_id, name)
    if content is None:
        raise AbsentError("there is no such view", name)
    headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(content, headers=headers, media_type=kind)
