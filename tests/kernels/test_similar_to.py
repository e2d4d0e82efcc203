"""The kind `similar_to`: its reference as text, likeness of frames, and when it fires."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.embedding import MAX_VALUES, embedding_of, embedding_text
from contracts.errors import InputError
from contracts.samples import Float32s, PerceptionFrame
from contracts.signals import SIGNAL_INDEX
from contracts.spec_cases import load_cases
from contracts.trigger_spec import LoadedSpec, SimilarToSpec, load_spec, parse_spec
from kernels.backtest.cases import run_case
from kernels.triggers.engine import Fire, TickInputs, TriggerEngine, absent_values
from kernels.triggers.likeness import Reference, references_of, score_names

SPACE = "d" * 64
TICK_NS = 20_000_000
OBJECTS = SIGNAL_INDEX["perception.object_count"]


def similar(when: str = "similarity: 0.6, frames: 2, of_frames: 4", more: str = "") -> LoadedSpec:
    reference = embedding_text([3.0, 4.0])
    return parse_spec(
        "apiVersion: longtail/v1\nkind: similar_to\nid: like\nversion: 1\nowner: tests\n"
        f"when: {{space: {SPACE}, reference: {reference}, {when}}}\n{more}",
        "like.yaml",
    )


def frame(embedding: Float32s | None, digest: str = SPACE) -> PerceptionFrame:
    return PerceptionFrame("/camera/front", 0, digest, (), 0.0, 1.0, embedding)


@given(st.integers(0, 2**32 - 1), st.integers(2, 512))
def test_a_reference_keeps_its_direction(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=size) * 10.0 ** rng.uniform(-3, 3)
    unit = vector / np.linalg.norm(vector)
    found = embedding_of(embedding_text(vector))
    assert float(np.linalg.norm(found - unit)) < 5e-4
    near = unit + 0.05 * rng.normal(size=size) / np.sqrt(size)
    near /= np.linalg.norm(near)
    assert abs(float(found @ near) - float(unit @ near)) < 1e-4


@pytest.mark.parametrize("vector", [[], [0.0, 0.0], [np.inf, 1.0], np.ones(MAX_VALUES + 1)])
def test_what_has_no_direction_is_no_reference(vector: list[float]) -> None:
    with pytest.raises(InputError):
        embedding_text(vector)


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        ("reference: '!!'", "is not base64"),
        ("reference: AAA=", "has no direction"),
        ("reference: AAAA", "half-precision"),
        ("reference: ADwAAA==, similarity: 1.5", "similarity"),
        ("reference: ADwAAA==, similarity: 0.5, frames: 6", "frames must not be more"),
    ],
)
def test_a_bad_spec_names_the_place(when: str, reason: str) -> None:
    more = "" if "similarity" in when else ", similarity: 0.5"
    with pytest.raises(InputError, match=reason) as raised:
        parse_spec(
            "apiVersion: longtail/v1\nkind: similar_to\nid: like\nversion: 1\nowner: t\n"
            f"when: {{space: {SPACE}, {when}{more}}}\n",
            "like.yaml",
        )
    assert raised.value.place is not None and raised.value.place.startswith("like.yaml:6:")


def test_only_frames_of_its_own_model_are_like_it() -> None:
    (reference,) = references_of([similar()]).values()
    right = np.array([0.6, 0.8], np.float32)
    assert reference.likeness(frame(right)) == pytest.approx(1.0, abs=1e-3)
    assert reference.likeness(frame(np.array([0.8, -0.6], np.float32))) == pytest.approx(
        0, abs=1e-3
    )
    assert reference.likeness(frame(-right)) == 0.0
    assert reference.likeness(frame(right, "e" * 64)) == 0.0
    assert reference.likeness(frame(None)) == 0.0
    assert reference.likeness(frame(np.ones(3, np.float32))) == 0.0
    assert not reference.fits(frame(np.ones(3, np.float32)))
    assert references_of([similar()], "e" * 64) == {}
    one, other = similar(), similar("similarity: 0.9")
    assert len(references_of([one, other])) == 1  # one scene, two bounds
    assert isinstance(reference, Reference)


class Drive:
    """Frames at 10 Hz, ticks at 50 Hz."""

    def __init__(self, loaded: LoadedSpec, names: tuple[str, ...]) -> None:
        assert isinstance(loaded.spec, SimilarToSpec)
        self.engine = TriggerEngine([loaded], "v/b", names)
        self.scores = np.full(len(names), 0.99)
        column = loaded.spec.when.column
        self.column = names.index(column) if column in names else None
        self.ticks = 0

    def frames(self, *likeness: float, objects: float = 1.0) -> list[Fire]:
        values, found = absent_values(), list[Fire]()
        values[OBJECTS] = objects
        for value in likeness:
            if self.column is not None:
                self.scores[self.column] = value
            for _ in range(5):
                inputs = TickInputs(
                    self.ticks * TICK_NS, values, self.scores.copy(), self.ticks // 5 + 1
                )
                found += self.engine.step(inputs)
                self.ticks += 1
        return found


def test_it_fires_in_k_of_n_frames() -> None:
    loaded = similar()
    drive = Drive(loaded, score_names(("car", "dog"), references_of([loaded])))
    assert drive.frames(0.5, 0.61, 0.59, 0.5, 0.5) == []
    (fire,) = drive.frames(0.7, 0.5, 0.9, 0.9)
    assert fire.evidence == {"similarity": 0.9, "frames": 2.0}
    assert fire.score == pytest.approx(0.9 / 0.6)
    assert drive.frames(*[0.9] * 4, objects=np.nan) == []  # nobody looks at the road: unknown
    assert drive.frames(*[0.1] * 5) == []
    assert len(drive.frames(0.6, 0.6)) == 1


def test_the_example_passes_its_own_tests() -> None:
    examples = Path(__file__).resolve().parents[2] / "trigger_specs" / "examples"
    loaded = load_spec(examples / "motorway-by-day.yaml")
    cases = load_cases(examples / "tests" / "motorway-by-day.yaml").cases
    assert [case.name for case in cases if not run_case(loaded, case).passed] == []
    assert len(cases) == 4


def test_without_its_column_it_never_fires() -> None:
    assert Drive(similar(), ("car", "dog")).frames(*[0.99] * 9) == []
