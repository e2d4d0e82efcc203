"""A vehicle's side of the REST calls in `contracts.upload`, with the agent's own identity."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import BaseModel

from contracts.ids import sha256_hex
from contracts.upload import (
    Challenge,
    ChallengeRequest,
    EnrolmentToken,
    EnrolmentTokenRequest,
    TokenAnswer,
    UploadStatus,
)
from edge_agent.disk import RealDisk
from edge_agent.identity import VehicleKey, answer_challenge, enrol_request

TUS = {"Tus-Resumable": "1.0.0"}


@dataclass(frozen=True, slots=True)
class Session:
    """An enrolled vehicle with a token."""

    http: httpx.Client
    vehicle_id: str
    token: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def status(self, clip_id: str) -> UploadStatus:
        answer = self.http.get(f"/v1/uploads/{clip_id}", headers=self.bearer)
        return UploadStatus.model_validate_json(answer.raise_for_status().content)


def vehicle_key(path: Path) -> VehicleKey:
    """The key at `path`, made when absent; the vehicle is called after it."""
    key = VehicleKey.load_or_create(path, "unnamed", RealDisk())
    name = f"vehicle-{sha256_hex(key.public_key.encode())[:12]}"
    return VehicleKey.load_or_create(path, name, RealDisk())


def post(http: httpx.Client, path: str, body: BaseModel, **headers: str) -> httpx.Response:
    return http.post(path, json=body.model_dump(mode="json"), headers=headers)


def enrolled(http: httpx.Client, key: VehicleKey, enrolment_token: str | None = None) -> Session:
    """Enrol (again, when the key is known already) and trade a signed challenge for a token."""
    post(http, "/v1/vehicles", enrol_request(key, enrolment_token)).raise_for_status()
    asked = post(http, "/v1/auth/challenge", ChallengeRequest(vehicle_id=key.vehicle_id))
    challenge = Challenge.model_validate_json(asked.raise_for_status().content)
    answer = post(http, "/v1/auth/token", answer_challenge(key, challenge))
    token = TokenAnswer.model_validate_json(answer.raise_for_status().content).token
    return Session(http, key.vehicle_id, token)


def enrolment_token(http: httpx.Client, operator_token: str) -> str:
    """A one-time token, made with the operator's."""
    answer = post(
        http, "/v1/enrolment-tokens", EnrolmentTokenRequest(),
        Authorization=f"Bearer {operator_token}",
    )  # fmt: skip
    return EnrolmentToken.model_validate_json(answer.raise_for_status().content).token


def offset(session: Session, url: str) -> int:
    """What the receiver holds of an upload."""
    answer = session.http.head(url, headers=TUS | session.bearer)
    return int(answer.raise_for_status().headers["Upload-Offset"])


def settled_offset(session: Session, url: str) -> int:
    """The offset once the receiver has seen the cut; 0 when it holds nothing after a while."""
    for _ in range(100):
        held = offset(session, url)
        if held:
            return held
        threading.Event().wait(0.1)
    return 0
