"""`longtail loop run | status | resume | watch`: turns of the whole loop."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.label_queue import FolderOption
from cli.output import JsonOption, absolute, print_json, progress_line

if TYPE_CHECKING:
    from offline.pipeline.records import Turn
    from offline.pipeline.spec import LoopSpec
    from offline.pipeline.table import StageName
    from offline.pipeline.turn import Ended, LoopFolder, Progress, Runner
    from offline.pipeline.work import Outside

WAITS, REFUSED = 3, 1
"""Exit codes of a turn that waits for somebody, and of one that did not go through."""
LoopOption = Annotated[
    Path, typer.Option("--loop", file_okay=False, help="The loop's folder: all that it keeps.")
]
TurnArgument = Annotated[
    str | None, typer.Argument(metavar="[TURN]", help="Its id's beginning; none: the last.")
]


def run(
    spec: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The loop, YAML.")],
    loop: LoopOption = Path("longtail-loop"),
    after: Annotated[
        str | None, typer.Option(help="The turn to go on from; else the last that shipped.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Go on from no turn.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be computed, and what it costs.")
    ] = False,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a turn: from the clips that are there now to a better model on the fleet.

    What was computed before is taken as it is. Exits 0 when the turn went through, 1 when a gate
    refused or something failed, 3 when it waits for somebody; `loop resume` goes on.
    """
    from offline.pipeline.spec import read_spec
    from offline.pipeline.turn import LoopFolder

    found, kept = read_spec(spec), LoopFolder(loop)
    if dry_run:
        _tell_plan(_runner(kept, _new_turn(found, kept, after, fresh), folder), as_json)
        return
    with kept.locked():
        turn = kept.begin(_new_turn(found, kept, after, fresh))
        _end(kept, turn, _run(kept, turn, folder), as_json)


def resume(
    turn: TurnArgument = None,
    loop: LoopOption = Path("longtail-loop"),
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a turn that was cut off, failed, or waited."""
    from offline.pipeline.turn import LoopFolder

    kept = LoopFolder(loop)
    with kept.locked():
        found = kept.turn(turn)
        _end(kept, found, _run(kept, found, folder), as_json)


def status(
    turn: TurnArgument = None,
    loop: LoopOption = Path("longtail-loop"),
    as_json: JsonOption = False,
) -> None:
    """Where a turn is, and what each stage took."""
    from offline.pipeline.turn import LoopFolder

    kept = LoopFolder(loop)
    found = kept.turn(turn)
    _tell(kept, found, kept.progress(found.turn_id), as_json)


def watch(
    spec: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The loop, YAML.")],
    loop: LoopOption = Path("longtail-loop"),
    every_s: Annotated[float, typer.Option("--look-every", min=0.05, help="Seconds.")] = 60.0,
    turns: Annotated[int | None, typer.Option(min=1, help="End after so many turns.")] = None,
    folder: FolderOption = None,
) -> None:
    """Begin a turn whenever one is due by the file's `when`.

    No turn begins before the last one has ended: one that was cut off goes on at once, one that
    waits (for people, for the fleet) at every look, one that failed after ever longer pauses.
    """
    from contracts.clock import SystemClock
    from contracts.errors import InputError, TransientError
    from offline.pipeline.snapshot import due
    from offline.pipeline.spec import read_spec
    from offline.pipeline.turn import LoopFolder

    kept, done, failures, said = LoopFolder(loop), 0, 0, ""
    while turns is None or done < turns:
        found = read_spec(spec)
        if found.when is None:
            raise InputError("says not `when` a turn is due", str(spec))
        with kept.locked():
            turn = _unended(kept, found)
            if turn is None:
                try:
                    new = _new_turn(found, kept, None, fresh=False)
                except (InputError, TransientError) as error:
                    progress_line(f"no turn: {error}")
                else:
                    why = due(found.when, _last(kept), new.clips, SystemClock().utc_ns())
                    turn = kept.begin(new) if why else None
            if turn is not None:
                progress = _run(kept, turn, folder)
                told = f"{turn.turn_id} {progress.state} {progress.why}"
                if told != said:
                    _tell(kept, turn, progress, as_json=False)
                said = told
                failures = failures + 1 if progress.state == "failed" else 0
                if progress.state not in _UNENDED:
                    done += 1
                    continue
        _pause(every_s * 2 ** min(failures, _MOST_DOUBLINGS))


_UNENDED = frozenset({"running", "waiting", "failed"})
_MOST_DOUBLINGS = 6


def _last(kept: LoopFolder) -> Turn | None:
    earlier = kept.turns()
    return earlier[-1] if earlier else None


def _unended(kept: LoopFolder, now: LoopSpec) -> Turn | None:
    """The last turn, where it has not come to its end. One that failed by another file than there
    is now is left: the file may be what was mended.
    """
    last = _last(kept)
    if last is None:
        return None
    state = kept.progress(last.turn_id).state
    return last if state in _UNENDED and (state != "failed" or last.spec == now) else None


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def _new_turn(spec: LoopSpec, kept: LoopFolder, after: str | None, fresh: bool) -> Turn:
    from client import CloudClient
    from contracts.clock import SystemClock
    from offline.pipeline.cloud import cloud_url
    from offline.pipeline.records import Turn
    from offline.pipeline.snapshot import clips_now

    url = cloud_url(spec.ingest.url)
    cloud = None if url is None else CloudClient(url, os.environ.get("LONGTAIL_OPERATOR_TOKEN"))
    clips = clips_now(spec, cloud)
    turn = Turn(spec=spec, clips=clips, begun_utc_ns=SystemClock().utc_ns())
    if fresh:
        return turn
    before = kept.turn(after) if after is not None else kept.last_shipped()
    if before is None:
        return turn
    if after is None and _same_question(before, turn):
        # The turn that shipped last asked just this: it is that turn, and not a next one.
        return before
    return turn.model_copy(update={"after": before.turn_id})


def _same_question(before: Turn, turn: Turn) -> bool:
    return turn.model_copy(update={"after": before.after}).turn_id == before.turn_id


def _runner(kept: LoopFolder, turn: Turn, folder: Path | None) -> Runner:
    from offline.pipeline.turn import Runner

    return Runner(kept, turn, _outside(folder), progress_line, _told)


def _run(kept: LoopFolder, turn: Turn, folder: Path | None) -> Progress:
    from contracts.errors import LongtailError
    from offline.labels.queue.opened import opened_database
    from offline.pipeline.durable import run_turn
    from offline.pipeline.fleet import note_fleet

    try:
        note_fleet(kept, turn)
    except LongtailError as error:  # The report does without; the turn does not need it.
        progress_line(f"what the fleet did is not known: {error}")
    runner = _runner(kept, turn, folder)
    with opened_database(runner.outside.settings, create=True) as url:
        return run_turn(runner, url)


def _outside(folder: Path | None) -> Outside:
    from cli.loop_gate import opens_on_a_vehicle
    from cli.loop_shadow import SimulatedShadow
    from cloud_ingest.settings import load_settings
    from contracts.clock import SystemClock
    from offline.pipeline.work import Outside

    settings = load_settings({} if folder is None else {"folder": folder})
    return Outside(opens_on_a_vehicle, SimulatedShadow(), settings, SystemClock())


def _told(name: StageName, ended: Ended) -> None:
    word = ended.state if ended.computed else f"{ended.state} before"
    took = f", {ended.record.wall_s:.1f} s" if ended.record and ended.computed else ""
    typer.echo(f"\r\033[K{name}: {word}{took}", err=True)


def _end(kept: LoopFolder, turn: Turn, progress: Progress, as_json: bool) -> None:
    from cli.loop_report import write_turn_report

    _tell(kept, turn, progress, as_json, write_turn_report(kept, turn))
    if progress.state == "waiting":
        raise typer.Exit(WAITS)
    if progress.state != "done":
        raise typer.Exit(REFUSED)


def _tell(
    kept: LoopFolder, turn: Turn, progress: Progress, as_json: bool, page: Path | None = None
) -> None:
    rows = list(_rows(kept, progress))
    if as_json:
        told = progress.model_dump(mode="json", exclude={"schema_version"})
        report = {} if page is None else {"report": absolute(page)}
        print_json({"turn": turn.turn_id, "name": turn.name, **told, "stages": rows, **report})
        return
    table = Table("stage", "state", "wall", "cpu", "what came of it", box=None)
    for row in rows:
        table.add_row(
            row["stage"], row["state"], _seconds(row["wall_s"]), _seconds(row["cpu_s"]),
            row["told"], style={"refused": "red", "failed": "red", "waiting": "yellow"}.get(
                row["state"]
            ),
        )  # fmt: skip
    console = Console()
    console.print(table)
    line = f"{turn.name}: {progress.state}"
    console.print(f"{line} ({progress.why})" if progress.why else line, soft_wrap=True)
    if page is not None:
        console.print(f"report: {absolute(page)}", soft_wrap=True, highlight=False)


def _rows(kept: LoopFolder, progress: Progress) -> Iterator[dict[str, Any]]:
    from offline.pipeline.table import TABLE

    for stage in TABLE:
        key = progress.keys.get(stage.name)
        record = None if key is None else kept.record(stage.name, key)
        state = "" if stage.name != progress.stage or record else progress.state
        yield {
            "stage": stage.name, "state": record.state if record else state, "key": key,
            "wall_s": record.wall_s if record else None,
            "cpu_s": record.cpu_s if record else None,
            "figures": dict(record.figures) if record else {},
            "told": _figures(record.figures) if record else stage.told,
        }  # fmt: skip


def _figures(figures: Any) -> str:
    plain = {n: v for n, v in figures.items() if isinstance(v, int | float | str)}
    words = [
        f"{name.replace('_', ' ')} {value:g}" if isinstance(value, float)
        else f"{name.replace('_', ' ')} {str(value)[:12]}"
        for name, value in plain.items()
    ]  # fmt: skip
    return ", ".join(words[:5])


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def _tell_plan(runner: Runner, as_json: bool) -> None:
    from offline.pipeline.dry_run import planned

    rows = planned(runner)
    if as_json:
        print_json({"turn": runner.turn.turn_id, "clips": len(runner.turn.clips), "stages": [
            {"stage": each.stage.name, "state": each.state, "key": each.key, "cpu_s": each.cpu_s,
             "told": each.told} for each in rows
        ]})  # fmt: skip
        return
    table = Table("stage", "state", "cpu expected", "by what", box=None)
    for each in rows:
        table.add_row(each.stage.name, each.state, _seconds(each.cpu_s), each.told)
    Console().print(table)
    known = sum(each.cpu_s or 0.0 for each in rows)
    Console().print(f"{len(runner.turn.clips)} clips; {known:.0f} s of CPU by what is known")
