"""Signal logs: vehicles put them, operators list and fetch them to try specs on."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.requests import ClientDisconnect

from cloud_ingest.auth.policy import VehicleId, Viewer
from cloud_ingest.byte_answer import BINARY_ANSWERS, answer_bytes
from cloud_ingest.problems import AbsentError
from cloud_ingest.request_body import body_of
from cloud_ingest.service import service_of
from cloud_ingest.signal_logs import SignalLogs
from contracts.signal_log import MAX_SIGNAL_LOG_BYTES, SignalLogPage, SignalLogRow

router = APIRouter(prefix="/v1/signal-logs", tags=["signal logs"])

LogId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


@router.put(
    "/{log_id}",
    summary="Store a signal log under the id of its bytes",
    response_model=SignalLogRow,
)
async def put(request: Request, vehicle_id: VehicleId, log_id: LogId) -> SignalLogRow | Response:
    logs = service_of(request).signal_logs
    if not await _is_here(logs, vehicle_id, log_id):
        length = request.headers.get("content-length", str(MAX_SIGNAL_LOG_BYTES))
        await service_of(request).receiver.admit(vehicle_id, int(length))
    try:
        return await logs.receive(vehicle_id, log_id, body_of(request))
    except ClientDisconnect:
        return Response(status_code=400)  # nobody is there to read it


async def _is_here(logs: SignalLogs, vehicle_id: str, log_id: str) -> bool:
    """Whether the vehicle has sent this log before: then it costs nothing."""
    try:
        return (await logs.show(log_id)).vehicle_id == vehicle_id
    except AbsentError:
        return False


@router.get("", summary="Signal logs from the newest drive on", dependencies=[Viewer])
async def page(
    request: Request,
    vehicle_id: Annotated[str | None, Query(max_length=128)] = None,
    since_utc_ns: Annotated[int | None, Query(ge=0)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> SignalLogPage:
    logs = service_of(request).signal_logs
    return await logs.page(vehicle_id, since_utc_ns, limit, cursor)


@router.head("/{log_id}", include_in_schema=False, dependencies=[Viewer])
@router.get(
    "/{log_id}",
    summary="A signal log's bytes, whole or a range",
    response_class=Response,
    responses=BINARY_ANSWERS,
    dependencies=[Viewer],
)
async def read(request: Request, log_id: LogId) -> Response:
    logs = service_of(request).signal_logs
    row = await logs.show(log_id)
    return answer_bytes(request, log_id, row.size_bytes, partial(logs.objects.read, log_id))
