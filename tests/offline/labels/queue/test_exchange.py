"""Review tasks out to other tools, and their answers back into the queue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cloud_ingest.database import open_engine
from contracts.clock import VirtualClock
from contracts.errors import InputError
from contracts.review import ReviewState, Tier, Verdict
from offline.labels.formats.files import write_json
from offline.labels.formats.folders import TASKS
from offline.labels.queue.clips import ClipFolders
from offline.labels.queue.exchange import (
    Taken,
    share_tasks,
    take_openlabel_answers,
    take_studio_answers,
)
from offline.labels.queue.from_drives import search_task, track_tasks
from offline.labels.queue.store import ReviewQueue
from tests.offline.labels.formats.answers import answered
from tests.offline.labels.formats.drives import small_sequence, write_drive
from tests.offline.labels.queue.tasks import new_task

Json = dict[str, Any]
Scene = Callable[[ReviewQueue, VirtualClock], Awaitable[None]]


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    write_drive(tmp_path / "drives/first", small_sequence())
    return tmp_path / "drives"


@pytest.fixture
def play(database_url: str) -> Callable[[Scene], None]:
    """Run a scene with a queue that holds the drive's tasks: two tracks and a search."""

    def run(scene: Scene) -> None:
        async def inside() -> None:
            engine, clock = open_engine(database_url), VirtualClock()
            sequence = small_sequence()
            try:
                queue = ReviewQueue(engine, clock)
                tasks = [
                    *track_tasks(sequence, "drive-1", Tier.CONSENSUS, 2, below=1.01),
                    search_task(sequence, "drive-1", Tier.EXPERT, 1),
                ]
                assert [one.task.track for one in tasks] == [7, 9, None]
                await queue.add(tasks, "router")
                await scene(queue, clock)
            finally:
                await engine.dispose()

        asyncio.run(inside())

    return run


async def exported(queue: ReviewQueue, drives: Path, out: Path) -> dict[str, list[Json]]:
    """Label Studio's tasks by what they are of: car, pedestrian, search."""
    shared = share_tasks("label-studio", await queue.rows(), ClipFolders([drives]), out)
    assert (shared.tasks, shared.pictures, shared.skipped) == (3, 8, [])
    found: dict[str, list[Json]] = {}
    names = {row.task.task_id: row.task.class_name or "search" for row in await queue.rows()}
    for task in json.loads((out / TASKS).read_text()):
        found.setdefault(names[task["data"]["longtail"]["task_id"]], []).append(task)
        assert (out / "images" / task["data"]["image"]).is_file()
    return found


def drawn(task: Json) -> Json:
    task["annotations"][0]["result"].append({
        "id": "new", "type": "rectanglelabels", "from_name": "box", "to_name": "image",
        "value": {"x": 10, "y": 20, "width": 10, "height": 20, "rotation": 0,
                  "rectanglelabels": ["cyclist"]},
    })  # fmt: skip
    return task


def test_two_people_answer_in_label_studio(
    play: Callable[[Scene], None], drives: Path, tmp_path: Path
) -> None:
    async def scene(queue: ReviewQueue, clock: VirtualClock) -> None:
        tasks = await exported(queue, drives, tmp_path / "out")
        (car,), (walker,), pictures = tasks["car"], tasks["pedestrian"], tasks["search"]
        # The car is ahead and the pedestrian behind; each is seen best when nearest.
        assert car["data"]["longtail"]["channel"] == "/camera/front"
        assert walker["data"]["longtail"]["channel"] == "/camera/rear"
        assert len(pictures) == 6

        async def take(*done: Json) -> Taken:
            write_json(tmp_path / "export.json", list(done))
            return await take_studio_answers(queue, tmp_path / "export.json")

        moved = answered(walker, "accept", completed_by=2)
        moved["annotations"][0]["result"][0]["value"]["x"] += 8
        truck = answered(car, "accept", completed_by=2)
        truck["annotations"][0]["result"][0]["value"]["rectanglelabels"] = ["truck"]
        first = [answered(car, "accept"), answered(walker, "reject"), truck, moved]
        done = await take(*first)
        assert (done.submitted, done.refused, done.unfinished) == (4, [], 0)
        done = await take(*first)
        assert (done.submitted, done.known) == (0, 4)

        rows = {row.task.class_name: row for row in await queue.rows()}
        assert rows["car"].review.state is rows["pedestrian"].review.state is ReviewState.SUBMITTED
        verified, adjusted = rows["car"].judgements
        assert (verified.verdict, verified.boxes) == (Verdict.VERIFIED, rows["car"].proposal)
        assert adjusted.verdict is Verdict.ADJUSTED
        assert {one.box.class_name for one in adjusted.boxes} == {"truck"}
        assert [one.box.centre_m for one in adjusted.boxes] == [
            one.box.centre_m for one in rows["car"].proposal
        ]
        gone, doubtful = rows["pedestrian"].judgements
        assert (gone.verdict, gone.boxes) == (Verdict.NO_OBJECT, ())
        assert doubtful.verdict is Verdict.CANNOT_TELL
        assert "moved to" in doubtful.comment and "px in /camera/rear" in doubtful.comment
        assert doubtful.annotator == "label-studio-2" and doubtful.seconds == 8.0

        third = answered(car, "accept", completed_by=3)
        (why,) = (await take(third)).refused
        assert "does not fit a task that is submitted" in why

    play(scene)


def test_a_search_is_answered_by_all_of_its_pictures(
    play: Callable[[Scene], None], drives: Path, tmp_path: Path
) -> None:
    async def scene(queue: ReviewQueue, clock: VirtualClock) -> None:
        pictures = (await exported(queue, drives, tmp_path / "out"))["search"]
        done = [answered(one, "accept") for one in pictures]
        path = tmp_path / "export.json"
        write_json(path, done[:5])
        assert (await take_studio_answers(queue, path)).unfinished == 1
        drawn(done[5])
        write_json(path, [*done, *done[5:]])
        found = await take_studio_answers(queue, path)
        assert (found.submitted, found.missed, found.opened) == (1, 1, 1)
        assert (await take_studio_answers(queue, path)).opened == 0
        (search, opened) = [row for row in await queue.rows() if row.task.track is None][::-1]
        (judgement,) = search.judgements
        assert judgement.verdict is Verdict.CANNOT_TELL
        assert "missed cyclist at 32 40 64 80 px in /camera/rear frame 2" in judgement.comment
        assert (opened.task.frames, opened.task.tier) == ((2,), Tier.EXPERT)
        assert len(opened.proposal) == 3

    play(scene)


def test_cuboids_come_back_by_openlabel(
    play: Callable[[Scene], None], drives: Path, tmp_path: Path
) -> None:
    async def scene(queue: ReviewQueue, clock: VirtualClock) -> None:
        out = tmp_path / "out"
        assert share_tasks("openlabel", await queue.rows(), ClipFolders([drives]), out).tasks == 3
        by_class = {row.task.class_name: row.task.task_id for row in await queue.rows()}
        path = out / f"{by_class['car']}.json"
        document = json.loads(path.read_text())
        cuboid = document["openlabel"]["frames"]["1"]["objects"]["7"]["object_data"]["cuboid"][0]
        cuboid["val"][0] += 0.5
        write_json(path, document)
        walker = json.loads((out / f"{by_class['pedestrian']}.json").read_text())
        for frame in walker["openlabel"]["frames"].values():
            frame["objects"] = {}
        write_json(out / f"{by_class['pedestrian']}.json", walker)
        done = await take_openlabel_answers(queue, out, "eva", 30.0, clock)
        assert (done.submitted, done.refused) == (3, [])
        await clock.advance_ns(5)
        assert (await take_openlabel_answers(queue, out, "eva", 30.0, clock)).known == 3
        rows = {row.task.class_name: row for row in await queue.rows()}
        (adjusted,), (gone,), (searched,) = (
            rows[name].judgements for name in ("car", "pedestrian", "")
        )
        assert [one.box.centre_m[0] for one in adjusted.boxes] == [12.0, 12.5, 12.0]
        assert (adjusted.verdict, gone.verdict) == (Verdict.ADJUSTED, Verdict.NO_OBJECT)
        assert (searched.verdict, searched.boxes) == (Verdict.VERIFIED, ())

    play(scene)


def test_what_cannot_be_shared_is_told(
    play: Callable[[Scene], None], drives: Path, tmp_path: Path
) -> None:
    async def scene(queue: ReviewQueue, clock: VirtualClock) -> None:
        await queue.add([new_task(3, clip_id="elsewhere"), new_task(4)], "router")
        every = {row.task.clip_id + row.task.class_name: row for row in await queue.rows()}
        folders, out = ClipFolders([drives]), tmp_path / "out"
        with pytest.raises(InputError, match="no recording of clip 'elsewhere'"):
            share_tasks("openlabel", [every["elsewherecar"]], folders, out)
        with pytest.raises(InputError, match="kitti: tells no review task"):
            share_tasks("kitti", list(every.values()), folders, out)
        far = {"centre_m": (0.0, 40.0, 1.0)}
        beside = new_task(5, shown=tuple(
            one.model_copy(update={"box": one.box.model_copy(update=far)})
            for one in new_task(5).proposal
        ))  # fmt: skip
        await queue.add([beside], "router")
        row = await queue.row(beside.task.task_id)
        shared = share_tasks("label-studio", [row], folders, out)
        assert shared.tasks == 0 and "no picture shows this track" in shared.skipped[0]
        write_json(tmp_path / "x.json", [answered({"data": {"longtail": {
            "kind": "review", "width": 9, "height": 9, "regions": {}}},
            "predictions": [{"result": []}]}, "accept")])  # fmt: skip
        with pytest.raises(InputError, match="task 0: is no review task's picture"):
            await take_studio_answers(queue, tmp_path / "x.json")

    play(scene)
