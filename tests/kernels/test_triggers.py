"""Trigger kinds on short made-up drives: what fires, when, with what evidence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.signals import SIGNAL_INDEX
from contracts.trigger_spec import SPEC_KINDS, LoadedSpec, parse_spec
from kernels.triggers.engine import Fire, TickInputs, TriggerEngine, absent_values
from kernels.triggers.likeness import references_of

TICK_NS = 20_000_000
CLASSES = ("car", "pedestrian", "truck")
Signals = dict[str, float]


SIMILAR = f"{{space: {'d' * 64}, reference: ADwAAA==, similarity: 0.6, frames: 2, of_frames: 4}}"


NOVEL = f"{{space: {'d' * 64}, centroids: [ADwAAA==, AAAAPA==], distance: 0.3}}"


def spec(kind: str, body: str = "") -> LoadedSpec:
    text = f"apiVersion: longtail/v1\nkind: {kind}\nid: t\nversion: 1\nowner: x\n{body}"
    return parse_spec(text, "t.yaml")


def drive(
    loaded: LoadedSpec,
    ticks: int,
    signals: Callable[[int], Signals],
    scores: Callable[[int], list[float]] = lambda i: [0.0, 0.0, 0.0],
    horizon_s: float = 0.0,
    seed: str = "vehicle/boot",
) -> list[Fire]:
    """Run one spec over `ticks` of 20 ms; a new perception frame comes every 5 ticks."""
    engine = TriggerEngine([loaded], seed, CLASSES)
    fires: list[Fire] = []
    for i in range(ticks):
        values = absent_values()
        for name, value in signals(i).items():
            values[SIGNAL_INDEX[name]] = value
        inputs = TickInputs(i * TICK_NS, values, np.array(scores(i)), i // 5 + 1, horizon_s)
        fires += engine.step(inputs)
    return fires


def at_s(fire: Fire) -> float:
    return fire.fired_mono_ns / 1e9


def test_hard_brake_needs_its_bound_for_its_time() -> None:
    loaded = spec("hard_brake", "when: {decel_mps2: 3.0, filter_s: 0}\nfor: 300ms\n")
    brake = lambda i: {"ego.accel_mps2": -4.0 if 100 <= i < 130 else 0.0, "ego.speed_mps": 9.0}  # noqa: E731
    (fire,) = drive(loaded, 300, brake)
    assert at_s(fire) == pytest.approx(2.3)
    assert fire.start_mono_ns == 2_000_000_000
    assert fire.score == pytest.approx(4.0 / 3.0)
    assert fire.evidence == {"decel_mps2": 4.0, "speed_mps": 9.0}
    assert drive(loaded, 300, lambda i: {"ego.accel_mps2": -4.0 if 100 <= i < 112 else 0.0}) == []
    assert drive(loaded, 300, lambda i: {"ego.accel_mps2": -2.9}) == []


def test_a_dropout_breaks_the_hold() -> None:
    loaded = spec("hard_brake", "when: {filter_s: 0}\nfor: 300ms\n")
    gaps = lambda i: {} if i % 10 == 0 else {"ego.accel_mps2": -9.0}  # noqa: E731
    assert drive(loaded, 300, gaps) == []


@given(st.sampled_from(sorted(SPEC_KINDS)))
def test_no_kind_fires_on_a_vehicle_that_measures_nothing(kind: str) -> None:
    when = {
        "similar_to": f"when: {SIMILAR}\n",
        "novelty": f"when: {NOVEL}\n",
        "rare_class": "when: {classes: [pedestrian]}\n",
        "random_baseline": "when: {probability: 1e-9}\n",
        "expression": "when: not ego.speed_mps > 1\n",
    }.get(kind, "")
    assert drive(spec(kind, when), 100, lambda i: {}) == []


def test_level_mode_fires_again_after_its_cooldown_and_edge_mode_does_not() -> None:
    body = "when: ego.decel_mps2 > 2\ncooldown: 1s\n"
    braking = lambda i: {"ego.decel_mps2": 3.0}  # noqa: E731
    assert len(drive(spec("expression", body), 151, braking)) == 1
    level = drive(spec("expression", body + "mode: level\n"), 151, braking)
    assert [at_s(fire) for fire in level] == [0.0, 1.0, 2.0, 3.0]
    held = drive(spec("expression", body + "mode: level\nfor: 200ms\n"), 151, braking)
    assert [at_s(fire) for fire in held] == [0.2, 1.2, 2.2]
    assert {fire.end_mono_ns - fire.start_mono_ns for fire in held} == {200_000_000}


def test_low_pass_means_the_same_at_any_rate() -> None:
    loaded = spec("hard_accel", "when: {accel_mps2: 2.0, filter_s: 0.5}\n")
    times = []
    for rate in (50, 200):
        engine = TriggerEngine([loaded], "v")
        values = absent_values()
        for i in range(rate * 3):
            values[SIGNAL_INDEX["ego.accel_mps2"]] = 4.0 if i >= rate else 0.0
            fires = engine.step(TickInputs(i * 1_000_000_000 // rate, values))
            times += [f.fired_mono_ns / 1e9 for f in fires]
    # Half of a step is reached after tau * ln 2.
    assert times == pytest.approx([1.347, 1.347], abs=0.02)


@pytest.mark.parametrize(
    ("pressed", "cause"),
    [
        ({"driver.brake_pressed": 1.0}, "driver_brake"),
        ({"driver.steer_override": 1.0}, "driver_steer"),
        ({"driver.gas_pressed": 1.0}, "driver_gas"),
        ({"autonomy.fault": 1.0, "driver.brake_pressed": 1.0}, "system"),
        ({"autonomy.emergency_stop": 1.0}, "emergency_stop"),
        ({}, "system"),
    ],
)
def test_disengagement_names_its_cause(pressed: Signals, cause: str) -> None:
    signals = lambda i: {"autonomy.engaged": float(i < 50), **(pressed if i >= 48 else {})}  # noqa: E731
    (fire,) = drive(spec("disengagement", "for: 100ms\n"), 200, signals)
    assert fire.text == cause
    assert fire.start_mono_ns == 50 * TICK_NS
    others = {"driver_brake", "driver_steer", "driver_gas", "system", "emergency_stop"} - {cause}
    listed = ", ".join(sorted(others))
    assert drive(spec("disengagement", f"when: {{causes: [{listed}]}}\n"), 200, signals) == []


def test_disengagement_needs_to_have_been_engaged() -> None:
    assert drive(spec("disengagement"), 100, lambda i: {"autonomy.engaged": 0.0}) == []
    dropout = lambda i: {"autonomy.engaged": 1.0} if i < 50 else {}  # noqa: E731
    assert drive(spec("disengagement"), 100, dropout) == []


def test_swerve_by_reversal_and_by_lateral_acceleration() -> None:
    loaded = spec("swerve", "when: {filter_s: 0, reversal_s: 1.0}\n")

    def weave(period: int) -> Callable[[int], Signals]:
        return lambda i: {
            "ego.yaw_rate_radps": 0.4 if (i // period) % 2 else -0.4,
            "ego.speed_mps": 12.0,
            "ego.lat_accel_mps2": 0.5,
        }

    (fire, *_) = drive(loaded, 200, weave(40))
    assert fire.evidence["reversal_s"] == pytest.approx(0.02)
    assert drive(loaded, 200, lambda i: {**weave(40)(i), "ego.speed_mps": 2.0}) == []
    curve = lambda i: {"ego.yaw_rate_radps": 0.4, "ego.speed_mps": 12.0, "ego.lat_accel_mps2": 1.0}  # noqa: E731
    assert drive(loaded, 200, curve) == []
    assert len(drive(loaded, 200, lambda i: {**curve(i), "ego.lat_accel_mps2": -5.0})) == 1


def test_rare_class_needs_k_of_n_frames() -> None:
    loaded = spec("rare_class", "when: {classes: [pedestrian], probability: 0.5, frames: 3}\n")
    seen_in = lambda frames: lambda i: [0.99, 0.8 if i // 5 in frames else 0.0, 0.0]  # noqa: E731
    nothing = lambda i: {}  # noqa: E731
    (fire,) = drive(loaded, 200, nothing, seen_in({4, 6, 8}))
    assert fire.fired_mono_ns == 8 * 5 * TICK_NS
    assert fire.text == "pedestrian"
    assert fire.evidence["probability"] == 0.8
    assert drive(loaded, 200, nothing, seen_in({4, 6, 10})) == []


def test_low_confidence_counts_frames_not_ticks() -> None:
    loaded = spec(
        "low_confidence", "when: {uncertainty: 0.5, margin: 0, frames: 2, of_frames: 3}\n"
    )
    one = lambda i: {"perception.uncertainty": 0.9 if 20 <= i < 25 else 0.1,  # noqa: E731
                     "perception.margin": 0.5, "perception.object_count": 2.0}  # fmt: skip
    two = lambda i: {**one(i), "perception.uncertainty": 0.9 if 20 <= i < 30 else 0.1}  # noqa: E731
    assert drive(loaded, 100, one) == []
    assert len(drive(loaded, 100, two)) == 1


def test_ttc_fires_only_when_moving_and_closing() -> None:
    near = {"lead.ttc_s": 1.2, "lead.distance_m": 12.0, "lead.closing_mps": 10.0}
    assert len(drive(spec("ttc"), 20, lambda i: {**near, "ego.speed_mps": 10.0})) == 1
    assert drive(spec("ttc"), 20, lambda i: {**near, "ego.speed_mps": 0.5}) == []
    assert drive(spec("ttc"), 20, lambda i: {**near, "lead.ttc_s": 1.6, "ego.speed_mps": 9.0}) == []


def test_planner_divergence_lies_in_the_past() -> None:
    loaded = spec("planner_divergence", "when: {ade_m: 1.0, fde_m: 3.0}\n")
    apart = lambda i: {"planner.ade_m": 2.0 if i > 200 else 0.1, "planner.fde_m": 0.5,  # noqa: E731
                       "ego.speed_mps": 10.0}  # fmt: skip
    (fire,) = drive(loaded, 300, apart, horizon_s=3.0)
    assert fire.end_mono_ns - fire.start_mono_ns == 3_000_000_000
    assert fire.evidence["ade_m"] == 2.0


def test_random_baseline_keeps_its_probability_and_is_reproducible() -> None:
    loaded = spec("random_baseline", "when: {probability: 0.3, slot_s: 1, seed: 7}\n")
    kept = [at_s(f) for f in drive(loaded, 50 * 2000, lambda i: {})]
    assert kept == [at_s(f) for f in drive(loaded, 50 * 2000, lambda i: {})]
    # 2000 slots: within four standard deviations of 600.
    assert 518 <= len(kept) <= 682
    other = [at_s(f) for f in drive(loaded, 50 * 2000, lambda i: {}, seed="another/boot")]
    both = len(set(kept) & set(other))
    assert 110 <= both <= 250, "two vehicles draw independently"
    full = spec("random_baseline", "when: {probability: 1, slot_s: 1}\n")
    assert len(drive(full, 500, lambda i: {})) == 10


# Another set of specs in the middle of a drive ------------------------------------------------

EVERY_KIND = [
    spec(kind, more)
    for kind, more in (
        ("hard_brake", "when: {decel_mps2: 1, filter_s: 0.2}\nfor: 60ms\n"),
        ("hard_accel", "when: {accel_mps2: 1, filter_s: 0.2}\n"),
        ("swerve", "when: {lat_accel_mps2: 1.5, yaw_rate_radps: 0.5, min_speed_mps: 0}\n"),
        ("jerk", "when: {jerk_mps3: 1}\nmode: level\ncooldown: 100ms\n"),
        ("disengagement", ""),
        ("low_confidence", "when: {uncertainty: 0.5, frames: 2, of_frames: 4}\n"),
        ("rare_class", "when: {classes: [car, truck], frames: 2, of_frames: 4}\n"),
        ("ttc", "when: {ttc_s: 1, min_speed_mps: 0.1}\n"),
        ("random_baseline", "when: {probability: 0.5, slot_s: 1}\n"),
        ("planner_divergence", "when: {ade_m: 1}\n"),
        ("expression", "when: ego.speed_mps > 1 and not autonomy.engaged\nfor: 80ms\n"),
        ("similar_to", f"when: {SIMILAR}\n"),
    )
]
NAMES = (*CLASSES, *references_of(EVERY_KIND))


@given(st.data(), st.integers(0, 2**32 - 1), st.integers(0, 99))
def test_what_stays_fires_as_if_nothing_had_changed(
    data: st.DataObject, seed: int, swap_at: int
) -> None:
    """Any part of the specs stays, in any order, beside others; classes are renumbered too."""
    rng = np.random.default_rng(seed)
    values = np.repeat(rng.normal(0.5, 1.2, (34, len(SIGNAL_INDEX))), 3, axis=0)[:100]
    values[rng.random(values.shape) < 0.02] = np.nan
    scores = np.repeat(rng.random((20, len(NAMES))), 5, axis=0)
    some = 1 + seed % (len(EVERY_KIND) - 1)
    stays = data.draw(st.permutations(EVERY_KIND).map(lambda all_: all_[:some]))
    came = [spec("expression", "when: ego.speed_mps > 0\n")]
    classes = data.draw(st.permutations(NAMES))
    column = [NAMES.index(name) for name in classes]
    alone = TriggerEngine(EVERY_KIND, "v/b", NAMES)
    swapped = TriggerEngine(EVERY_KIND, "v/b", NAMES)
    kept = {loaded.digest for loaded in stays}
    for i in range(100):
        seen = scores[i]
        if i == swap_at:
            other = TriggerEngine([*came, *stays], "v/b", classes)
            other.take_over(swapped)
            swapped = other
        expected = alone.step(TickInputs(i * TICK_NS, values[i], seen, i // 5 + 1, 3.0))
        if i >= swap_at:
            seen = seen[column]
            expected = [fire for fire in expected if fire.loaded.digest in kept]
        found = swapped.step(TickInputs(i * TICK_NS, values[i], seen, i // 5 + 1, 3.0))
        mine = [told(fire) for fire in found if fire.loaded.digest != came[0].digest]
        assert sorted(mine) == sorted(told(fire) for fire in expected)


def told(fire: Fire) -> tuple[object, ...]:
    """All of a fire but the class's number, which is the model's."""
    evidence = {k: v for k, v in fire.evidence.items() if k != "class_index"}
    return (
        fire.loaded.digest, fire.fired_mono_ns, fire.start_mono_ns, fire.score, fire.text,
        tuple(evidence.items()),
    )  # fmt: skip


def test_a_spec_that_comes_anew_has_no_state_and_keeps_the_drives_time() -> None:
    loaded = spec("expression", "when: ego.speed_mps > 1\n")
    values = absent_values()
    values[SIGNAL_INDEX["ego.speed_mps"]] = 2.0
    old = TriggerEngine([loaded], "v/b")
    assert len(old.step(TickInputs(TICK_NS, values))) == 1
    for anew, fires in (((), 0), ((loaded.digest,), 1)):
        engine = TriggerEngine([loaded], "v/b")
        engine.take_over(old, anew=anew)
        assert len(engine.step(TickInputs(2 * TICK_NS, values))) == fires


def test_a_class_that_the_new_model_lacks_starts_anew() -> None:
    rare = spec("rare_class", "when: {classes: [dog, cat], frames: 1, of_frames: 4}\n")
    values = absent_values()
    values[SIGNAL_INDEX["perception.object_count"]] = 1.0
    old = TriggerEngine([rare], "v/b", ("dog", "cat"))
    assert len(old.step(TickInputs(0, values, np.array([0.9, 0.0]), 1))) == 1
    engine = TriggerEngine([rare], "v/b", ("cat",))
    engine.take_over(old)
    assert engine.step(TickInputs(TICK_NS, values, np.array([0.0]), 2)) == []
    (fire,) = engine.step(TickInputs(2 * TICK_NS, values, np.array([0.8]), 3))
    assert fire.text == "cat"
