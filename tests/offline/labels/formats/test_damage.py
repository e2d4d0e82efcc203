"""Files with anything at all in one place: taken, or refused as bad input, and never a crash."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import LongtailError
from contracts.geometry import TAXONOMY
from contracts.labels import Provenance
from offline.labels.formats.coco import (
    PicturedDrive,
    coco_document,
    pictured_without_files,
    read_coco,
)
from offline.labels.formats.files import write_json
from offline.labels.formats.kitti_tracking import read_kitti, write_kitti
from offline.labels.formats.label_studio import drive_tasks
from offline.labels.formats.label_studio_edits import edited
from offline.labels.formats.label_studio_reader import read_answers
from offline.labels.formats.openlabel import openlabel_document
from offline.labels.formats.openlabel_reader import read_openlabel
from tests.offline.labels.formats.answers import answered
from tests.offline.labels.formats.drives import CAMERAS, HUMAN, small_sequence

SEQUENCE = small_sequence()
DRIVE = PicturedDrive(SEQUENCE, CAMERAS, pictured_without_files(SEQUENCE, CAMERAS))
ANYTHING = st.sampled_from([
    None, True, -1, 0, 3, 1.5, 1e308, -1e-300, 10**30, "", "x", "\0", "7", [], [[]], {}, [None],
    {"a": 1}, [1e308] * 10, "9" * 19, [0] * 16,
])  # fmt: skip


def read_labels_studio(path: Path) -> None:
    edited([SEQUENCE], read_answers(path, TAXONOMY.names))


CASES: dict[str, tuple[Any, Callable[[Path], object]]] = {
    "openlabel": (openlabel_document(SEQUENCE, CAMERAS), lambda path: read_openlabel(path, HUMAN)),
    "coco": (coco_document([DRIVE]), lambda path: read_coco(path, HUMAN)),
    "label-studio": ([answered(t, "accept") for t in drive_tasks([DRIVE])], read_labels_studio),
}


def changed(value: Any, draw: Callable[[Any], Any]) -> Any:
    """The value with one place, at any depth, removed or replaced by anything."""
    document = copy.deepcopy(value)
    inner = document
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        key = draw(st.sampled_from(keys))
        deeper = isinstance(inner[key], dict | list) and len(inner[key]) > 0
        if deeper and draw(st.integers(0, 5)):
            inner = inner[key]
            continue
        if isinstance(inner, dict) and draw(st.booleans()):
            del inner[key]
        else:
            inner[key] = draw(ANYTHING)
        return document


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_file_is_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    document, read = CASES[name]
    path = tmp_path_factory.getbasetemp() / f"damaged-{name}.json"
    write_json(path, changed(document, data.draw))
    try:
        read(path)
    except LongtailError as error:
        assert len(str(error)) < 2000


@settings(max_examples=40)
@given(data=st.data())
def test_damaged_kitti_folders_too(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("kitti")
    write_kitti([(SEQUENCE, CAMERAS["/camera/front"])], folder)
    path = folder / data.draw(
        st.sampled_from(["label_02/0000.txt", "calib/0000.txt", "drives.json"])
    )
    if path.suffix == ".json":
        write_json(path, changed(json.loads(path.read_text()), data.draw))
    else:
        words = path.read_text().split(" ")
        words[data.draw(st.integers(0, len(words) - 1))] = data.draw(
            st.sampled_from(["", "x", "nan", "-1", "1e400", "99999999999999999999", "0.5\n"])
        )
        path.write_text(" ".join(words))
    try:
        read_kitti(folder, Provenance(source="human", made_by="ann"))
    except LongtailError as error:
        assert str(folder) in str(error) or error.place is not None
