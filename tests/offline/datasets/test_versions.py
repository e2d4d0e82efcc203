"""Dataset versions: the same whatever the order, and nothing in two splits."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.canonical import canonical_digest, canonical_json
from contracts.datasets import (
    ClipSource,
    DatasetVersion,
    LabelFile,
    LabelledClip,
    LabelSet,
    Makers,
    SplitRule,
)
from contracts.errors import InputError
from contracts.ids import sha256_hex
from offline.datasets.split import groups_of, split_of
from offline.datasets.versions import BEST_FIRST, dataset_version

RULES = st.builds(
    SplitRule, by=st.sampled_from(["drive", "place"]), seed=st.integers(0, 3),
    parts=st.sampled_from([(("train", 8), ("validation", 1), ("test", 1)), (("a", 1), ("b", 1))]),
)  # fmt: skip


def clip_source(vehicle: int, drive: int, number: int, place: int | None = None) -> ClipSource:
    """The same arguments give the same clip."""
    name = f"{vehicle}/{drive}/{number}"
    return ClipSource(
        clip_id=sha256_hex(name.encode()), content=sha256_hex(f"bytes {name}".encode()),
        vehicle_id=f"v{vehicle}", boot_id=f"b{drive}", drive_id=f"d{drive}", stream="triggered",
        lat_deg=None if place is None else 47 + 0.5 * place,
        lon_deg=None if place is None else 8.5,
    )  # fmt: skip


@st.composite
def label_sets(draw: st.DrawFn) -> dict[str, LabelSet]:
    """Up to three label sets over clips of few drives, whose instants collide often."""
    clips = draw(
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
            min_size=1, max_size=8, unique=True,
        )
    )  # fmt: skip
    places = {each: draw(st.none() | st.integers(0, 1)) for each in clips}
    found = {}
    for number in range(draw(st.integers(1, 3))):
        chosen = draw(st.lists(st.sampled_from(clips), min_size=1, unique=True))
        labelled = []
        for each in chosen:
            instants = draw(st.lists(st.integers(0, 6), min_size=1, max_size=5, unique=True))
            source = draw(st.sampled_from(BEST_FIRST))
            frames = tuple(
                LabelFile(
                    mono_ns=at, digest=sha256_hex(f"{number}/{each}/{at}".encode()), source=source
                )
                for at in sorted(instants)
            )
            labelled.append(LabelledClip(clip=clip_source(*each, places[each]), frames=frames))
        made = LabelSet(
            taxonomy_version=1, makers=Makers(annotators=(f"a{number}",)),
            clips=tuple(sorted(labelled, key=lambda one: one.clip.clip_id)),
        )  # fmt: skip
        found[made.digest()] = made
    return found


@given(label_sets(), RULES, st.randoms(use_true_random=False))
def test_the_same_inputs_in_any_order_are_the_same_version(
    sets: dict[str, LabelSet], rule: SplitRule, chance: random.Random
) -> None:
    first = dataset_version(sets, rule, 5)
    names = list(sets)
    chance.shuffle(names)
    again = dataset_version({name: sets[name] for name in names}, rule, 5)
    assert canonical_json(again) == canonical_json(first)
    assert again.digest() == first.digest() == sha256_hex(canonical_json(first))
    assert dataset_version(sets, rule, 6).digest() != first.digest()
    assert DatasetVersion.model_validate_json(canonical_json(first)) == first


@given(label_sets(), RULES)
def test_everything_counts_once_and_in_one_split(
    sets: dict[str, LabelSet], rule: SplitRule
) -> None:
    version = dataset_version(sets, rule, 5)
    told = [(label_set, each) for label_set in sets.values() for each in label_set.clips]
    assert sorted(each.clip.clip_id for each in version.clips()) == sorted(
        {each.clip.clip_id for _, each in told}
    )
    instants: dict[tuple[str, str, int], str] = {}
    drives: dict[tuple[str, str], str] = {}
    for group in version.groups:
        for each in group.clips:
            clip = each.clip
            assert drives.setdefault((clip.vehicle_id, clip.drive_id), group.split) == group.split
            for frame in each.frames:
                key = (clip.vehicle_id, clip.boot_id, frame.mono_ns)
                assert key not in instants
                instants[key] = frame.labels
    best: dict[tuple[str, str, int], int] = {}
    for _, each in told:
        for file in each.frames:
            key = (each.clip.vehicle_id, each.clip.boot_id, file.mono_ns)
            best[key] = min(best.get(key, 9), BEST_FIRST.index(file.source))
    rank = {
        file.digest: BEST_FIRST.index(file.source) for _, each in told for file in each.frames
    }  # fmt: skip
    assert {key: rank[labels] for key, labels in instants.items()} == best
    if rule.by == "place":
        cells = {(each.clip.lat_deg, g.split) for g in version.groups for each in g.clips}
        assert all(n == 1 for lat, n in Counter(lat for lat, _ in cells).items() if lat is not None)


@given(label_sets(), RULES)
@settings(max_examples=30)
def test_a_version_that_has_a_clip_or_an_instant_twice_cannot_be(
    sets: dict[str, LabelSet], rule: SplitRule
) -> None:
    version = dataset_version(sets, rule, 5)
    plain = version.model_dump()
    first = plain["groups"][0]
    other = next(name for name, _ in rule.parts if name != first["split"])
    twice = {**first, "key": "zz", "split": other}
    with pytest.raises(ValidationError, match="there twice"):
        DatasetVersion.model_validate({**plain, "groups": [*plain["groups"], twice]})
    clip = next(each for each in version.clips() if each.frames).model_dump()
    clip["clip"] |= {"clip_id": "0" * 64, "content": "0" * 64}
    overlapping = {"key": "zz", "split": other, "clips": [clip]}
    with pytest.raises(ValidationError, match="is there twice"):
        DatasetVersion.model_validate({**plain, "groups": [*plain["groups"], overlapping]})


def test_shares_of_the_splits_and_their_constancy() -> None:
    rule = SplitRule()
    clips = [clip_source(vehicle, drive, 0) for vehicle in range(40) for drive in range(25)]
    groups = groups_of(clips, rule)
    assert len(groups) == 1000
    counts = Counter(split_of(key, rule) for key in groups)
    # Three standard deviations of a binomial of 1000 draws.
    assert abs(counts["train"] - 800) < 40
    assert abs(counts["test"] - 100) < 30
    part = groups_of(clips[:500], rule)
    assert all(groups[key] == members for key, members in part.items())
    more = groups_of([*clips, *(clip_source(1, 1, n) for n in range(1, 9))], rule)
    assert list(more) == list(groups)
    assert len(more["drive/v1/d1"]) == 9


def test_what_does_not_fit_together_is_refused() -> None:
    frame = LabelFile(mono_ns=1, digest="1" * 64, source="auto")

    def one(taxonomy: int = 1, content: str = "2" * 64) -> LabelSet:
        clip = clip_source(1, 1, 1).model_copy(update={"content": content})
        labelled = LabelledClip(clip=clip, frames=(frame,))
        return LabelSet(taxonomy_version=taxonomy, clips=(labelled,))

    def both(first: LabelSet, second: LabelSet) -> dict[str, LabelSet]:
        return {first.digest(): first, second.digest(): second}

    with pytest.raises(InputError, match=r"one taxonomy, not \[1, 2\]"):
        dataset_version(both(one(), one(taxonomy=2)), SplitRule(), 0)
    with pytest.raises(InputError, match="other sources"):
        dataset_version(both(one(), one(content="3" * 64)), SplitRule(), 0)
    with pytest.raises(InputError, match="weights: a weight for"):
        dataset_version(both(one(), one()), SplitRule(), 0, {"4" * 64: 2.0})
    with pytest.raises(InputError, match="label sets"):
        dataset_version({}, SplitRule(), 0)
    weighed = dataset_version(both(one(), one()), SplitRule(), 0, {one().digest(): 0.05})
    assert [each.weight for each in weighed.label_sets] == [0.05]
    for parts in ((), (("a", 1), ("a", 2)), (("a", 0),)):
        with pytest.raises(ValidationError, match="whole number"):
            SplitRule(parts=parts)


def test_canonical_json() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": "ü"}) == b'{"a":"\\u00fc","b":[1,2.5,null]}'
    assert canonical_digest({"a": 1, "b": 2}) == canonical_digest({"b": 2, "a": 1})
    with pytest.raises(InputError, match="no JSON value"):
        canonical_json(float("inf"))
