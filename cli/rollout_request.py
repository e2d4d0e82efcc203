"""From what people type to a `RolloutRequest`."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from cli.fleet_options import seconds, selector
from client.fleet import FleetClient
from contracts.errors import ConflictError, InputError
from contracts.fleet import ReleaseRow, RolloutRequest, StageRequest
from contracts.ota import Kind, ReleaseId

# How many times the control's rate must be ruled out before a stage of at most this share ends.
_TOLERATED = ((0.01, 3.0), (0.05, 2.0), (1.0, 1.5))


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


def stages_of(text: str | None, no_guardrails: bool) -> tuple[StageRequest, ...] | None:
    """`1,5,25,100` as stages, with what each must rule out; the last asks for nothing."""
    if text is None:
        return None
    stages = []
    for word in text.split(","):
        try:
            fraction = float(word) / 100
        except ValueError as error:
            raise InputError(f"{word!r} is no share in percent", "--stages") from error
        if not 0 < fraction <= 1:
            raise InputError(f"a share is above 0 and at most 100, not {word}", "--stages")
        margin = next(margin for limit, margin in _TOLERATED if fraction <= limit)
        asks = not no_guardrails and fraction < 1
        stages.append(StageRequest(fraction=fraction, tolerated_ratio=margin if asks else None))
    return tuple(stages)


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
