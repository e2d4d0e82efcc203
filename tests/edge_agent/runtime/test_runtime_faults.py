"""Releases that fail in a drive: told as their own fault, and what ran before goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.clock import NS_PER_S
from contracts.errors import CorruptError, InputError
from contracts.ota import Slot
from contracts.samples import Detection, ImageSample, PerceptionFrame
from edge_agent.runtime import BuiltIn
from kernels.triggers.engine import TickInputs, TriggerEngine
from tests.edge_agent.runtime_rig import CLASSES, MadeModel, Rig, model_release, release, seen, spec


def breaking(n: int) -> list[Detection]:
    raise ZeroDivisionError("a bad model")


def not_finite(n: int) -> list[Detection]:
    return [seen(probability=float("nan"))]


def torn(n: int) -> list[Detection]:
    raise CorruptError("the output is not finite", "model")


@pytest.mark.parametrize("script", [breaking, not_finite, torn])
def test_a_release_that_fails_three_frames_in_a_row_is_at_fault(
    tmp_path: Path, script: object
) -> None:
    rig = Rig(tmp_path, BuiltIn((spec(),), model_release("a")))
    bad = model_release("bad", script)  # type: ignore[arg-type]
    rig.offer(model=bad)
    rig.go(0.2, camera_hz=10)
    assert rig.runtime.report().faults == ()  # two frames
    rig.go(0.3, camera_hz=10, accel=-4)
    (fault,) = rig.runtime.report().faults
    assert (fault.slot, fault.digest, fault.stage) == (Slot("model"), bad.digest, "soak")
    assert fault.reason
    rig.go(2.0, camera_hz=10, accel=-4)
    assert [name for name, _, _ in rig.fires] == ["brakes"]  # the drive goes on
    rig.offer()
    rig.go(5.0, camera_hz=10, speed=0.0)
    assert rig.runtime.report().faults == ()
    assert rig.runtime.report().models[0].origin == "built_in"


def test_frames_that_fail_now_and_then_are_no_fault(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((), model_release("a")))
    rig.offer(model=model_release("b", lambda n: not_finite(n) if n % 3 else [seen()]))
    rig.go(3.0, camera_hz=10)
    assert rig.runtime.report().faults == ()
    rejected = rig.runtime.drive.door.rejections
    assert rejected["/camera/front", "cannot be used"] == 20


def test_a_model_that_fails_its_trial_never_runs(tmp_path: Path) -> None:
    class Broken(MadeModel):
        def detect(self, image: ImageSample, pixels: NDArray[np.uint8]) -> PerceptionFrame:
            raise RuntimeError("cannot run")

    rig = Rig(tmp_path, BuiltIn((), model_release("a")))
    good = model_release("good")
    rig.offer(model=good)
    offered = model_release("bad")
    bad = type(offered)(offered.slot, offered.digest, offered.manifest, Broken("bad"))
    rig.offer(model=bad)
    report = rig.runtime.report()
    assert report.models[0].name == "good"
    (fault,) = report.faults
    assert (fault.digest, fault.stage) == (bad.digest, "activate")
    assert "cannot run" in fault.reason


def test_a_swap_that_raises_is_a_fault_and_the_old_set_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, BuiltIn((spec(),)))
    rig.offer(release(spec(version=2)))
    rig.go(1.0)
    real = TriggerEngine.take_over

    def failing(self: TriggerEngine, old: TriggerEngine, **more: object) -> None:
        if any(loaded.spec.version == 3 for loaded in self.specs):
            raise MemoryError("no room")
        real(self, old)

    monkeypatch.setattr(TriggerEngine, "take_over", failing)
    third = spec(version=3)
    rig.offer(release(third))
    rig.go(2.0, accel=-4)
    (fault,) = rig.runtime.report().faults
    assert (fault.slot.text, fault.digest, fault.stage) == (
        "trigger:brakes", third.digest, "activate",
    )  # fmt: skip
    assert [(name, version) for name, version, _ in rig.fires] == [("brakes", 2)]


def test_an_engine_that_fails_is_the_newest_releases_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, BuiltIn((spec("built"),)))
    rig.offer(release(spec("old")))
    rig.go(1.0)
    rig.offer(release(spec("old")), release(spec("new")))
    rig.go(2.0)
    real = TriggerEngine.step

    def failing(self: TriggerEngine, inputs: TickInputs) -> object:
        if any(loaded.spec.id == "new" for loaded in self.specs):
            raise FloatingPointError("odd")
        return real(self, inputs)

    monkeypatch.setattr(TriggerEngine, "step", failing)
    rig.go(3.0, accel=-4)
    assert [fault.slot.text for fault in rig.runtime.report().faults] == ["trigger:new"]
    assert rig.fires == []
    rig.offer(release(spec("old")))
    rig.go(4.0, accel=-4)
    assert {name for name, _, _ in rig.fires} == {"built", "old"}


def test_a_failing_engine_of_built_in_specs_alone_ends_the_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, BuiltIn((spec(),)))
    rig.go(1.0)
    monkeypatch.setattr(TriggerEngine, "step", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        rig.go(2.0)


def test_a_fault_is_judged_anew_when_its_release_comes_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((), model_release("a")))
    bad = model_release("bad", not_finite)
    for _ in range(2):
        rig.offer(model=bad)
        rig.go(rig.now_ns / NS_PER_S + 3.0, camera_hz=10, speed=0.0)
        assert len(rig.runtime.report().faults) == 1
        rig.offer(model=bad)  # the same offer again: it stays at fault
        assert len(rig.runtime.report().faults) == 1
        rig.offer()
        assert rig.runtime.report().faults == ()
        rig.go(rig.now_ns / NS_PER_S + 3.0, camera_hz=10, speed=0.0)


def test_specs_of_another_models_classes_are_not_taken(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((), model_release("a")))
    with pytest.raises(InputError, match="another model's classes"):
        rig.runtime.drive.swap(TriggerEngine([], "d", ("zebra",)), MadeModel("a"))
    assert rig.runtime.drive.model is not None
    assert rig.runtime.drive.model.class_names == CLASSES


def test_an_offer_that_cannot_compile_here_keeps_what_ran(tmp_path: Path) -> None:
    """A rule deeper than the kernel's stack passes the parser and not the compiler."""
    deep = "ego.speed_mps" + " + (ego.speed_mps" * 70 + ")" * 70 + " > 1"
    rig = Rig(tmp_path, BuiltIn((spec(),)))
    rig.offer(release(spec(version=2)))
    third = spec(version=3, when=f'"{deep}"')
    rig.offer(release(third), release(spec("other")))
    assert rig.states() == {"brakes": (2, "ota", "active"), "other": (1, "ota", "active")}
    (fault,) = rig.runtime.report().faults
    assert (fault.digest, fault.stage) == (third.digest, "activate")
    assert "stack" in fault.reason
