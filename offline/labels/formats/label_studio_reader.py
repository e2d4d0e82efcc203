"""What people answered in Label Studio: its JSON export, one picture's answer at a time.

A region that was moved tells where an object is in a picture, and not where it is in space: the
cuboid stays as it was and the answer says `moved`. It is not re-fitted along its bearing either,
since the range, the size and the heading would still be the old guess under a person's name. A
box that was drawn anew tells no cuboid at all: it is an object that the labels miss.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from contracts.errors import InputError
from contracts.geometry import Finite
from offline.labels.formats.files import read_json, validated
from offline.labels.formats.label_studio import BOX, VERDICT, VERDICTS
from offline.labels.formats.openlabel_axes import Loose
from offline.labels.formats.projection import Px

MOVED_PX = 1.5
"""A side that shifts by less than this was not moved on purpose."""

_Percent = Annotated[Finite, Field(ge=-1e-6, le=100 + 1e-6)]
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class FlatRegion:
    """A 2D box of a class in a picture."""

    class_name: str
    box_px: Px


@dataclass(frozen=True, slots=True)
class Answer:
    """One person's answer on one picture; places are those of the boxes shown.

    `changed` gives the new class of boxes whose class was changed; `deleted` were shown and are
    no more; `moved` were shifted or resized; `drawn` had no box.
    """

    annotator: str
    verdict: Literal["accept", "adjust", "reject", "cannot_tell"]
    shown: frozenset[int]
    changed: dict[int, str]
    deleted: frozenset[int]
    moved: dict[int, FlatRegion]
    drawn: tuple[FlatRegion, ...]
    seconds: float
    submitted_utc_ns: int


@dataclass(frozen=True, slots=True)
class AnsweredPicture:
    """A task's own data, and its answers; `place` says where in the file it is."""

    own: dict[str, Any]
    answers: tuple[Answer, ...]
    place: str


class _Value(Loose):
    x: Finite = 0.0
    y: Finite = 0.0
    width: _Percent = 0.0
    height: _Percent = 0.0
    rotation: Finite = 0.0
    rectanglelabels: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()


class _Result(Loose):
    id: str = ""
    type: str
    from_name: str
    value: _Value


class _Person(Loose):
    id: int


class _Annotation(Loose):
    completed_by: int | _Person | None = None
    was_cancelled: bool = False
    lead_time: Annotated[Finite, Field(ge=0)] = 0.0
    created_at: dt.datetime | None = None
    updated_at: dt.datetime | None = None
    result: tuple[_Result, ...] = ()


class _Shown(Loose):
    place: int = Field(ge=0)
    class_name: str = Field(alias="class")
    box_px: tuple[Finite, Finite, Finite, Finite]


class _Own(Loose):
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    regions: dict[str, _Shown]


class _Task(Loose):
    data: dict[str, Any]
    annotations: tuple[_Annotation, ...] = ()


def read_answers(path: Path, classes: tuple[str, ...]) -> Iterator[AnsweredPicture]:
    """The tasks of an export with their answers; cancelled ones are no answers.

    Raises `InputError` with the task's number, and the annotation's.
    """
    tasks = read_json(path)
    if not isinstance(tasks, list):
        raise InputError("a list of tasks is expected (Label Studio's export as JSON)", str(path))
    for number, value in enumerate(tasks):
        place = f"{path}: task {number}"
        task = validated(_Task, value, place)
        own = task.data.get("longtail")
        if not isinstance(own, dict):
            raise InputError("was not exported by Longtail: no data.longtail", place)
        shown = validated(_Own, own, f"{place}: data.longtail")
        answers = tuple(
            _answer(each, shown, classes, f"{place}, annotation {count}")
            for count, each in enumerate(task.annotations)
            if not each.was_cancelled
        )
        yield AnsweredPicture(own, answers, place)


def _answer(found: _Annotation, own: _Own, classes: tuple[str, ...], place: str) -> Answer:
    verdict, regions = None, dict[str, FlatRegion]()
    for number, each in enumerate(found.result):
        here = f"{place}, result {number}"
        if each.type == "choices" and each.from_name == VERDICT:
            verdict = _only(each.value.choices, VERDICTS, here)
        elif each.type == "rectanglelabels" and each.from_name == BOX:
            if each.id in regions or not each.id:
                raise InputError("a region needs an id of its own", here)
            regions[each.id] = _region(each.value, own, classes, here)
        else:
            raise InputError(f"{each.from_name!r} of type {each.type!r} was not asked for", here)
    if verdict is None:
        raise InputError("no verdict was given", place)
    kept = {shown.place: regions[name] for name, shown in own.regions.items() if name in regions}
    shown = {one.place: one for one in own.regions.values()}
    when = found.updated_at or found.created_at
    return Answer(
        annotator=_annotator(found.completed_by, place),
        verdict=verdict,  # type: ignore[arg-type]  # `_only` lets nothing else through
        shown=frozenset(shown),
        changed={
            at: region.class_name for at, region in kept.items()
            if region.class_name != shown[at].class_name
        },
        deleted=frozenset(shown) - frozenset(kept),
        moved={at: region for at, region in kept.items() if _is_moved(region, shown[at])},
        drawn=tuple(region for name, region in regions.items() if name not in own.regions),
        seconds=found.lead_time,
        submitted_utc_ns=0 if when is None else _utc_ns(when, place),
    )  # fmt: skip


def _region(value: _Value, own: _Own, classes: tuple[str, ...], place: str) -> FlatRegion:
    if value.rotation:
        raise InputError("the box is turned: level boxes were asked for", place)
    if value.width <= 0 or value.height <= 0:
        raise InputError("the box has no area", place)
    name = _only(value.rectanglelabels, classes, place)
    left, top = value.x * own.width / 100, value.y * own.height / 100
    right, bottom = left + value.width * own.width / 100, top + value.height * own.height / 100
    return FlatRegion(name, (left, top, right, bottom))


def _only(given: tuple[str, ...], known: tuple[str, ...], place: str) -> str:
    if len(given) != 1 or given[0] not in known:
        raise InputError(f"one of {', '.join(known)} is expected, not {list(given)}", place)
    return given[0]


def _is_moved(region: FlatRegion, shown: _Shown) -> bool:
    return any(abs(a - b) > MOVED_PX for a, b in zip(region.box_px, shown.box_px, strict=True))


def _annotator(found: int | _Person | None, place: str) -> str:
    if found is None:
        raise InputError("does not say who answered (completed_by)", place)
    return f"label-studio-{found if isinstance(found, int) else found.id}"


def _utc_ns(when: dt.datetime, place: str) -> int:
    if when.tzinfo is None or when.year < 1970:
        raise InputError("a time needs its zone, and lies after 1970", place)
    since = when - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (since.days * 86_400 + since.seconds) * _NS + since.microseconds * 1000
