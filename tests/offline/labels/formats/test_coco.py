"""COCO: nothing is lost, edits of tools come back, COCO's own reader takes the file."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from contracts.errors import InputError
from offline.labels.formats.coco import (
    PicturedDrive,
    coco_document,
    pictured_without_files,
    read_coco,
)
from offline.labels.formats.files import write_json
from offline.labels.formats.sequence import LabelSequence
from tests.offline.labels.formats.drives import (
    CAMERAS,
    HUMAN,
    assert_same,
    sequences,
    small_sequence,
)


def document_of(sequence: LabelSequence) -> Any:
    pictures = pictured_without_files(sequence, CAMERAS)
    return coco_document([PicturedDrive(sequence, CAMERAS, pictures)])


def written(document: Any, folder: Path) -> Path:
    path = folder / "coco.json"
    write_json(path, document)
    return path


@settings(max_examples=25)
@given(sequence=sequences())
def test_nothing_is_lost(tmp_path_factory: pytest.TempPathFactory, sequence: LabelSequence) -> None:
    found = read_coco(written(document_of(sequence), tmp_path_factory.mktemp("coco")))
    assert found.flat == ()
    (back,) = found.sequences
    assert_same(back, sequence)


def test_coco_s_own_reader_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco").COCO(
        str(written(document_of(small_sequence()), tmp_path))
    )
    assert len(coco.getImgIds()) == 6
    (car,) = coco.getCatIds(catNms=["car"])
    boxes = [one["bbox"] for one in coco.loadAnns(coco.getAnnIds(catIds=[car]))]
    assert len(boxes) == 3
    left, top, width, height = boxes[0]
    # 10.6 m ahead of a camera of 160 px focal length, 1 m to the left, 1.5 m up.
    assert 130 < left + width / 2 < 160 and 105 < top + height / 2 < 125
    assert 25 < width < 60 and 15 < height < 35


def edited(document: Any) -> Any:
    changed = copy.deepcopy(document)
    rows = {row["longtail"]["frame"]: row for row in changed["annotations"] if row["track_id"] == 7}
    rows[0]["category_id"] = 2
    rows[1]["bbox"][0] += 5
    changed["annotations"].remove(rows[2])
    changed["annotations"].append(
        {"id": 99, "image_id": rows[2]["image_id"], "category_id": 5, "bbox": [1, 2, 30, 40]}
    )
    return changed


def test_what_a_tool_changed_comes_back(tmp_path: Path) -> None:
    path = written(edited(document_of(small_sequence())), tmp_path)
    with pytest.raises(InputError, match=r"annotations\.0: is now a truck: say who"):
        read_coco(path)
    found = read_coco(path, HUMAN)
    records = [frame.record for frame in found.sequences[0].frames]
    truck = records[0].boxes[0]
    assert (truck.box.class_name, truck.provenance, truck.confidence) == ("truck", HUMAN, 1.0)
    assert records[1].boxes == small_sequence().frames[1].record.boxes
    assert [b.box.class_name for b in records[2].boxes] == ["pedestrian", "animal"]
    moved, drawn = found.flat
    assert (moved.place, moved.class_name, moved.channel) == (0, "car", "/camera/front")
    assert (drawn.place, drawn.class_name, drawn.box_px) == (None, "cyclist", (1, 2, 31, 42))
    assert drawn.mono_ns == records[2].mono_ns


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (("longtail",), None, "not written by Longtail"),
        (("annotations", 0, "bbox"), [1, 2, 3], r"annotations\.0\.bbox"),
        (("annotations", 0, "image_id"), 77, r"annotations\.0: no such image"),
        (("annotations", 0, "category_id"), 77, r"annotations\.0: no such category"),
        (("annotations", 0, "longtail", "frame"), 2, r"annotations\.0: belongs to another frame"),
        (("annotations", 0, "longtail", "box", "box", "size_m", 0), -1, r"box\.size_m\.0"),
        (("annotations", 0, "bbox"), [1, 2, 0, 4], "positive width"),
        (("annotations", 1, "longtail", "place"), 5, None),
        (("categories", 0, "name"), "tank", r"categories\.0: unknown class"),
        (("images", 1, "id"), 1, "id is there twice"),
        (("longtail", "taxonomy_version"), 9, "version 9 is unknown"),
        (("longtail", "frames", 0, "mono_ns"), -1, r"frames\.0: mono_ns"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(
    tmp_path: Path, path: tuple[str | int, ...], value: Any, why: str | None
) -> None:
    document = copy.deepcopy(document_of(small_sequence()))
    inner: Any = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    if why is None:  # an order of boxes of one's own is no mistake
        assert read_coco(written(document, tmp_path)).sequences
        return
    with pytest.raises(InputError, match=why):
        read_coco(written(document, tmp_path))


def test_two_annotations_of_one_box_must_agree(tmp_path: Path) -> None:
    document = document_of(small_sequence())
    twin = copy.deepcopy(document["annotations"][0])
    twin["id"], twin["longtail"]["box"]["confidence"] = 98, 0.1
    document["annotations"].append(twin)
    with pytest.raises(InputError, match="says otherwise of the same box"):
        read_coco(written(document, tmp_path))
