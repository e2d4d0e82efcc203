"""People of the cloud: who may do what. Paths are relative to the cloud's base URL.

| call                            | who   | body → answer                |
|---------------------------------|-------|------------------------------|
| GET  /v1/me                     | any   | → WhoAmI                     |
| GET  /v1/people                 | admin | → PeoplePage                 |
| POST /v1/people                 | admin | PersonRequest → PersonToken  |
| POST /v1/people/{name}/revoke   | admin | Order → PersonRow            |

A role may do all that the ones before it may: a *viewer* looks and searches, a *labeller* answers
tasks and keeps searches, an *operator* changes what the fleet runs and what the store keeps, an
*admin* lets people and vehicles in and out and erases.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from contracts.clip import Wire
from contracts.fleet import Actor, Reason

Role = Literal["viewer", "labeller", "operator", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "labeller", "operator", "admin")
PersonName = Annotated[
    str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]*$")
]


class PersonRequest(Wire):
    """Let somebody in. The token holds for `valid_s`; another request of the name replaces it."""

    name: PersonName
    role: Role
    valid_s: int = Field(90 * 86_400, ge=60, le=366 * 86_400)
    actor: Actor
    reason: Reason


class PersonRow(Wire):
    """Somebody with a token, which is not told again."""

    name: str
    role: Role
    created_utc_ns: int
    expires_utc_ns: int
    revoked_utc_ns: int | None = None


class PersonToken(PersonRow):
    """The token, told once."""

    token: str


class PeoplePage(Wire):
    people: tuple[PersonRow, ...]


class WhoAmI(Wire):
    """The caller. `name` is None for the service's own operator token and in laptop mode."""

    name: str | None
    role: Role
