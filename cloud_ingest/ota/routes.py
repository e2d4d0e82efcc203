"""Updates: `/v1/ota/image/*`, `/v1/ota/director/*`, `/v1/ota/files/*`, `/v1/releases`.

Metadata and targets lie where a stock TUF client looks for them, with consistent snapshots.
"""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from starlette.requests import ClientDisconnect

from cloud_ingest.auth.policy import Admin, Operator, Viewer, acting
from cloud_ingest.byte_answer import answer_bytes
from cloud_ingest.ota.access import Owner, Reader
from cloud_ingest.ota.image import MetadataFile
from cloud_ingest.ota.ota import Ota
from cloud_ingest.problems import AbsentError
from cloud_ingest.request_body import body_of
from cloud_ingest.service import service_of
from contracts.fleet import ReleasePage, RoleName, RoleState, RoleUpdate, StoredFile
from contracts.ids import Name
from contracts.ota import MAX_MODEL_BYTES, Kind

router = APIRouter(prefix="/v1", tags=["updates"])

_FILE = re.compile(r"(?:([1-9][0-9]{0,8})\.)?([a-z]+)\.json")
_IMAGE_ROLES = {"root", "snapshot", "targets", "triggers", "models"}
_DIRECTOR_ROLES = {"root", "snapshot", "targets"}
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


def _ota(request: Request) -> Ota:
    return service_of(request).ota


def _metadata_file(name: str, roles: set[str]) -> MetadataFile:
    match = _FILE.fullmatch(name)
    if match is not None:
        if match[1] is None and match[2] == "timestamp":
            return MetadataFile("timestamp", None)
        if match[1] is not None and match[2] in roles:
            return MetadataFile(match[2], int(match[1]))
    raise AbsentError("there is no such metadata file", name[:100])


def _metadata(content: bytes, *, is_newest: bool) -> Response:
    caching = "no-store" if is_newest else "private, max-age=604800"
    headers = {"Cache-Control": caching}
    return Response(content, headers=headers, media_type="application/json")


@router.get("/ota/image/metadata/{file}", summary="TUF metadata of all", dependencies=[Reader])
async def image_metadata(request: Request, file: str) -> Response:
    asked = _metadata_file(file, _IMAGE_ROLES)
    content = await _ota(request).image.metadata(asked)
    return _metadata(content, is_newest=asked.version is None)


@router.head("/ota/image/targets/{path:path}", include_in_schema=False, dependencies=[Reader])
@router.get(
    "/ota/image/targets/{path:path}",
    summary="A published file, whole or a range; its digest stands before its name",
    dependencies=[Reader],
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}, 206: {}, 304: {}, 416: {}},
)
async def image_target(request: Request, path: str) -> Response:
    ota = _ota(request)
    folder, _, name = path.rpartition("/")
    digest, _, plain = name.partition(".")
    file = await ota.image.target(f"{folder}/{plain}", digest)
    return answer_bytes(
        request,
        file.sha256,
        file.size_bytes,
        lambda start, length: ota.files.read(file.sha256, start, length),
    )


@router.get(
    "/ota/director/{vehicle_id}/metadata/{file}",
    summary="TUF metadata for one vehicle",
    dependencies=[Owner],
)
async def director_metadata(request: Request, vehicle_id: Name, file: str) -> Response:
    asked = _metadata_file(file, _DIRECTOR_ROLES)
    content = await _ota(request).director.metadata(vehicle_id, asked)
    return _metadata(content, is_newest=asked.version is None)


@router.put(
    "/ota/files/{sha256}",
    summary="Store a file, to be named by signed metadata",
    dependencies=[Operator],
    response_model=StoredFile,
)
async def put_file(request: Request, sha256: Digest) -> StoredFile | Response:
    try:
        return await _ota(request).files.put(sha256, body_of(request), MAX_MODEL_BYTES)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody is there to read it


@router.get("/ota/image/roles/{role}", summary="A signed role", dependencies=[Viewer])
async def role(request: Request, role: RoleName) -> RoleState:
    return await _ota(request).image.role(role)


@router.post(
    "/ota/image/roles/{role}",
    summary="Publish a role's next version, or add a signature to it",
    dependencies=[Operator],
)
async def update_role(request: Request, role: RoleName, body: RoleUpdate) -> RoleState:
    return await _ota(request).image.update_role(role, acting(request, body))


@router.get("/ota/director/roles/root", summary="The director's root", dependencies=[Viewer])
async def director_root(request: Request) -> RoleState:
    return await _ota(request).director.root()


@router.post("/ota/director/roles/root", summary="The director's next root", dependencies=[Admin])
async def update_director_root(request: Request, body: RoleUpdate) -> RoleState:
    return await _ota(request).director.update_root(acting(request, body))


@router.get("/releases", summary="What is published", dependencies=[Viewer])
async def releases(
    request: Request, kind: Kind | None = None, name: Name | None = None
) -> ReleasePage:
    return await _ota(request).image.releases(kind, name)
