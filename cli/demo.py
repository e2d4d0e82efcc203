"""`longtail demo`: one simulated drive from sensor to search, then a spec over the air.

Starts the cloud on its embedded default and the agent as processes of their own, lets them
speak HTTP over loopback, searches, and pulls a clip; then a second vehicle drives while a new
trigger spec reaches it, works, and is taken back. Everything lies in one folder.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.clips import clip_table
from cli.demo_processes import cloud_process, longtail
from cli.demo_road_down import (
    RoadDown,
    drive_and_change,
    example_spec,
    run_quietly,
)
from cli.output import JsonOption, absolute, print_json
from client import CloudClient
from contracts.errors import TransientError

app = typer.Typer(help="One drive, end to end.", invoke_without_command=True)

QUERY = "weather = 'clear' AND 'car' = ANY(detected_objects) AND max_decel_mps2 > 2"


@app.callback()
def demo(
    folder: Annotated[Path, typer.Option(help="Where everything goes; emptied first.")] = Path(
        ".longtail/demo"
    ),
    source: Annotated[str, typer.Option(help="Another source for the agent.")] = "sim:seed=7",
    keep_serving: Annotated[bool, typer.Option(help="Leave the cloud running to look at.")] = False,
    as_json: JsonOption = False,
) -> None:
    """A simulated drive becomes clips that a search finds and a viewer opens."""
    console = Console(stderr=as_json)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    console.print("[bold]1[/] starting the cloud: PostgreSQL, object store, upload receiver")
    with cloud_process(folder) as url:
        console.print(f"  {url}", highlight=False)
        console.print(f"[bold]2[/] driving: {source} → perception, triggers, clips, upload")
        report = _drive(folder, url, source)
        _tell_drive(console, report)
        console.print(f"[bold]3[/] searching: [cyan]{QUERY}[/]")
        client = CloudClient(url)
        rows = list(client.search(QUERY))
        console.print(clip_table(rows) if rows else "no clip matches")
        pulled = [client.pull(row.clip_id, folder) for row in rows[:1]]
        _tell_how_to_open(console, pulled)
        console.print("[bold]5[/] sending a new trigger spec to a vehicle while it drives")
        changed = _change(console, folder, url)
        result = {
            "cloud": url,
            "clips": [row.model_dump(mode="json") for row in rows],
            "pulled": [absolute(path) for path in pulled],
            "report": report,
            "road_down": {
                "moments": [asdict(moment) for moment in changed.moments],
                "shadow_fires": changed.shadow_fires,
                "clip": changed.clip.model_dump(mode="json"),
            },
        }
        if as_json:
            print_json(result)
        if not rows:
            raise typer.Exit(1)
        if keep_serving:
            console.print("the cloud goes on until Ctrl-C")
            _wait_for_interrupt()


def _drive(folder: Path, url: str, source: str) -> dict[str, Any]:
    with (folder / "agent.log").open("wb") as log:
        done = subprocess.run(
            longtail(
                "agent", "run", "--source", source, "--cloud", url, "--once", "--json",
                "--state", str(folder / "agent"),
            ),
            stdout=subprocess.PIPE, stderr=log, check=False,
        )  # fmt: skip
    if done.returncode != 0 or not done.stdout:
        raise TransientError("the agent failed; its log tells why", absolute(folder / "agent.log"))
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _tell_drive(console: Console, report: dict[str, Any]) -> None:
    samples = sum(report["samples"].values())
    uploaded = sum(clip["state"] == "uploaded" for clip in report["clips"])
    console.print(
        f"  {report['drive_s']:.0f} s of driving, {samples} samples; "
        f"{len(report['clips'])} clips kept, {uploaded} uploaded",
        highlight=False,
    )
    timing = report.get("timing")
    if timing is not None:
        console.print(
            f"  model on each of {timing['frames']} frames: p50 {timing['p50_ms']} ms, "
            f"p99 {timing['p99_ms']} ms a frame, {timing['model_share']:.0%} of it the model",
            highlight=False,
        )
    for name, count in report["triggers"].items():
        reasons = "".join(f", {n} {reason}" for reason, n in count["suppressed"].items())
        console.print(f"  {name}: fired {count['fired']}, kept {count['kept']}{reasons}",
                      highlight=False)  # fmt: skip


def _say(console: Console, text: str) -> None:
    console.print(f"  {text}", highlight=False, soft_wrap=True)


def _change(console: Console, folder: Path, url: str) -> RoadDown:
    """A spec over the air, in shadow, at work, and back."""
    spec, run = example_spec(), run_quietly(url)
    logs = str(folder / "agent" / "signals")
    for words in (["spec", "lint", str(spec)], ["spec", "test", str(spec)]):
        run(words)
    found = json.loads(run(["spec", "backtest", str(spec), "--log", logs, "--json"]))
    figures = found["specs"][0]
    _say(
        console,
        f"backtest on the drive before: {figures['fires']} fire in {figures['hours'] * 60:.0f} "
        f"min of driving, so {figures['fires_per_hour']:.0f} an hour; its budget keeps 20 a day",
    )
    changed = drive_and_change(folder, url, spec, partial(_say, console), run)
    _say(console, f"one process (pid {changed.agent_pid}); docs/road-down.md has every step")
    return changed


def _tell_how_to_open(console: Console, pulled: list[Path]) -> None:
    for path in pulled:
        lines = (
            "[bold]4[/] pulled a clip; it lies at",
            f"  [green]{absolute(path)}[/]",
            "  open it in Foxglove or Lichtblick (File > Open local file), or with",
            f"  pip install rerun-sdk && rerun {path}",
            f"  while a cloud runs, `longtail clips show {path.stem[:12]}` gives viewers its URL",
        )
        for line in lines:
            # What people copy must not be wrapped.
            console.print(line, highlight=False, soft_wrap=True)


def _wait_for_interrupt() -> None:
    import signal

    try:
        signal.pause()
    except KeyboardInterrupt:
        return
