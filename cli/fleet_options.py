"""Options and words that the fleet's commands share."""

from __future__ import annotations

import getpass
import socket
from typing import Annotated

import typer

from client.fleet import FleetClient
from contracts.errors import InputError
from contracts.ids import parse_name
from contracts.quantities import parse_duration_ns

ActorOption = Annotated[
    str | None,
    typer.Option(envvar="LONGTAIL_ACTOR", help="Who orders this; default: user@host."),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the audit log.")]
SelectOption = Annotated[
    list[str] | None,
    typer.Option("--select", help="Only vehicles with this label, KEY=VALUE; repeatable."),
]
StagesOption = Annotated[
    str | None, typer.Option("--stages", help="Shares of the fleet in percent, e.g. 1,5,25,100.")
]
SoakOption = Annotated[
    str | None, typer.Option("--soak", help="How long a vehicle must hold it, e.g. 12h.")
]
SoakDrivingOption = Annotated[
    str | None,
    typer.Option("--soak-driving", help="How long it must drive connected with it, e.g. 2h."),
]
CanaryOption = Annotated[
    int | None, typer.Option("--canary", min=1, help="Fewest vehicles of a stage.")
]
NoGuardrailsOption = Annotated[
    bool, typer.Option("--no-guardrails", help="Compare nothing with the other vehicles.")
]


def fleet_client(cloud: str, operator_token: str | None, actor: str | None = None) -> FleetClient:
    """The client; who orders is the machine's user unless told."""
    who = actor or f"{getpass.getuser()}@{socket.gethostname()}"
    return FleetClient(cloud, who, operator_token)


def seconds(text: str | None, option: str) -> float | None:
    """`1h` in seconds. Raises `InputError`."""
    if text is None:
        return None
    try:
        return float(parse_duration_ns(text)) / 1e9
    except ValueError as error:
        raise InputError(str(error), option) from error


def selector(pairs: list[str] | None) -> dict[str, tuple[str, ...]]:
    """`["region=eu", "region=us"]` as labels with the values that will do."""
    found: dict[str, tuple[str, ...]] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not value:
            raise InputError(f"{pair!r} is not KEY=VALUE", "--select")
        found[parse_name(key, "--select")] = (*found.get(key, ()), value)
    return found


def spec_and_version(text: str) -> tuple[str, int | None]:
    """`hard-brake@3` as name and version; without `@`, no version."""
    name, at, version = text.partition("@")
    if not at:
        return parse_name(name, "ID"), None
    if not (version.isascii() and version.isdigit() and int(version) > 0):
        raise InputError(f"{text!r} is not ID or ID@VERSION", "ID")
    return parse_name(name, "ID"), int(version)
