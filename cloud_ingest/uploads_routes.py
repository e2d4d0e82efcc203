"""Declarations: `/v1/uploads`. Answers are per vehicle: nobody learns of another's clips."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from cloud_ingest.auth.policy import VehicleId
from cloud_ingest.commit import ERASED
from cloud_ingest.service import base_url, service_of
from contracts.errors import TransientError
from contracts.upload import UploadAnswer, UploadRequest, UploadStatus

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

ClipId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


@router.post("", summary="Declare a clip before sending it, and learn what to do")
async def declare(request: Request, vehicle_id: VehicleId, body: UploadRequest) -> UploadAnswer:
    receiver, after = service_of(request).receiver, service_of(request).after
    if await after.erasures.is_barred(body.clip_id):
        return UploadAnswer(answer="not_wanted", clip_id=body.clip_id, reason=ERASED)
    tus_url = f"{base_url(request)}/v1/tus"
    try:
        answer = await receiver.declare(vehicle_id, body, tus_url)
    except TransientError:
        await after.scenes.give_back(body.clip_id)
        raise
    if body.scenes and answer.answer == "wait":
        await after.scenes.give_back(body.clip_id)
    return answer


@router.get("/{clip_id}", summary="What the service holds of a clip of this vehicle")
async def status(request: Request, vehicle_id: VehicleId, clip_id: ClipId) -> UploadStatus:
    return await service_of(request).receiver.status(vehicle_id, clip_id)
