"""`longtail rollout ...`: bring releases to vehicles in stages, and see how they fare."""

from __future__ import annotations

import threading
from typing import Annotated

import typer
from rich.live import Live

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
from cli.rollout_request import Options, chosen_release, request_of
from cli.rollout_tables import audit_table, console, release_text, rollout_table, rollout_view
from client.fleet import FleetClient
from contracts.errors import InputError
from contracts.fleet import RolloutDetail
from contracts.ota import Kind, ReleaseId, parse_slot

app = typer.Typer(help="Staged rollouts.", no_args_is_help=True)

RolloutArgument = Annotated[
    str,
    typer.Argument(
        metavar="ROLLOUT", help="Its id, or a slot such as trigger:hard-brake for its newest."
    ),
]
PHASES = (
    "planned", "running", "soaking", "paused", "rolling_back", "halted", "aborted", "done",
)  # fmt: skip
ENDS = ("halted", "aborted", "done")


@app.callback()
def _group() -> None:
    """Staged rollouts."""


@app.command()
def start(
    reason: ReasonOption,
    release: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND NAME VERSION]", help="e.g. model yolo 7")
    ] = None,
    spec: Annotated[
        str | None, typer.Option("--spec", help="A trigger spec: ID, its newest, or ID@VERSION.")
    ] = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="Let it run and count only.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Let it wait for `begin`.")] = False,
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
    """Bring a published release to vehicles."""
    client = fleet_client(cloud, operator_token, actor)
    chosen = _release(client, release or [], spec)
    options = Options(select, stages, soak, soak_driving, canary, no_guardrails, shadow, wait)
    tell(client.start_rollout(request_of(client, chosen, options, reason)), as_json)


@app.command()
def status(
    rollout: Annotated[str | None, typer.Argument(help="Its id, or a slot; none: all.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Only those that go on.")] = False,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """How one rollout stands, or a list of all."""
    client = fleet_client(cloud, operator_token)
    if rollout is not None:
        tell(client.rollout(whole_id(client, rollout)), as_json)
        return
    rows = client.rollouts(live=True if live else None)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    else:
        console().print(rollout_table(rows) if rows else "no rollout")


@app.command()
def watch(
    rollout: RolloutArgument,
    until: Annotated[str, typer.Option("--until", help=f"One of {', '.join(PHASES)}.")] = "done",
    every_s: Annotated[float, typer.Option("--every", min=0.05, help="Seconds.")] = 2.0,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow a rollout until it ends, or comes to a phase; exit code 1 when it ends otherwise."""
    if until not in PHASES:
        raise InputError(f"a phase is one of {', '.join(PHASES)}", "--until")
    client = fleet_client(cloud, operator_token)
    rollout_id = whole_id(client, rollout)
    detail = _follow(client, rollout_id, until, every_s, quiet=as_json)
    if as_json:
        print_json(detail.model_dump(mode="json"))
    if detail.phase != until:
        raise typer.Exit(1)


@app.command()
def history(
    rollout: RolloutArgument,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every order and every decision of a rollout, with who and why."""
    client = fleet_client(cloud, operator_token)
    detail = client.rollout(whole_id(client, rollout))
    if as_json:
        print_json([line.model_dump(mode="json") for line in detail.audit])
    else:
        console().print(audit_table(detail.audit))


def _command(verb: str, help_line: str, name: str | None = None) -> None:
    """Add a command that sends one order."""

    def order(
        rollout: RolloutArgument,
        reason: ReasonOption,
        cloud: CloudOption = DEFAULT_CLOUD,
        operator_token: TokenOption = None,
        actor: ActorOption = None,
        as_json: JsonOption = False,
    ) -> None:
        client = fleet_client(cloud, operator_token, actor)
        tell(client.command(whole_id(client, rollout), verb, reason), as_json)

    app.command(name or verb, help=help_line)(order)


_command("start", "Begin a rollout that waits for it.", "begin")
_command("pause", "Make no new offers; what was applied is still watched.")
_command("resume", "Go on after a pause.")
_command("abort", "Stop, and take the release back from all.")
_command("advance", "Go to the next stage without waiting for soak or evidence.")
_command("retry-failures", "Offer it again to all vehicles that failed.", "retry")


def whole_id(client: FleetClient, text: str) -> str:
    """A rollout's id; the newest's when `text` is a slot. Raises `InputError`."""
    if ":" not in text and text.partition("@")[0] != "model":
        return text
    rows = client.rollouts(parse_slot(text, "ROLLOUT"))
    if not rows:
        raise InputError("this slot has had no rollout", text)
    return rows[0].rollout_id


def tell(detail: RolloutDetail, as_json: bool) -> None:
    """A rollout as it stands, for programs or people."""
    if as_json:
        print_json(detail.model_dump(mode="json"))
    else:
        console().print(rollout_view(detail))


def _release(client: FleetClient, words: list[str], spec: str | None) -> ReleaseId:
    if spec is not None and not words:
        name, version = spec_and_version(spec)
        return chosen_release(client, "trigger", name, version)
    if spec is None and len(words) == 3:
        kinds: dict[str, Kind] = {"trigger": "trigger", "model": "model"}
        if words[0] not in kinds:
            raise InputError(f"a kind is trigger or model, not {words[0]!r}", "KIND")
        name, version = spec_and_version(f"{words[1]}@{words[2]}")
        return chosen_release(client, kinds[words[0]], name, version)
    raise InputError("give KIND NAME VERSION, such as 'model yolo 7', or --spec ID")


def _follow(
    client: FleetClient, rollout_id: str, until: str, every_s: float, *, quiet: bool
) -> RolloutDetail:
    """Show the rollout as it changes; returns it as it ended."""
    shown = console()
    pause = threading.Event()
    with Live(console=shown, auto_refresh=False, transient=False) as live:
        line = ""
        while True:
            detail = client.rollout(rollout_id)
            if shown.is_terminal and not quiet:
                live.update(rollout_view(detail), refresh=True)
            elif not quiet and (now := _line(detail)) != line:
                line = now
                typer.echo(line)
            if detail.phase == until or detail.phase in ENDS:
                return detail
            pause.wait(every_s)


def _line(detail: RolloutDetail) -> str:
    return (
        f"{release_text(detail)}: {detail.phase}, stage {detail.stage}/{detail.stages}, "
        f"{detail.offered} offered, {detail.applied} applied, {detail.succeeded} succeeded, "
        f"{detail.failed} failed"
        + (f"; waits for {detail.waiting_for}" if detail.waiting_for else "")
    )
