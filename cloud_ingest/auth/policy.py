"""Who may do what: vehicles by their token, operators by theirs, and laptop mode.

*Laptop mode* holds when the service is bound to loopback, runs on its embedded default, and
neither an operator token nor a public URL is set. Then a request straight from this machine
needs no operator token, and a vehicle enrols without one. A request that went through a proxy
(any forwarding header, or HTTP/1.0, which only proxies still speak) or names another host (a
web page that points its own name at loopback) is refused: it may come from anywhere. Any other
configuration requires both tokens, and without an operator token set, operators' calls are
refused outright.

A token is taken from `Authorization: Bearer`; clips also open by a signed link (`?access=`),
since viewers cannot send headers.
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from cloud_ingest.problems import UnknownCallerError
from cloud_ingest.service import service_of
from contracts.errors import RefusedError

_FORWARDING = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


def bearer_token(request: Request) -> str | None:
    """The request's bearer token; None when it carries none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def is_local_request(request: Request) -> bool:
    """True when the request comes straight from this machine, for this machine."""
    if any(name in request.headers for name in _FORWARDING):
        return False
    if request.scope.get("http_version") == "1.0":
        return False  # what a bare reverse proxy speaks to its upstream, and no client of ours
    peer = request.client.host if request.client else ""
    named = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    return _is_loopback(peer) and _is_loopback(named)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_operator(request: Request) -> None:
    """Let an operator pass. Raises `UnknownCallerError` or `RefusedError`."""
    service = service_of(request)
    expected = service.settings.operator_token
    if service.settings.is_laptop:
        if not is_local_request(request):
            raise RefusedError("in laptop mode only this machine is served; set an operator token")
        return
    if expected is None:
        raise RefusedError("this service has no operator token set (LONGTAIL_OPERATOR_TOKEN)")
    token = bearer_token(request)
    if token is None or not _same(token, expected.get_secret_value()):
        raise UnknownCallerError("this call needs the operator's bearer token")


def may_enrol_freely(request: Request) -> bool:
    """True when a vehicle needs no enrolment token: laptop mode, from this machine."""
    return service_of(request).settings.is_laptop and is_local_request(request)


def _same(token: str, expected: str) -> bool:
    return hmac.compare_digest(token.encode(), expected.encode())


async def require_vehicle(request: Request) -> str:
    """The calling vehicle's id. Raises `UnknownCallerError`; a revoked vehicle at once."""
    token = bearer_token(request)
    if token is None:
        raise UnknownCallerError("this call needs a vehicle's bearer token")
    service = service_of(request)
    vehicle_id = service.signer.check("vehicle", token)
    if await service.vehicles.public_key(vehicle_id) is None:
        raise UnknownCallerError("this vehicle is not enrolled, or was revoked")
    return vehicle_id


def require_clip_reader(request: Request, clip_id: str, access: str | None = None) -> None:
    """Let pass who holds a signed link to this clip, else an operator."""
    if access is not None:
        if service_of(request).signer.check("clip", access) != clip_id:
            raise UnknownCallerError("this link is for another clip")
        return
    require_operator(request)


Operator = Depends(require_operator)
VehicleId = Annotated[str, Depends(require_vehicle)]
