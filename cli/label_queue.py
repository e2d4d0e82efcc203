"""`longtail label queue ...`: the tasks that people are asked about labels."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from cli.output import JsonOption, print_json
from contracts.errors import InputError

if TYPE_CHECKING:
    from contracts.review import ReviewState, Tier
    from offline.labels.queue.records import NewTask, TaskRow
    from offline.labels.queue.store import ReviewQueue

app = typer.Typer(no_args_is_help=True)
Result = TypeVar("Result")
Word = TypeVar("Word", bound=StrEnum)

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder", envvar="LONGTAIL_FOLDER",
        help="The service's folder, whose database is used; DATABASE_URL names another.",
    ),
]  # fmt: skip
DrivesOption = Annotated[
    list[Path],
    typer.Option("--drives", exists=True, file_okay=False, help="Where recordings lie; repeat."),
]
AnnotatorOption = Annotated[
    str, typer.Option("--annotator", envvar="LONGTAIL_ANNOTATOR", help="Who answers.")
]
TaskArgument = Annotated[str, typer.Argument(help="Task id, or its beginning.")]


@app.callback()
def _group() -> None:
    """Tasks that people are asked about labels."""


def with_queue(
    folder: Path | None, work: Callable[[ReviewQueue], Awaitable[Result]], **options: Any
) -> Result:
    """Run something on the queue of the service's database."""
    from cloud_ingest.settings import load_settings
    from contracts.clock import SystemClock
    from offline.labels.queue.opened import opened_queue

    settings = load_settings({} if folder is None else {"folder": folder})

    async def run() -> Result:
        async with opened_queue(settings, SystemClock(), **options) as queue:
            return await work(queue)

    return asyncio.run(run())


@app.command("list")
def list_tasks(
    state: Annotated[str | None, typer.Option(help="queued, reserved, submitted, ...")] = None,
    tier: Annotated[str | None, typer.Option(help="consensus or expert")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tasks, the most urgent first."""
    states, tiers = state_named(state), tier_named(tier)
    rows = with_queue(folder, lambda queue: queue.rows(states, tiers, limit))
    if as_json:
        print_json([_told(row) for row in rows])
        return
    if not rows:
        typer.echo("no task")
        return
    table = Table(box=None)
    for name in ("task", "state", "tier", "judgements", "clip", "track", "class", "frames"):
        table.add_column(name)
    for row in rows:
        review, task = row.review, row.task
        answered = sum(seat.answered for seat in review.seats)
        table.add_row(
            task.task_id[:12], review.state.value, review.tier.value,
            f"{answered} of {review.judgements_wanted}", task.clip_id,
            "search" if task.track is None else str(task.track), task.class_name,
            str(len(task.frames)),
        )  # fmt: skip
    Console().print(table)


@app.command("counts")
def counts(folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """How many tasks stand where."""
    found = with_queue(folder, lambda queue: queue.counts())
    if as_json:
        print_json([{"tier": c.tier, "state": c.state, "tasks": c.tasks} for c in found])
        return
    for count in found:
        typer.echo(f"{count.tier} {count.state}: {count.tasks}")
    if not found:
        typer.echo("no task")


@app.command("add")
def add_tasks(
    source: Annotated[
        list[Path],
        typer.Argument(exists=True, help="Files of tasks (JSON, one a line), or labelled drives."),
    ],
    tier: Annotated[str, typer.Option(help="Of drives: consensus or expert.")] = "expert",
    judgements: Annotated[
        int, typer.Option(min=1, max=9, help="Of drives: how many people answer.")
    ] = 1,
    below: Annotated[
        float, typer.Option(min=0, help="Of drives: only tracks less sure than this, on average.")
    ] = 1.01,
    search: Annotated[
        bool, typer.Option("--search", help="Of drives: also ask what the labels miss.")
    ] = False,
    actor: Annotated[
        str, typer.Option(envvar="LONGTAIL_ACTOR", help="Who adds, for the audit log.")
    ] = "operator",
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add tasks; what is in the queue already stays as it is."""
    from offline.labels.queue.task_files import read_tasks

    tasks = []
    for path in source:
        if path.is_dir():
            tasks += _tasks_of_drives(path, tier, judgements, below, search)
        else:
            tasks += read_tasks(path)
    added = with_queue(folder, lambda queue: queue.add(tasks, actor), create=True)
    known = len(added.task_ids) - added.new
    if as_json:
        print_json({"new": added.new, "known": known, "task_ids": list(added.task_ids)})
        return
    typer.echo(f"{added.new} new, {known} known already")


def _tasks_of_drives(
    root: Path, tier_name: str, judgements: int, below: float, search: bool
) -> list[NewTask]:
    from contracts.review import Tier
    from offline.labels.formats.folders import labelled_drives
    from offline.labels.formats.sequence import read_sequence
    from offline.labels.queue.from_drives import search_task, track_tasks

    tier = tier_named(tier_name) or Tier.EXPERT
    found: list[NewTask] = []
    for folder in labelled_drives([root]):
        sequence = read_sequence(folder)
        found += track_tasks(sequence, sequence.drive_id, tier, judgements, below)
        if search:
            found.append(search_task(sequence, sequence.drive_id, tier, judgements))
    return found


@app.command("next")
def next_task(
    annotator: AnnotatorOption,
    tier: Annotated[str | None, typer.Option(help="Only consensus, or expert.")] = None,
    minutes: Annotated[
        int, typer.Option(min=1, max=10_080, help="How long the task is yours.")
    ] = 60,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take the most urgent task that you have not answered yet."""
    from contracts.clock import NS_PER_S
    from contracts.ids import parse_name

    only, name = tier_named(tier), parse_name(annotator, "--annotator")
    held = with_queue(
        folder,
        lambda queue: queue.reserve(name, None if only is None else [only]),
        hold_ns=minutes * 60 * NS_PER_S,
    )
    if as_json:
        told = None if held is None else {
            "task": held.task.model_dump(mode="json"), "round": held.round,
            "annotator": held.annotator, "until_utc_ns": held.until_utc_ns,
            "proposal": [box.model_dump(mode="json") for box in held.proposal],
        }  # fmt: skip
        print_json(told)
        return
    if held is None:
        typer.echo("nothing to do")
        return
    what = "search for missed objects" if held.task.track is None else (
        f"{held.task.class_name}, track {held.task.track}"
    )  # fmt: skip
    typer.echo(f"{held.task.task_id}: {what} in {held.task.clip_id}, "
               f"{len(held.task.frames)} frames, yours for {minutes} minutes")  # fmt: skip


@app.command("submit")
def submit(
    task: TaskArgument,
    annotator: AnnotatorOption,
    verdict: Annotated[
        str, typer.Option(help="verified, adjusted, drawn, no_object or cannot_tell")
    ],
    boxes: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="The boxes as they shall be (JSON)."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="How long it took.")] = 0.0,
    comment: Annotated[str, typer.Option(help="For whoever decides.")] = "",
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a task that you hold. Verified boxes are those that were shown."""
    from contracts.clock import SystemClock
    from contracts.review import FrameBox, Judgement, Verdict
    from offline.labels.formats.files import read_json, validated

    _one_of(Verdict, verdict, "--verdict")
    given: list[FrameBox] = []
    if boxes is not None:
        value = read_json(boxes)
        if not isinstance(value, list):
            raise InputError("a list of boxes by frame is expected", str(boxes))
        given = [validated(FrameBox, one, f"{boxes}: {n}") for n, one in enumerate(value)]

    async def work(queue: ReviewQueue) -> Any:
        row = await queue.row(task)
        as_shown = verdict == Verdict.VERIFIED and boxes is None and row.task.track is not None
        judgement = validated(
            Judgement,
            {
                "task_id": row.task.task_id, "round": row.review.round, "annotator": annotator,
                "verdict": verdict, "boxes": row.proposal if as_shown else tuple(given),
                "seconds": seconds, "comment": comment,
                "submitted_utc_ns": SystemClock().utc_ns(),
            },
            "judgement",
        )  # fmt: skip
        return row.task.task_id, await queue.submit(judgement)

    task_id, state = with_queue(folder, work)
    if as_json:
        print_json({"task_id": task_id, "state": state.value})
        return
    typer.echo(f"{task_id[:12]} is {state.value}")


@app.command("show")
def show(
    task: TaskArgument,
    picture: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Draw the task's box into this PNG.")
    ] = None,
    drives: DrivesOption = [],  # noqa: B006
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """A task in full; with --picture as a camera and the lidar see it."""
    row = with_queue(folder, lambda queue: queue.row(task))
    told = _told(row) | {
        "frames": list(row.task.frames),
        "proposal": [box.model_dump(mode="json") for box in row.proposal],
        "judgements": [one.model_dump(mode="json") for one in row.judgements],
    }
    if picture is not None:
        from offline.labels.queue.clips import ClipFolders
        from offline.labels.queue.picture import draw_task

        drawn = draw_task(row, ClipFolders(drives).view(row.task.clip_id), picture)
        told |= {"picture": str(picture), "drawn": drawn}
    if as_json:
        print_json(told)
        return
    for name in ("task_id", "clip_id", "track", "class", "tier", "state", "round", "reason"):
        typer.echo(f"{name}: {told[name]}")
    typer.echo(f"frames: {len(row.task.frames)}, boxes shown: {len(row.proposal)}")
    for one in row.judgements:
        remark = f", {json.dumps(one.comment, ensure_ascii=False)}" if one.comment else ""
        typer.echo(f"round {one.round}, {one.annotator}: {one.verdict.value}, "
                   f"{len(one.boxes)} boxes, {one.seconds:.0f} s{remark}")  # fmt: skip
    if picture is not None:
        typer.echo(f"{picture}: {told['drawn']}")


def _told(row: TaskRow) -> dict[str, Any]:
    review, task = row.review, row.task
    return {
        "task_id": task.task_id, "clip_id": task.clip_id, "track": task.track,
        "class": task.class_name, "tier": review.tier.value, "state": review.state.value,
        "round": review.round, "judgements_wanted": review.judgements_wanted,
        "answered": sum(seat.answered for seat in review.seats), "priority": task.priority,
        "cost_s": task.cost_s, "reason": None if review.reason is None else review.reason.value,
    }  # fmt: skip


def tier_named(text: str | None) -> Tier | None:
    """A tier of people's. Raises `InputError` for another word."""
    from contracts.review import PEOPLES_TIERS

    return _one_of(PEOPLES_TIERS, text, "--tier")


def state_named(text: str | None) -> ReviewState | None:
    """A task's state. Raises `InputError` for another word."""
    from contracts.review import ReviewState

    return _one_of(ReviewState, text, "--state")


def _one_of(known: Iterable[Word], text: str | None, option: str) -> Word | None:
    words = {str(each): each for each in known}
    if text is not None and text not in words:
        raise InputError(f"one of {', '.join(words)} is expected, not {text!r}", option)
    return None if text is None else words[text]
