"""Clips for operators: search, show, and the bytes themselves, by range."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from cloud_ingest.auth.policy import Viewer, require_clip_reader
from cloud_ingest.byte_answer import BINARY_ANSWERS, answer_bytes
from cloud_ingest.problems import AbsentError
from cloud_ingest.query.lexer import MAX_CHARACTERS
from cloud_ingest.service import base_url, service_of
from contracts.clip_search import ClipDetail, ClipPage

router = APIRouter(tags=["clips"])

ClipId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


@router.get("/v1/clips", summary="Search clips by a condition", dependencies=[Viewer])
async def search(
    request: Request,
    where: Annotated[
        str,
        Query(
            max_length=MAX_CHARACTERS,
            description="e.g. weather = 'clear' AND 'car' = ANY(detected_objects) "
            "AND max_decel_mps2 > 2 ORDER BY max_decel_mps2 DESC LIMIT 10, or"
            " tod = 'night' ORDER BY similarity TO sentence('a cyclist in the rain')",
        ),
    ] = "",
    limit: Annotated[int, Query(ge=1, le=1000, description="clips on a page")] = 100,
    cursor: Annotated[str | None, Query(max_length=20_000)] = None,
    include_quarantined: bool = False,
) -> ClipPage:
    return await service_of(request).mining.search(where, limit, cursor, include_quarantined)


@router.get("/v1/clips/{clip_id}", summary="One clip with its manifest", dependencies=[Viewer])
async def show(request: Request, clip_id: ClipId) -> ClipDetail:
    service = service_of(request)
    row, manifest = await service.catalog.show(clip_id)
    access, _ = service.signer.sign("clip", clip_id)
    url = f"{base_url(request)}/clips/{clip_id}.mcap?access={access}"
    return ClipDetail(clip=row, manifest=manifest, mcap_url=url)


@router.head("/clips/{clip_id}.mcap", include_in_schema=False)
@router.get(
    "/clips/{clip_id}.mcap",
    summary="The clip's bytes, whole or a range",
    response_class=Response,
    responses=BINARY_ANSWERS,
)
async def read(
    request: Request,
    clip_id: ClipId,
    access: Annotated[str | None, Query(max_length=4096, description="from `mcap_url`")] = None,
) -> Response:
    await require_clip_reader(request, clip_id, access)
    objects = service_of(request).objects
    size = await objects.size_bytes(clip_id)
    if size is None:
        raise AbsentError("there is no such clip", clip_id)
    return answer_bytes(request, clip_id, size, partial(objects.read, clip_id))
