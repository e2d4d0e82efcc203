"""`longtail spec promote|rollback|history|kill|unkill`: a spec's life on vehicles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from cli.fleet_options import (
    ActorOption,
    CanaryOption,
    NoGuardrailsOption,
    ReasonOption,
    SelectOption,
    SoakDrivingOption,
    SoakOption,
    StagesOption,
    fleet_client,
    spec_and_version,
)
from cli.output import DEFAULT_CLOUD, CloudOption, JsonOption, TokenOption, print_json
from cli.rollout import tell
from cli.rollout_request import Options, chosen_release, request_of
from cli.rollout_tables import console, rollout_table, when
from client.fleet import FleetClient
from contracts.errors import ConflictError, InputError
from contracts.fleet import KillState, ReleaseRow, RolloutRow
from contracts.ids import parse_name
from contracts.ota import ReleaseId, Slot

SpecArgument = Annotated[str, typer.Argument(metavar="ID[@VERSION]", help="Default: the newest.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The trigger's id.")]
BUILT_IN = 0
_ENDED = ("done", "halted", "aborted")


def promote(
    spec: SpecArgument,
    reason: ReasonOption,
    without_shadow: Annotated[
        bool, typer.Option("--without-shadow", help="Although it was never in shadow.")
    ] = False,
    select: SelectOption = None,
    stages: StagesOption = None,
    soak: SoakOption = None,
    soak_driving: SoakDrivingOption = None,
    canary: CanaryOption = None,
    no_guardrails: NoGuardrailsOption = False,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a spec work that was in shadow: a staged rollout."""
    client = fleet_client(cloud, operator_token, actor)
    name, version = spec_and_version(spec)
    release = chosen_release(client, "trigger", name, version)
    if not without_shadow and not _was_in_shadow(client, release):
        raise ConflictError(
            f"{release.text} has not run in shadow on any vehicle: begin with `longtail rollout "
            f"start --spec {name}@{release.version} --shadow`, or give --without-shadow"
        )
    options = Options(select, stages, soak, soak_driving, canary, no_guardrails)
    tell(client.start_rollout(request_of(client, release, options, reason)), as_json)


def rollback(
    trigger: IdArgument,
    reason: ReasonOption,
    to: Annotated[
        int | None, typer.Option("--to", min=0, help="This version; 0: the built-in one.")
    ] = None,
    select: SelectOption = None,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a spec back: abort its live rollout, else bring back the version before it."""
    client = fleet_client(cloud, operator_token, actor)
    name = parse_name(trigger, "ID")
    rows = client.rollouts(Slot("trigger", name))
    live = [row for row in rows if row.phase not in _ENDED]
    if live and to is not None:
        raise ConflictError(
            f"rollout {live[0].rollout_id} is live: take it back first, without --to", "--to"
        )
    if live:
        if live[0].phase == "rolling_back":
            raise ConflictError("it is being taken back already", live[0].rollout_id)
        tell(client.command(live[0].rollout_id, "abort", reason), as_json)
        return
    version = _version_before(client, name, rows) if to is None else to
    release = ReleaseId("trigger", name, version)
    if version != BUILT_IN:
        release = chosen_release(client, "trigger", name, version)
    options = Options(select, "100", "0s", "0s", None, no_guardrails=True)
    tell(client.start_rollout(request_of(client, release, options, reason)), as_json)


def history(
    trigger: IdArgument,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """A spec's published versions and rollouts: what, when, by whom."""
    client = fleet_client(cloud, operator_token)
    name = parse_name(trigger, "ID")
    releases = client.releases("trigger", name)
    both = (Slot("trigger", name), Slot("trigger", name, shadow=True))
    rows = [row for slot in both for row in client.rollouts(slot)]
    rows.sort(key=lambda row: row.created_utc_ns, reverse=True)
    if as_json:
        print_json(
            {
                "releases": [row.model_dump(mode="json") for row in releases],
                "rollouts": [row.model_dump(mode="json") for row in rows],
            }
        )
        return
    shown = console()
    shown.print(_release_table(releases) if releases else f"no version of {name} is published")
    shown.print(rollout_table(rows) if rows else "it was never rolled out")


def kill(
    trigger: IdArgument,
    reason: ReasonOption,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Switch a trigger off on all vehicles, wherever its spec came from."""
    client = fleet_client(cloud, operator_token, actor)
    _tell_kill(client.kill(parse_name(trigger, "ID"), reason), as_json)


def unkill(
    trigger: IdArgument,
    reason: ReasonOption,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a killed trigger run again."""
    client = fleet_client(cloud, operator_token, actor)
    _tell_kill(client.unkill(parse_name(trigger, "ID"), reason), as_json)


def mount(app: typer.Typer) -> None:
    """Add the commands to the group `spec`."""
    for command in (promote, rollback, history, kill, unkill):
        app.command()(command)


def _was_in_shadow(client: FleetClient, release: ReleaseId) -> bool:
    rows = client.rollouts(release.slot(shadow=True))
    return any(row.version == release.version and row.succeeded > 0 for row in rows)


def _version_before(client: FleetClient, name: str, rows: Sequence[RolloutRow]) -> int:
    """What finished rollouts brought before the newest one; the built-in one when nothing did."""
    done = [row.version for row in rows if row.phase == "done"]
    if not done:
        raise InputError("no rollout of it has finished: there is nothing to take back", name)
    if done[0] == BUILT_IN:
        raise ConflictError("the built-in one works already; name a version with --to", name)
    withdrawn = {row.version for row in client.releases("trigger", name) if row.withdrawn}
    # What a rollback went back past is no way back again.
    ladder: list[int] = [BUILT_IN]
    for version in reversed(done):
        known = ladder.index(version) if version in ladder else len(ladder)
        ladder = [*ladder[:known], version]
    return next(version for version in reversed(ladder[:-1]) if version not in withdrawn)


def _tell_kill(state: KillState, as_json: bool) -> None:
    if as_json:
        print_json(state.model_dump(mode="json"))
        return
    word = "killed" if state.killed else "let run again"
    typer.echo(
        f"{state.trigger_id} is {word}: on every vehicle in contact within "
        f"{state.acts_within_s:.0f} s, on others at their next check-in"
    )


def _release_table(releases: Sequence[ReleaseRow]) -> Table:
    table = Table("version", "published (UTC)", "by", "digest", "", box=None)
    for row in releases:
        table.add_row(
            str(row.version), when(row.published_utc_ns), row.published_by, row.digest[:16],
            "withdrawn" if row.withdrawn else "",
        )  # fmt: skip
    return table
