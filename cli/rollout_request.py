"""From what people type to a `RolloutRequest`."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from cli.fleet_options import seconds, selector
from client.fleet import FleetClient
from client.rollout_stages import stages_of
from contracts.errors import ConflictError, InputError
from contracts.fleet import ReleaseRow, RolloutRequest
from contracts.ota import Kind, ReleaseId


@dataclass(frozen=True, slots=True)
class Options:
    """What the options of `rollout start` and `spec promote` say; None leaves the default."""

    select: list[str] | None = None
    stages: str | None = None
    soak: str | None = None
    soak_driving: str | None = None
    canary: int | None = None
    no_guardrails: bool = False
    shadow: bool = False
    wait: bool = False


def request_of(
    client: FleetClient, release: ReleaseId, options: Options, reason: str
) -> RolloutRequest:
    """The request. Raises `InputError` by option."""
    try:
        return RolloutRequest(
            request_id=secrets.token_hex(8),
            kind=release.kind,
            name=release.name,
            version=release.version,
            shadow=options.shadow,
            selector=selector(options.select),
            stages=stages_of(options.stages, options.no_guardrails),
            min_canary=options.canary,
            soak_s=seconds(options.soak, "--soak"),
            soak_driving_s=seconds(options.soak_driving, "--soak-driving"),
            guardrails=not options.no_guardrails,
            start=not options.wait,
            actor=client.actor,
            reason=reason,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(first["msg"], ".".join(str(step) for step in first["loc"])) from error


def chosen_release(client: FleetClient, kind: Kind, name: str, version: int | None) -> ReleaseId:
    """The named version, or the newest that is published and not withdrawn.

    Raises `InputError` when there is none, `ConflictError` when the named one was withdrawn.
    """
    rows = client.releases(kind, name)
    if version is None:
        offered = [row.version for row in rows if not row.withdrawn]
        if not offered:
            raise InputError(f"no version of {kind} {name} is published", name)
        return ReleaseId(kind, name, offered[-1])
    found = [row for row in rows if row.version == version]
    release = ReleaseId(kind, name, version)
    if not found:
        raise InputError(f"{release.text} is not published{_known(rows)}", name)
    if found[0].withdrawn:
        raise ConflictError(f"{release.text} was withdrawn", name)
    return release


def _known(rows: Sequence[ReleaseRow]) -> str:
    versions = [str(row.version) for row in rows]
    return f"; published: {', '.join(versions)}" if versions else ""
