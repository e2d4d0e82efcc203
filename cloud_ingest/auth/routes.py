"""Enrolment and tokens: `/v1/enrolment-tokens`, `/v1/vehicles`, `/v1/auth/*`."""

from __future__ import annotations

from fastapi import APIRouter, Request

from cloud_ingest.auth.keys import decode_base64url, parse_public_key, signature_holds
from cloud_ingest.auth.policy import Admin, actor_of, may_enrol_freely
from cloud_ingest.problems import UnknownCallerError
from cloud_ingest.service import service_of
from contracts.errors import RefusedError
from contracts.upload import (
    Challenge,
    ChallengeRequest,
    EnrolAnswer,
    EnrolmentToken,
    EnrolmentTokenRequest,
    EnrolRequest,
    TokenAnswer,
    TokenRequest,
)

router = APIRouter(prefix="/v1", tags=["identity"])


@router.post(
    "/enrolment-tokens",
    summary="Make a one-time token with which a vehicle may enrol",
    dependencies=[Admin],
)
async def make_enrolment_token(request: Request, body: EnrolmentTokenRequest) -> EnrolmentToken:
    return await service_of(request).vehicles.make_token(body, actor_of(request))


@router.post("/vehicles", summary="Enrol a vehicle with the public half of its key")
async def enrol(request: Request, body: EnrolRequest) -> EnrolAnswer:
    if body.token is None and not may_enrol_freely(request):
        raise RefusedError("enrolment needs a one-time token from the operator", "token")
    key = parse_public_key(body.public_key)
    await service_of(request).vehicles.enrol(body.vehicle_id, key, body.token)
    return EnrolAnswer(vehicle_id=body.vehicle_id)


@router.post("/auth/challenge", summary="Get a challenge to sign; the same for any vehicle name")
async def challenge(request: Request, body: ChallengeRequest) -> Challenge:
    service = service_of(request)
    token, expires_utc_ns = service.signer.sign("challenge", body.vehicle_id)
    return Challenge(
        challenge=token, server_utc_ns=service.clock.utc_ns(), expires_utc_ns=expires_utc_ns
    )


@router.post("/auth/token", summary="Trade a signed challenge for a short-lived token")
async def token(request: Request, body: TokenRequest) -> TokenAnswer:
    service = service_of(request)
    if service.signer.check("challenge", body.challenge) != body.vehicle_id:
        raise UnknownCallerError("this challenge was made for another vehicle")
    key = await service.vehicles.public_key(body.vehicle_id)
    signature = decode_base64url(body.signature, "signature")
    if key is None or not signature_holds(key, body.challenge, signature):
        raise UnknownCallerError("no enrolled vehicle of this name signed this challenge")
    answer, expires_utc_ns = service.signer.sign("vehicle", body.vehicle_id)
    return TokenAnswer(
        token=answer, server_utc_ns=service.clock.utc_ns(), expires_utc_ns=expires_utc_ns
    )
