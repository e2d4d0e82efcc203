"""Label Studio: pre-labels go out, answers come back, nothing is made of a picture alone."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ConflictError, InputError
from contracts.geometry import TAXONOMY
from contracts.labels import Provenance
from offline.labels.formats.coco import PicturedDrive, pictured_without_files
from offline.labels.formats.files import write_json
from offline.labels.formats.label_studio import VERDICTS, drive_tasks, label_config
from offline.labels.formats.label_studio_edits import Edited, edited
from offline.labels.formats.label_studio_reader import read_answers
from offline.labels.formats.sequence import LabelSequence
from tests.offline.labels.formats.answers import answered
from tests.offline.labels.formats.drives import CAMERAS, assert_same, sequences, small_sequence

Json = dict[str, Any]
PERSON = Provenance(source="human", made_by="label-studio-1")


def tasks_of(sequence: LabelSequence) -> list[Json]:
    pictures = pictured_without_files(sequence, CAMERAS)
    return drive_tasks([PicturedDrive(sequence, CAMERAS, pictures)], "/pictures/")


def back(tasks: list[Json], sequence: LabelSequence, folder: Path) -> Edited:
    write_json(folder / "export.json", tasks)
    return edited([sequence], read_answers(folder / "export.json", TAXONOMY.names))


@settings(max_examples=20)
@given(sequence=sequences(), left_open=st.integers(0, 2))
def test_what_everybody_accepts_stays_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, sequence: LabelSequence, left_open: int
) -> None:
    """Velocity, ground, provenance and all: they never leave, so they cannot be lost."""
    tasks = tasks_of(sequence)
    done = [answered(task, "accept") for task in tasks]
    for task in done[:left_open]:
        task["annotations"] = []
    found = back(done, sequence, tmp_path_factory.mktemp("studio"))
    assert (found.adjust, found.missed, found.unanswered) == ([], [], left_open)
    assert_same(found.sequences[0], sequence)


def test_regions_lie_where_the_cuboids_show() -> None:
    first = tasks_of(small_sequence())[0]
    assert first["data"]["image"] == "/pictures/drive-1/front/1000000000.jpg"
    (region,) = first["predictions"][0]["result"]
    value = region["value"]
    assert 40 < value["x"] + value["width"] / 2 < 50
    assert value["rectanglelabels"] == ["car"] and region["score"] == 0.75
    assert region["meta"]["text"] == ["track 7, 12.0 m ahead, 1.0 m to the left"]
    assert first["predictions"][0]["model_version"] == "ann"


def test_the_interface_asks_for_all_that_is_read() -> None:
    root = ET.fromstring(label_config(TAXONOMY))
    assert [label.get("value") for label in root.iter("Label")] == list(TAXONOMY.names)
    assert [choice.get("value") for choice in root.iter("Choice")] == list(VERDICTS)


Change = Callable[[list[Json]], None]


def result_of(task: Json) -> list[Json]:
    found: list[Json] = task["annotations"][0]["result"]
    return found


def rename(task: Json) -> None:
    result_of(task)[0]["value"]["rectanglelabels"] = ["truck"]


def delete(task: Json) -> None:
    del result_of(task)[0]


def move(task: Json) -> None:
    result_of(task)[0]["value"]["x"] += 5


def doubt(task: Json) -> None:
    result_of(task)[-1]["value"]["choices"] = ["adjust"]


@pytest.mark.parametrize("change", [rename, delete, move, doubt])
def test_a_person_s_change_of_the_car_ahead(tmp_path: Path, change: Callable[[Json], None]) -> None:
    sequence = small_sequence()
    tasks = [answered(task, "accept") for task in copy.deepcopy(tasks_of(sequence))]
    change(tasks[0])
    found = back(tasks, sequence, tmp_path)
    before, after = (one.frames[0].record.boxes for one in (sequence, found.sequences[0]))
    assert found.sequences[0].frames[1:] == sequence.frames[1:]
    if change is delete:
        assert (after, found.adjust) == ((), [])
        return
    assert after[0].provenance == PERSON
    if change is rename:
        assert (after[0].box.class_name, after[0].ignored) == ("truck", False)
        assert after[0].box.centre_m == before[0].box.centre_m
    else:
        # The cuboid is kept, and neither taught nor measured until an expert has looked.
        assert (after[0].box, after[0].ignored) == (before[0].box, True)
        assert found.adjust == [("drive-1", sequence.instants()[0], 0)]


def test_a_drawn_box_is_a_missed_object(tmp_path: Path) -> None:
    sequence = small_sequence()
    tasks = [answered(task, "accept") for task in tasks_of(sequence)]
    value = {"x": 50, "y": 50, "width": 10, "height": 20, "rotation": 0,
             "rectanglelabels": ["cyclist"]}  # fmt: skip
    result_of(tasks[1]).append(
        {"id": "Xy9", "type": "rectanglelabels", "from_name": "box", "to_name": "image",
         "value": value}
    )  # fmt: skip
    found = back(tasks, sequence, tmp_path)
    assert_same(found.sequences[0], sequence)
    (missed,) = found.missed
    assert (missed.class_name, missed.channel, missed.place) == ("cyclist", "/camera/rear", None)
    assert missed.box_px == pytest.approx((160, 100, 192, 140))


def wrong(why: str, change: Callable[[Json], None]) -> Any:
    return pytest.param(why, change, id=why)


def set_value(name: str, value: Any) -> Callable[[Json], None]:
    return lambda task: result_of(task)[0]["value"].update({name: value})


@pytest.mark.parametrize(
    ("why", "change"),
    [
        wrong("task 0, annotation 0: no verdict", lambda task: result_of(task).pop()),
        wrong("one of accept, adjust, reject, cannot_tell is expected",
              lambda task: result_of(task)[-1]["value"].update(choices=["perhaps"])),
        wrong("one of car, truck", set_value("rectanglelabels", ["tank"])),
        wrong("the box is turned", set_value("rotation", 10)),
        wrong("has no area", set_value("width", 0)),
        wrong("width", set_value("width", 400)),
        wrong("needs an id of its own",
              lambda task: result_of(task).append(copy.deepcopy(result_of(task)[0]))),
        wrong("'box' of type 'polygonlabels' was not asked for",
              lambda task: result_of(task)[0].update(type="polygonlabels")),
        wrong("does not say who answered",
              lambda task: task["annotations"][0].update(completed_by=None)),
        wrong("a time needs its zone",
              lambda task: task["annotations"][0].update(created_at="2026-01-02T03:04:05")),
        wrong("two people answered",
              lambda task: task["annotations"].append(task["annotations"][0])),
        wrong("not exported by Longtail", lambda task: task["data"].pop("longtail")),
        wrong("data.longtail: regions", lambda task: task["data"]["longtail"].pop("regions")),
        wrong("no frame 7", lambda task: task["data"]["longtail"].update(mono_ns=7)),
        wrong("import it into the queue",
              lambda task: task["data"]["longtail"].update(kind="review")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_place(
    tmp_path: Path, why: str, change: Callable[[Json], None]
) -> None:
    tasks = [answered(task, "accept") for task in copy.deepcopy(tasks_of(small_sequence()))]
    change(tasks[0])
    with pytest.raises(InputError, match=why) as caught:
        back(tasks, small_sequence(), tmp_path)
    assert "task 0" in str(caught.value)


def test_answers_on_labels_that_changed_since_are_refused(tmp_path: Path) -> None:
    tasks = [answered(task, "accept") for task in tasks_of(small_sequence())]
    tasks[0]["data"]["longtail"]["labels_digest"] = "0" * 64
    with pytest.raises(ConflictError, match="have changed since the export"):
        back(tasks, small_sequence(), tmp_path)


def test_a_cancelled_annotation_is_no_answer(tmp_path: Path) -> None:
    tasks = [answered(task, "accept") for task in tasks_of(small_sequence())]
    tasks[0]["annotations"][0]["was_cancelled"] = True
    assert back(tasks, small_sequence(), tmp_path).unanswered == 1
