"""Kinds that watch what the model, the lidar and a candidate see; and requests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.trigger_spec import parse_spec
from kernels.triggers.engine import Fire, TickInputs, TriggerEngine
from kernels.triggers.likeness import references_of, score_names
from tests.kernels.test_triggers import NOVEL, at_s, drive, spec

Signals = dict[str, float]


def steps(name: str, *values: float, more: Signals | None = None) -> Callable[[int], Signals]:
    """One value a frame of five ticks, the last for ever."""
    return lambda i: {name: values[min(i // 5, len(values) - 1)], **(more or {})}


def test_flicker_needs_so_many() -> None:
    loaded = spec("track_flicker", "when: {flickers: 3, frames: 2, of_frames: 3}\n")
    assert drive(loaded, 100, steps("perception.flickers", 2, 2, 3, 2, 2, 2)) == []
    (fire,) = drive(loaded, 100, steps("perception.flickers", 0, 3, 0, 4, 0))
    assert at_s(fire) == pytest.approx(0.3)
    assert fire.evidence == {"flickers": 4.0, "frames": 2.0}


def test_an_unknown_thing_by_the_lidar_or_by_the_model() -> None:
    both = spec(
        "unknown_object",
        "when: {points: 10, within_m: 30, probability: 0.5, frames: 1, of_frames: 1}\n",
    )
    by_lidar = {"perception.unexplained_points": 20.0, "perception.unexplained_m": 25.0}
    (fire,) = drive(both, 50, lambda i: by_lidar)
    assert fire.score == pytest.approx(2.0)
    far = {**by_lidar, "perception.unexplained_m": 31.0}
    assert drive(both, 50, lambda i: far) == []
    (fire,) = drive(both, 50, lambda i: {**far, "perception.unknown_probability": 0.6})
    assert fire.score == pytest.approx(1.2)
    only = spec("unknown_object", "when: {points: 10, frames: 1, of_frames: 1}\n")
    assert drive(only, 50, lambda i: {"perception.unknown_probability": 0.9}) == []


def test_sensors_disagree_by_number_and_share_or_by_drift() -> None:
    loaded = spec(
        "sensor_disagreement",
        "when: {missed: 2, share: 0.5, drift_rad: 0.02, frames: 1, of_frames: 1}\n",
    )
    assert drive(loaded, 50, lambda i: _missed(2, 5)) == []
    assert len(drive(loaded, 50, lambda i: _missed(2, 4))) == 1
    (fire,) = drive(loaded, 50, lambda i: {**_missed(0, 4), "calibration.drift_rad": 0.03})
    assert fire.evidence["drift_rad"] == 0.03


def _missed(missed: float, checked: float) -> Signals:
    return {"perception.lidar_missed": missed, "perception.lidar_checked": checked}


def test_a_candidate_is_judged_on_frames_that_both_saw() -> None:
    loaded = spec("shadow_disagreement", "when: {disagreement: 0.5, frames: 2, of_frames: 2}\n")

    def signals(i: int) -> Signals:
        return {"shadow.disagreement": 0.9, "shadow.frames": float(i >= 50)}

    (fire,) = drive(loaded, 100, signals)
    assert at_s(fire) == pytest.approx(1.0)
    assert drive(loaded, 100, lambda i: {"shadow.disagreement": 0.9, "shadow.frames": 3.0}) == []


def novel_fires(*likeness: float, objects: float = 1.0) -> list[Fire]:
    loaded = spec("novelty", f"when: {NOVEL}\n")
    names = score_names(("car",), references_of([loaded]))
    engine, found = TriggerEngine([loaded], "d", names), list[Fire]()
    from kernels.triggers.engine import absent_values
    from kernels.triggers.layout import S_OBJECTS

    for i in range(5 * len(likeness)):
        values = absent_values()
        values[S_OBJECTS] = objects
        scores = np.array([0.9, likeness[i // 5]])
        found += engine.step(TickInputs(i * 20_000_000, values, scores, i // 5 + 1))
    return found


def test_novelty_is_far_from_every_centroid() -> None:
    (fire,) = novel_fires(0.9, 0.6, 0.9, 0.5, 0.4)
    assert fire.evidence == {"distance": pytest.approx(0.6), "frames": 3.0}
    assert novel_fires(*[0.71] * 8) == []
    assert novel_fires(*[-1.0] * 8) == []  # no embedding of its model: nothing is known
    assert novel_fires(*[0.1] * 8, objects=float("nan")) == []


def test_centroids_share_a_space() -> None:
    text = NOVEL.replace("AAAAPA==", "ADwAAAAA")
    with pytest.raises(InputError, match="share no space"):
        spec("novelty", f"when: {text}\n")


def test_a_button_and_a_remote_request() -> None:
    pressed = lambda i: {"driver.bookmark": float(50 <= i < 60)}  # noqa: E731
    (fire,) = drive(spec("operator_bookmark"), 200, pressed)
    assert (at_s(fire), fire.text) == (pytest.approx(1.0), "button")
    once = spec("operator_bookmark", "when: {source: remote}\n")
    (fire,) = drive(once, 200, lambda i: {})
    assert (at_s(fire), fire.text) == (0.0, "remote")
    train = spec(
        "operator_bookmark",
        "when: {source: remote, lasts: 3s}\nmode: level\ncooldown: 1s\n",
    )
    assert [at_s(fire) for fire in drive(train, 400, lambda i: {})] == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind: unknown_object\nwhen: {points: null}", "points, or probability"),
        ("kind: sensor_disagreement\nwhen: {missed: null}", "missed, or drift_rad"),
        ("kind: operator_bookmark\nwhen: {lasts: 3s}", "of remote requests"),
        ("kind: track_flicker\nwhen: {frames: 4, of_frames: 3}", "not be more"),
        ("kind: hard_brake\nbudget: {clips_per_scene: 1}", "never suppressed"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as raised:
        parse_spec(f"apiVersion: longtail/v1\nid: t\nversion: 1\nowner: x\n{text}\n", "t.yaml")
    assert raised.value.place is not None and raised.value.place.startswith("t.yaml:")
