"""What two repositories' words mean together: agreement slot by slot, whatever they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import RefusedError
from contracts.ids import sha256_hex
from contracts.ota import MAX_SPEC_BYTES, DirectorNote, ReleaseId
from edge_agent.ota.state import Floor, OtaState
from edge_agent.ota.verify import (
    OrderedFile,
    SignedFile,
    agree,
    check_counter,
    check_floors,
    read_word,
)

VEHICLE = "car-1"
RELEASES = (
    ReleaseId("trigger", "brake", 1), ReleaseId("trigger", "jerk", 3), ReleaseId("model", "net", 2)
)  # fmt: skip
NOTE = DirectorNote(vehicle_id=VEHICLE, release_counter=5, killed=("b", "a")).model_dump()

Order = dict[str, tuple[OrderedFile, ...]]
"""Files by slot."""


def files_of(release: ReleaseId, *, shadow: bool = False) -> tuple[OrderedFile, ...]:
    slot = release.slot(shadow=shadow).text
    return tuple(
        OrderedFile(SignedFile(path, 100, sha256_hex(path.encode())), {"slot": slot, "attempt": 1})
        for path in release.paths
    )


def whole_order() -> Order:
    return {
        release.slot(shadow=shadow).text: files_of(release, shadow=shadow)
        for release in RELEASES
        for shadow in (False, True)
    }


def image_of(order: Order) -> dict[str, SignedFile]:
    return {one.file.path: one.file for files in order.values() for one in files}


def judged(order: Order, image: dict[str, SignedFile]):  # type: ignore[no-untyped-def]
    files = tuple(one for files in order.values() for one in files)
    return agree(read_word(NOTE, files, VEHICLE), image)


def test_what_both_hold_is_agreed() -> None:
    order = whole_order()
    agreed = judged(order, image_of(order))
    assert set(agreed.releases) == set(order)
    assert agreed.refused == ()
    model = agreed.releases["model"]
    assert (model.counter, model.attempt, len(model.files)) == (5, 1, 2)
    assert model.digest == sha256_hex(RELEASES[2].path.encode())


def changed(**changes: Any) -> Callable[[OrderedFile], OrderedFile]:
    return lambda one: replace(one, file=replace(one.file, **changes))


def noted(custom: object) -> Callable[[OrderedFile], OrderedFile]:
    return lambda one: replace(one, custom=custom)


CHANGES: dict[str, Callable[[OrderedFile], OrderedFile]] = {
    "another length": changed(size_bytes=101),
    "another digest": changed(sha256="a" * 64),
    "no digest": changed(sha256=""),
    "a path outside of any release": changed(path="triggers/brake/spec.yaml"),
    "another release's path": changed(path="triggers/other/1/spec.yaml"),
    "a path that climbs": changed(path="triggers/../1/spec.yaml"),
    "no note": noted(None),
    "a note without a slot": noted({"attempt": 1}),
    "an attempt of none": noted({"slot": "model", "attempt": 0}),
    "a slot that is none": noted({"slot": "wheel", "attempt": 1}),
}


@given(st.data())
def test_one_bad_file_refuses_its_slot_alone(data: st.DataObject) -> None:
    order = whole_order()
    # Shadow slots share their files with the active ones: one mode a release.
    for release in RELEASES:
        order.pop(release.slot(shadow=data.draw(st.booleans())).text)
    image = image_of(order)
    victim = data.draw(st.sampled_from(sorted(order)))
    index = data.draw(st.integers(0, len(order[victim]) - 1))
    name = data.draw(st.sampled_from(sorted(CHANGES)))
    files = list(order[victim])
    files[index] = CHANGES[name](files[index])
    agreed = judged({**order, victim: tuple(files)}, image)
    assert set(agreed.releases) == set(order) - {victim}
    for slot, release in agreed.releases.items():
        assert {file.path for file in release.files} == {one.file.path for one in order[slot]}
    assert not any(entry.final for entry in agreed.refused)
    assert {entry.stage for entry in agreed.refused} <= {"verify"}
    if name not in ("no digest", "a slot that is none", "an attempt of none", "no note"):
        assert agreed.refused


@pytest.mark.parametrize("path", RELEASES[2].paths)
def test_a_model_needs_both_files(path: str) -> None:
    order = whole_order()
    order["model"] = tuple(one for one in order["model"] if one.file.path != path)
    agreed = judged(order, image_of(whole_order()))
    assert "model" not in agreed.releases
    assert "model" in agreed.kept


def test_files_of_two_attempts_are_no_release() -> None:
    order = whole_order()
    first, second = order["model"]
    order["model"] = (first, replace(second, custom={"slot": "model", "attempt": 2}))
    assert "model" not in judged(order, image_of(order)).releases


def test_two_releases_in_one_slot_are_refused() -> None:
    order = whole_order()
    other = replace(files_of(ReleaseId("trigger", "brake", 2))[0])
    order["trigger:brake"] = (*order["trigger:brake"], other)
    agreed = judged(order, image_of(order))
    assert "two releases" in agreed.refused[0].reason


@pytest.mark.parametrize("size_bytes", [0, MAX_SPEC_BYTES + 1])
def test_sizes_are_bounded(size_bytes: int) -> None:
    order = whole_order()
    order["trigger:brake"] = tuple(map(changed(size_bytes=size_bytes), order["trigger:brake"]))
    order.pop("trigger:brake@shadow")
    assert "trigger:brake" not in judged(order, image_of(order)).releases


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@given(
    JSON
    | st.fixed_dictionaries(
        {"vehicle_id": JSON, "release_counter": JSON}, optional={"killed": JSON}
    )
)
def test_a_note_of_any_kind_is_read_or_refused(note: object) -> None:
    try:
        word = read_word(note, (), VEHICLE)
    except RefusedError:
        return
    assert word.counter >= 1
    assert isinstance(note, dict)
    assert note["vehicle_id"] == VEHICLE


@given(JSON, st.text(max_size=60))
def test_a_target_of_any_kind_is_judged(custom: object, path: str) -> None:
    file = OrderedFile(SignedFile(path, 10, "c" * 64), custom)
    agreed = agree(read_word(NOTE, (file,), VEHICLE), {path: file.file})
    assert agreed.releases == {}


def test_content_is_the_same_in_any_order_and_differs_with_anything_else() -> None:
    files = [one for files in whole_order().values() for one in files]
    word = read_word(NOTE, files, VEHICLE)
    assert word.killed == ("a", "b")
    again = read_word({**NOTE, "killed": ["a", "b", "a"]}, files[::-1], VEHICLE)
    assert again.content == word.content
    for other in (
        read_word({**NOTE, "killed": ["a"]}, files, VEHICLE),
        read_word(NOTE, files[1:], VEHICLE),
        read_word(NOTE, [changed(size_bytes=9)(files[0]), *files[1:]], VEHICLE),
        read_word(NOTE, [noted({"slot": "model", "attempt": 2})(files[0]), *files[1:]], VEHICLE),
    ):
        assert other.content != word.content


@pytest.mark.parametrize(
    ("counter", "content", "refused"),
    [(4, None, False), (5, None, False), (5, "x", True), (6, None, True)],
)
def test_counters_rise(counter: int, content: str | None, refused: bool) -> None:
    word = read_word(NOTE, (), VEHICLE)
    state = OtaState(release_counter=counter, content=word.content if content is None else content)
    if not refused:
        check_counter(word, state, {})
        return
    with pytest.raises(RefusedError):
        check_counter(word, state, {})


@pytest.mark.parametrize("counter", [5, 6, 10**6])
def test_the_counter_begins_anew_with_new_keys_of_the_director_only(counter: int) -> None:
    word = read_word(NOTE, (), VEHICLE)
    role = "director targets"
    floors = {role: Floor(version=9, keyids=("a",))}
    state = OtaState(release_counter=counter, content="x", floors=floors)
    check_counter(word, state, {role: Floor(version=1, keyids=("b",))})
    with pytest.raises(RefusedError):
        check_counter(word, state, {role: Floor(version=10, keyids=("a",))})


def test_a_role_may_begin_anew_with_new_keys_only() -> None:
    floors = {"image timestamp": Floor(version=9, keyids=("a",))}
    check_floors(floors, {"image timestamp": Floor(version=9, keyids=("a",))})
    check_floors(floors, {"image timestamp": Floor(version=1, keyids=("b",))})
    check_floors(floors, {"image snapshot": Floor(version=1, keyids=("a",))})
    with pytest.raises(RefusedError, match="older than 9"):
        check_floors(floors, {"image timestamp": Floor(version=8, keyids=("a",))})
