"""Review tasks in a file, a JSON object a line: `task`, `sealed`, and the `proposal`'s boxes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from contracts.errors import InputError
from contracts.review import FrameBox, ReviewTask, SealedPurpose
from offline.labels.formats.files import json_of, read_text, validated
from offline.labels.queue.records import NewTask


def tasks_text(tasks: Iterable[NewTask]) -> str:
    """The content of a file of tasks. It tells what each task is for: not for annotators."""
    return "".join(
        json.dumps({
            "task": one.task.model_dump(mode="json"),
            "sealed": one.sealed.model_dump(mode="json"),
            "proposal": [box.model_dump(mode="json") for box in one.proposal],
        }) + "\n"
        for one in tasks
    )  # fmt: skip


def read_tasks(path: Path) -> list[NewTask]:
    """The tasks of a file. Raises `InputError` with `file:line`."""
    lines = enumerate(read_text(path).splitlines(), start=1)
    return [_task(line, f"{path}:{number}") for number, line in lines if line.strip()]


def _task(line: str, place: str) -> NewTask:
    value = json_of(line, place)
    if not isinstance(value, dict) or set(value) != {"task", "sealed", "proposal"}:
        raise InputError("an object of task, sealed and proposal is expected", place)
    if not isinstance(value["proposal"], list):
        raise InputError("proposal is a list of boxes", place)
    task = validated(ReviewTask, value["task"], place)
    sealed = validated(SealedPurpose, value["sealed"], place)
    proposal = tuple(validated(FrameBox, box, place) for box in value["proposal"])
    try:
        return NewTask(task, sealed, proposal)
    except InputError as error:
        raise InputError(error.message, f"{place}: {error.place}") from None
