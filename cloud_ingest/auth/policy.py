"""Who may do what: vehicles by their token, people by theirs, and laptop mode.

*Laptop mode* holds when the service is bound to loopback, runs on its embedded default, and
neither an operator token nor a public URL is set. Then a request straight from this machine
needs no operator token, and a vehicle enrols without one. A request that went through a proxy
(any forwarding header, or HTTP/1.0, which only proxies still speak) or names another host (a
web page that points its own name at loopback) is refused: it may come from anywhere. Any other
configuration requires tokens of both.

People have tokens of their own, each with a role (`contracts.people`); the operator token of the
settings is an admin's, with which the first of them is let in.

A token is taken from `Authorization: Bearer`; clips also open by a signed link (`?access=`),
since viewers cannot send headers.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from fastapi import Depends, Request
from pydantic import BaseModel

from cloud_ingest.auth.people import Caller
from cloud_ingest.problems import UnknownCallerError
from cloud_ingest.service import service_of
from contracts.errors import RefusedError
from contracts.people import Role

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


async def caller_of(request: Request) -> Caller:
    """The person who calls. Raises `UnknownCallerError` or `RefusedError`."""
    service = service_of(request)
    if service.settings.is_laptop:
        if not is_local_request(request):
            raise RefusedError("in laptop mode only this machine is served; set an operator token")
        return Caller(None, "admin")
    token, expected = bearer_token(request), service.settings.operator_token
    if token is not None:
        if expected is not None and _same(token, expected.get_secret_value()):
            return Caller(None, "admin")
        known = await service.people.caller(token)
        if known is not None:
            return known
    if expected is None:
        raise RefusedError("this service has no operator token set (LONGTAIL_OPERATOR_TOKEN)")
    raise UnknownCallerError("this call needs a person's bearer token that holds")


def at_least(role: Role) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that lets people of a role, or one above it, pass."""

    async def require(request: Request) -> Caller:
        caller = await caller_of(request)
        if not caller.may(role):
            raise RefusedError(f"this call needs the role {role}; you are {caller.role}")
        request.state.caller = caller
        return caller

    return require


Ordered = TypeVar("Ordered", bound=BaseModel)


def acting(request: Request, order: Ordered) -> Ordered:
    """The order with the caller's own name as `actor`, where the service knows it."""
    caller: Caller = request.state.caller
    return order if caller.name is None else order.model_copy(update={"actor": caller.name})


def may_enrol_freely(request: Request) -> bool:
    """True when a vehicle needs no enrolment token: laptop mode, from this machine."""
    return service_of(request).settings.is_laptop and is_local_request(request)


def _same(token: str, expected: str) -> bool:
    return hmac.compare_digest(token.encode(), expected.encode())


async def named_vehicle(request: Request) -> str:
    """The vehicle that a token of this service names. Raises `UnknownCallerError`.

    Only for calls that find out themselves, in their own transaction, whether that vehicle is
    enrolled and not revoked.
    """
    token = bearer_token(request)
    if token is None:
        raise UnknownCallerError("this call needs a vehicle's bearer token")
    return service_of(request).signer.check("vehicle", token)


async def require_vehicle(request: Request) -> str:
    """The calling vehicle's id. Raises `UnknownCallerError`; a revoked vehicle at once."""
    vehicle_id = await named_vehicle(request)
    if await service_of(request).vehicles.public_key(vehicle_id) is None:
        raise UnknownCallerError("this vehicle is not enrolled, or was revoked")
    return vehicle_id


async def require_clip_reader(request: Request, clip_id: str, access: str | None = None) -> None:
    """Let pass who holds a signed link to this clip, else any person."""
    if access is not None:
        if service_of(request).signer.check("clip", access) != clip_id:
            raise UnknownCallerError("this link is for another clip")
        return
    await caller_of(request)


def actor_of(request: Request) -> str:
    """The caller for the audit log, where the order itself does not say who."""
    caller: Caller = request.state.caller
    return caller.name or "operator token"


Person = Annotated[Caller, Depends(at_least("viewer"))]
Viewer = Depends(at_least("viewer"))
Labeller = Depends(at_least("labeller"))
Operator = Depends(at_least("operator"))
Admin = Depends(at_least("admin"))
VehicleId = Annotated[str, Depends(require_vehicle)]
NamedVehicle = Annotated[str, Depends(named_vehicle)]
