"""Specs and models change in the middle of a drive, and nothing else does."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from contracts.clock import NS_PER_S
from contracts.trigger_spec import LoadedSpec, parse_spec
from edge_agent.drive.drive import TICK_NS
from edge_agent.runtime import BuiltIn
from tests.edge_agent.runtime_rig import SIGNALS, MadeModel, Rig, model_release, release, seen, spec

HARD = spec("hard", more="for: 500ms\n")
BASELINE = spec("moving", when="ego.speed_mps > 1")
RARE = "when: {classes: [dog], probability: 0.5, frames: 1, of_frames: 3}\ncooldown: 0s\n"


def rare() -> LoadedSpec:
    text = f"apiVersion: longtail/v1\nkind: rare_class\nid: rare\nversion: 1\nowner: t\n{RARE}"
    return parse_spec(text, "rare.yaml")


def s(ns: int) -> float:
    return ns / NS_PER_S


# Specs --------------------------------------------------------------------------------------


def test_a_spec_that_fires_just_after_its_swap_has_its_whole_pre_roll(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((spec("other", when="ego.speed_mps > 99"),)))
    rig.go(10.0)
    rig.offer(release(spec()))
    rig.go(10.1)
    assert rig.fires == []
    rig.go(10.3, accel=-4)
    rig.go(15.0)
    ((job, messages),) = rig.clips
    (fired,) = (at for _, _, at in rig.fires)
    assert s(fired) == pytest.approx(10.12, abs=0.021)
    assert job.requested.start_mono_ns == fired - 2 * NS_PER_S
    first = min(m.mono_ns for m in messages)
    assert first - job.requested.start_mono_ns < TICK_NS  # two seconds before it was there


def test_a_window_open_across_a_swap_still_becomes_its_clip(tmp_path: Path) -> None:
    alone = Rig(tmp_path, BuiltIn((spec(),)))
    (tmp_path / "b").mkdir()
    swapped = Rig(tmp_path / "b", BuiltIn((spec(),)))
    for rig in (alone, swapped):
        rig.go(5.0)
        rig.go(5.2, accel=-4)
        if rig is swapped:
            idle = spec("other", when="ego.speed_mps > 99")
            rig.offer(release(idle), killed=frozenset({"brakes"}))
        rig.go(9.0)
    assert swapped.states()["brakes"][2] == "killed"
    ((job, messages),) = swapped.clips
    assert (job, messages) == alone.clips[0]


def test_an_unchanged_trigger_neither_fires_again_nor_forgets_its_hold(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((BASELINE, HARD)))
    rig.go(5.0)
    assert [name for name, _, _ in rig.fires] == ["moving"]
    rig.go(5.3, accel=-4)  # 0.3 s of the 0.5 s
    rig.offer(release(spec("other")))
    rig.go(5.6, accel=-4)
    assert [name for name, _, _ in rig.fires] == ["moving", "other", "hard"]
    held = rig.fires[-1][2]
    (tmp_path / "b").mkdir()
    alone = Rig(tmp_path / "b", BuiltIn((BASELINE, HARD)))
    alone.go(5.0)
    alone.go(5.6, accel=-4)
    assert held == alone.fires[-1][2]


def test_a_new_version_starts_anew_and_the_cooldown_of_its_trigger_holds(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((spec(cooldown="10s"),)))
    rig.go(2.0)
    rig.go(3.0, accel=-4)
    rig.offer(release(spec(version=2, cooldown="10s")))
    rig.go(4.0, accel=-4)  # the condition lasts: the new spec has not fired for it yet
    assert [version for _, version, _ in rig.fires] == [1, 2]
    assert rig.outcomes == ["kept", "cooldown"]


def test_back_to_the_built_in_when_the_release_is_gone(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((spec(),)))
    rig.go(1.0)
    rig.offer(release(spec(version=2)))
    rig.go(1.1)
    assert rig.states() == {"brakes": (2, "ota", "active")}
    rig.offer()
    rig.go(1.2)
    assert rig.states() == {"brakes": (1, "built_in", "active")}
    assert rig.runtime.swaps == 2


def test_the_same_offer_again_changes_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((spec(),)))
    for _ in range(3):
        rig.offer(release(spec(version=2)))
        rig.go(s(rig.now_ns) + 0.2)
    assert rig.runtime.swaps == 1


def test_an_offer_from_another_thread_is_taken_between_two_samples(tmp_path: Path) -> None:
    """Offers come in while ticks run; each tick is evaluated by one set, whole."""
    rig = Rig(tmp_path, BuiltIn((spec(),)))
    done = threading.Event()

    def offers() -> None:
        for version in range(2, 40):
            rig.offer(release(spec(version=version)), release(spec("b", version=version)))
        done.set()

    rig.go(1.0)
    thread = threading.Thread(target=offers)
    thread.start()
    until_s = 1.0
    while not done.is_set():
        until_s += 0.2
        rig.go(until_s, accel=-4 if round(until_s * 5) % 2 else 0)
    thread.join()
    rig.go(until_s + 1, accel=-4)
    assert rig.states()["brakes"] == rig.states()["b"] == (39, "ota", "active")
    by_tick: dict[int, set[int]] = {}
    for name, version, at in rig.fires:
        by_tick.setdefault(at, set()).add(version)
        assert name in ("brakes", "b")
    assert all(len(versions) == 1 for versions in by_tick.values())
    times = [inputs.now_ns for inputs in rig.ticks]
    assert times == list(range(times[0], times[-1] + 1, TICK_NS))  # no tick lost, none twice


def test_offers_before_the_first_sample_and_after_the_end_run_at_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((spec(),), model_release("a")))
    rig.offer(release(spec(version=2)), model=model_release("b"))
    assert rig.states()["brakes"][0] == 2
    assert rig.runtime.report().models[0].name == "b"
    rig.go(1.0)
    rig.offer(model=model_release("c"))
    rig.go(2.0)
    assert rig.runtime.report().models[0].name == "b"
    rig.runtime.finish()
    assert rig.runtime.report().models[0].name == "c"
    rig.offer()
    assert rig.runtime.report().models[0].name == "a"
    assert rig.runtime.report().waiting_for == ""


def test_a_swap_is_paid_once_and_counted(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((spec(),)))
    rig.go(1.0)
    rig.offer(*(release(spec(f"s{i}")) for i in range(50)))
    rig.go(2.0)
    assert rig.runtime.swaps == 1
    assert rig.runtime.longest_swap_ns > 0


# Models -------------------------------------------------------------------------------------


def test_a_model_waits_until_the_vehicle_is_parked_and_disengaged(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((spec(),), model_release("a")))
    rig.go(1.0, camera_hz=10)
    rig.offer(release(spec(version=2)), model=model_release("b"))

    def now(until_s: float, **values: float) -> tuple[str, str]:
        rig.go(until_s, camera_hz=10, **values)  # type: ignore[arg-type]
        report = rig.runtime.report()
        return report.models[0].name, report.waiting_for

    assert now(2.0) == ("a", "the vehicle moves at 10.0 m/s")
    assert rig.states()["brakes"] == (2, "ota", "active")  # specs do not wait
    assert now(3.0, speed=-5.0) == ("a", "the vehicle moves at -5.0 m/s")
    assert now(5.5, speed=0.05, engaged=1.0) == ("a", "autonomy is engaged")
    assert now(7.0, speed=0.05) == ("a", "parked and disengaged for less than 2 s")
    assert now(7.1, speed=0.3)[0] == "a"
    assert now(9.0, speed=0.0) == ("a", "parked and disengaged for less than 2 s")
    assert now(9.3, speed=0.0) == ("b", "")
    assert rig.runtime.drive.model is not None
    assert rig.runtime.drive.model.digest == MadeModel("b").digest


@pytest.mark.parametrize(
    ("mute", "why"),
    [
        ("speed", "the vehicle's speed is not known now"),
        ("engaged", "whether autonomy is engaged is not known now"),
    ],
)
def test_what_is_not_known_is_not_safe(tmp_path: Path, mute: str, why: str) -> None:
    rig = Rig(tmp_path, BuiltIn((), model_release("a")))
    rig.go(5.0, speed=0.0)
    rig.go(8.0, speed=0.0, mute=frozenset({mute}))
    rig.offer(model=model_release("b"))
    rig.go(11.0, speed=0.0, mute=frozenset({mute}))
    assert rig.runtime.report().waiting_for == why
    rig.go(14.0, speed=0.0)
    assert rig.runtime.report().models[0].name == "b"


def test_a_source_without_autonomy_has_none_and_a_silence_starts_anew(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((), model_release("a")), signals=SIGNALS - {"autonomy.engaged"})
    rig.go(5.0, speed=0.0, mute=frozenset({"engaged"}))
    rig.now_ns += 60 * NS_PER_S
    rig.offer(model=model_release("b"))
    rig.go(66.0, speed=0.0, mute=frozenset({"engaged"}))
    assert rig.runtime.report().models[0].name == "a"
    rig.go(68.0, speed=0.0, mute=frozenset({"engaged"}))
    assert rig.runtime.report().models[0].name == "b"


def test_a_later_offer_takes_the_place_of_a_model_that_waits(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((), model_release("a")))
    rig.go(1.0)
    rig.offer(model=model_release("b"))
    rig.go(2.0)
    rig.offer()
    rig.go(9.0, speed=0.0)
    assert rig.runtime.report().models[0].name == "a"
    assert rig.swaps == []


def test_another_models_classes_move_the_columns_and_the_specs_with_them(tmp_path: Path) -> None:
    """`dog` is column 1 of the first model, 0 of the second, and unknown to the third."""
    dog = lambda n: [seen("dog")]  # noqa: E731
    rig = Rig(tmp_path, BuiltIn((rare(),), model_release("a", dog)))
    rig.go(3.0, camera_hz=10, speed=0.0)
    assert len(rig.fires) == 1
    rig.offer(model=model_release("b", dog, ("dog", "cat", "car")))
    rig.go(6.0, camera_hz=10, speed=0.0)
    assert rig.runtime.report().models[0].name == "b"
    assert len(rig.fires) == 1  # the dog was there all the time
    assert len(rig.ticks[-1].class_scores) == 3
    assert rig.ticks[-1].class_scores[0] == pytest.approx(0.9)
    rig.offer(model=model_release("c", lambda n: [], ("cat",)))
    rig.go(9.0, camera_hz=10, speed=0.0)
    (told,) = rig.runtime.report().triggers
    assert (told.state, told.reason) == ("inactive", "the model knows none of dog")
    rig.offer()
    rig.go(12.0, camera_hz=10, speed=0.0)
    assert rig.states()["rare"][2] == "active"
    assert len(rig.fires) == 2  # it went and came back: it starts anew


def test_a_model_of_the_running_digest_is_taken_over_without_waiting(tmp_path: Path) -> None:
    same = model_release("a")
    rig = Rig(tmp_path, BuiltIn((), model_release("a")))
    rig.go(1.0)
    rig.offer(model=same)
    rig.go(1.2)
    (told,) = rig.runtime.report().models
    assert (told.name, told.origin) == ("a", "ota")
