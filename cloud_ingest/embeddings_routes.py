"""Clips like a clip, and embeddings put by operators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from cloud_ingest.auth.policy import Operator, Viewer
from cloud_ingest.clips_routes import ClipId
from cloud_ingest.query.lexer import MAX_CHARACTERS
from cloud_ingest.service import service_of
from contracts.clip import ClipEmbedding
from contracts.clip_search import EmbeddingKept, LikePage

router = APIRouter(tags=["clips"])


@router.get(
    "/v1/clips/{clip_id}/like", summary="Clips nearest to a clip by what they show",
    dependencies=[Viewer],
)  # fmt: skip
async def like(
    request: Request,
    clip_id: ClipId,
    where: Annotated[
        str, Query(max_length=MAX_CHARACTERS, description="only clips that meet this condition")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
    space: Annotated[
        str | None,
        Query(
            pattern=r"^[0-9a-f]{4,64}$",
            description="digest of the embeddings' model, or its beginning; else the vehicle's own",
        ),
    ] = None,
) -> LikePage:
    return await service_of(request).mining.embeddings.like(clip_id, where, limit, space)


@router.put(
    "/v1/clips/{clip_id}/embedding", summary="Keep another model's embedding of a clip",
    dependencies=[Operator],
)  # fmt: skip
async def put(request: Request, clip_id: ClipId, embedding: ClipEmbedding) -> EmbeddingKept:
    return await service_of(request).mining.embeddings.put(clip_id, embedding)
