"""`longtail agent ...`: the typer group that the umbrella command mounts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contracts.errors import InputError
from edge_agent.config import AgentConfig, load_config
from edge_agent.health.status import AgentReport, RunningLineup
from edge_agent.kit.cli import app as kit_app
from edge_agent.ota.status import OtaStatus

app = typer.Typer(help="The on-vehicle agent.", no_args_is_help=True)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="agent.toml")]
StateOption = Annotated[Path | None, typer.Option("--state", help="The agent's state folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]

_MARKS = {"ok": "[green]ok[/]  ", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]"}
BUNDLED_MODEL = Path(__file__).parent / "perception" / "bundled" / "demo_detector.onnx"


@app.command()
def run(
    source: Annotated[
        str | None,
        typer.Option(help="sim:, comma2k19:PATH, kitti:, mcap:, can:, camera:, ros2: or all:FILE"),
    ] = None,
    cloud: Annotated[str | None, typer.Option(help="The cloud's URL; none: keep all.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="ONNX file; sim: runs the bundled one by default.")
    ] = None,
    manifest: Annotated[Path | None, typer.Option(help="The model's manifest.")] = None,
    specs: Annotated[
        list[Path] | None,
        typer.Option("--specs", help="Trigger spec file or folder; default: the published ones."),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(help="A rule of your own beside the specs: 'ego.decel_mps2 > 2.0'."),
    ] = None,
    vehicle: Annotated[str | None, typer.Option(help="The vehicle's id.")] = None,
    token: Annotated[str | None, typer.Option(help="One-time enrolment token.")] = None,
    link: Annotated[
        str | None, typer.Option(help="wifi, ethernet, cellular or none, or a file saying so.")
    ] = None,
    pace: Annotated[
        float | None,
        typer.Option(help="Times real time, such as 1; none: as fast as it can."),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(help="Folder with the roots of trust: take updates from the cloud."),
    ] = None,
    allow_demo_keys: Annotated[
        bool, typer.Option("--allow-demo-keys", help="Trust keys made for trying out, too.")
    ] = False,
    config: ConfigOption = None,
    state: StateOption = None,
    once: Annotated[
        bool, typer.Option("--once", help="End with the source, after uploading what may go.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Drive over a source: perceive, trigger, keep clips, bring them home.

    Recorded and simulated sources run as fast as they can, or at --pace, on their own time.
    Without --once the agent stays after the source has ended and goes on uploading until it is
    stopped.
    """
    from edge_agent.app import run_agent

    given = {
        "source": source, "cloud": cloud, "model": model, "model_manifest": manifest,
        "vehicle_id": vehicle, "enrolment_token": token, "state": state, "pace": pace,
    }  # fmt: skip
    overrides: dict[str, object] = {k: v for k, v in given.items() if v is not None}
    if link is not None:
        overrides["link"] = _link(link)
    ota: dict[str, object] = {} if trust is None else {"trust": trust}
    if allow_demo_keys:
        ota["allow_demo_keys"] = True
    if ota:
        overrides["ota"] = ota
    settings = load_config(config, overrides)
    settings = _with_specs(settings, specs, rule or [])
    if settings.model is None and (settings.source or "").startswith("sim:"):
        settings = settings.model_copy(update={"model": BUNDLED_MODEL})
    report = run_agent(settings, stay=not once)
    if as_json:
        typer.echo(json.dumps(report.model_dump(mode="json"), indent=2))
    else:
        _print_report(report)
    if settings.cloud is not None and once and report.failed_to_send:
        raise typer.Exit(1)


def _link(text: str) -> dict[str, object]:
    from edge_agent.upload import parse_link

    if Path(text).is_file():
        return {"file": Path(text)}
    found = parse_link(text, "--link")
    return {"kind": found.kind, "metered": found.metered}


def _with_specs(settings: AgentConfig, specs: list[Path] | None, rules: list[str]) -> AgentConfig:
    paths = tuple(specs) if specs else settings.specs
    if not paths and not specs:
        paths = (published_specs(),)
    return settings.model_copy(update={"specs": paths, "rules": tuple(rules) or settings.rules})


def published_specs() -> Path:
    """The folder of published trigger specs that came with this install."""
    from importlib.resources import files

    return Path(str(files("trigger_specs")))


def _print_report(report: AgentReport) -> None:
    console = Console()
    drive = f"{report.drive_id}, {report.drive_s:g} s, {sum(report.samples.values())} samples"
    console.print(f"[bold]{report.vehicle_id}[/] over {drive}", highlight=False)
    if report.timing is not None:
        t = report.timing
        console.print(
            f"{t.frames} frames: p50 {t.p50_ms:g} ms, p99 {t.p99_ms:g} ms, "
            f"the model is {t.model_share:.0%} of it",
            highlight=False,
        )
    fires = Table("trigger", "fired", "kept", "suppressed", box=None)
    for trigger_id, count in report.triggers.items():
        reasons = ", ".join(f"{n} {reason}" for reason, n in count.suppressed.items())
        fires.add_row(trigger_id, str(count.fired), str(count.kept), reasons)
    if report.triggers:
        console.print(fires)
    _print_lineup(console, report.lineup)
    if report.ota is not None:
        _print_updates(console, report.ota)
    for inactive in report.inactive:
        console.print(f"inactive: {inactive.trigger_id}: {inactive.reason}", highlight=False)
    for reason, blind in report.blind_frames.items():
        console.print(f"frames not judged: {blind}, {reason}", highlight=False)
    _print_upkeep(console, report)
    unused = [f"rejected: {n} x {name}" for name, n in report.rejected.items()]
    unused += [f"left out by the source: {n} x {reason}" for reason, n in report.left_out.items()]
    for line in unused:
        console.print(line, highlight=False, markup=False)
    clips = Table("clip", "triggers", "MB", "state", box=None)
    for clip in report.clips:
        name = ", ".join(clip.trigger_ids)
        clips.add_row(clip.clip_id[:16], name, f"{clip.size_bytes / 1e6:.1f}", clip.state)
    console.print(clips if report.clips else "no clips")
    if report.queued_clips:
        console.print(
            f"{report.queued_clips} clips wait in the spool: {report.upload_note or 'no cloud'}"
        )


def _print_upkeep(console: Console, report: AgentReport) -> None:
    """What keeps from recording or sending, and what failed and was mended."""
    if report.not_recording:
        console.print(f"[yellow]not recording[/]: {report.not_recording}", highlight=False)
    if report.power is not None:
        told = f"power: {report.power.phase} {report.power.shut or report.power.problem}"
        console.print(told.rstrip(), highlight=False, markup=False)
    for task, times in report.restarts.items():
        console.print(f"failed and mended: {times} x {task}", highlight=False)


def _print_updates(console: Console, ota: OtaStatus) -> None:
    """What waits, soaks or was refused, and why there are no updates."""
    for held in ota.held:
        if held.state != "committed":
            text = f"update: {held.slot} {held.digest[:12]}: {held.state} {held.reason}"
            console.print(text.rstrip(), highlight=False, markup=False)
    for rejected in ota.rejected:
        text = f"refused: {rejected.slot} {rejected.digest[:12]} ({rejected.stage})"
        console.print(f"{text}: {rejected.reason}", highlight=False, markup=False)
    if ota.note:
        console.print(f"updates: {ota.note}", highlight=False, markup=False)


def _print_lineup(console: Console, lineup: RunningLineup) -> None:
    """What came over the air or runs in shadow; what is built in needs no line."""
    for trigger in lineup.triggers:
        if trigger.origin == "ota" or trigger.state == "killed":
            text = f"release: {trigger.trigger_id} v{trigger.version}: {trigger.state}"
            console.print(f"{text} {trigger.reason}".rstrip(), highlight=False)
    for model in lineup.models:
        if model.origin == "ota":
            where = " in shadow" if model.shadow else ""
            console.print(f"release: model {model.name} v{model.version}{where}", highlight=False)
    if lineup.waiting_for:
        console.print(f"a model waits: {lineup.waiting_for}", highlight=False)
    for fault in lineup.faults:
        console.print(f"[red]failed release[/]: {escape(fault)}", highlight=False)
    for shadow in lineup.shadow_triggers:
        console.print(
            f"shadow: {shadow.trigger_id} v{shadow.version} would have asked for {shadow.clips} "
            f"clips, {shadow.size_bytes / 1e6:.1f} MB, in {shadow.driving_s / 3600:.2f} h",
            highlight=False,
        )
    if (candidate := lineup.shadow_model) is not None:
        console.print(
            f"shadow: model on {candidate.frames} frames: {candidate.agreed} objects as the active "
            f"one, {candidate.class_differs} of another class, {candidate.only_active} missed, "
            f"{candidate.only_candidate} more; p50 {candidate.p50_ms:g} ms",
            highlight=False,
        )


@app.command()
def status(
    config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """What the agent is doing, or did last: triggers, clips, queue, budgets."""
    from edge_agent.app import STATUS_FILE

    folder = _state_folder(config, state)
    path = folder / STATUS_FILE
    if not path.is_file():
        raise InputError("no agent has run on this state folder", str(folder))
    report = AgentReport.model_validate_json(path.read_bytes())
    if as_json:
        typer.echo(json.dumps(report.model_dump(mode="json"), indent=2))
        return
    _print_report(report)


@app.command()
def doctor(
    config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Check what the agent needs and what is configured; each line is ok, warn or FAIL."""
    from edge_agent.health.doctor import examine

    settings = load_config(config, {} if state is None else {"state": state})
    settings = _with_specs(settings, None, [])
    if settings.model is None:
        settings = settings.model_copy(update={"model": BUNDLED_MODEL})
    findings = examine(settings)
    if as_json:
        rows = [{**asdict(f), "ok": f.ok} for f in findings]
        typer.echo(json.dumps(rows, indent=2))
    else:
        for finding in findings:
            mark = _MARKS[finding.level]
            Console().print(f"{mark} {finding.check}: {escape(finding.detail)}", highlight=False)
            if finding.advice:
                Console().print(f"     → {escape(finding.advice)}", highlight=False)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


spool_app = typer.Typer(help="Clips that wait on the vehicle.", no_args_is_help=True)
app.add_typer(spool_app, name="spool")
app.add_typer(kit_app, name="kit")


@spool_app.callback()
def _spool() -> None:
    """Clips that wait on the vehicle."""


@spool_app.command("ls")
def spool_ls(
    config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """List clips: size, priority, state, and what was set aside and why."""
    from edge_agent.spool import list_spool

    rows = list_spool(_state_folder(config, state) / "spool")
    if as_json:
        typer.echo(json.dumps([_row(row) for row in rows], indent=2))
        return
    table = Table("name", "kind", "MB", "priority", "state", "note", box=None)
    for row in rows:
        entry = row.entry
        table.add_row(
            row.name[:16], row.kind, f"{row.size_bytes / 1e6:.1f}",
            entry.priority if entry else "", entry.state if entry else "", row.reason,
        )  # fmt: skip
    Console().print(table if rows else "the spool is empty")


def _row(row: Any) -> dict[str, object]:
    entry = row.entry
    return {
        "name": row.name, "kind": row.kind, "size_bytes": row.size_bytes, "reason": row.reason,
        "priority": entry.priority if entry else None, "state": entry.state if entry else None,
        "value": entry.value if entry else None,
    }  # fmt: skip


def _state_folder(config: Path | None, state: Path | None) -> Path:
    overrides: dict[str, object] = {} if state is None else {"state": state}
    return load_config(config, overrides).state.expanduser()
