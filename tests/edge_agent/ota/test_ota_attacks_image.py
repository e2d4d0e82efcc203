"""Attacks on the image repository and on the files: refused slot by slot, and a kill still acts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tuf.api.metadata import Targets

from contracts.ids import sha256_hex
from contracts.ota import ReleaseId
from edge_agent.upload import TransportLimits
from tests.edge_agent.ota_repository import DAY, Ordered, flipped, older_role, spec_bytes
from tests.edge_agent.ota_rig import (
    OtaRig,
    digest_of,
    forget_caches,
    network,
    play,
    refused,
    settled,
    trigger,
)

SPEC_PATH = "triggers/brake/2/spec.yaml"


def test_the_director_alone_installs_nothing(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        rig.cloud.director.order(trigger("jerk"), trigger("brake", 2, 9.0))
        await refused(rig, "trigger:brake verify", "the image repository does not hold it")
        told = rig.cloud.check_ins[-1].rejected[0]
        assert (told.slot, told.digest, told.attempt) == (
            "trigger:brake", digest_of(trigger("brake", 2, 9.0)), 1
        )  # fmt: skip

    play(tmp_path, scene)


def test_the_image_repository_alone_installs_nothing(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        before, rig.cloud.fetched = rig.running, []
        rig.cloud.image.publish(trigger("brake", 2).release, *trigger("brake", 2).contents)
        for _ in range(12):
            await rig.round()
        assert rig.running == before
        assert any(name.startswith("director/") for name in rig.cloud.fetched)
        assert not any(name.startswith(("image/", "triggers/")) for name in rig.cloud.fetched)

    play(tmp_path, scene)


def test_other_bytes_at_the_director_are_refused(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        good = trigger("brake", 2)
        rig.cloud.image.publish(good.release, *good.contents)
        rig.cloud.director.order(trigger("jerk"), trigger("brake", 2, 9.0))
        await refused(rig, "trigger:brake verify", "the director says")

    play(tmp_path, scene)


@pytest.mark.parametrize("role", ["triggers", Targets.type])
def test_an_older_role_of_the_image_repository_is_refused(tmp_path: Path, role: str) -> None:
    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        rig.cloud.image.commit(7 * DAY, Targets.type)
        rig.give(trigger("jerk"), trigger("brake"), trigger("swerve"))
        await rig.round()
        older_role(rig.cloud.image, role)
        rig.cloud.director.order(trigger("jerk"), trigger("brake", 2))
        await refused(rig, f"Expected {role}.json version")

    play(tmp_path, scene)


def test_an_old_image_repository_beside_a_new_director_is_refused(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        old = rig.cloud.remember()
        await settled(rig)
        rig.cloud.image.publish(trigger("brake", 2).release, *trigger("brake", 2).contents)
        rig.cloud.director.order(trigger("brake", 2))
        new = rig.cloud.remember()
        rig.cloud.replaced = replace(new, image=old.image)
        await refused(rig, "image: ", "must be >=")
        forget_caches(rig)
        await rig.restart()
        await refused(rig, "image ", "is older than")

    play(tmp_path, scene)


FILE_ATTACKS: dict[str, tuple[Callable[[bytes], bytes], bool, str]] = {
    "a changed byte": (flipped, False, "not what was signed"),
    "a truncated file": (lambda content: content[:-7], False, "were signed"),
    "an overlong file": (lambda content: content + b"#" * 50, False, "were signed"),
    "an overlong answer": (lambda content: content + b"#" * 50, True, "longer than what was"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILE_ATTACKS)
def test_a_wrong_file_is_refused_and_its_remains_removed(tmp_path: Path, name: str) -> None:
    change, without_ranges, word = FILE_ATTACKS[name]

    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        rig.cloud.doctored[SPEC_PATH] = change
        rig.cloud.without_ranges = without_ranges
        rig.give(trigger("jerk"), trigger("brake", 2))
        await refused(rig, word)
        assert list((rig.state_folder / "partial").iterdir()) == []
        # The file is whole again: nothing of the attack stays.
        rig.cloud.doctored.clear()
        await rig.round()
        assert rig.running["trigger:brake"] == digest_of(trigger("brake", 2))

    play(tmp_path, scene)


def test_a_file_that_always_ends_early_is_given_up(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        rig.cloud.doctored[SPEC_PATH] = lambda content: content[:-7]
        rig.cloud.without_ranges = True
        rig.give(trigger("jerk"), trigger("brake", 2))
        await refused(rig, "held nothing more")

    play(tmp_path, scene)


@pytest.mark.parametrize("where", ["director/timestamp.json", "image/timestamp.json", "target"])
def test_an_endless_answer_is_given_up(tmp_path: Path, where: str) -> None:
    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        order = trigger("brake", 2)
        folder = f"triggers/brake/2/{digest_of(order)}.spec.yaml"
        rig.cloud.stalled.add(folder if where == "target" else where)
        rig.give(trigger("jerk"), order)
        rig.transport_limits = TransportLimits(connect_s=5, answer_s=0.1, expect_s=0.5)
        await rig.restart()
        await refused(rig, "Timeout")

    play(tmp_path, scene)


def wrongly_named(name: str) -> Ordered:
    release = ReleaseId("trigger", "brake", 2)
    return Ordered(f"trigger:{name}", release, (spec_bytes("other", 2),))


def with_other_model() -> Ordered:
    """A manifest that speaks of another model file than the one beside it."""
    good = network()
    manifest, content = good.contents
    other = manifest.replace(sha256_hex(content).encode(), b"ab" * 32)
    return replace(good, contents=(other, content))


BAD_ORDERS: dict[str, tuple[Ordered, str]] = {
    "a spec with another id": (wrongly_named("brake"), "the spec is 'other'"),
    "a spec in another's slot": (
        replace(trigger("brake", 2), slot="trigger:swerve"), "does not belong there"
    ),
    "a spec in the model's slot": (
        replace(trigger("brake", 2), slot="model"), "does not belong there"
    ),
    "a slot that is none": (replace(trigger("brake", 2), slot="wheel"), "is no slot"),
    "a manifest of another file": (with_other_model(), "another model file"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ORDERS)
def test_one_bad_slot_refuses_that_slot_alone(tmp_path: Path, name: str) -> None:
    order, word = BAD_ORDERS[name]

    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        before = rig.running
        kept = () if order.release.name == "brake" else (trigger("brake"),)
        rig.give(trigger("jerk", 2, 4.0), order, *kept)
        await rig.round()
        await rig.updater.poll_once()
        told = rig.cloud.check_ins[-1]
        reasons = [one for one in told.rejected if word in one.reason]
        assert [(one.slot, one.stage) for one in reasons] == [(order.slot, "verify")]
        assert rig.running["trigger:jerk"] == digest_of(trigger("jerk", 2, 4.0))
        if order.slot in before:
            assert rig.running[order.slot] == before[order.slot]
        else:
            assert order.slot not in rig.running

    play(tmp_path, scene)


def test_a_kill_acts_although_the_image_repository_is_dead(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        rig.cloud.missing.add("image/timestamp.json")
        rig.cloud.director.order(trigger("brake", 2), killed=("brake", "built-in-one"))
        await rig.updater.poll_once()
        assert rig.runtime.running.killed == {"brake", "built-in-one"}
        assert "trigger:brake" not in rig.running
        assert "image: " in rig.note
        rig.cloud.director.order(trigger("jerk"), trigger("brake"))
        rig.cloud.missing.clear()
        await rig.round()
        assert rig.runtime.running.killed == frozenset()

    play(tmp_path, scene)
