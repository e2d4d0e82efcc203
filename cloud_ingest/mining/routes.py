"""Spaces, pictures, facets and saved searches for operators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ValidationError

from cloud_ingest.auth.policy import Labeller, Operator, Person, Viewer
from cloud_ingest.mining.facets import MAX_COLUMNS, USUAL
from cloud_ingest.mining.picture_encoder import MAX_BYTES
from cloud_ingest.problems import MediaTypeError, TooLargeError
from cloud_ingest.query.lexer import MAX_CHARACTERS
from cloud_ingest.service import service_of
from contracts.clip import ClipEmbedding
from contracts.clip_search import ClipPage
from contracts.errors import InputError
from contracts.ids import Name
from contracts.mining import (
    FacetPage,
    Picture,
    ReembedRequest,
    SavedSearch,
    SavedSearchPage,
    SavedSearchRequest,
    SpacePage,
    SpaceRow,
)

router = APIRouter(tags=["clips"])

SearchName = Annotated[Name, Path()]
Owner = Annotated[Name, Query()]
_PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": ClipEmbedding.model_json_schema()},
        },
    }
}


@router.get(
    "/v1/spaces", summary="Spaces of vectors, and how far each is made", dependencies=[Viewer]
)
async def spaces(request: Request) -> SpacePage:
    return await service_of(request).mining.spaces.list()


@router.post(
    "/v1/spaces/{space}/reembed", summary="Make all vectors of a space of captions",
    dependencies=[Operator],
)  # fmt: skip
async def reembed(
    request: Request,
    space: Annotated[str, Path(pattern=r"^[0-9a-f]{4,64}$")],
    wanted: ReembedRequest,
) -> SpaceRow:
    return await service_of(request).mining.spaces.reembed(space, wanted.makes_default)


@router.post(
    "/v1/pictures", summary="Give a picture that searches may name",
    openapi_extra=_PICTURE_BODY, dependencies=[Viewer],
)  # fmt: skip
async def put_picture(request: Request) -> Picture:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BYTES:
            raise TooLargeError(f"more than {MAX_BYTES} bytes", "picture")
    pictures = service_of(request).mining.pictures
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "image/jpeg":
        return await pictures.put_jpeg(bytes(content))
    if kind != "application/json":
        raise MediaTypeError("a picture is image/jpeg, or its vector as application/json")
    try:
        embedding = ClipEmbedding.model_validate_json(bytes(content))
    except ValidationError as error:
        raise InputError(error.errors()[0]["msg"], "picture") from error
    return await pictures.put(embedding)


@router.get(
    "/v1/facets", summary="How many clips have each value of some columns", dependencies=[Viewer]
)
async def facets(
    request: Request,
    column: Annotated[
        list[str] | None,
        Query(max_length=MAX_COLUMNS, description=f"else {', '.join(USUAL)}"),
    ] = None,
    where: Annotated[str, Query(max_length=MAX_CHARACTERS)] = "",
    most: Annotated[int, Query(ge=1, le=1000, description="values of a column")] = 20,
) -> FacetPage:
    return await service_of(request).mining.facets.count(column or USUAL, where, most)


@router.get(
    "/v1/saved-searches", summary="Saved searches, of one owner or all", dependencies=[Viewer]
)
async def saved(request: Request, owner: Annotated[Name | None, Query()] = None) -> SavedSearchPage:
    return await service_of(request).mining.saved.list(owner)


@router.put(
    "/v1/saved-searches/{name}", summary="Keep a search under a name", dependencies=[Labeller]
)
async def save(
    request: Request, name: SearchName, search: SavedSearchRequest, caller: Person
) -> SavedSearch:
    if caller.name is not None:  # whom the service knows owns what they save
        search = search.model_copy(update={"owner": caller.name})
    return await service_of(request).mining.saved.save(name, search)


@router.delete(
    "/v1/saved-searches/{name}", summary="Forget a search, by its owner", status_code=204,
    dependencies=[Labeller],
)  # fmt: skip
async def forget(request: Request, name: SearchName, owner: Owner, caller: Person) -> Response:
    await service_of(request).mining.saved.remove(name, caller.name or owner)
    return Response(status_code=204)


@router.get("/v1/saved-searches/{name}/clips", summary="Run a saved search", dependencies=[Viewer])
async def run(
    request: Request,
    name: SearchName,
    limit: Annotated[int, Query(ge=1, le=1000, description="clips on a page")] = 100,
    cursor: Annotated[str | None, Query(max_length=20_000)] = None,
) -> ClipPage:
    mining = service_of(request).mining
    return await mining.search(await mining.saved.where(name), limit, cursor, False)
