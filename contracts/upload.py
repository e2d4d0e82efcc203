"""Messages between vehicle and receiver. Paths are relative to the cloud's base URL.

| call                                | body → answer                                     |
|-------------------------------------|---------------------------------------------------|
| POST /v1/enrolment-tokens           | EnrolmentTokenRequest → EnrolmentToken (operator) |
| POST /v1/vehicles                   | EnrolRequest → EnrolAnswer                        |
| POST /v1/auth/challenge             | ChallengeRequest → Challenge                      |
| POST /v1/auth/token                 | TokenRequest → TokenAnswer                        |
| POST /v1/events                     | EventRecord → EventAnswer                         |
| POST /v1/uploads                    | UploadRequest → UploadAnswer                      |
| GET  /v1/uploads/{clip_id}          | → UploadStatus                                    |
| tus 1.0 at /v1/tus, /v1/tus/{id}    | parts                                             |

Digests of parts travel in the JSON body of `UploadRequest`, never in headers. Every vehicle
call but enrolment and the challenge carries `Authorization: Bearer <token>`. Errors are
`Problem` bodies.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from contracts.clip import MOST_SCENES, Cause, Window, Wire
from contracts.ids import EventKey, Name, Sha256Hex
from contracts.scenes import Scene

MAX_CLIP_BYTES = 64 * 2**30
MAX_CHECKSUMMED_PATCH_BYTES = 64 * 2**20
MAX_EVENT_BYTES = 2048
ADVISED_RATE_HEADER = "Longtail-Advised-Rate"
"""Of an answer to a PATCH: `UploadAnswer.advised_bytes_per_s`, as a whole number."""
AUTH_CONTEXT = b"longtail-auth-v1\n"
"""Prefix of what a vehicle signs, so that its signature serves no other purpose."""

Base64Url = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=4096)]


class Problem(Wire):
    """Body of every error answer. `error` is a stable word, `message` is for people."""

    error: str
    message: str
    place: str | None = None
    retry_after_s: float | None = None
    scope: Literal["clip", "server"] | None = None
    """What should wait for `retry_after_s`: this clip alone, or (None too) everything."""


class EnrolmentTokenRequest(Wire):
    """Ask for a one-time token; `vehicle_id` ties it to one vehicle."""

    vehicle_id: Name | None = None
    valid_s: int = Field(86_400, ge=60, le=90 * 86_400)


class EnrolmentToken(Wire):
    token: str
    vehicle_id: Name | None
    expires_utc_ns: int


class EnrolRequest(Wire):
    """A vehicle presents the public half of the key that it made (raw Ed25519, base64url)."""

    vehicle_id: Name
    public_key: Base64Url
    token: str | None = None


class EnrolAnswer(Wire):
    vehicle_id: Name


class ChallengeRequest(Wire):
    vehicle_id: Name


class Challenge(Wire):
    """To be signed as `AUTH_CONTEXT + challenge` (ASCII) by the vehicle's key."""

    challenge: str
    server_utc_ns: int
    expires_utc_ns: int


class TokenRequest(Wire):
    vehicle_id: Name
    challenge: str = Field(max_length=4096)
    signature: Base64Url


class TokenAnswer(Wire):
    """A short-lived token, and the server's time, from which the vehicle learns its own."""

    token: str
    server_utc_ns: int
    expires_utc_ns: int


class EventRecord(Wire):
    """Goes out at once on any link, long before the payload. At most `MAX_EVENT_BYTES`."""

    schema_version: int = 1
    event: EventKey
    utc_ns: int
    cause: Cause
    clip_id: Sha256Hex | None = None
    outcome: Literal["captured", "suppressed", "lost"]
    reason: str | None = None
    lat_deg: float | None = None
    lon_deg: float | None = None


class EventAnswer(Wire):
    """`known` is true when the same record had arrived before."""

    known: bool


class UploadRequest(Wire):
    """Declare a clip before sending it. `part_digests` cover the 8 MiB parts in order."""

    clip_id: Sha256Hex
    size_bytes: int = Field(ge=1, le=MAX_CLIP_BYTES)
    part_digests: tuple[Sha256Hex, ...] = Field(min_length=1, max_length=8192)
    event: EventKey
    window: Window
    trigger_ids: tuple[Name, ...] = ()
    safety: bool = False
    stream: Literal["triggered", "random"] = "triggered"
    scene_hash: str | None = Field(None, max_length=64)
    scenes: tuple[Scene, ...] = Field((), max_length=MOST_SCENES)
    """What the fleet may have enough of, one for each trigger; without, the clip is wanted."""


class UploadAnswer(Wire):
    """What to do: nothing (`have_it`, `not_wanted`), `wait`, or `upload` to `upload_url`."""

    answer: Literal["have_it", "not_wanted", "wait", "upload"]
    clip_id: Sha256Hex
    upload_url: str | None = None
    offset_bytes: int | None = None
    retry_after_s: float | None = None
    reason: str | None = None
    advised_bytes_per_s: float | None = None
    """How fast the vehicle should send from now on; None: as fast as it may."""
    max_spans: int = Field(0, ge=0)
    """How many spans of this clip may be sent side by side; 0: its parts one after another."""


class UploadStatus(Wire):
    """What the receiver holds. Only `committed` marks a clip as uploaded."""

    clip_id: Sha256Hex
    state: Literal["absent", "uploading", "committed"]
    size_bytes: int | None = None
    offset_bytes: int | None = None
