"""Attacks on the way of a release: each is refused, told, and changes nothing that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile, Snapshot, Targets, Timestamp

from contracts.ids import sha256_hex
from contracts.ota import ReleaseId
from edge_agent.upload import TransportLimits
from tests.edge_agent.ota_repository import (
    DAY,
    Ordered,
    SignedRepository,
    VehicleRepository,
    flipped,
    spec_bytes,
    with_signed,
)
from tests.edge_agent.ota_rig import (
    OtaRig,
    digest_of,
    forget_caches,
    network,
    ota_rig,
    play,
    refused,
    settled,
    trigger,
)

Attack = Callable[[OtaRig], Awaitable[None] | None]
SPEC_PATH = "triggers/brake/2/spec.yaml"


# Attacks on the director's metadata ----------------------------------------------------------


def older_snapshot(repository: SignedRepository) -> None:
    """A new timestamp, rightly signed, that points to an earlier snapshot."""
    version = repository.versions[Snapshot.type] - 1
    content = repository.served[f"{version}.snapshot.json"]
    repository.stamp(MetaFile.from_data(version, content, ["sha256"]), 7 * DAY)


def older_role(repository: SignedRepository, name: str) -> None:
    """A new snapshot, rightly signed, that names an earlier version of a targets role."""
    repository.versions[Snapshot.type] += 1
    meta = {}
    for held, role in repository.roles.items():
        version = role.version - (held == name)
        content = repository.served[f"{version}.{held}.json"]
        meta[f"{held}.json"] = MetaFile.from_data(version, content, ["sha256"])
    snapshot = Snapshot(
        version=repository.versions[Snapshot.type], expires=repository.now + 7 * DAY, meta=meta
    )
    content = repository.signed(snapshot, Snapshot.type)
    repository.served[f"{snapshot.version}.snapshot.json"] = content
    repository.stamp(MetaFile.from_data(snapshot.version, content, ["sha256"]), 7 * DAY)


def old_timestamp(rig: OtaRig) -> None:
    old = rig.cloud.director.served["timestamp.json"]
    rig.give(trigger("brake", 2))
    rig.cloud.doctored["director/timestamp.json"] = with_signed(old, version=10**6)


def revoked_timestamp_key(rig: OtaRig) -> None:
    director = rig.cloud.director
    rig.give(trigger("brake", 2))
    stolen = director.served["timestamp.json"]
    director.rotate(Timestamp.type)
    rig.cloud.doctored["director/timestamp.json"] = stolen


def other_vehicle(rig: OtaRig) -> None:
    other = VehicleRepository("car-2", shared=rig.cloud.director)
    for _ in range(20):
        other.order(trigger("brake", 2))
    other.counter = 10**6
    rig.cloud.image.publish(trigger("brake", 2).release, *trigger("brake", 2).contents)
    rig.cloud.director = other


def without_note(rig: OtaRig) -> None:
    targets = rig.cloud.director.roles[Targets.type]
    targets.unrecognized_fields.clear()
    rig.cloud.director.commit()


def demo_root(rig: OtaRig) -> None:
    rig.cloud.director.demo = True
    rig.cloud.director.sign_root()


def unsigned_root(rig: OtaRig) -> None:
    director = rig.cloud.director
    director.sign_root([CryptoSigner.generate_ed25519() for _ in range(2)])


DIRECTOR_ATTACKS: dict[str, tuple[Attack, str]] = {
    "an older snapshot": (
        lambda rig: older_snapshot(rig.cloud.director), "snapshot version must be >="
    ),
    "older targets": (
        lambda rig: older_role(rig.cloud.director, Targets.type), "Expected targets.json version"
    ),
    "a timestamp with a changed version": (old_timestamp, "signed by 0/1"),
    "a revoked key": (revoked_timestamp_key, "signed by 0/1"),
    "the word for another vehicle": (other_vehicle, "for vehicle 'car-2'"),
    "targets without a note": (without_note, "hold no note"),
    "a root made with demo keys": (demo_root, "demo keys"),
    "a root that strangers signed": (unsigned_root, "root was signed by 0/2"),
    "a lower release counter": (
        lambda rig: rig.cloud.director.order(trigger("jerk"), counter=1), "counter 1 is below"
    ),
    "other content under the same counter": (
        lambda rig: rig.cloud.director.order(
            trigger("jerk"), counter=rig.cloud.director.counter
        ),
        "seen before with other content",
    ),
    "an overlong timestamp": (
        lambda rig: rig.cloud.doctored.update({"director/timestamp.json": b" " * 100_000}),
        "longer than 16384",
    ),
    "no JSON": (
        lambda rig: rig.cloud.doctored.update({"director/timestamp.json": b"<html>"}),
        "director: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DIRECTOR_ATTACKS)
def test_an_attack_on_the_director_changes_nothing(tmp_path: Path, name: str) -> None:
    attack, word = DIRECTOR_ATTACKS[name]

    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        attack(rig)
        await refused(rig, word)
        assert not any(path.startswith("triggers/brake/2") for path in rig.cloud.fetched)

    play(tmp_path, scene)


def test_anothers_metadata_does_not_shut_out_the_own(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        own = rig.cloud.director
        other_vehicle(rig)
        await refused(rig, "for vehicle 'car-2'")
        rig.cloud.director, rig.cloud.announced = own, None
        rig.give(trigger("jerk", 2, 4.0))
        await rig.round()
        assert rig.running == {"trigger:jerk": digest_of(trigger("jerk", 2, 4.0))}

    play(tmp_path, scene)


@pytest.mark.parametrize("caches", ["kept", "lost"])
def test_an_earlier_state_of_both_repositories_is_refused(tmp_path: Path, caches: str) -> None:
    async def scene(rig: OtaRig) -> None:
        rig.give(trigger("jerk"))
        await rig.round()
        old = rig.cloud.remember()
        await settled(rig)
        rig.cloud.replaced = old
        if caches == "lost":
            forget_caches(rig)
            await rig.restart()
        await refused(rig, "must be >=" if caches == "kept" else "seen before")

    play(tmp_path, scene)


def test_a_revoked_root_does_not_come_back_with_the_cache_lost(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        old = rig.cloud.remember()
        rig.cloud.director.rotate(Timestamp.type)
        rig.give(trigger("brake", 2, 5.0))
        await rig.round()
        assert rig.running == {"trigger:brake": digest_of(trigger("brake", 2, 5.0))}
        rig.cloud.replaced = replace(old, director_roots={})
        forget_caches(rig)
        await rig.restart()
        await refused(rig, "director root: version 1 is older than 2")

    play(tmp_path, scene)


@pytest.mark.parametrize("ahead", [1, 1000])
def test_a_stolen_key_does_not_shut_out_who_replaces_it(tmp_path: Path, ahead: int) -> None:
    """Its counter ran ahead; with new keys the honest one counts anew, from below or beside it."""

    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        director = rig.cloud.director
        honest = director.counter
        director.order(trigger("jerk"), trigger("brake"), counter=honest + ahead)
        await rig.round()
        assert rig.updater.status().assignment_counter == honest + ahead
        rig.give(trigger("jerk", 2, 4.0), trigger("brake"))
        director.order(trigger("jerk", 2, 4.0), trigger("brake"), counter=honest + 1)
        await refused(rig, "director: release counter")
        for role in (Timestamp.type, Snapshot.type, Targets.type):
            director.rotate(role)
        director.commit()
        await rig.round()
        await rig.round()
        assert rig.running["trigger:jerk"] == digest_of(trigger("jerk", 2, 4.0))
        assert rig.updater.status().assignment_counter == honest + 1
        rig.give(trigger("jerk", 3, 5.0))
        await rig.round()
        assert rig.running == {"trigger:jerk": digest_of(trigger("jerk", 3, 5.0))}

    play(tmp_path, scene)


# The image repository and the files -----------------------------------------------------------


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


def test_demo_keys_need_leave(tmp_path: Path) -> None:
    async def go(folder: Path, *, allowed: bool) -> None:
        async with ota_rig(folder, demo=True, allow_demo_keys=allowed, start=False) as rig:
            await rig.start()
            rig.give(trigger("brake"))
            await rig.round()
            if allowed:
                assert rig.running
            else:
                assert not rig.running
                assert "demo keys" in rig.updater.status().note
                assert not rig.updater.status().enabled
            await rig.close()

    asyncio.run(go(tmp_path / "a", allowed=True))
    asyncio.run(go(tmp_path / "b", allowed=False))
