"""tus 1.0 at `/v1/tus`: headers in, headers out. The steps are the receiver's.

Besides what tus asks, `Upload-Metadata` may carry `clip_id`: with a declared upload of that
clip the creation answers that one (so it is idempotent); without, the id is checked against
the bytes at completion. A partial upload with `clip_id` and `start_bytes` is a span of a declared
clip (`cloud_ingest.span_book`): the same one however often it is created.
"""

from __future__ import annotations

import email.utils
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from cloud_ingest.auth.policy import VehicleId
from cloud_ingest.bodies import cut_off
from cloud_ingest.database import to_time
from cloud_ingest.problems import problem_response
from cloud_ingest.request_body import pieces_of
from cloud_ingest.schema import COMMITTED, FINAL, PARTIAL, SPAN
from cloud_ingest.service import base_url, service_of
from cloud_ingest.tus import protocol
from cloud_ingest.upload_book import Upload
from contracts.errors import InputError, LongtailError
from contracts.ids import parse_sha256_hex
from contracts.upload import ADVISED_RATE_HEADER


class TusRoute(APIRoute):
    """Adds what every tus answer has, answers of errors too, and checks the version."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                if request.method != "OPTIONS":
                    protocol.check_version(request.headers)
                response = await inner(request)
            except LongtailError as error:
                length = request.headers.get("content-length", "0")
                response = problem_response(error, cut_off(length))
            except ClientDisconnect:
                response = Response(status_code=400)  # nobody is there to read it
            response.headers["Tus-Resumable"] = protocol.VERSION
            response.headers["Tus-Version"] = protocol.VERSION
            response.headers["Cache-Control"] = "no-store"
            return response

        return handle


router = APIRouter(prefix="/v1/tus", tags=["tus"], route_class=TusRoute)


def _location(request: Request, upload: Upload) -> str:
    return f"{base_url(request)}/v1/tus/{upload.upload_id}"


def _expiry(upload: Upload) -> dict[str, str]:
    if upload.state == COMMITTED:
        return {}
    time = to_time(upload.expires_utc_ns)
    return {"Upload-Expires": email.utils.format_datetime(time, usegmt=True)}


def _concat(request: Request, upload: Upload) -> dict[str, str]:
    if upload.kind in (PARTIAL, SPAN):
        return {"Upload-Concat": "partial"}
    if upload.kind == FINAL:
        base = f"{base_url(request)}/v1/tus"
        return {"Upload-Concat": "final;" + " ".join(f"{base}/{one}" for one in upload.joined)}
    return {}


@router.options("", summary="What this service can do of tus", status_code=204)
@router.options("/{upload_id}", include_in_schema=False, status_code=204)
async def options(request: Request) -> Response:
    return Response(
        status_code=204,
        headers={
            "Tus-Extension": ",".join(protocol.EXTENSIONS),
            "Tus-Max-Size": str(service_of(request).settings.max_clip_bytes),
            "Tus-Checksum-Algorithm": ",".join(protocol.CHECKSUM_ALGORITHMS),
        },
    )


@router.post("", summary="Create an upload, with its first bytes if there are any", status_code=201)
async def create(request: Request, vehicle_id: VehicleId) -> Response:
    receiver = service_of(request).receiver
    concat = protocol.parse_concat(request.headers.get("upload-concat"))
    header = request.headers.get("upload-metadata") or None
    metadata = protocol.parse_metadata(header or "")
    clip_id = metadata.get("clip_id")
    if clip_id is not None:
        parse_sha256_hex(clip_id, "Upload-Metadata")
    has_body = (
        "transfer-encoding" in request.headers
        or request.headers.get("content-length", "0").strip("0") != ""
    )
    if concat is not None and concat.partial_ids is not None:
        if has_body or "upload-length" in request.headers:
            raise InputError("a final upload has neither body nor Upload-Length", "Upload-Concat")
        final = await receiver.join(vehicle_id, concat.partial_ids, clip_id, header)
        return Response(status_code=201, headers={"Location": _location(request, final)})
    length = protocol.parse_length(request.headers, service_of(request).settings.max_clip_bytes)
    body = protocol.parse_body(request.headers, 0) if has_body else None
    first_byte = protocol.parse_start(metadata)
    if concat is not None and clip_id is not None and first_byte is not None:
        upload = await receiver.open_span(vehicle_id, clip_id, first_byte, length)
    else:
        upload = await receiver.create(
            vehicle_id, length, clip_id, header, is_partial=concat is not None
        )
    headers = {"Location": _location(request, upload)} | _expiry(upload)
    if upload.kind == SPAN:
        headers["Upload-Offset"] = str(upload.stored_bytes)
    if body is not None:
        offset = await receiver.append(upload, body, pieces_of(request))
        headers["Upload-Offset"] = str(offset)
    return Response(status_code=201, headers=headers)


@router.head("/{upload_id}", summary="How much of an upload has arrived", status_code=200)
async def head(request: Request, vehicle_id: VehicleId, upload_id: str) -> Response:
    receiver = service_of(request).receiver
    upload = await receiver.find(vehicle_id, upload_id)
    offset = await receiver.observe(upload)
    headers = {"Upload-Offset": str(offset), "Upload-Length": str(upload.length_bytes)}
    headers |= _concat(request, upload)
    if upload.metadata_header:
        headers["Upload-Metadata"] = upload.metadata_header
    return Response(status_code=200, headers=headers | _expiry(upload))


@router.patch("/{upload_id}", summary="Append bytes at the offset", status_code=204)
async def patch(request: Request, vehicle_id: VehicleId, upload_id: str) -> Response:
    body = protocol.parse_body(
        request.headers, protocol.parse_number(request.headers, "Upload-Offset")
    )
    receiver = service_of(request).receiver
    upload = await receiver.find(vehicle_id, upload_id)
    offset = await receiver.append(upload, body, pieces_of(request))
    headers = {"Upload-Offset": str(offset)} | _expiry(upload)
    advised = await receiver.advice()
    if advised is not None:
        headers[ADVISED_RATE_HEADER] = str(round(advised))
    return Response(status_code=204, headers=headers)


@router.delete("/{upload_id}", summary="Forget an upload; a clip stays", status_code=204)
async def terminate(request: Request, vehicle_id: VehicleId, upload_id: str) -> Response:
    receiver = service_of(request).receiver
    await receiver.terminate(await receiver.find(vehicle_id, upload_id))
    return Response(status_code=204)


@router.post("/{upload_id}", include_in_schema=False)
async def overridden(request: Request, vehicle_id: VehicleId, upload_id: str) -> Response:
    """`X-HTTP-Method-Override`, for clients behind proxies that know GET and POST only."""
    method = request.headers.get("x-http-method-override", "").upper()
    step = {"PATCH": patch, "HEAD": head, "DELETE": terminate}.get(method)
    if step is None:
        raise InputError("must be PATCH, HEAD or DELETE", "X-HTTP-Method-Override")
    return await step(request, vehicle_id, upload_id)
